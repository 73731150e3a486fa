//! Two clients without a server: what they write and read is carried by hand.

use std::{fs, path::Path};

use bytes::Bytes;
use qpc_crypto::{Conversation, Suite, mls::key_package, queue};
use qpc_wire::{
    GroupId,
    v1::{self, Entry, Envelope, EnvelopeKind, Gap, entry::Body},
};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::{
    Client, ClientOptions, Error, Event, GapReason, KsfParams, MessageState, Runtime,
    receive::{self, Received},
    store::{ConversationState, Outgoing},
    transport::Trust,
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

/// A conversation of both, and what the server would have put into bob's mailbox first.
async fn acquaint(alice: &Client, bob: &Client, suite: Suite) -> (GroupId, Entry) {
    let identity = bob.inner.identity.clone();
    let package = bob
        .inner
        .store
        .run(move |tx| Ok(key_package::generate(&tx.mls(), &identity.device_key, &identity.certificate, suite, false)?))
        .await
        .unwrap();
    let (identity, peer, id) = (alice.inner.identity.clone(), bob.inner.identity.account(), GroupId([7; 16]));
    let welcome = alice
        .inner
        .store
        .run(move |tx| {
            let mls = tx.mls();
            let mut group = Conversation::create(&mls, &identity.device_key, &identity.certificate, suite, id)?;
            let made = group.add(&mls, &identity.device_key, &[package])?;
            group.merge_pending(&mls)?;
            tx.put_conversation(&group, peer, ConversationState::Active)?;
            tx.note_epoch(&group, &identity)?;
            Ok(made.welcome)
        })
        .await
        .unwrap();
    (id, sealed(bob, 1, id, EnvelopeKind::Welcome, &welcome))
}

fn sealed(to: &Client, seq: u64, id: GroupId, kind: EnvelopeKind, plain: &[u8]) -> Entry {
    let device = to.inner.identity.device();
    let public = to.inner.identity.queue_key.public_bytes();
    let sealed = queue::seal_for(&mut Runtime::system().rng(), plain, id, &[(device, &public)]).unwrap();
    entry(seq, id, kind, 1, sealed.payload.into(), sealed.keys[0].1.clone().into())
}

fn entry(seq: u64, id: GroupId, kind: EnvelopeKind, epoch: u64, payload: Bytes, sealed_key: Bytes) -> Entry {
    let envelope =
        Envelope { kind: kind.into(), group_id: id.to_bytes(), epoch, payload, sealed_key, accepted_at_ms: 0 };
    Entry { seq, body: Some(Body::Envelope(envelope)) }
}

fn application(seq: u64, outgoing: &Outgoing) -> Entry {
    let payload = outgoing.payload.clone().into();
    entry(seq, outgoing.conversation, EnvelopeKind::Application, outgoing.epoch, payload, Bytes::new())
}

async fn receive(client: &Client, entry: Entry) -> Vec<Received> {
    let identity = client.inner.identity.clone();
    client.inner.store.run(move |tx| receive::entry(tx, &identity, &entry)).await.unwrap()
}

/// Empties the outbox, as sending would.
async fn take_outbox(client: &Client) -> Vec<Outgoing> {
    let mut taken = Vec::new();
    while let Some(first) = client.inner.store.run(|tx| tx.first_in_outbox()).await.unwrap() {
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
    let (id, _) = acquaint(&alice, &bob, Suite::Classic).await;
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
    let (id, welcome) = acquaint(&alice, &bob, Suite::Hybrid).await;
    for text in ["one", "two"] {
        alice.send(id, text).await.unwrap();
    }
    let first = alice.inner.store.run(|tx| tx.first_in_outbox()).await.unwrap();
    drop(alice);

    let alice = open(&folder, "alice").await;
    assert_eq!(alice.inner.store.run(|tx| tx.first_in_outbox()).await.unwrap(), first, "same key, same ciphertext");
    alice.send(id, "three").await.unwrap();
    assert_eq!(alice.stats().await.unwrap().outbox, 3);
    assert!(!alice.flush(std::time::Duration::from_millis(1)).await);
    assert!(alice.history(id, 9).await.unwrap().iter().all(|message| message.state == MessageState::Queued));

    let outgoing = take_outbox(&alice).await;
    assert!(alice.flush(std::time::Duration::from_secs(5)).await);
    receive(&bob, welcome).await;
    for (outgoing, (seq, expected)) in outgoing.iter().zip((2..).zip(["one", "two", "three"])) {
        assert_eq!(text(&receive(&bob, application(seq, outgoing)).await), expected);
    }
    let texts: Vec<_> = bob.history(id, 2).await.unwrap().into_iter().map(|message| message.text).collect();
    assert_eq!(texts, ["two", "three"], "the last ones, oldest first");
}

#[tokio::test]
async fn a_second_delivery_is_no_second_message() {
    let folder = TempDir::new().unwrap();
    let alice = open(&folder, "alice").await;
    let bob = open(&folder, "bob").await;
    let (id, welcome) = acquaint(&alice, &bob, Suite::Classic).await;
    alice.send(id, "once").await.unwrap();
    let outgoing = take_outbox(&alice).await;
    receive(&bob, welcome.clone()).await;
    assert_eq!(text(&receive(&bob, application(2, &outgoing[0])).await), "once");
    // By sequence, and by content where the server gave it another sequence.
    assert!(receive(&bob, welcome).await.is_empty());
    assert!(receive(&bob, application(2, &outgoing[0])).await.is_empty());
    assert!(receive(&bob, application(3, &outgoing[0])).await.is_empty());
    assert_eq!(bob.stats().await.unwrap().cursor, 3);
    assert_eq!(bob.stats().await.unwrap().undecryptable, 0);
    assert_eq!(bob.history(id, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_stops_nothing() {
    let folder = TempDir::new().unwrap();
    let alice = open(&folder, "alice").await;
    let bob = open(&folder, "bob").await;
    let (id, welcome) = acquaint(&alice, &bob, Suite::Classic).await;
    alice.send(id, "damaged").await.unwrap();
    alice.send(id, "whole").await.unwrap();
    let outgoing = take_outbox(&alice).await;
    receive(&bob, welcome).await;

    let mut damaged = outgoing[0].clone();
    *damaged.payload.last_mut().unwrap() ^= 1;
    let received = receive(&bob, application(2, &damaged)).await;
    assert!(matches!(received[..], [Received::Event(Event::Undecryptable { seq: 2, .. })]));
    let stranger = entry(3, GroupId([9; 16]), EnvelopeKind::Application, 1, Bytes::from_static(b"?"), Bytes::new());
    let received = receive(&bob, stranger).await;
    assert!(matches!(received[..], [Received::Event(Event::Undecryptable { seq: 3, .. })]));
    assert_eq!(text(&receive(&bob, application(4, &outgoing[1])).await), "whole");
    assert_eq!(bob.stats().await.unwrap().undecryptable, 2);
}

#[tokio::test]
async fn gaps_are_told_once_and_with_their_reason() {
    let folder = TempDir::new().unwrap();
    let bob = open(&folder, "bob").await;
    let gap =
        |from, to| Entry { seq: to, body: Some(Body::Gap(Gap { from, to, reason: v1::GapReason::Expired.into() })) };
    let received = receive(&bob, gap(1, 4)).await;
    assert!(matches!(received[..], [Received::Event(Event::Gap { from: 1, to: 4, reason: GapReason::Expired })]));
    // The server has joined it with the next ones.
    let received = receive(&bob, gap(1, 6)).await;
    assert!(matches!(received[..], [Received::Event(Event::Gap { from: 5, to: 6, reason: GapReason::Expired })]));
    let received = receive(&bob, Entry { seq: 9, body: None }).await;
    assert!(matches!(received[..], [Received::Event(Event::Gap { from: 7, to: 9, reason: GapReason::Unexplained })]));
    assert_eq!(bob.stats().await.unwrap().cursor, 9);
}

#[tokio::test]
async fn a_name_keeps_the_key_under_which_it_was_met() {
    let folder = TempDir::new().unwrap();
    let bob = open(&folder, "bob").await;
    let pin = |key: [u8; 32]| bob.inner.store.run(move |tx| tx.pin_peer("alice", qpc_crypto::account_id(&key), &key));
    pin([1; 32]).await.unwrap();
    pin([1; 32]).await.unwrap();
    assert!(matches!(pin([2; 32]).await, Err(Error::IdentityChanged(name)) if name == "alice"));
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
