//! What others may not do, whatever they send.

use super::*;

#[tokio::test]
async fn nobody_is_made_to_say_what_somebody_else_wrote() {
    let folder = TempDir::new().unwrap();
    let (alice, bob) = (open(&folder, "alice").await, open(&folder, "bob").await);
    let mut post = Post::new();
    let (id, welcome) = post.acquaint(&alice, &bob, Suite::Classic).await;
    receive(&bob, welcome).await;
    alice.send(id, "mine").await.unwrap();
    let place = accept_next(&mut post, &alice, &bob, id).await;

    // Bob claims Alice's place for a text of his, and then asks for what stands there.
    let claim = crafted(&bob, id, Some((place, u64::MAX >> 1)), written("I owe bob a fortune")).await;
    receive(&alice, post.entry(1, id, 1, &claim).into()).await;
    let ask = crafted(&bob, id, None, Said::Ask(vec![(1, 9)])).await;
    receive(&alice, post.entry(2, id, 1, &ask).into()).await;
    let sent = take_outbox(&alice).await;
    let texts: Vec<_> = sent.iter().map(|outgoing| Content::decode(&outgoing.content).unwrap().body).collect();
    assert_eq!(texts.iter().filter(|body| **body == written("mine")).count(), 1);
    assert!(!texts.iter().any(|body| *body == written("I owe bob a fortune")));
    // Nor does the time that he claims decide where it is shown.
    let shown = alice.history(id, 9).await.unwrap();
    assert_eq!(shown.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), ["mine", "I owe bob a fortune"]);
}

/// The server does not see the content, and clients do not trust it with roles.
#[tokio::test]
async fn a_client_holds_others_to_their_roles_by_itself() {
    let folder = TempDir::new().unwrap();
    let (alice, bob) = (open(&folder, "alice").await, open(&folder, "bob").await);
    let mut post = Post::new();
    let founder = alice.inner.identity.account();
    let mut policy = Policy::group(GroupId([7; 16]), founder);
    policy.default_role = Role::ReadOnly;
    let (id, welcome) = post.acquaint_in(&alice, &bob, Suite::Classic, policy).await;
    receive(&bob, welcome).await;
    let refused = |received: Vec<Received>| {
        matches!(received.as_slice(), [Received::Event(Event::Undecryptable { error, .. })]
            if matches!(**error, Error::NotAllowed(_)))
    };
    let text = crafted(&bob, id, None, written("I may only read")).await;
    assert!(refused(receive(&alice, post.entry(1, id, 1, &text).into()).await));
    let name = crafted(&bob, id, None, Said::Name(Naming { name: "Mutiny".into(), ..Naming::default() })).await;
    assert!(refused(receive(&alice, post.entry(2, id, 1, &name).into()).await));
    assert_eq!(alice.history(id, 9).await.unwrap(), []);
    assert_eq!((alice.conversation(id).await.unwrap().name, alice.stats().await.unwrap().undecryptable), (None, 2));
}

/// Each name that somebody tells of others is a lookup for whoever believes it possible.
#[tokio::test]
async fn what_others_say_of_names_is_one_lookup_for_a_member() {
    let folder = TempDir::new().unwrap();
    let (alice, bob) = (open(&folder, "alice").await, open(&folder, "bob").await);
    let mut post = Post::new();
    let founder = alice.inner.identity.account();
    let (id, welcome) = post.acquaint_in(&alice, &bob, Suite::Classic, Policy::group(GroupId([8; 16]), founder)).await;
    receive(&bob, welcome).await;
    let of = |account, name: &str| (account, name.to_owned());
    let (nobody, own) = (AccountId([9; 16]), bob.inner.identity.account());
    let members = vec![of(founder, "a"), of(nobody, "b"), of(founder, "c"), of(own, "d"), of(founder, "e")];
    let naming = Naming { name: "club".into(), members };
    let mut told = async |seq| {
        let name = crafted(&alice, id, None, Said::Name(naming.clone())).await;
        let received = receive(&bob, post.entry(seq, id, 1, &name).into()).await;
        let others = received.into_iter().find_map(|received| match received {
            Received::Claims(claims, Source::Others) => Some(claims.into_iter().map(|(account, _)| account).collect()),
            _ => None,
        });
        others.unwrap_or_else(Vec::new)
    };
    assert_eq!(told(2).await, [founder]);
    bob.block(founder).await.unwrap();
    assert_eq!(told(3).await, []);
}

#[tokio::test]
async fn the_past_is_for_those_who_were_there() {
    let folder = TempDir::new().unwrap();
    let (alice, bob) = (open(&folder, "alice").await, open(&folder, "bob").await);
    let mut post = Post::new();
    let (id, welcome) = post.acquaint(&alice, &bob, Suite::Classic).await;
    receive(&bob, welcome).await;
    alice.send(id, "before bob").await.unwrap();
    // As if it had been accepted in an epoch without him.
    let others = move |tx: &Tx<'_>| {
        let empty = "UPDATE epochs SET accounts = x'' WHERE group_id = ?1";
        tx.execute_for_test(empty, id)
    };
    accept_next(&mut post, &alice, &bob, id).await;
    alice.inner.store.run(others).await.unwrap();
    let ask = crafted(&bob, id, None, Said::Ask(vec![(1, 9)])).await;
    receive(&alice, post.entry(1, id, 1, &ask).into()).await;
    assert_eq!(take_outbox(&alice).await, []);
}
