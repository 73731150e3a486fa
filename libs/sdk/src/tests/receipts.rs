//! The server's word, and what is made of it.

use super::*;

#[tokio::test]
async fn what_the_server_leaves_out_of_the_chain_is_missed() {
    let folder = TempDir::new().unwrap();
    let alice = open(&folder, "alice").await;
    let bob = open(&folder, "bob").await;
    let mut post = Post::new();
    let (id, welcome) = post.acquaint(&alice, &bob, Suite::Classic).await;
    for text in ["one", "kept back", "three"] {
        alice.send(id, text).await.unwrap();
    }
    let outgoing = take_outbox(&alice).await;
    receive(&bob, welcome).await;
    receive(&bob, post.application(2, &outgoing[0])).await;
    let _never_delivered = post.application(3, &outgoing[1]);
    assert_eq!(text(&receive(&bob, post.application(3, &outgoing[2])).await), "three");
    assert_eq!(bob.inner.store.run(move |tx| tx.holes(id, 9)).await.unwrap(), [3]);
}

#[tokio::test]
async fn a_receipt_that_contradicts_another_is_told() {
    let folder = TempDir::new().unwrap();
    let alice = open(&folder, "alice").await;
    let bob = open(&folder, "bob").await;
    let mut post = Post::new();
    let (id, welcome) = post.acquaint(&alice, &bob, Suite::Classic).await;
    for text in ["one", "two"] {
        alice.send(id, text).await.unwrap();
    }
    let outgoing = take_outbox(&alice).await;
    receive(&bob, welcome).await;
    let before = post.link;
    receive(&bob, post.application(2, &outgoing[0])).await;
    post.link = before;
    let received = receive(&bob, post.application(3, &outgoing[1])).await;
    // The message is shown all the same.
    let [Received::Message { .. }, Received::Event(Event::ReceiptRefused { error, .. })] = &received[..] else {
        panic!("a message and a complaint");
    };
    assert!(matches!(**error, Error::Chain(crate::ChainError::Two(2))));
}

#[tokio::test]
async fn what_is_gone_from_a_mailbox_is_held_against_nobody_and_nothing_else_is_excused() {
    let folder = TempDir::new().unwrap();
    let (alice, bob) = (open(&folder, "alice").await, open(&folder, "bob").await);
    let mut post = Post::new();
    let (id, welcome) = post.acquaint(&alice, &bob, Suite::Classic).await;
    receive(&bob, welcome).await;
    // Places 2 to 10; the Welcome has the first one.
    let receipts: Vec<_> = (0..9).map(|n| post.receipt(id, 1, &[n], &[])).collect();
    let place = move |seq: usize| receipts[seq - 2].clone();
    let excused = |report: &ReceiptReport| -> Vec<(u64, u64)> {
        report.excused.iter().map(|excused| (excused.first, excused.last)).collect()
    };

    let (second, fifth) = (place(2), place(5));
    let own = bob.inner.store.run(move |tx| {
        tx.put_seen_receipt(id, &second)?.unwrap();
        tx.interrupt_chains()?;
        tx.put_own_receipt(id, &fifth)
    });
    own.await.unwrap().unwrap();
    let report = compared(&bob).await;
    assert_eq!((report.findings.len(), excused(&report)), (0, vec![(3, 4)]), "before the mailbox goes on");

    let (seventh, ninth) = (place(7), place(9));
    let seen = bob.inner.store.run(move |tx| {
        tx.put_own_receipt(id, &ninth)?.unwrap();
        tx.put_seen_receipt(id, &seventh)
    });
    seen.await.unwrap().unwrap();
    let report = compared(&bob).await;
    assert_eq!(excused(&report), [(3, 4), (6, 6)]);
    assert!(matches!(report.findings[..], [Finding::Missing { seq: 8, .. }]), "{:?}", report.findings);
}

#[tokio::test]
async fn a_receipt_that_comes_after_the_answer_of_the_reader_still_gives_the_place() {
    let folder = TempDir::new().unwrap();
    let (alice, bob) = (open(&folder, "alice").await, open(&folder, "bob").await);
    let mut post = Post::new();
    let (id, welcome) = post.acquaint(&alice, &bob, Suite::Classic).await;
    receive(&bob, welcome).await;
    let message = alice.send(id, "quick").await.unwrap();
    let told = crafted(&bob, id, None, Said::Delivered(vec![message])).await;
    receive(&alice, post.entry(1, id, 1, &told).into()).await;
    assert_eq!(alice.history(id, 1).await.unwrap()[0].state, MessageState::Delivered);
    let place = accept_next(&mut post, &alice, &bob, id).await;
    let found = alice.inner.store.run(move |tx| tx.said_at(id, place, None)).await.unwrap();
    assert_eq!(found.unwrap().id, message);
    assert_eq!(
        alice.history(id, 1).await.unwrap()[0].state,
        MessageState::Delivered,
        "more is known than the receipt says"
    );
}
