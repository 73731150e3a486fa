//! What people do with messages beside writing them, between three devices of two people and the real parts.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{client, delivery_tables, has, insist, link, until};
use qpc_sdk::{
    Client, ConversationId, Draft, Event, Message, MessageKind, MessageRef, MessageState, Settings, Standing,
};
use qpc_testkit::{Backend, Cluster, Shape, eventually};

/// Waits until the last message of a conversation is as wanted.
async fn last(client: &Client, id: ConversationId, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
    insist(what, || async {
        let last = client.history(id, 1).await?.pop().filter(|message| wanted(message));
        last.ok_or(qpc_sdk::Error::Offline)
    })
    .await
}

fn signs(message: &Message) -> Vec<(&str, usize)> {
    message.reactions.iter().map(|reaction| (reaction.emoji.as_str(), reaction.accounts.len())).collect()
}

async fn messages_are_answered_signed_edited_and_deleted(backend: Backend) {
    let cluster = Cluster::start(Shape::pairs(backend)).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let id = alice.dm("bob").await.unwrap();
    let first = alice.send(id, "shall we meet?").await.unwrap();
    let first = MessageRef { author: alice.whoami().await.unwrap().account, id: first };
    has(&bob, id, &["shall we meet?"]).await;

    bob.react(id, first, "👍").await.unwrap();
    last(&alice, id, "a sign of bob", |message| signs(message) == [("👍", 1)]).await;
    alice.react(id, first, "👍").await.unwrap();
    last(&bob, id, "both signs", |message| signs(message) == [("👍", 2)]).await;

    let text = "@alice at eight?";
    let draft = Draft { reply_to: Some(first), ..bob.draft(id, text).await.unwrap() };
    assert_eq!(draft.mentions.len(), 1);
    let answer = MessageRef { author: bob.whoami().await.unwrap().account, id: bob.send(id, draft).await.unwrap() };
    let seen = last(&alice, id, "the answer", |message| message.text == text).await;
    assert_eq!((seen.reply_to, seen.for_us), (Some(first), true));
    assert_eq!(alice.conversation(id).await.unwrap().for_us, 1);

    bob.edit(id, answer, "at nine?").await.unwrap();
    let seen = last(&alice, id, "the edit", |message| message.text == "at nine?").await;
    assert!(seen.edited_at_ms.is_some());
    alice.mark_read(id).await.unwrap();
    last(&bob, id, "that it was read", |message| message.state == MessageState::Read).await;

    // A device that comes later sees what the others see.
    let second = link(&cluster, &bob, 1, 0).await;
    let whole = |message: &Message| message.text == "at nine?" && message.edited_at_ms.is_some();
    let history = last(&second, id, "the history", whole).await;
    assert_eq!(history.reply_to, Some(first));
    insist("the signs", || async {
        let history = second.history(id, 9).await?;
        let found = history.iter().any(|message| signs(message) == [("👍", 2)]);
        found.then_some(()).ok_or(qpc_sdk::Error::Offline)
    })
    .await;

    // Before another device lets it in, what it writes waits.
    second.delete(id, answer).await.unwrap();
    for client in [&alice, &bob, &second] {
        let gone = last(client, id, "the deletion", |message| message.kind == MessageKind::Deleted).await;
        assert_eq!((&*gone.text, gone.deleted_by), ("", Some(answer.author)));
    }
    for client in [alice, bob, second] {
        assert_eq!(client.stats().await.unwrap().undecryptable, 0);
        client.close().await;
    }
    assert!(cluster.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_answered_signed_edited_and_deleted_embedded() {
    messages_are_answered_signed_edited_and_deleted(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn messages_are_answered_signed_edited_and_deleted_on_the_servers() {
    messages_are_answered_signed_edited_and_deleted(Backend::servers().unwrap()).await;
}

async fn typing_is_told_and_kept_nowhere(backend: Backend) {
    let cluster = Cluster::start(Shape::pairs(backend)).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let id = alice.dm("bob").await.unwrap();
    alice.send(id, "hello").await.unwrap();
    has(&bob, id, &["hello"]).await;
    assert!(alice.settle(Duration::from_secs(20)).await && bob.settle(Duration::from_secs(20)).await);
    let tables = delivery_tables(&cluster).await;
    let rows = async || {
        let count = "SELECT (SELECT COUNT(*) FROM payload), (SELECT COALESCE(SUM(last_seq), 0) FROM mailbox_head), \
             (SELECT COUNT(*) FROM idempotency)";
        let row = tables.row(count, &[]).await.unwrap().unwrap();
        (row.int(1).unwrap(), row.int(2).unwrap())
    };
    let before = rows().await;

    let mut heard = bob.events();
    let by_alice = |wanted| move |event: &Event| matches!(event, Event::Typing { active, .. } if *active == wanted);
    // A doorbell may be lost while presence is told; people type on.
    for tried in 0.. {
        assert!(tried < 40, "bob is not told that alice is writing");
        alice.typing(id, false).await.unwrap();
        alice.typing(id, true).await.unwrap();
        let next = until(&mut heard, "typing", by_alice(true));
        if tokio::time::timeout(Duration::from_millis(500), next).await.is_ok() {
            break;
        }
    }
    alice.typing(id, false).await.unwrap();
    until(&mut heard, "that she no longer is", by_alice(false)).await;
    assert_eq!(rows().await, before, "nothing of it is stored");

    // Who does not want it neither tells nor sees it.
    let off = Settings { typing: false, ..bob.settings().await.unwrap() };
    bob.set_settings(off).await.unwrap();
    assert!(bob.settle(Duration::from_secs(20)).await);
    let (mut at_alice, mut at_bob) = (alice.events(), bob.events());
    bob.typing(id, true).await.unwrap();
    alice.typing(id, true).await.unwrap();
    bob.send(id, "silently").await.unwrap();
    alice.send(id, "loudly").await.unwrap();
    for events in [&mut at_alice, &mut at_bob] {
        let event = until(events, "a message without a word before", |event| {
            matches!(event, Event::Typing { .. } | Event::MessageReceived(_))
        });
        assert!(matches!(event.await, Event::MessageReceived(_)));
    }
    alice.close().await;
    bob.close().await;
    assert!(cluster.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_is_told_and_kept_nowhere_embedded() {
    typing_is_told_and_kept_nowhere(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn typing_is_told_and_kept_nowhere_on_the_servers() {
    typing_is_told_and_kept_nowhere(Backend::servers().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_disappear_on_all_devices_once_they_are_read() {
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let id = alice.dm("bob").await.unwrap();
    alice.send(id, "stays").await.unwrap();
    alice.set_timer(id, Some(Duration::from_millis(50))).await.unwrap();
    let mut gone = (alice.events(), bob.events());
    alice.send(id, "goes").await.unwrap();
    let expired = |event: &Event| matches!(event, Event::Expired { messages, .. } if messages.len() == 1);
    until(&mut gone.0, "that it is gone at its writer's", expired).await;
    has(&bob, id, &["stays", "goes"]).await;
    // What people wrote goes before what clients tell each other.
    eventually("the timer", || async { (bob.conversation(id).await.unwrap().expires_after_ms == 50).then_some(()) })
        .await;
    bob.mark_read(id).await.unwrap();
    until(&mut gone.1, "that it is gone at its reader's", expired).await;
    for client in [&alice, &bob] {
        has(client, id, &["stays"]).await;
    }
    // What bob writes now goes as well; and a restart changes nothing.
    bob.send(id, "goes too").await.unwrap();
    until(&mut gone.1, "that bob's is gone", expired).await;
    alice.close().await;
    bob.close().await;
    assert!(cluster.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_told_to_nobody_when_that_is_not_wanted() {
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let id = alice.dm("bob").await.unwrap();
    bob.set_settings(Settings { read_receipts: false, ..bob.settings().await.unwrap() }).await.unwrap();
    alice.send(id, "did you read this?").await.unwrap();
    has(&bob, id, &["did you read this?"]).await;
    bob.mark_read(id).await.unwrap();
    assert!(bob.settle(Duration::from_secs(20)).await);
    bob.send(id, "later than that").await.unwrap();
    has(&alice, id, &["did you read this?", "later than that"]).await;
    let states: Vec<_> = alice.history(id, 9).await.unwrap().iter().map(|message| message.state).collect();
    assert_eq!(states, [MessageState::Delivered, MessageState::Received]);
    alice.close().await;
    bob.close().await;
    assert!(cluster.stop().await);
}

/// A stranger's message can be read; that it arrived, was read or is being answered is told once it is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_told_nothing_before_the_request_is_accepted() {
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    bob.set_settings(Settings { ask: true, ..bob.settings().await.unwrap() }).await.unwrap();
    let id = alice.dm("bob").await.unwrap();
    let first = alice.send(id, "do you know me?").await.unwrap();
    has(&bob, id, &["do you know me?"]).await;
    assert_eq!(bob.conversation(id).await.unwrap().standing, Standing::Requested);
    bob.mark_read(id).await.unwrap();
    assert!(bob.settle(Duration::from_secs(20)).await);
    let state = async || alice.history(id, 1).await.unwrap()[0].state;
    common::all_accepted(&alice, id).await;
    assert_eq!(state().await, MessageState::Accepted);

    bob.accept(id).await.unwrap();
    last(&alice, id, "that the first was read", |message| message.id == first && message.state == MessageState::Read)
        .await;
    alice.send(id, "and now?").await.unwrap();
    last(&alice, id, "that it was delivered", |message| message.state == MessageState::Delivered).await;
    // Who is known may begin others.
    let group = alice.create_group("Friends", &["bob".to_owned()]).await.unwrap();
    common::let_in(&bob, group).await;
    assert_eq!(bob.conversation(group).await.unwrap().standing, Standing::Accepted);

    // Eve is declined, and gets no further by a group.
    let eve = client(&cluster, "eve", 0, 0).await;
    let spam = eve.dm("bob").await.unwrap();
    eve.send(spam, "buy this").await.unwrap();
    has(&bob, spam, &["buy this"]).await;
    bob.decline(spam).await.unwrap();
    assert!(bob.conversations().await.unwrap().iter().all(|info| info.id != spam));
    for client in [alice, bob, eve] {
        client.close().await;
    }
    assert!(cluster.stop().await);
}

/// Of somebody who is blocked nothing is kept on any device, and they cannot tell.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_blocked_speaks_to_nobody() {
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let second = link(&cluster, &bob, 1, 0).await;
    let id = alice.dm("bob").await.unwrap();
    let group = alice.create_group("Both", &["bob".to_owned()]).await.unwrap();
    alice.send(id, "before").await.unwrap();
    for client in [&bob, &second] {
        common::let_in(client, group).await;
        has(client, id, &["before"]).await;
    }
    let account = alice.whoami().await.unwrap().account;
    bob.block(account).await.unwrap();
    insist("the block on the other device", || async {
        let blocked = second.blocked().await?;
        (blocked == [account]).then_some(()).ok_or(qpc_sdk::Error::Offline)
    })
    .await;
    alice.send(id, "unheard").await.unwrap();
    alice.send(group, "unheard here too").await.unwrap();
    common::all_accepted(&alice, group).await;
    assert!(matches!(bob.send(id, "me neither").await, Err(qpc_sdk::Error::Blocked)));
    bob.unblock(account).await.unwrap();
    insist("the end of it", || async {
        second.blocked().await?.is_empty().then_some(()).ok_or(qpc_sdk::Error::Offline)
    })
    .await;
    alice.send(id, "after").await.unwrap();
    alice.send(group, "after").await.unwrap();
    for client in [&bob, &second] {
        has(client, id, &["before", "after"]).await;
        has(client, group, &["after"]).await;
        assert_eq!(client.stats().await.unwrap().undecryptable, 0);
    }
    for client in [alice, bob, second] {
        client.close().await;
    }
    assert!(cluster.stop().await);
}

/// Who was sent something can show the server that; not what they wrote themselves, nor what is gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_can_be_reported_and_nothing_else() {
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let id = alice.dm("bob").await.unwrap();
    let vile = alice.send(id, "something vile").await.unwrap();
    let vile = MessageRef { author: alice.whoami().await.unwrap().account, id: vile };
    has(&bob, id, &["something vile"]).await;
    bob.report(id, &[vile], "he will not stop").await.unwrap();
    // The edit is shown with it.
    alice.edit(id, vile, "nothing at all").await.unwrap();
    has(&bob, id, &["nothing at all"]).await;
    bob.report(id, &[vile], "").await.unwrap();

    let nothing = |reported| matches!(reported, Err(qpc_sdk::Error::NothingToReport));
    assert!(nothing(alice.report(id, &[vile], "").await));
    alice.delete(id, vile).await.unwrap();
    last(&bob, id, "the deletion", |message| message.kind == MessageKind::Deleted).await;
    assert!(nothing(bob.report(id, &[vile], "").await));
    alice.close().await;
    bob.close().await;
    assert!(cluster.stop().await);
}
