//! The life of groups, over real gateways, services and clients.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::{agree, all_accepted, client, let_in, received, receives, until};
use qpc_sdk::{Client, ConversationId, ConversationKind, Error, Event, ReceiptFile, Role, Suite, verify_receipts};
use qpc_testkit::{Backend, Cluster, Shape, eventually};

const HOUR: Duration = Duration::from_secs(3600);

async fn small() -> Cluster {
    Cluster::start(Shape { gateways: 1, replicas: 1, backend: Backend::Embedded, faults: None }).await.unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn is_out(client: &Client, id: ConversationId) {
    eventually("the removal", || async { client.conversation(id).await.ok().filter(|info| !info.active).map(drop) })
        .await;
}

async fn roles(client: &Client, id: ConversationId) -> BTreeSet<(String, Role)> {
    let members = client.members(id).await.unwrap();
    members.into_iter().map(|member| (member.name.unwrap_or_default(), member.role)).collect()
}

async fn a_group_lives(backend: Backend) {
    let cluster = Cluster::start(Shape::pairs(backend)).await.unwrap();
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 1).await;
    let carol = client(&cluster, "carol", 0, 0).await;
    let dave = client(&cluster, "dave", 0, 1).await;

    let id = alice.create_group("Hiking", &names(&["bob", "carol"])).await.unwrap();
    let_in(&bob, id).await;
    let_in(&carol, id).await;
    for client in [&alice, &bob, &carol] {
        eventually("the name", || async {
            (client.conversation(id).await.unwrap().name.as_deref() == Some("Hiking")).then_some(())
        })
        .await;
    }
    assert_eq!(bob.conversation(id).await.unwrap().kind, ConversationKind::Group);
    bob.send(id, "from bob").await.unwrap();
    receives(&carol, id, &names(&["from bob"])).await;

    // An owner may everything, a member next to nothing.
    assert!(bob.add(id, &names(&["dave"])).await.is_err());
    assert!(bob.remove(id, "carol").await.is_err());
    assert!(matches!(bob.rename(id, "Mutiny").await, Err(Error::NotAllowed(_))));
    alice.set_role(id, "bob", Role::Admin).await.unwrap();
    bob.sync().await.unwrap();
    bob.add(id, &names(&["dave"])).await.unwrap();
    let_in(&dave, id).await;
    bob.rename(id, "Climbing").await.unwrap();
    for client in [&alice, &carol, &dave] {
        eventually("the new name", || async {
            (client.conversation(id).await.unwrap().name.as_deref() == Some("Climbing")).then_some(())
        })
        .await;
    }
    assert!(bob.remove(id, "alice").await.is_err(), "nobody removes an owner");

    // Who only reads cannot write: the server refuses, and so does the own client.
    alice.set_role(id, "carol", Role::ReadOnly).await.unwrap();
    carol.sync().await.unwrap();
    assert!(matches!(carol.send(id, "may I?").await, Err(Error::NotAllowed(_))));
    alice.send(id, "hear hear").await.unwrap();
    eventually("carol still reads", || async {
        received(&carol, id).await.contains(&"hear hear".to_owned()).then_some(())
    })
    .await;
    agree(&[&alice, &bob, &carol, &dave], id).await;

    // Keys are renewed, people leave and are removed, and the rest goes on.
    carol.update_keys(id).await.unwrap();
    dave.leave(id).await.unwrap();
    assert!(!dave.conversation(id).await.unwrap().active);
    bob.send(id, "dave is gone").await.unwrap();
    all_accepted(&bob, id).await;
    eventually("dave's leaf", || async { (alice.members(id).await.unwrap().len() == 3).then_some(()) }).await;
    alice.remove(id, "carol").await.unwrap();
    is_out(&carol, id).await;
    assert!(matches!(alice.leave(id).await, Err(Error::LastOwner)));
    alice.set_role(id, "bob", Role::Owner).await.unwrap();
    alice.leave(id).await.unwrap();
    eventually("bob alone", || async {
        (roles(&bob, id).await == BTreeSet::from([("bob".to_owned(), Role::Owner)])).then_some(())
    })
    .await;
    assert_eq!(received(&dave, id).await, ["hear hear"], "nothing of after dave had left");

    for client in [alice, bob, carol, dave] {
        client.close().await;
    }
    assert!(cluster.stop().await, "everything ended in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_lives_embedded() {
    a_group_lives(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn a_group_lives_on_the_servers() {
    a_group_lives(Backend::servers().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_know_each_others_names_before_anybody_has_written() {
    let cluster = small().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let carol = client(&cluster, "carol", 0, 0).await;
    let dave = client(&cluster, "dave", 0, 0).await;
    let id = alice.create_group("Quiet", &names(&["bob", "carol"])).await.unwrap();
    let_in(&bob, id).await;
    let_in(&carol, id).await;
    let known = async |client: &Client, all: &[&str]| {
        let all: BTreeSet<String> = names(all).into_iter().collect();
        eventually("the names", || async {
            let known: BTreeSet<String> = roles(client, id).await.into_iter().map(|(name, _)| name).collect();
            (known == all).then_some(())
        })
        .await;
    };
    // Nobody but alice has looked anybody up.
    known(&bob, &["alice", "bob", "carol"]).await;
    known(&carol, &["alice", "bob", "carol"]).await;
    alice.add(id, &names(&["dave"])).await.unwrap();
    let_in(&dave, id).await;
    for client in [&bob, &carol, &dave] {
        known(client, &["alice", "bob", "carol", "dave"]).await;
    }
    assert_eq!(dave.draft(id, "is @bob here?").await.unwrap().mentions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn invites_let_in_until_they_are_used_up_expired_or_revoked() {
    let cluster = small().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let id = alice.create_group("Open door", &[]).await.unwrap();
    let twice = alice.invite(id, HOUR, 2).await.unwrap();
    let expired = alice.invite(id, Duration::ZERO, 0).await.unwrap();
    let revoked = alice.invite(id, HOUR, 0).await.unwrap();
    let invites = alice.invites(id).await.unwrap();
    assert_eq!(invites.len(), 3);
    let key = invites.iter().find(|invite| invite.link.as_ref() == Some(&revoked)).unwrap().key;
    alice.revoke_invite(id, key).await.unwrap();

    let mut guests = Vec::new();
    for name in ["bob", "carol"] {
        let guest = client(&cluster, name, 0, 0).await;
        assert_eq!(guest.join(&twice.to_string().parse().unwrap()).await.unwrap(), id);
        guest.send(id, &format!("{name} is here")).await.unwrap();
        eventually("the name of the group", || async {
            (guest.conversation(id).await.unwrap().name.as_deref() == Some("Open door")).then_some(())
        })
        .await;
        guests.push(guest);
    }
    let late = client(&cluster, "dave", 0, 0).await;
    for (link, why) in [(&twice, "used up"), (&expired, "expired"), (&revoked, "")] {
        let error = late.join(link).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(late.conversation(id).await.is_err());
    }
    // Joining again where one is is no join.
    assert_eq!(guests[0].join(&twice).await.unwrap(), id);
    eventually("what the guests wrote", || async { (received(&alice, id).await.len() == 2).then_some(()) }).await;
    agree(&[&alice, &guests[0], &guests[1]], id).await;
    assert_eq!(alice.members(id).await.unwrap().len(), 3);
}

/// What a device would show somebody who compares receipts.
async fn receipts(client: &Client) -> ReceiptFile {
    let mut file = Vec::new();
    client.export_receipts(&mut file).await.unwrap();
    ReceiptFile::read(file.as_slice()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_and_comes_back_by_an_invite_misses_nothing_of_the_time_between() {
    let cluster = small().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let id = alice.create_group("Back again", &names(&["bob"])).await.unwrap();
    let_in(&bob, id).await;
    alice.remove(id, "bob").await.unwrap();
    is_out(&bob, id).await;
    let link = alice.invite(id, HOUR, 1).await.unwrap();
    alice.send(id, "not for bob").await.unwrap();
    all_accepted(&alice, id).await;

    assert_eq!(bob.join(&link).await.unwrap(), id);
    alice.send(id, "for bob").await.unwrap();
    receives(&bob, id, &names(&["for bob"])).await;
    let report = verify_receipts(&[receipts(&alice).await, receipts(&bob).await]);
    assert_eq!(report.findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_carried_on_in_another_suite_and_after_a_reset() {
    let cluster = small().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let carol = client(&cluster, "carol", 0, 0).await;
    let id = alice.create_group("Long lived", &names(&["bob", "carol"])).await.unwrap();
    let_in(&bob, id).await;
    let_in(&carol, id).await;
    alice.set_role(id, "bob", Role::Admin).await.unwrap();
    bob.send(id, "before").await.unwrap();
    receives(&carol, id, &names(&["before"])).await;
    assert_eq!(alice.conversation(id).await.unwrap().suite, Suite::Hybrid);

    let mut events = carol.events();
    assert!(alice.change_suite(id, Suite::Classic).await.unwrap().is_empty(), "everybody was reached");
    until(&mut events, "the new group", |event| matches!(event, Event::Replaced { .. })).await;
    for client in [&alice, &bob, &carol] {
        eventually("the suite", || async {
            (client.conversation(id).await.unwrap().suite == Suite::Classic).then_some(())
        })
        .await;
    }
    carol.send(id, "after").await.unwrap();
    eventually("the message", || async { received(&alice, id).await.contains(&"after".to_owned()).then_some(()) })
        .await;
    assert_eq!(received(&alice, id).await, ["before", "after"], "history is kept");

    // An admin can do it too, and roles stay as they were.
    bob.sync().await.unwrap();
    let before = roles(&bob, id).await;
    bob.reset(id).await.unwrap();
    eventually("the reset", || async { alice.sync().await.ok().filter(|()| true) }).await;
    alice.send(id, "and on").await.unwrap();
    eventually("the message", || async { received(&carol, id).await.contains(&"and on".to_owned()).then_some(()) })
        .await;
    eventually("the same roles", || async { (roles(&carol, id).await == before).then_some(()) }).await;
    // A member has no such right.
    assert!(carol.reset(id).await.is_err());
    agree(&[&alice, &bob, &carol], id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_and_read_is_told() {
    let cluster = small().await;
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 0).await);
    let id = alice.dm("bob").await.unwrap();
    let_in(&bob, id).await;
    let mut events = alice.events();
    let message = alice.send(id, "did you get this?").await.unwrap();
    until(
        &mut events,
        "delivery",
        |event| matches!(event, Event::Delivered { messages, .. } if messages.contains(&message)),
    )
    .await;
    assert_eq!(alice.history(id, 1).await.unwrap()[0].state, qpc_sdk::MessageState::Delivered);
    assert_eq!(bob.conversation(id).await.unwrap().unread, 1);
    assert_eq!(bob.mark_read(id).await.unwrap(), 1);
    until(&mut events, "reading", |event| matches!(event, Event::Read { messages, .. } if messages.contains(&message)))
        .await;
    let shown = alice.history(id, 1).await.unwrap().remove(0);
    assert_eq!((shown.state, shown.delivered_to, shown.read_by), (qpc_sdk::MessageState::Read, 1, 1));
    assert_eq!(bob.conversation(id).await.unwrap().unread, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_filled_at_once_becomes_cheap_again() {
    let cluster = small().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let names: Vec<String> = (0..11).map(|n| format!("guest{n}")).collect();
    let mut guests = Vec::new();
    for name in &names {
        guests.push(client(&cluster, name, 0, 0).await);
    }
    let id = alice.create_group("Everybody at once", &names).await.unwrap();
    // Nobody does anything. Members renew their leaves one after the other, until no path has a hole.
    eventually("a warm tree", || async {
        let mut cold = usize::from(alice.is_cold(id).await.unwrap());
        for guest in &guests {
            cold += usize::from(guest.is_cold(id).await.unwrap_or(true));
        }
        (cold == 0).then_some(())
    })
    .await;
    let epoch = alice.conversation(id).await.unwrap().epoch;
    assert!((3..=13).contains(&epoch), "each at most once, and who found a warm path not at all: {epoch}");
    guests[3].send(id, "hello everybody").await.unwrap();
    receives(&guests[7], id, &["hello everybody".to_owned()]).await;
    let all: Vec<&Client> = guests.iter().chain([&alice]).collect();
    agree(&all, id).await;
}
