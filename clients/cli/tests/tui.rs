//! The whole screen on a real pseudo-terminal: one who uses it, and one on the other side.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests")]

mod common;

use std::{process::Stdio, time::Duration};

use common::{Server, pty::Terminal};
use qpc_sdk::{Event, EventStream, Message};

const PATIENCE: Duration = Duration::from_secs(30);

/// The first message that has come or was changed and fits.
async fn comes(events: &mut EventStream, fits: impl Fn(&Message) -> bool) -> Message {
    let search = async {
        loop {
            match events.next().await.unwrap() {
                Event::MessageReceived(message) if fits(&message) => return message,
                Event::MessageChanged { message, .. } if fits(&message) => return *message,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_lived_on_the_whole_screen() {
    let server = Server::start().await;
    let bob = server.client("bob").await;
    let mut events = bob.events();
    let mut alice = Terminal::tui(&server, "alice", 80, 24);
    alice.shows(&["alice ●", "no conversations"]);
    alice.types(":dm bob\r");
    alice.shows(&["bob  direct", "write to bob"]);
    alice.types("hel");
    alice.shows(&["› hel", "Enter send"]);

    // A message comes while another one is being written.
    let conversation = loop {
        if let Some(info) = bob.conversations().await.unwrap().first() {
            break info.id;
        }
        tokio::time::timeout(PATIENCE, events.next()).await.unwrap();
    };
    bob.send(conversation, "are you there?").await.unwrap();
    alice.shows(&["are you there?", "› hel"]);
    alice.types("lo\r");
    comes(&mut events, |message| message.text == "hello").await;
    bob.mark_read(conversation).await.unwrap();
    alice.shows(&["hello", "✓✓", "write to bob"]);

    // Several lines, typed and pasted, are one message each.
    alice.types("one\x1b\rtwo");
    alice.shows(&["› one", "  two"]);
    alice.types("\r");
    comes(&mut events, |message| message.text == "one\ntwo").await;
    alice.types("\x1b[200~three\r\nfour\x1b[201~");
    alice.shows(&["› three", "four"]);
    alice.types("\r");
    comes(&mut events, |message| message.text == "three\nfour").await;

    // A sign under the first message, another text for the last one.
    alice.shows(&["write to bob"]);
    alice.types("\tg+tada");
    alice.shows(&["🎉"]);
    alice.types("\r");
    let signed = comes(&mut events, |message| !message.reactions.is_empty()).await;
    assert_eq!((signed.text.as_str(), signed.reactions[0].emoji.as_str()), ("are you there?", "🎉"));
    alice.shows(&["[🎉 1]"]);
    alice.types("q\x1b[A");
    alice.shows(&["── edit", "› three"]);
    alice.types("!\r");
    comes(&mut events, |message| message.text == "three\nfour!").await;
    alice.shows(&["four! (edited)"]);

    bob.typing(conversation, true).await.unwrap();
    alice.shows(&["bob is writing"]);
    alice.types("\x06there\r");
    alice.shows(&["1 of 1"]);
    alice.types("q");
    alice.shows(&["Enter send"]);

    // Narrow, wide, and back.
    alice.resize(40, 12);
    alice.fits("one pane", |screen| {
        let contents = screen.contents();
        contents.contains("four! (edited)") && !contents.contains('│')
    });
    alice.resize(120, 40);
    alice.shows(&["2 members", "are you there?"]);
    alice.resize(80, 24);
    alice.fits("two panes", |screen| {
        let contents = screen.contents();
        contents.contains("four! (edited)") && !contents.contains("2 members") && contents.contains('│')
    });

    alice.types("/notes\r");
    alice.shows(&["on this device alone"]);
    alice.types("milk\r");
    alice.shows(&["  milk"]);
    alice.types("\x0bbob");
    alice.shows(&["Go to"]);
    alice.types("\r");
    alice.shows(&["bob  direct", "four! (edited)"]);
    alice.types("half a thought");
    alice.shows(&["› half a thought"]);
    alice.types("\x03");
    assert_eq!(alice.ends(), 0);
    let left = alice.fits("the shell's screen", |screen| !screen.alternate_screen() && !screen.hide_cursor());
    assert!(!left.contains("alice"), "{left}");
    alice.fits("a terminal as it was", |screen| {
        !screen.bracketed_paste() && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None
    });

    let mut alice = Terminal::tui(&server, "alice", 80, 24);
    alice.shows(&["@bob", "✎"]);
    alice.types("\x0bbob\r");
    alice.shows(&["› half a thought"]);
    alice.types(" is kept\r");
    comes(&mut events, |message| message.text == "half a thought is kept").await;
    alice.hides("✎");
    alice.types("\x11");
    assert_eq!(alice.ends(), 0);
}

#[test]
fn without_a_terminal_it_says_so() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_qpc"))
        .args(["tui", "-u", "alice"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("needs a terminal"));
}
