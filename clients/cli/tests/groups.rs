//! Groups as people have them: two or three `qpc repl` on pipes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Server, repl::Repl};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_from_its_founding_to_the_last_who_leaves() {
    let server = Server::start().await;
    let (mut alice, mut bob, mut carol) =
        tokio::join!(Repl::online(&server, "alice"), Repl::online(&server, "bob"), Repl::online(&server, "carol"));

    alice.types("/create club bob\n").await;
    alice.shows("— club · 2 members").await;
    bob.shows("you are asked into the group club: /accept club or /decline club").await;
    bob.types("/accept club\n").await;
    alice.types("hello all\n").await;
    alice.shows("✓ hello all").await;
    bob.shows("club · alice: hello all   (/switch club to answer)").await;
    alice.shows_at_last("/history 1\n", &["alice: hello all"], |line| line.contains("✓✓ delivered")).await;
    bob.types("/list\n").await;
    let list = bob.shows("1 club").await;
    assert!(list.contains("group") && list.contains("1 unread"), "{list}");
    bob.types("/switch CLUB\n").await;
    assert!(bob.shows("— club").await.contains("1 unread: /history 1"));
    alice.shows_at_last("/history 1\n", &["alice: hello all"], |line| line.contains("✓✓ read")).await;

    alice.types("/invite 1 1\n").await;
    let link = alice.shows("qpc:join/").await;
    alice.shows("▄▄▄▄▄").await;
    alice.shows("1 join in 1 hours").await;
    carol.types(&format!("/join {link}\n")).await;
    carol.shows("3 members").await;
    alice.shows("has come in by an invite").await;
    carol.types("hi from carol\n").await;
    bob.shows("carol: hi from carol").await;
    alice.shows("carol: hi from carol").await;
    let read = |line: &str| line.contains("✓✓ read");
    carol.shows_at_last("/history 1\n", &["carol: hi from carol"], read).await;
    bob.types("hi from bob\n").await;
    carol.shows("bob: hi from bob").await;
    carol.shows_at_last("/list\n", &["*1 "], |line| line.contains("*1 club")).await;
    alice.types("/rename Book club\n").await;
    carol.shows("club is called Book club now").await;

    // Whoever may only read is told so, and nothing is sent.
    alice.types("/add bob carol\n").await;
    alice.shows("they are all there already").await;
    alice.types("/role bob read-only\n/members\n").await;
    alice.shows("owner      alice (you)").await;
    alice.shows("read-only  bob").await;
    bob.shows("your role: read-only").await;
    bob.types("let me speak\n").await;
    bob.shows("! not allowed to write here").await;
    bob.types("/leave\n").await;
    bob.shows("you have left Book club").await;
    carol.shows("Book club: bob left").await;
    alice.shows("Book club: bob left").await;
    bob.types("/list\n").await;
    assert!(bob.shows(" 1 Book club").await.ends_with("you have left"));
    assert_eq!(bob.ends().await, 7, "the first slip was writing");

    alice.types("/remove carol\n/members\n").await;
    alice.shows("Book club: you removed carol").await;
    carol.shows("you were removed from Book club").await;
    carol.types("anybody?\n").await;
    carol.shows("! this device is no longer in the conversation").await;
    alice.types("/leave Book club\n").await;
    alice.shows("you have left Book club").await;
    assert_eq!(alice.ends().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_that_is_void_lets_nobody_in() {
    let server = Server::start().await;
    let (mut alice, mut bob) = tokio::join!(Repl::online(&server, "alice"), Repl::online(&server, "bob"));
    alice.types("/create club\n/revoke-invite 1\n/invite\n").await;
    alice.shows("/invites numbers those of this group").await;
    let link = alice.shows("qpc:join/").await;
    alice.types("/invites\n").await;
    assert!(alice.shows("1 until").await.ends_with(&link));
    alice.types("/revoke-invite 1\n/invites\n").await;
    alice.shows("invite 1 is void").await;
    alice.shows("no invites").await;
    bob.types(&format!("/join {link}\n")).await;
    bob.shows("! ").await;
    bob.types("/list\n").await;
    bob.shows("no conversations yet").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_on_with_another_suite_and_a_name_of_ones_own() {
    let server = Server::start().await;
    let (mut alice, mut bob) = tokio::join!(Repl::online(&server, "alice"), Repl::online(&server, "bob"));
    alice.types("/dm bob\nbefore\n").await;
    bob.shows("alice: before").await;
    bob.types("/dm alice\n/petname My sister\n").await;
    bob.shows("you call this My sister now").await;
    alice.types("/suite classic\n").await;
    alice.shows("a new group carries this on: MLS_128_DHKEMX25519").await;
    bob.shows("My sister: carried on in a new group · MLS_128_DHKEMX25519").await;
    bob.types("after\n/history\n").await;
    bob.shows("alice: before").await;
    alice.shows("bob: after").await;
    alice.types("/notes\nbuy bread\n/history\n/switch bob\n/reset\n").await;
    alice.shows("✓ buy bread   (kept here)").await;
    assert!(alice.shows("alice: buy bread").await.ends_with("buy bread"));
    alice.shows("a new group carries this on").await;
    bob.shows("carried on in a new group").await;
    bob.types("/list\n").await;
    let list = bob.shows("*1 My sister (alice) · direct · 2 messages").await;
    assert!(list.ends_with("epoch 1"), "{list}");
}
