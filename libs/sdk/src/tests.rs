//! Two clients without a server: what they write and read is carried by hand.

mod others;
mod receipts;
mod rich;
mod sealed;
mod unsent;

use std::{fs, path::Path};

use prost::Message as _;
use qpc_crypto::{
    Conversation, Policy, ReceiptKey, Role, Suite, franking,
    mls::{key_package, split_welcome},
    receipt::{self, Accepted, Link},
};
use qpc_wire::{
    AccountId, DeviceId, GroupId,
    v1::{self, Entry, Envelope, EnvelopeKind, Franking, Gap, entry::Body},
};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::{
    Client, ClientOptions, Draft, Error, Event, Finding, GapReason, KsfParams, MessageId, MessageRef, MessageState,
    PeerTrust, ReceiptFile, ReceiptReport, Runtime, SafetyMismatch, SafetyProof,
    content::{Body as Said, Content, Naming, Saying},
    directory::Source,
    receive::{self, Delivered, Received},
    store::{ConversationState, Outgoing, Shown, Tx},
    transport::Trust,
    verify_receipts,
};

fn options(folder: &Path, name: &str, password: &str) -> ClientOptions {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.der().clone();
    ClientOptions {
        ksf: KsfParams::FLOOR,
        ..ClientOptions::new(folder.join(name), name, password, "localhost:1", Trust::Certificates(vec![certificate]))
    }
}

async fn open(folder: &TempDir, name: &str) -> Client {
    Client::open(options(folder.path(), name, "correct horse")).await.unwrap()
}

/// What a server would put into mailboxes, with the receipts of one group.
struct Post {
    key: ReceiptKey,
    link: Link,
}

impl Post {
    fn new() -> Self {
        Self { key: ReceiptKey::from_bytes(&[5; 32]), link: Link::FIRST }
    }

    /// The receipt of the next thing that the group accepts.
    fn receipt(&mut self, group: GroupId, epoch: u64, payload: &[u8], devices: &[DeviceId]) -> v1::Receipt {
        let accepted = Accepted { group, epoch, payload, devices, at_ms: 1_000 + self.link.seq };
        let receipt = receipt::build(&self.key, &accepted, &self.link);
        self.link = Link::after(&receipt).unwrap();
        receipt
    }

    fn entry(&mut self, seq: u64, group: GroupId, epoch: u64, message: &Crafted) -> Entry {
        let Crafted { payload, content } = message;
        let receipt = self.receipt(group, epoch, payload, &[]);
        let envelope = Envelope {
            kind: EnvelopeKind::Application.into(),
            group_id: group.to_bytes(),
            epoch,
            payload: payload.clone().into(),
            accepted_at_ms: receipt.accepted_at_ms,
            receipt: Some(receipt),
            franking: Some(Franking {
                commitment: franking::commitment(content).to_vec().into(),
                ..Franking::default()
            }),
            ..Envelope::default()
        };
        Entry { seq, body: Some(Body::Envelope(envelope)) }
    }

    fn application(&mut self, seq: u64, outgoing: &Outgoing) -> Delivered {
        let sealed = outgoing.sealed.as_ref().unwrap();
        let content = sealed.plaintext(&outgoing.content).into_owned();
        let crafted = Crafted { payload: sealed.payload.clone(), content };
        self.entry(seq, sealed.group, sealed.epoch, &crafted).into()
    }

    /// A conversation of both, and what the server would have put into bob's mailbox first.
    async fn acquaint(&mut self, alice: &Client, bob: &Client, suite: Suite) -> (GroupId, Delivered) {
        self.acquaint_in(alice, bob, suite, Policy::direct(GroupId([7; 16]))).await
    }

    /// The same in a group with this policy.
    async fn acquaint_in(
        &mut self,
        alice: &Client,
        bob: &Client,
        suite: Suite,
        policy: Policy,
    ) -> (GroupId, Delivered) {
        let public = self.key.public();
        for client in [alice, bob] {
            client.inner.store.run(move |tx| tx.pin_receipt_key(&public)).await.unwrap();
        }
        let identity = bob.inner.identity.clone();
        let package = bob
            .inner
            .store
            .run(move |tx| {
                Ok(key_package::generate(&tx.mls(), &identity.device_key, &identity.certificate, suite, false)?)
            })
            .await
            .unwrap();
        let (identity, id) = (alice.inner.identity.clone(), policy.conversation);
        let (made, tree) = alice
            .inner
            .store
            .run(move |tx| {
                let mls = tx.mls();
                let (key, certificate) = (&identity.device_key, &identity.certificate);
                let mut group = Conversation::create(&mls, key, certificate, suite, id, &policy)?;
                let made = group.add(&mls, key, &[package])?;
                group.merge_pending(&mls)?;
                tx.put_group(&group, &identity, ConversationState::Active)?;
                tx.note_epoch(&group, &identity)?;
                Ok((made, group.ratchet_tree()?))
            })
            .await
            .unwrap();
        let receipt = self.receipt(id, 1, &made.commit, &[]);
        let welcome = split_welcome(&made.welcome).unwrap();
        let shared = v1::SharedState {
            suite: welcome.suite.into(),
            encrypted_group_info: welcome.encrypted_group_info.into(),
            ratchet_tree: tree.into(),
            group_info: made.group_info.into(),
        };
        let envelope = Envelope {
            kind: EnvelopeKind::Welcome.into(),
            group_id: id.to_bytes(),
            epoch: 1,
            payload: welcome.secrets[0].secret.clone().into(),
            shared: Some(v1::Pointer::default()),
            receipt: Some(receipt),
            ..Envelope::default()
        };
        let entry = Entry { seq: 1, body: Some(Body::Envelope(envelope)) };
        (id, Delivered { entry, shared: Some(shared.encode_to_vec()) })
    }
}

async fn receive(client: &Client, delivered: Delivered) -> Vec<Received> {
    let identity = client.inner.identity.clone();
    client.inner.store.run(move |tx| receive::entry(tx, &identity, &delivered)).await.unwrap()
}

/// The same, as it comes when it was sent without saying by whom.
fn anonymous(delivered: impl Into<Delivered>) -> Delivered {
    let mut delivered = delivered.into();
    let Some(Body::Envelope(envelope)) = &mut delivered.entry.body else { panic!("a gap") };
    envelope.franking.as_mut().unwrap().anonymous = true;
    delivered
}

/// The same, put into the mailbox once more.
fn again(delivered: &Delivered, seq: u64) -> Delivered {
    Delivered { entry: Entry { seq, ..delivered.entry.clone() }, shared: delivered.shared.clone() }
}

/// Empties the outbox, as sending would.
async fn take_outbox(client: &Client) -> Vec<Outgoing> {
    let mut taken = Vec::new();
    while let Some(first) = client.inner.store.run(|tx| tx.first_in_outbox(&[])).await.unwrap() {
        let n = first.n;
        client.inner.store.run(move |tx| tx.remove_from_outbox(n)).await.unwrap();
        taken.push(first);
    }
    taken
}

fn text(received: &[Received]) -> &str {
    match received {
        [Received::Message { message, .. }] => &message.text,
        _ => panic!("not one message"),
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_from_a_damaged_store() {
    let folder = TempDir::new().unwrap();
    open(&folder, "alice").await.close().await;
    let wrong = Client::open(options(folder.path(), "alice", "incorrect horse")).await;
    assert!(matches!(wrong.err(), Some(Error::WrongPassword)));
    open(&folder, "alice").await;
}

#[tokio::test]
async fn a_store_is_one_account_and_one_process() {
    let folder = TempDir::new().unwrap();
    let alice = open(&folder, "alice").await;
    let again = Client::open(options(folder.path(), "alice", "correct horse")).await;
    assert!(matches!(again.err(), Some(Error::StoreInUse(_))));
    drop(alice);

    let other = ClientOptions { username: "bob".into(), ..options(folder.path(), "alice", "correct horse") };
    assert!(matches!(Client::open(other).await.err(), Some(Error::OtherUser { .. })));
    let nobody = ClientOptions { username: "No One".into(), ..options(folder.path(), "alice", "correct horse") };
    assert!(matches!(Client::open(nobody).await.err(), Some(Error::InvalidUsername(_))));
}

#[tokio::test]
async fn nothing_is_on_disk_in_clear() {
    let folder = TempDir::new().unwrap();
    let alice = open(&folder, "alice").await;
    let bob = open(&folder, "bob").await;
    let mut post = Post::new();
    let (id, _) = post.acquaint(&alice, &bob, Suite::Classic).await;
    let text = "the eagle lands at midnight, in clear letters";
    alice.send(id, text).await.unwrap();
    alice.inner.store.run(|tx| tx.set_session(b"session-token-of-alice", u64::MAX >> 1)).await.unwrap();
    let secrets: [Vec<u8>; 5] = [
        text.into(),
        b"session-token-of-alice".to_vec(),
        b"CREATE TABLE".to_vec(),
        alice.export_account_key().to_vec(),
        alice.inner.identity.queue_key.to_bytes().to_vec(),
    ];
    // Once while the journal holds it, once after it was folded into the database.
    for closed in [false, true] {
        if closed {
            alice.clone().close().await;
        }
        let mut files = 0;
        for file in fs::read_dir(folder.path().join("alice")).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            files += 1;
            for secret in &secrets {
                assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_slice()));
            }
        }
        assert!(files >= 3);
    }
    // And it is there for whoever has the password.
    drop(alice);
    let alice = open(&folder, "alice").await;
    assert_eq!(alice.history(id, 9).await.unwrap()[0].text, text);
}

#[tokio::test]
async fn what_is_written_offline_waits_in_order_across_a_restart() {
    let folder = TempDir::new().unwrap();
    let alice = open(&folder, "alice").await;
    let bob = open(&folder, "bob").await;
    let mut post = Post::new();
    let (id, welcome) = post.acquaint(&alice, &bob, Suite::Hybrid).await;
    for text in ["one", "two"] {
        alice.send(id, text).await.unwrap();
    }
    let first = alice.inner.store.run(|tx| tx.first_in_outbox(&[])).await.unwrap();
    drop(alice);

    let alice = open(&folder, "alice").await;
    assert_eq!(alice.inner.store.run(|tx| tx.first_in_outbox(&[])).await.unwrap(), first, "same key, same ciphertext");
    alice.send(id, "three").await.unwrap();
    assert_eq!(alice.stats().await.unwrap().outbox, 3);
    assert!(!alice.flush(std::time::Duration::from_millis(1)).await);
    assert!(alice.history(id, 9).await.unwrap().iter().all(|message| message.state == MessageState::Queued));

    let outgoing = take_outbox(&alice).await;
    assert!(alice.flush(std::time::Duration::from_secs(5)).await);
    receive(&bob, welcome).await;
    for (outgoing, (seq, expected)) in outgoing.iter().zip((2..).zip(["one", "two", "three"])) {
        assert_eq!(text(&receive(&bob, post.application(seq, outgoing)).await), expected);
    }
    let texts: Vec<_> = bob.history(id, 2).await.unwrap().into_iter().map(|message| message.text).collect();
    assert_eq!(texts, ["two", "three"], "the last ones, oldest first");
}

#[tokio::test]
async fn a_second_delivery_is_no_second_message() {
    let folder = TempDir::new().unwrap();
    let alice = open(&folder, "alice").await;
    let bob = open(&folder, "bob").await;
    let mut post = Post::new();
    let (id, welcome) = post.acquaint(&alice, &bob, Suite::Classic).await;
    alice.send(id, "once").await.unwrap();
    let outgoing = take_outbox(&alice).await;
    let once = post.application(2, &outgoing[0]);
    receive(&bob, again(&welcome, 1)).await;
    assert_eq!(text(&receive(&bob, again(&once, 2)).await), "once");
    // By sequence, and by content where the server gave it another sequence.
    assert!(receive(&bob, welcome).await.is_empty());
    assert!(receive(&bob, again(&once, 2)).await.is_empty());
    assert!(receive(&bob, again(&once, 3)).await.is_empty());
    assert_eq!(bob.stats().await.unwrap().cursor, 3);
    assert_eq!(bob.stats().await.unwrap().undecryptable, 0);
    assert_eq!(bob.history(id, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_stops_nothing() {
    let folder = TempDir::new().unwrap();
    let alice = open(&folder, "alice").await;
    let bob = open(&folder, "bob").await;
    let mut post = Post::new();
    let (id, welcome) = post.acquaint(&alice, &bob, Suite::Classic).await;
    alice.send(id, "damaged").await.unwrap();
    alice.send(id, "whole").await.unwrap();
    let outgoing = take_outbox(&alice).await;
    receive(&bob, welcome).await;

    let mut damaged = outgoing[0].clone();
    *damaged.sealed.as_mut().unwrap().payload.last_mut().unwrap() ^= 1;
    let received = receive(&bob, post.application(2, &damaged)).await;
    assert!(matches!(received[..], [Received::Event(Event::Undecryptable { seq: 2, .. })]));
    let stranger = Post::new().entry(3, GroupId([9; 16]), 1, &Crafted { payload: b"?".to_vec(), content: Vec::new() });
    let received = receive(&bob, stranger.into()).await;
    assert!(matches!(received[..], [Received::Event(Event::Undecryptable { seq: 3, .. })]));
    assert_eq!(text(&receive(&bob, post.application(4, &outgoing[1])).await), "whole");
    assert_eq!(bob.stats().await.unwrap().undecryptable, 2);
    // It stood at the second place of the chain, and is to be asked for.
    assert_eq!(bob.inner.store.run(move |tx| tx.holes(id, 9)).await.unwrap(), [2]);
}

#[tokio::test]
async fn gaps_are_told_once_and_with_their_reason() {
    let folder = TempDir::new().unwrap();
    let bob = open(&folder, "bob").await;
    let gap_as = |from, to, reason: v1::GapReason| Entry {
        seq: to,
        body: Some(Body::Gap(Gap { from, to, reason: reason.into() })),
    };
    let gap = |from, to| gap_as(from, to, v1::GapReason::Expired);
    let received = receive(&bob, gap(1, 4).into()).await;
    assert!(matches!(received[..], [Received::Event(Event::Gap { from: 1, to: 4, reason: GapReason::Expired })]));
    // The server has joined it with the next ones.
    let received = receive(&bob, gap(1, 6).into()).await;
    assert!(matches!(received[..], [Received::Event(Event::Gap { from: 5, to: 6, reason: GapReason::Expired })]));
    let received = receive(&bob, Entry { seq: 9, body: None }.into()).await;
    assert!(matches!(received[..], [Received::Event(Event::Gap { from: 7, to: 9, reason: GapReason::Unexplained })]));
    // A copy was put back that had come to 5.
    let received = receive(&bob, gap_as(6, 1_000, v1::GapReason::Restored).into()).await;
    assert!(matches!(received[..], [Received::Event(Event::Gap { from: 10, to: 1_000, reason: GapReason::Restored })]));
    assert_eq!(bob.stats().await.unwrap().cursor, 1_000);
}

#[tokio::test]
async fn a_mailbox_begins_where_the_server_says() {
    let folder = TempDir::new().unwrap();
    let bob = open(&folder, "bob").await;
    assert!(receive(&bob, Entry { seq: 1_000, body: None }.into()).await.is_empty());
    let received = receive(&bob, Entry { seq: 1_002, body: None }.into()).await;
    assert!(matches!(received[..], [Received::Event(Event::Gap { from: 1_001, to: 1_002, .. })]));
}

#[tokio::test]
async fn a_name_keeps_the_key_under_which_it_was_met() {
    let folder = TempDir::new().unwrap();
    let bob = open(&folder, "bob").await;
    let pin = |key: [u8; 32]| bob.inner.store.run(move |tx| tx.pin_self("alice", &key));
    pin([1; 32]).await.unwrap();
    pin([1; 32]).await.unwrap();
    assert!(matches!(pin([2; 32]).await, Err(Error::IdentityChanged(name)) if name == "alice"));
}

#[tokio::test]
async fn nothing_goes_to_a_person_whose_key_is_another_one_until_somebody_has_decided() {
    let folder = TempDir::new().unwrap();
    let alice = open(&folder, "alice").await;
    let bob = open(&folder, "bob").await;
    let mut post = Post::new();
    let (id, _welcome) = post.acquaint(&alice, &bob, Suite::Classic).await;
    let shown = |key: [u8; 32]| alice.inner.store.run(move |tx| tx.pin_peer("bob", &key));
    let waits = async || alice.inner.store.run(|tx| tx.first_in_outbox(&[])).await.unwrap().is_none();
    let trust = async || alice.conversation(id).await.unwrap().trust;
    let key = bob.inner.identity.account_key.public();
    let pinned = bob.inner.identity.account();
    assert_eq!(shown(key).await.unwrap(), Shown::Pinned);
    alice.send(id, "for bob").await.unwrap();
    assert!(!waits().await);

    let number = bob.inner.identity.account_key.public();
    let theirs = qpc_crypto::SafetyNumber::new(&number, &alice.inner.identity.account_key.public());
    let wrong = SafetyProof::Digits(theirs.digits().replacen(&theirs.digits()[..1], "x", 1));
    assert!(matches!(alice.verify_peer("bob", &wrong).await, Err(Error::Safety(SafetyMismatch::Malformed))));
    let own = SafetyProof::Scan(alice.safety_number("bob").await.unwrap().scan());
    assert!(matches!(alice.verify_peer("bob", &own).await, Err(Error::Safety(SafetyMismatch::Own))));
    assert_eq!(trust().await, PeerTrust::Unverified);
    alice.verify_peer("bob", &SafetyProof::Digits(theirs.to_string())).await.unwrap();
    alice.unverify("bob").await.unwrap();
    assert_eq!(trust().await, PeerTrust::Unverified);
    alice.verify_peer("bob", &SafetyProof::Scan(theirs.scan())).await.unwrap();
    assert_eq!(trust().await, PeerTrust::Verified);
    assert_eq!(alice.members(id).await.unwrap().iter().filter(|it| it.trust == PeerTrust::Verified).count(), 1);

    // Told once; and written to, or looked up, it waits.
    assert_eq!(shown([2; 32]).await.unwrap(), Shown::Other { pinned, news: true });
    assert_eq!(shown([2; 32]).await.unwrap(), Shown::Other { pinned, news: false });
    assert_eq!((trust().await, waits().await), (PeerTrust::Changed, true));
    assert!(matches!(alice.dm("bob").await, Err(Error::IdentityChanged(name)) if name == "bob"));
    let peer = alice.peer("bob").await.unwrap();
    assert_eq!((peer.account, peer.other.unwrap().0), (pinned, qpc_crypto::account_id(&[2; 32])));

    // The old key stays, until yet another one is shown.
    alice.keep_identity("bob").await.unwrap();
    assert!(matches!(alice.keep_identity("bob").await, Err(Error::NothingToAccept(_))));
    assert_eq!((trust().await, waits().await), (PeerTrust::Verified, false));
    assert_eq!(alice.dm("bob").await.unwrap(), id);
    assert_eq!(shown([2; 32]).await.unwrap(), Shown::Other { pinned, news: false });
    assert!(!waits().await);
    assert_eq!(shown([3; 32]).await.unwrap(), Shown::Other { pinned, news: true });
    assert!(waits().await);

    // The new one is accepted: what was written goes where it was written to, and nothing else goes there.
    alice.accept_identity("bob").await.unwrap();
    assert!(matches!(alice.accept_identity("bob").await, Err(Error::NothingToAccept(_))));
    assert_eq!((trust().await, waits().await), (PeerTrust::Former, false));
    assert_eq!(alice.conversation(id).await.unwrap().peer_name.as_deref(), Some("bob"));
    assert!(matches!(alice.dm("bob").await, Err(Error::Offline)), "a conversation that is to be founded");
    let peer = alice.peer("bob").await.unwrap();
    assert_eq!((peer.account, peer.trust), (qpc_crypto::account_id(&[3; 32]), PeerTrust::Unverified));
    // Back again: the mark of the old key does not come back with it.
    shown(key).await.unwrap();
    alice.accept_identity("bob").await.unwrap();
    assert_eq!(trust().await, PeerTrust::Unverified);
}

#[tokio::test]
async fn a_session_lasts_as_long_as_its_token() {
    let folder = TempDir::new().unwrap();
    let bob = open(&folder, "bob").await;
    let now = Runtime::system().now_ms();
    let token = || bob.inner.store.run(|tx| tx.session_token());
    bob.inner.store.run(move |tx| tx.set_session(b"token", now + 60_000)).await.unwrap();
    assert_eq!(token().await.unwrap(), Some(Zeroizing::new(b"token".to_vec())));
    bob.inner.store.run(move |tx| tx.set_session(b"token", now - 1)).await.unwrap();
    assert_eq!(token().await.unwrap(), None);
}

#[tokio::test]
async fn texts_have_limits() {
    let folder = TempDir::new().unwrap();
    let bob = open(&folder, "bob").await;
    let id = GroupId([1; 16]);
    assert!(matches!(bob.send(id, "").await, Err(Error::EmptyText)));
    assert!(matches!(bob.send(id, &"x".repeat((60 << 10) + 1)).await, Err(Error::TextTooLong { .. })));
    assert!(matches!(bob.send(id, "x").await, Err(Error::UnknownConversation(_))));
    assert!(matches!(bob.dm("alice").await, Err(Error::Offline)));
    assert!(matches!(bob.dm("bob").await, Err(Error::OwnName)));
}

#[tokio::test]
async fn notes_are_of_this_device_alone() {
    let folder = TempDir::new().unwrap();
    let alice = open(&folder, "alice").await;
    let notes = alice.notes().await.unwrap();
    assert_eq!(alice.notes().await.unwrap(), notes);
    alice.send(notes, "remember the milk").await.unwrap();
    assert_eq!(alice.stats().await.unwrap().outbox, 0);
    let history = alice.history(notes, 9).await.unwrap();
    assert_eq!((history[0].text.as_str(), history[0].state), ("remember the milk", MessageState::Local));
}

#[tokio::test]
async fn a_draft_survives_a_restart_and_goes_when_it_is_empty() {
    let folder = TempDir::new().unwrap();
    let client = open(&folder, "alice").await;
    let notes = client.notes().await.unwrap();
    let answered = MessageRef { author: client.inner.identity.account(), id: MessageId([7; 16]) };
    client.set_draft(notes, Draft { text: "half a".into(), ..Draft::default() }).await.unwrap();
    let draft = Draft { text: "half a thought".into(), reply_to: Some(answered), ..Draft::default() };
    client.set_draft(notes, draft.clone()).await.unwrap();
    client.close().await;
    let client = open(&folder, "alice").await;
    assert_eq!(client.drafts().await.unwrap(), [(notes, draft)]);
    let long = client.set_draft(notes, "x".repeat(1 << 20)).await;
    assert!(matches!(long, Err(Error::TextTooLong { .. })), "{long:?}");
    client.set_draft(notes, "").await.unwrap();
    assert_eq!(client.drafts().await.unwrap(), []);
}

fn written(text: &str) -> Said {
    Said::Say(Saying::Text(text.into()))
}

/// A message, and what its sender has committed to.
struct Crafted {
    payload: Vec<u8>,
    content: Vec<u8>,
}

/// A message of `client` that says whatever it likes.
async fn crafted(client: &Client, id: GroupId, again: Option<(u64, u64)>, body: Said) -> Crafted {
    let message = MessageId(client.inner.runtime.random());
    let content = Content { id: message, sent_at_ms: 5, from: "bob".into(), again, blind: [4; 16], body };
    encrypted(client, id, content.encode().unwrap()).await
}

async fn encrypted(client: &Client, id: GroupId, content: Vec<u8>) -> Crafted {
    let identity = client.inner.identity.clone();
    let plaintext = content.clone();
    let encrypt = move |tx: &Tx<'_>| {
        let mut group = tx.load_current(id)?;
        Ok(group.encrypt(&tx.mls(), &identity.device_key, &plaintext)?)
    };
    Crafted { payload: client.inner.store.run(encrypt).await.unwrap(), content }
}

/// Alice's next message, accepted at the next place of the chain.
async fn accept_next(post: &mut Post, alice: &Client, bob: &Client, id: GroupId) -> u64 {
    let outgoing = take_outbox(alice).await.remove(0);
    let sealed = outgoing.sealed.unwrap();
    let device = bob.inner.identity.device();
    let receipt = post.receipt(id, sealed.epoch, &sealed.payload, &[device]);
    let place = receipt.seq;
    let settle = move |tx: &Tx<'_>| {
        tx.settle_message(id, outgoing.message.unwrap(), MessageState::Accepted, Some((id, &receipt)))?;
        tx.put_own_receipt(id, &receipt)
    };
    alice.inner.store.run(settle).await.unwrap().unwrap();
    place
}

async fn compared(client: &Client) -> ReceiptReport {
    let mut file = Vec::new();
    client.export_receipts(&mut file).await.unwrap();
    verify_receipts(&[ReceiptFile::read(file.as_slice()).unwrap()])
}

#[tokio::test]
async fn a_drawer_keeps_what_a_user_interface_puts_there_and_has_a_bottom() {
    let folder = TempDir::new().unwrap();
    let alice = open(&folder, "alice").await;
    alice.keep("theme", b"light".to_vec()).await.unwrap();
    alice.keep("gone", b"x".to_vec()).await.unwrap();
    alice.keep("gone", Vec::new()).await.unwrap();
    alice.close().await;
    let alice = open(&folder, "alice").await;
    assert_eq!(alice.kept("theme").await.unwrap().as_deref(), Some(&b"light"[..]));
    assert_eq!(alice.kept("gone").await.unwrap(), None);
    for (name, len) in [("x", (1 << 20) + 1), (&*"x".repeat(65), 1)] {
        assert!(matches!(alice.keep(name, vec![0; len]).await, Err(Error::TextTooLong { .. })), "{len}");
    }
}

#[tokio::test]
async fn messages_are_read_one_by_one_in_the_order_of_their_coming() {
    let folder = TempDir::new().unwrap();
    let (alice, bob) = (open(&folder, "alice").await, open(&folder, "bob").await);
    let mut post = Post::new();
    let (id, welcome) = post.acquaint(&alice, &bob, Suite::Classic).await;
    receive(&bob, welcome).await;
    for text in ["one", "two"] {
        alice.send(id, text).await.unwrap();
    }
    for (seq, outgoing) in (2..).zip(take_outbox(&alice).await) {
        let delivered = post.application(seq, &outgoing);
        receive(&bob, delivered).await;
    }
    let unread = bob.unread(10).await.unwrap();
    assert_eq!(unread.iter().map(|message| &*message.text).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(bob.unread(1).await.unwrap(), unread[..1]);
    assert!(bob.mark_message_read(&unread[0]).await.unwrap());
    assert!(!bob.mark_message_read(&unread[0]).await.unwrap(), "is no news");
    assert_eq!(bob.unread(10).await.unwrap(), unread[1..]);
    assert_eq!(bob.conversation(id).await.unwrap().unread, 1);
}
