//! The whole screen on a real pseudo-terminal: one who uses it, and one on the other side.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio, time::Duration};

use common::{Server, pty::Terminal};
use qpc_sdk::{Draft, Event, EventStream, Message};

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

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_is_lent_to_the_shell_pasted_into_clicked_at_and_resized() {
    let server = Server::start().await;
    let bob = server.client("bob").await;
    let mut events = bob.events();
    let mut alice = Terminal::shell(&server, "alice", 100, 30);
    alice.shows(&["$ "]);
    alice.types("\"$QPC\" tui\r");
    alice.shows(&["alice ●", "no conversations"]);
    alice.types(":dm bob\r");
    alice.shows(&["bob  direct", "write to bob"]);
    alice.types("/notes\r");
    alice.shows(&["on this device alone"]);
    alice.types("milk\r");
    alice.shows(&["  milk"]);

    // Ctrl-Z and fg: the shell has its screen, and nothing of the mouse; then everything is as it was.
    alice.types("\x1a");
    alice.fits("the shell", |screen| {
        screen.contents().contains("Stopped")
            && !screen.alternate_screen()
            && !screen.hide_cursor()
            && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None
    });
    alice.types("echo here is $((6 * 7))\r");
    alice.shows(&["here is 42"]);
    alice.types("fg\r");
    alice.fits("the conversation again", |screen| {
        let contents = screen.contents();
        contents.contains("alice ●")
            && contents.contains("  milk")
            && screen.alternate_screen()
            && screen.bracketed_paste()
            && screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None
    });

    // A click in the list opens, one on a message chooses it.
    let row = |contents: &str, text: &str| contents.lines().position(|line| line.contains(text)).unwrap() + 1;
    let list = alice.reads("the notes above bob, as they were written in last", |contents| {
        contents.find("=notes").zip(contents.find("@bob")).is_some_and(|(notes, bob)| notes < bob)
    });
    alice.types(&format!("\x1b[<0;4;{}M", row(&list, "@bob")));
    alice.shows(&["bob  direct", "write to bob"]);
    alice.types("\x1b[200~pasted\r\n\tin two lines\x1b[201~");
    alice.shows(&["› pasted", "in two lines"]);
    alice.types("\r");
    comes(&mut events, |message| message.text == "pasted\n    in two lines").await;
    let contents = alice.shows(&["write to bob", "    in two lines"]);
    alice.types(&format!("\x1b[<0;50;{}M", row(&contents, "in two lines")));
    alice.shows(&["r reply"]);
    alice.types("q");

    // While something is written, the window gets too small for two panes, and large again.
    alice.types("half a thought");
    alice.shows(&["› half a thought"]);
    alice.resize(30, 8);
    alice.fits("one pane", |screen| {
        let contents = screen.contents();
        contents.contains("› half a thought") && !contents.contains('│')
    });
    alice.resize(120, 40);
    alice.shows(&["› half a thought", "2 members", "    in two lines"]);
    alice.types(" is whole\r");
    comes(&mut events, |message| message.text == "half a thought is whole").await;
    alice.types("\x11");
    // What stood there before comes back first, while the client still reads the keys; a new prompt has the cursor behind it.
    alice.fits("the prompt of the shell", |screen| {
        let (row, column) = screen.cursor_position();
        !screen.alternate_screen() && column == 2 && screen.contents_between(row, 0, row, column).starts_with('$')
    });
    alice.types("exit\r");
    assert_eq!(alice.ends(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editor_has_the_terminal_and_a_link_goes_to_a_program() {
    let server = Server::start().await;
    let bob = server.client("bob").await;
    let mut events = bob.events();
    // It asks at the terminal, as editors do.
    let editor = program(&server, "editor", "echo editing: \"$(cat \"$1\")\"; read -r line; echo \"$line\" >>\"$1\"");
    let opener = program(&server, "opener", "echo \"$1\" >>\"$(dirname \"$0\")/opened\"");
    let alice = Terminal::shell(&server, "alice", 80, 24);
    alice.shows(&["$ "]);
    alice.types(&format!("VISUAL={editor} \"$QPC\" tui --opener {opener}\r"));
    alice.shows(&["alice ●", "no conversations"]);
    alice.types(":dm bob\r");
    alice.shows(&["bob  direct", "write to bob"]);
    alice.types("see https://example.org/(a)?b=c, and");
    alice.shows(&["b=c, and"]);
    alice.types("\x18");
    alice.fits("the editor", |screen| screen.contents().contains("editing: see") && !screen.alternate_screen());
    alice.types("http://example.org.\r");
    alice.fits("what the editor has made of it", |screen| {
        screen.contents().contains("  http://example.org.") && screen.alternate_screen() && screen.bracketed_paste()
    });
    alice.types("\r");
    comes(&mut events, |message| message.text == "see https://example.org/(a)?b=c, and\nhttp://example.org.").await;

    alice.shows(&["write to bob"]);
    alice.types("\to");
    alice.shows(&["Open?", "https://example.org/(a)?b=c ", "http://example.org "]);
    alice.types("\r");
    alice.shows(&["given to"]);
    alice.types("oj\r");
    let opened = server.folder.path().join("opened");
    alice.reads("the second one is opened", |_| fs::read_to_string(&opened).unwrap_or_default().lines().count() == 2);
    assert_eq!(fs::read_to_string(&opened).unwrap(), "https://example.org/(a)?b=c\nhttp://example.org\n");
    alice.types("\x11");
    alice.fits("the shell's screen", |screen| !screen.alternate_screen());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_seen_where_it_was_sent() {
    let server = Server::start().await;
    let bob = server.client("bob").await;
    let mut alice = Terminal::tui(&server, "alice", 80, 24);
    alice.shows(&["alice ●", "no conversations"]);
    alice.types(":dm bob\r");
    alice.shows(&["bob  direct", "write to bob"]);
    // Red above, blue below.
    let picture = image::RgbImage::from_fn(64, 64, |_, y| image::Rgb(if y < 32 { [250, 0, 0] } else { [0, 0, 250] }));
    let path = server.folder.path().join("flag.png");
    picture.save(&path).unwrap();
    let file = bob.upload(&path, |_| {}).await.unwrap();
    bob.sync().await.unwrap();
    let conversation = bob.conversations().await.unwrap()[0].id;
    bob.send(conversation, Draft { attachments: vec![(&file).into()], .."a flag".into() }).await.unwrap();
    alice.fits("the flag", |screen| {
        let cells = (0..24).flat_map(|row| (0..80).filter_map(move |column| screen.cell(row, column)));
        let drawn: Vec<_> = cells.filter(|cell| cell.contents() == "▀").collect();
        let near = |colour, red: bool| match colour {
            vt100::Color::Rgb(r, _, b) => {
                if red {
                    r > 200 && b < 50
                } else {
                    b > 200 && r < 50
                }
            }
            _ => false,
        };
        let (first, last) = (drawn.first(), drawn.last());
        drawn.len() == 20 * 10
            && first.is_some_and(|cell| near(cell.fgcolor(), true) && near(cell.bgcolor(), true))
            && last.is_some_and(|cell| near(cell.fgcolor(), false) && near(cell.bgcolor(), false))
            && screen.contents().contains("[file] flag.png")
    });
    alice.types("/pictures off\r");
    alice.hides("▀");
    alice.shows(&["[file] flag.png", "  a flag"]);
    alice.types("\x11");
    assert_eq!(alice.ends(), 0);

    // Without its colours it would be a block of one: none is drawn, also for who wants a theme all the same.
    let alice = Terminal::shell(&server, "alice", 80, 24);
    alice.shows(&["$ "]);
    alice.types("NO_COLOR=1 COLORTERM=truecolor \"$QPC\" tui --theme dark\r");
    alice.shows(&["@bob"]);
    alice.types("\x0bbob\r");
    let screen = alice.shows(&["[file] flag.png", "  a flag"]);
    assert!(!screen.contains('▀'), "{screen}");
}

/// A program of one line of shell.
fn program(server: &Server, name: &str, line: &str) -> String {
    let path = server.folder.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_lists_are_good_for_the_next_command() {
    let server = Server::start().await;
    let bob = server.client("bob").await;
    let mut alice = Terminal::tui(&server, "alice", 120, 30);
    alice.shows(&["alice ●", "no conversations"]);
    alice.types(":dm bob\r");
    alice.shows(&["bob  direct", "write to bob"]);
    let conversation = bob.dm("alice").await.unwrap();
    let folder = server.folder.path();
    for name in ["first.txt", "second.txt"] {
        std::fs::write(folder.join(name), format!("this is {name}")).unwrap();
        let file = bob.upload(&folder.join(name), |_| {}).await.unwrap();
        let draft = qpc_sdk::Draft { attachments: vec![(&file).into()], ..qpc_sdk::Draft::default() };
        bob.send(conversation, draft).await.unwrap();
    }
    alice.shows(&["first.txt", "second.txt"]);
    alice.types("/files\r");
    let list = alice.shows(&["/files", "[1] ", "[2] "]);
    let line = list.lines().find(|line| line.contains("second.txt") && line.contains('[')).unwrap().to_owned();
    let number = line.split_once('[').unwrap().1.split(']').next().unwrap().to_owned();
    alice.types("q");
    alice.hides("/files");
    let taken = folder.join("taken.txt");
    alice.types(&format!("/save {number} {}\r", taken.display()));
    alice.shows(&["taken.txt"]);
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "this is second.txt");
    alice.types("q");
    alice.hides("taken.txt");

    // The screen is taken, so that nobody can be asked for a passphrase.
    let backup = folder.join("a.qpcb");
    alice.types(&format!("/backup {}\r", backup.display()));
    alice.shows(&["no passphrase"]);
    std::fs::write(folder.join("words"), "correct horse").unwrap();
    alice.types(&format!("/backup {} --passphrase-file {}\r", backup.display(), folder.join("words").display()));
    alice.shows(&["2 messages"]);
    assert!(backup.exists());

    // Compared, a mark stands in the list and above.
    let digits = bob.safety_number("alice").await.unwrap().digits();
    alice.types(&format!("/verify bob {digits}\r"));
    alice.shows(&["bob: verified"]);
    alice.types("q");
    alice.shows(&["bob  direct · ✔ verified"]);
    alice.types("/notes\r");
    alice.shows(&["on this device alone"]);
    alice.types("/list\r");
    let list = alice.shows(&["/list", "1 ", "2 "]);
    let line = list.lines().find(|line| line.contains("bob · direct")).unwrap();
    let before = line.split_once("bob · direct").unwrap().0;
    let number: String = before.chars().filter(char::is_ascii_digit).collect();
    alice.types("q");
    alice.hides("/list");
    alice.types(&format!("/switch {number}\r"));
    alice.shows(&["bob  direct · ✔ verified"]);
    alice.types("\x11");
    assert_eq!(alice.ends(), 0);
}
