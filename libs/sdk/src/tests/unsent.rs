//! What is written once for a key, sent again, or taken back.

use super::*;

/// Alice, who has a conversation with Bob.
async fn alice() -> (TempDir, Client, GroupId) {
    let folder = TempDir::new().unwrap();
    let (alice, bob) = (open(&folder, "alice").await, open(&folder, "bob").await);
    let (id, _) = Post::new().acquaint(&alice, &bob, Suite::Classic).await;
    (folder, alice, id)
}

async fn next(alice: &Client) -> Option<Outgoing> {
    alice.inner.store.run(|tx| tx.first_in_outbox(&[])).await.unwrap()
}

async fn waiting(alice: &Client) -> u64 {
    alice.inner.store.run(|tx| tx.outbox_len()).await.unwrap()
}

/// What the outbox does before it sends something.
async fn leaves(alice: &Client, outgoing: &Outgoing) -> bool {
    let (n, id, message) = (outgoing.n, outgoing.conversation, outgoing.message.unwrap());
    alice.inner.store.run(move |tx| tx.set_sent(n, id, message)).await.unwrap()
}

/// What becomes of something that the server refuses.
async fn refuse(alice: &Client, outgoing: &Outgoing) {
    let (n, id, message) = (outgoing.n, outgoing.conversation, outgoing.message.unwrap());
    let refused = move |tx: &Tx<'_>| {
        tx.remove_from_outbox(n)?;
        tx.settle_message(id, message, MessageState::Failed, None)
    };
    alice.inner.store.run(refused).await.unwrap();
}

#[tokio::test]
async fn what_is_taken_back_does_not_leave_although_its_turn_had_come() {
    let (_folder, alice, id) = alice().await;
    let slip = alice.send(id, "a slip").await.unwrap();
    let outgoing = next(&alice).await.unwrap();
    let mut events = alice.events();
    alice.cancel(id, slip).await.unwrap();
    assert!(matches!(events.next().await, Some(Event::Cancelled { message, .. }) if message == slip));
    assert!(!leaves(&alice, &outgoing).await, "it had been read from the outbox already");
    assert!(alice.history(id, 9).await.unwrap().is_empty() && waiting(&alice).await == 0);
    assert!(matches!(alice.cancel(id, slip).await, Err(Error::UnknownMessage(_))));

    let said = alice.send(id, "on its way").await.unwrap();
    assert!(leaves(&alice, &next(&alice).await.unwrap()).await);
    assert!(matches!(alice.cancel(id, said).await, Err(Error::AlreadySent(_))));
    assert_eq!(alice.history(id, 9).await.unwrap()[0].state, MessageState::Sent);
    assert_eq!(waiting(&alice).await, 1);
}

#[tokio::test]
async fn what_was_refused_is_sent_again_as_it_was_said() {
    let (_folder, alice, id) = alice().await;
    let first = alice.send(id, "first").await.unwrap();
    let author = alice.inner.identity.account();
    let draft = Draft { reply_to: Some(MessageRef { author, id: first }), ..Draft::from("an answer") };
    alice.cancel(id, first).await.unwrap();
    let said = alice.send(id, draft).await.unwrap();
    let before = next(&alice).await.unwrap();
    alice.retry(id, said).await.unwrap();
    assert_eq!(waiting(&alice).await, 1, "one that waits goes on waiting");
    refuse(&alice, &before).await;
    assert_eq!(alice.history(id, 9).await.unwrap()[0].state, MessageState::Failed);

    alice.retry(id, said).await.unwrap();
    let again = next(&alice).await.unwrap();
    let content = |outgoing: &Outgoing| Content::decode(&outgoing.content).unwrap();
    assert_eq!((again.message, content(&again).body), (Some(said), content(&before).body));
    assert_eq!(content(&again).sent_at_ms, content(&before).sent_at_ms);
    assert_ne!(again.key, before.key, "the server has refused that one");
    assert_eq!(alice.history(id, 9).await.unwrap()[0].state, MessageState::Queued);
    assert_eq!(waiting(&alice).await, 1);
}

#[tokio::test]
async fn a_key_is_good_for_one_message_also_after_a_restart() {
    let (folder, alice, id) = alice().await;
    let (said, there) = alice.send_once(id, "build 71 is broken", "71").await.unwrap();
    assert!(!there);
    alice.close().await;
    let alice = open(&folder, "alice").await;
    assert_eq!(alice.send_once(id, "build 71 is broken", "71").await.unwrap(), (said, true));
    assert_eq!(waiting(&alice).await, 1);
    assert!(matches!(alice.send_once(id, "something else", "71").await, Err(Error::KeyUsed(_))));
    assert_ne!(alice.send_once(id, "build 71 is broken", "72").await.unwrap().0, said);
    let notes = alice.notes().await.unwrap();
    assert_ne!(alice.send_once(notes, "build 71 is broken", "71").await.unwrap().0, said);

    // Refused, it is sent again; edited, it still is the message of its key; taken back, the key is free.
    refuse(&alice, &next(&alice).await.unwrap()).await;
    assert_eq!(waiting(&alice).await, 1);
    assert_eq!(alice.send_once(id, "build 71 is broken", "71").await.unwrap(), (said, true));
    assert_eq!(waiting(&alice).await, 2);
    let author = alice.inner.identity.account();
    alice.edit(id, MessageRef { author, id: said }, "build 71 was broken").await.unwrap();
    assert_eq!(alice.send_once(id, "build 71 is broken", "71").await.unwrap(), (said, true));
    assert_eq!(waiting(&alice).await, 3);
    alice.cancel(id, said).await.unwrap();
    assert_eq!(waiting(&alice).await, 1, "the edit has gone with it");
    assert_eq!(alice.send_once(id, "build 71 is mended", "71").await.unwrap(), (said, false));
}

#[tokio::test]
async fn of_two_texts_of_a_key_at_the_same_moment_one_is_refused() {
    let (_folder, alice, id) = alice().await;
    for key in ["1", "2", "3", "4"] {
        let (one, other) = tokio::join!(
            alice.send_once(id, format!("one {key}"), key),
            alice.send_once(id, format!("other {key}"), key)
        );
        let refused = [&one, &other].into_iter().filter(|sent| matches!(sent, Err(Error::KeyUsed(_)))).count();
        assert_eq!((refused, one.is_ok() || other.is_ok()), (1, true), "{one:?} {other:?}");
    }
    assert_eq!(waiting(&alice).await, 4);
}
