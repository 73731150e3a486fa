//! Replies, reactions, edits, deletions, timers: who may, and that all see the same in whatever order things come.

use std::time::Duration;

use qpc_wire::AccountId;

use super::*;
use crate::{Message, MessageKind, content::Said as Told, store::Way};

/// Alice and Bob in a conversation.
struct Pair {
    _folder: TempDir,
    alice: Client,
    bob: Client,
    post: Post,
    id: GroupId,
    seq: u64,
}

impl Pair {
    async fn new(policy: Option<fn(AccountId) -> Policy>) -> Self {
        let folder = TempDir::new().unwrap();
        let (alice, bob) = (open(&folder, "alice").await, open(&folder, "bob").await);
        let mut post = Post::new();
        let (id, welcome) = match policy {
            Some(policy) => {
                let policy = policy(alice.inner.identity.account());
                post.acquaint_in(&alice, &bob, Suite::Classic, policy).await
            }
            None => post.acquaint(&alice, &bob, Suite::Classic).await,
        };
        let seq = welcome.entry.seq;
        receive(&bob, welcome).await;
        Self { _folder: folder, alice, bob, post, id, seq }
    }

    /// What is in Alice's outbox, as it comes to Bob; and she gets its receipts.
    async fn carry(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for outgoing in take_outbox(&self.alice).await {
            self.seq += 1;
            let (identity, content, id) = (self.alice.inner.identity.clone(), outgoing.content.clone(), self.id);
            let sealed = match outgoing.sealed {
                Some(sealed) => sealed,
                // What clients tell each other is encrypted when it is sent.
                None => {
                    let encrypt = move |tx: &Tx<'_>| crate::outbox::encrypt(tx, &identity, id, &content, Way::Named);
                    self.alice.inner.store.run(encrypt).await.unwrap()
                }
            };
            let crafted = Crafted { payload: sealed.payload, content: outgoing.content };
            let entry = self.post.entry(self.seq, self.id, sealed.epoch, &crafted);
            let Some(Body::Envelope(envelope)) = entry.body.clone() else { panic!("a gap") };
            let device = self.alice.inner.identity.device();
            let settle = move |tx: &Tx<'_>| {
                let receipt = envelope.receipt.unwrap();
                let Some(message) = outgoing.message else { return Ok(()) };
                tx.settle_message(id, message, MessageState::Accepted, Some((id, &receipt)))?;
                tx.settle_change(id, device, message, Some((id, &receipt)))?;
                tx.start_timers(id)
            };
            self.alice.inner.store.run(settle).await.unwrap();
            entries.push(entry);
        }
        entries
    }

    async fn deliver(&mut self) -> Vec<Received> {
        let mut received = Vec::new();
        for entry in self.carry().await {
            received.extend(receive(&self.bob, entry.into()).await);
        }
        received
    }

    /// Something that Bob's client would not send, as it comes to Alice.
    async fn forged(&mut self, saying: Saying) -> Vec<Received> {
        let crafted = crafted(&self.bob, self.id, None, Said::Say(saying)).await;
        let seq = self.alice.inner.store.run(|tx| tx.cursor()).await.unwrap() + 1;
        receive(&self.alice, self.post.entry(seq, self.id, 1, &crafted).into()).await
    }

    async fn last(&self, client: &Client) -> Message {
        client.history(self.id, 1).await.unwrap().remove(0)
    }

    async fn write(&mut self, draft: impl Into<Draft>) -> MessageRef {
        let id = self.alice.send(self.id, draft).await.unwrap();
        MessageRef { author: self.alice.inner.identity.account(), id }
    }
}

fn group(founder: AccountId) -> Policy {
    Policy::group(GroupId([7; 16]), founder)
}

fn signs(message: &Message) -> Vec<(&str, usize)> {
    message.reactions.iter().map(|reaction| (reaction.emoji.as_str(), reaction.accounts.len())).collect()
}

#[tokio::test]
async fn a_message_is_answered_signed_edited_and_deleted() {
    let mut pair = Pair::new(None).await;
    let first = pair.write("first").await;
    let bob = pair.bob.inner.identity.account();
    let mention = crate::Mention { account: bob, range: 3..7 };
    let draft = Draft { reply_to: Some(first), mentions: vec![mention.clone()], ..Draft::from("to @bob") };
    let second = pair.write(draft).await;
    pair.alice.react(pair.id, second, "👍").await.unwrap();
    pair.deliver().await;
    let seen = pair.last(&pair.bob).await;
    assert_eq!((&*seen.text, seen.reply_to, seen.for_us), ("to @bob", Some(first), true));
    assert_eq!((seen.mentions.as_slice(), signs(&seen)), (&[mention][..], vec![("👍", 1)]));
    let info = pair.bob.conversation(pair.id).await.unwrap();
    assert_eq!((info.unread, info.for_us), (2, 1));

    pair.alice.unreact(pair.id, second, "👍").await.unwrap();
    pair.alice.react(pair.id, second, "👀").await.unwrap();
    pair.alice.edit(pair.id, second, "changed").await.unwrap();
    let received = pair.deliver().await;
    let changed = received.iter().filter(|it| matches!(it, Received::Event(Event::MessageChanged { by: Some(_), .. })));
    assert_eq!(changed.count(), 3);
    for client in [&pair.alice, &pair.bob] {
        let seen = pair.last(client).await;
        assert_eq!((&*seen.text, signs(&seen), seen.edited_at_ms.is_some()), ("changed", vec![("👀", 1)], true));
        assert_eq!(seen.reply_to, Some(first), "an edit is of the text alone");
    }

    pair.alice.delete(pair.id, second).await.unwrap();
    pair.deliver().await;
    for client in [&pair.alice, &pair.bob] {
        let seen = pair.last(client).await;
        assert_eq!((seen.kind, &*seen.text, signs(&seen).len()), (MessageKind::Deleted, "", 0));
        assert_eq!(seen.deleted_by, Some(second.author));
    }
    for refused in [
        pair.alice.react(pair.id, second, "👍").await,
        pair.alice.edit(pair.id, second, "again").await,
        pair.alice.delete(pair.id, second).await,
    ] {
        assert!(matches!(refused, Err(Error::UnknownMessage(_))));
    }
    assert!(matches!(pair.alice.react(pair.id, first, "not a sign").await, Err(Error::NoSign)));
}

/// A change that comes before its message counts as well, and what is deleted does not come back.
#[tokio::test]
async fn the_order_in_which_things_come_does_not_matter() {
    let mut pair = Pair::new(None).await;
    let (kept, gone) = (pair.write("draft").await, pair.write("oops").await);
    pair.alice.edit(pair.id, kept, "final").await.unwrap();
    pair.alice.delete(pair.id, gone).await.unwrap();
    // As they come to a device that missed the first two, and gets them later from their writer.
    let mut said = Vec::new();
    for entry in pair.carry().await {
        let Some(Body::Envelope(envelope)) = entry.body else { panic!("a gap") };
        let (id, place) = (pair.id, envelope.receipt.unwrap().seq);
        let at = pair.alice.inner.store.run(move |tx| tx.said_at(id, place, None)).await.unwrap();
        said.extend(at);
    }
    // The deleted one is not there to be given.
    assert_eq!(said.len(), 3);
    let lost = Told { saying: Saying::Text("oops".into()), id: gone.id, at_ms: said[0].at_ms + 1, ..said[0].clone() };
    let orders = [vec![&said[1], &said[2], &said[0], &lost], vec![&lost, &said[0], &said[2], &said[1]]];
    for (n, order) in orders.into_iter().enumerate() {
        let folder = TempDir::new().unwrap();
        let reader = open(&folder, "carol").await;
        for said in order {
            let said = Told { conversation: GroupId([n as u8; 16]), ..said.clone() };
            reader.inner.store.run(move |tx| crate::history::keep_for_test(tx, &said)).await.unwrap();
        }
        let shown = reader.history(GroupId([n as u8; 16]), 9).await.unwrap();
        let shown: Vec<_> = shown.iter().map(|message| (message.kind, &*message.text)).collect();
        assert_eq!(shown, [(MessageKind::Text, "final"), (MessageKind::Deleted, "")]);
    }
}

#[tokio::test]
async fn nobody_changes_what_others_wrote_but_admins_who_delete_it() {
    let refused = |received: Vec<Received>| {
        matches!(received.as_slice(), [Received::Event(Event::Undecryptable { error, .. })]
            if matches!(**error, Error::NotAllowed(_)))
    };
    for policy in [None, Some(group as fn(AccountId) -> Policy)] {
        let mut pair = Pair::new(policy).await;
        let target = pair.write("mine").await;
        pair.deliver().await;
        assert!(refused(pair.forged(Saying::Edit { target, text: "yours".into() }).await));
        assert!(refused(pair.forged(Saying::Delete(target)).await), "a member, or one of two");
        assert_eq!(pair.last(&pair.alice).await.text, "mine");
        let edited = pair.bob.edit(pair.id, target, "yours").await;
        assert!(matches!(edited, Err(Error::NotAllowed(_))));
        assert!(matches!(pair.bob.delete(pair.id, target).await, Err(Error::NotAllowed(_))));

        // Alice founded it: in the group she is its owner.
        let of_bob = Told {
            conversation: pair.id,
            sender: pair.bob.inner.identity.account(),
            device: pair.bob.inner.identity.device(),
            id: MessageId([8; 16]),
            sent_at_ms: 1,
            at_ms: 5_000,
            place: None,
            saying: Saying::Text("spam".into()),
        };
        let spam = MessageRef { author: of_bob.sender, id: of_bob.id };
        pair.alice.inner.store.run(move |tx| crate::history::keep_for_test(tx, &of_bob)).await.unwrap();
        let deleted = pair.alice.delete(pair.id, spam).await;
        assert_eq!(deleted.is_ok(), policy.is_some(), "{deleted:?}");
    }
}

#[tokio::test]
async fn what_is_not_understood_is_kept_and_shown_as_such() {
    let mut pair = Pair::new(None).await;
    let id = pair.id;
    for version in [2, 3] {
        let later = qpc_wire::content::Content { version, id: vec![version as u8; 16].into(), ..Default::default() };
        let crafted = encrypted(&pair.bob, id, later.encode_to_vec()).await;
        let entry = pair.post.entry(u64::from(version), id, 1, &crafted);
        let received = receive(&pair.alice, entry.into()).await;
        assert!(
            received
                .iter()
                .any(|it| matches!(it, Received::Message { message, .. } if message.kind == MessageKind::Unknown))
        );
    }
    let kinds: Vec<_> = pair.alice.history(id, 9).await.unwrap().iter().map(|message| message.kind).collect();
    assert_eq!((kinds, pair.alice.stats().await.unwrap().undecryptable), (vec![MessageKind::Unknown; 2], 0));
}

/// A change that the server refuses is taken back.
#[tokio::test]
async fn a_refused_change_leaves_no_trace() {
    let mut pair = Pair::new(None).await;
    let target = pair.write("as it was").await;
    let change = pair.alice.edit(pair.id, target, "as it will not be").await.unwrap();
    assert_eq!(pair.last(&pair.alice).await.text, "as it will not be");
    let (id, device) = (pair.id, pair.alice.inner.identity.device());
    let dropped = pair.alice.inner.store.run(move |tx| tx.drop_change(id, device, change)).await.unwrap();
    assert_eq!((dropped, &*pair.last(&pair.alice).await.text), (Some(target), "as it was"));
}

#[tokio::test]
async fn messages_go_when_their_time_has_come() {
    let mut pair = Pair::new(None).await;
    pair.write("stays").await;
    pair.alice.set_timer(pair.id, Some(Duration::from_millis(1))).await.unwrap();
    pair.write("goes").await;
    let received = pair.deliver().await;
    let changed = |it: &Received| matches!(it, Received::Event(Event::TimerChanged { expires_after_ms: 1, .. }));
    assert!(received.iter().any(changed));
    assert_eq!(pair.bob.conversation(pair.id).await.unwrap().expires_after_ms, 1);
    assert_eq!(pair.last(&pair.bob).await.text, "goes", "nobody has read it yet");
    pair.bob.mark_read(pair.id).await.unwrap();
    for client in [&pair.alice, &pair.bob] {
        let gone = || async {
            while pair.last(client).await.text != "stays" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone()).await.unwrap();
        // Not only hidden.
        let expired = client.inner.store.run(|tx| tx.expire()).await.unwrap();
        assert_eq!(expired.len(), 1);
        assert_eq!(client.inner.store.run(|tx| tx.next_expiry()).await.unwrap(), None);
        let info = client.conversation(pair.id).await.unwrap();
        assert_eq!((info.messages, info.unread), (1, 0));
    }
}

/// Of two words about a timer the later one counts, whichever comes first.
#[tokio::test]
async fn the_latest_word_about_a_timer_counts() {
    let pair = Pair::new(None).await;
    let id = pair.id;
    let set = move |tx: &Tx<'_>| {
        tx.set_timer(id, 10, 200)?;
        Ok((tx.set_timer(id, 20, 100)?, tx.timer(id)?, tx.set_timer(id, 10, 300)?, tx.set_timer(id, 0, 301)?))
    };
    let outcome = pair.alice.inner.store.run(set).await.unwrap();
    assert_eq!(outcome, (false, (10, 200), false, true), "told only when it changes something");
}

/// What cannot be reported is not shown: who says one thing and commits to another, or to nothing.
#[tokio::test]
async fn a_message_is_the_one_that_its_writer_has_committed_to() {
    let mut pair = Pair::new(None).await;
    let seq = pair.alice.inner.store.run(|tx| tx.cursor()).await.unwrap();
    for (n, content) in [(1, Vec::new()), (2, b"something else".to_vec())] {
        let mut crafted = crafted(&pair.bob, pair.id, None, written("deniable")).await;
        crafted.content = content;
        let received = receive(&pair.alice, pair.post.entry(seq + n, pair.id, 1, &crafted).into()).await;
        assert!(matches!(received.as_slice(), [Received::Event(Event::Undecryptable { error, .. })]
            if matches!(**error, Error::NotFranked)));
    }
    assert_eq!(pair.alice.history(pair.id, 9).await.unwrap(), []);
}

/// What is sent again for a device of its sender's account passes others by: what they miss at that place is still missed.
#[tokio::test]
async fn a_copy_for_others_fills_no_hole() {
    let mut pair = Pair::new(None).await;
    let (id, place) = (pair.id, 40);
    pair.alice.inner.store.run(move |tx| tx.tear_hole(id, place)).await.unwrap();
    let copied = Told {
        conversation: id,
        sender: pair.alice.inner.identity.account(),
        device: pair.alice.inner.identity.device(),
        id: MessageId([8; 16]),
        sent_at_ms: 1,
        at_ms: 2,
        place: None,
        saying: Saying::Text("put into alice's mouth".into()),
    };
    let crafted = crafted(&pair.bob, id, Some((place, 5)), Said::Copy(Box::new(copied))).await;
    let seq = pair.alice.inner.store.run(|tx| tx.cursor()).await.unwrap() + 1;
    let received = receive(&pair.alice, pair.post.entry(seq, id, 1, &crafted).into()).await;
    assert!(
        !received.iter().any(|it| matches!(it, Received::Event(Event::Recovered { .. } | Event::Undecryptable { .. })))
    );
    assert_eq!(pair.alice.history(id, 9).await.unwrap(), []);
    assert!(pair.alice.inner.store.run(move |tx| tx.fill_hole(id, place)).await.unwrap(), "it is still open");
}
