//! A person before a real pseudo-terminal.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use common::{
    Server,
    pty::{ROWS, Terminal},
};
use qpc_sdk::{Client, ConversationId, Event, EventStream};

const PATIENCE: Duration = Duration::from_secs(60);
/// Narrow enough that what is typed takes several lines.
const NARROW: u16 = 40;

/// Alice before a terminal, with her conversation with bob open, who is a client of this process.
async fn together(server: &Server, columns: u16) -> (Terminal, Client, ConversationId) {
    let bob = server.client("bob").await;
    let alice = Terminal::repl(server, "alice", columns);
    alice.reads("a prompt", |screen| screen.trim_end().ends_with("alice ▸"));
    alice.types("/dm bob\r");
    alice.reads("bob's conversation", |screen| screen.trim_end().ends_with("alice @bob ▸"));
    let mut events = bob.events();
    let id = loop {
        if let Some(info) = bob.conversations().await.unwrap().first() {
            break info.id;
        }
        tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap();
    };
    (alice, bob, id)
}

async fn hears(events: &mut EventStream) -> String {
    let search = async {
        loop {
            if let Some(Event::MessageReceived(message)) = events.next().await {
                return message.text;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_messages_come_while_a_line_is_typed_and_leave_it_alone() {
    const LINE: &str = "the quick brown fox jumps over the lazy dog, while others are talking";
    assert_eq!(LINE.len(), 69);
    let server = Server::start().await;
    let (mut alice, bob, id) = together(&server, NARROW).await;
    let mut events = bob.events();
    let pieces: Vec<char> = LINE.chars().collect();
    let pieces: Vec<String> = pieces.chunks(4).map(|piece| piece.iter().collect()).collect();
    for number in 0..20 {
        let text = match number % 4 {
            0 => format!("m{number:02} 日本語の文字は広い"),
            1 => format!("m{number:02} \u{1b}[1mloud\u{1b}[0m \u{1b}[2J"),
            2 => format!("m{number:02} one\ntwo of {number:02}"),
            _ => format!("m{number:02} plain"),
        };
        bob.send(id, &text).await.unwrap();
        if let Some(piece) = pieces.get(number) {
            alice.types(piece);
        }
    }
    let screen = alice.reads("all of them", |screen| (0..20).all(|number| screen.contains(&format!("m{number:02} "))));
    assert!(screen.contains("·[1mloud") && screen.contains("two of 02"), "{screen}");
    alice.reads("the line", |screen| {
        let flat: String = screen.lines().map(|line| format!("{line:<40}")).collect();
        flat.contains(LINE) || screen.replace('\n', "").contains(LINE)
    });
    alice.types("\r");
    assert_eq!(hears(&mut events).await, LINE);
    alice.types("/quit\r");
    assert_eq!(alice.ends(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tab_completes_and_a_hint_says_what_follows() {
    let server = Server::start().await;
    let (mut alice, bob, _) = together(&server, 100).await;
    alice.types("/clo\t\r");
    alice.reads("no conversation open", |screen| screen.trim_end().ends_with("alice ▸"));
    alice.types("/swi\t");
    alice.shows(&["/switch NAME"]);
    alice.types("b\t");
    alice.shows(&["▸ /switch bob"]);
    alice.types("\r");
    alice.reads("bob's conversation", |screen| screen.trim_end().ends_with("alice @bob ▸"));
    let mut events = bob.events();
    // Of several that fit, the list is shown.
    alice.types("/re\t");
    alice.shows(&["/rename"]);
    alice.types("\u{3}");
    alice
        .reads("a new prompt", |screen| screen.contains("Ctrl-C again") && screen.trim_end().ends_with("alice @bob ▸"));
    alice.types("well done :thumbsu\t");
    alice.shows(&["well done 👍"]);
    alice.types("\r");
    assert_eq!(hears(&mut events).await.trim_end(), "well done 👍");
    alice.types("/quit\r");
    assert_eq!(alice.ends(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_takes_a_line_back_and_twice_ends() {
    let server = Server::start().await;
    let (mut alice, bob, _) = together(&server, 100).await;
    let mut events = bob.events();
    alice.types("not to be sent");
    alice.shows(&["not to be sent"]);
    alice.types("\u{3}");
    alice
        .reads("a new prompt", |screen| screen.contains("Ctrl-C again") && screen.trim_end().ends_with("alice @bob ▸"));
    alice.types("to be sent\r");
    assert_eq!(hears(&mut events).await, "to be sent");
    // A line between them begins the count anew.
    alice.types("\u{3}");
    alice.reads("asked again", |screen| screen.matches("Ctrl-C again ends").count() == 2);
    alice.types("\u{3}");
    assert_eq!(alice.ends(), 130);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_may_change_its_size_while_a_line_is_typed() {
    let server = Server::start().await;
    let (mut alice, bob, id) = together(&server, 60).await;
    let mut events = bob.events();
    let line = "a line that is longer than the window will be after it was made narrow";
    alice.types(&line[..50]);
    alice.reads("its beginning", |screen| screen.replace('\n', "").contains(&line[..40]));
    alice.resize(NARROW, ROWS);
    bob.send(id, "in between").await.unwrap();
    alice.shows(&["bob: in between"]);
    alice.resize(90, ROWS);
    alice.types(&line[50..]);
    alice.types("\r");
    assert_eq!(hears(&mut events).await, line);
    alice.types("/quit\r");
    assert_eq!(alice.ends(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_is_found_again_in_the_next_sitting_and_no_secret_is() {
    let server = Server::start().await;
    let (mut alice, bob, _) = together(&server, 100).await;
    let mut events = bob.events();
    alice.types("remember the milk\r");
    assert_eq!(hears(&mut events).await, "remember the milk");
    alice.types("/link SECRET\r");
    alice.shows(&["this is no link code"]);
    alice.types("/quit\r");
    assert_eq!(alice.ends(), 0);

    // It is in the store, which is encrypted.
    let mut alice = Terminal::repl(&server, "alice", 100);
    alice.reads("a prompt", |screen| screen.trim_end().ends_with("alice ▸"));
    alice.types("\u{12}SECRET");
    alice.shows(&["failing search SECRET"]);
    assert!(!alice.contents().contains("/link"), "{}", alice.contents());
    alice.types("\u{3}");
    alice.reads("a new prompt", |screen| screen.contains("Ctrl-C again") && screen.trim_end().ends_with("alice ▸"));
    alice.types("/switch bob\r");
    alice.reads("bob's conversation", |screen| screen.trim_end().ends_with("alice @bob ▸"));
    alice.types("\u{12}milk");
    alice.shows(&["remember the milk"]);
    alice.types("\r");
    // The first Enter takes the line over, if the editor wants it so; the second one sends it.
    alice.types("\r");
    assert_eq!(hears(&mut events).await, "remember the milk");
    alice.types("/quit\r");
    assert_eq!(alice.ends(), 0);
}
