//! Whole screens, as they are checked in.

use crossterm::event::{KeyCode, KeyModifiers};
use qpc_sdk::{Event, PeerTrust};
use ratatui::style::Color;

use super::{ctrl, drawn, holds, press, samples, shown, tap, types};
use crate::tui::{
    command,
    keys::{self, Keymap},
    model::Model,
    theme::{Depth, Theme},
    update::{Input, update},
};

fn golden(name: &str, screen: &str) {
    holds(&format!("src/tui/tests/golden/{name}.txt"), screen);
}

#[test]
fn a_conversation_at_eighty_by_twenty_four() {
    let mut model = samples::model();
    golden("talk-80x24", &shown(&mut model, 80, 24));
}

#[test]
fn a_conversation_where_there_is_little_room() {
    let mut model = samples::model();
    golden("talk-40x10", &shown(&mut model, 40, 10));
    golden("talk-14x6", &shown(&mut model, 14, 6));
}

#[test]
fn a_conversation_where_there_is_much() {
    let mut model = samples::model();
    let typing = Event::Typing { conversation: samples::CLUB, by: samples::CAROL, active: true };
    update(&mut model, samples::NOW_MS, Input::Sdk(typing));
    types(&mut model, "I can bring two: one with plums, and the one that Carol likes so much.");
    press(&mut model, KeyModifiers::ALT, KeyCode::Enter);
    types(&mut model, "See you!");
    golden("talk-120x40", &shown(&mut model, 120, 40));
}

#[test]
fn a_picture_that_was_sent() {
    let mut model = samples::with_photo();
    golden("photo-80x24", &shown(&mut model, 80, 24));
    let cells = |model: &mut Model, columns| {
        let screen = drawn(model, columns, 24);
        screen.content().iter().filter(|cell| cell.symbol() == "▀").map(|cell| (cell.fg, cell.bg)).collect::<Vec<_>>()
    };
    let full = cells(&mut model, 80);
    assert_eq!(full.len(), 32 * 9);
    assert!(full.iter().all(|(upper, lower)| matches!((upper, lower), (Color::Rgb(..), Color::Rgb(..)))));
    assert!(cells(&mut model, 34).is_empty(), "never cut");
    model.options.depth = Depth::Palette;
    let few = cells(&mut model, 80);
    assert!(few.len() == full.len() && few.iter().all(|(upper, _)| matches!(upper, Color::Indexed(16..))));
    // Not without colours, nor where nobody wants any.
    model.options.theme = Theme::None;
    assert!(cells(&mut model, 80).is_empty());
    model.options.theme = Theme::Dark;
    types(&mut model, "/pictures off\n");
    assert!(cells(&mut model, 80).is_empty());
}

#[test]
fn the_list_alone() {
    let mut model = samples::list();
    golden("list-80x24", &shown(&mut model, 80, 24));
    golden("list-40x10", &shown(&mut model, 40, 10));
}

#[test]
fn what_lies_over_it() {
    let mut model = samples::model();
    ctrl(&mut model, 'k');
    types(&mut model, "o");
    golden("switcher-80x24", &shown(&mut model, 80, 24));
    tap(&mut model, KeyCode::Esc);
    tap(&mut model, KeyCode::Tab);
    types(&mut model, "+tad");
    golden("react-80x24", &shown(&mut model, 80, 24));
    tap(&mut model, KeyCode::Esc);
    types(&mut model, "d");
    golden("delete-80x24", &shown(&mut model, 80, 24));
    types(&mut model, "n?");
    golden("help-80x24", &shown(&mut model, 80, 24));
}

#[test]
fn whose_key_was_compared_and_whose_has_changed_is_seen() {
    let mut model = samples::model();
    let bob = model.conversations.iter().position(|info| info.id == samples::WITH_BOB).unwrap();
    let line = |screen: &str| screen.lines().find(|line| line.contains("@bob")).unwrap().to_owned();
    assert!(!line(&shown(&mut model, 80, 24)).contains(['✔', '⚠']));
    model.conversations[bob].trust = PeerTrust::Verified;
    assert!(line(&shown(&mut model, 80, 24)).contains("✔ 2"));
    model.open.as_mut().unwrap().members[1].trust = PeerTrust::Verified;
    assert!(shown(&mut model, 120, 40).contains("bob ✔ admin"));
    ctrl(&mut model, 'k');
    types(&mut model, "bob\n");
    assert!(shown(&mut model, 80, 24).contains("bob  direct · ✔ verified · post-quantum"));
    model.conversations[bob].trust = PeerTrust::Changed;
    let screen = shown(&mut model, 80, 24);
    assert!(line(&screen).contains('⚠') && screen.contains("⚠ another key is shown: verify"), "{screen}");
    let changed = Event::IdentityChanged { username: "bob".into(), pinned: samples::BOB, shown: samples::CAROL };
    update(&mut model, samples::NOW_MS, Input::Sdk(changed));
    assert!(shown(&mut model, 80, 24).contains("⚠ bob: the server shows another key"));
}

#[test]
fn without_colours_nothing_is_lost() {
    let mut model = samples::model();
    model.options.theme = Theme::None;
    let buffer = drawn(&mut model, 80, 24);
    assert!(buffer.content.iter().all(|cell| cell.fg == ratatui::style::Color::Reset));
    let screen = shown(&mut model, 80, 24);
    for sign in ["◷", "✓\n", "✓✓\n", "⚠"] {
        assert!(screen.contains(sign), "{sign:?} in\n{screen}");
    }
    // What has been read is told from what is delivered by another sign.
    tap(&mut model, KeyCode::Home);
    assert!(shown(&mut model, 80, 24).contains("◉◉"));
    model.options.theme = Theme::Dark;
    assert!(!shown(&mut model, 80, 24).contains("◉◉"));
}

/// The tables of the guide between its marks.
#[test]
fn the_guide_says_what_the_tables_say() {
    const GUIDE: &str = "../../docs/guides/terminal.md";
    const BEGIN: &str =
        "<!-- tables: made from clients/cli/src/tui/keys.rs and clients/cli/src/tui/command.rs by their tests -->\n";
    const END: &str = "<!-- end of tables -->\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(GUIDE);
    let guide = std::fs::read_to_string(path).unwrap();
    let (before, rest) = guide.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let code = |text: &str| format!("`{}`", text.replace('|', "\\|"));
    let mut tables = String::new();
    for place in keys::PLACES {
        tables.push_str(&format!("\n### {}\n\n| keys | what they do |\n|---|---|\n", place.title()));
        for row in keys::TABLE.iter().filter(|row| row.place == place) {
            let keys: Vec<_> = row.shown.split(' ').map(code).collect();
            tables.push_str(&format!("| {} | {} |\n", keys.join(" "), row.about));
        }
    }
    tables.push_str("\n## Commands\n\n| command | what it does |\n|---|---|\n");
    for form in command::FORMS {
        tables.push_str(&format!("| {} | {} |\n", code(&format!("/{}", form.form)), form.about));
    }
    tables.push('\n');
    holds(GUIDE, &format!("{before}{BEGIN}{tables}{END}{after}"));
}

#[test]
fn the_vim_keymap_says_its_mode() {
    let mut model = samples::model();
    model.options.keymap = Keymap::Vim;
    assert!(shown(&mut model, 80, 24).contains("── NORMAL"));
    types(&mut model, "i");
    assert!(shown(&mut model, 80, 24).contains("── INSERT"));
}
