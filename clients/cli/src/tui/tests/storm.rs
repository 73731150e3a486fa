//! Whatever is pressed, comes and is resized, in whatever order: nothing panics, and nothing is drawn beside the screen.

use crossterm::event::{Event as Terminal, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use proptest::prelude::*;
use qpc_sdk::{Event, MessageId, MessageRef, Progress};
use ratatui::{Terminal as Screen, backend::TestBackend};

use super::samples;
use crate::tui::{
    files::Entry,
    keys::Keymap,
    model::Model,
    theme::Theme,
    update::{Answer, Input, update},
    view,
};

fn key() -> impl Strategy<Value = Terminal> {
    let code = prop_oneof![
        4 => any::<char>().prop_map(KeyCode::Char),
        12 => prop::sample::select("abcdegijknopqrstuwxyzGN0159+/:?@ {}#".chars().collect::<Vec<_>>()).prop_map(KeyCode::Char),
        12 => prop::sample::select(vec![
            KeyCode::Enter, KeyCode::Esc, KeyCode::Tab, KeyCode::BackTab, KeyCode::Backspace, KeyCode::Delete, KeyCode::Up,
            KeyCode::Down, KeyCode::Left, KeyCode::Right, KeyCode::Home, KeyCode::End, KeyCode::PageUp, KeyCode::PageDown,
            KeyCode::F(1), KeyCode::F(5),
        ]),
    ];
    let modifiers = prop_oneof![
        6 => Just(KeyModifiers::NONE),
        2 => Just(KeyModifiers::CONTROL),
        1 => Just(KeyModifiers::ALT),
        1 => Just(KeyModifiers::SHIFT),
    ];
    (code, modifiers).prop_map(|(code, modifiers)| Terminal::Key(KeyEvent::new(code, modifiers)))
}

fn mouse() -> impl Strategy<Value = Terminal> {
    let kind = prop::sample::select(vec![
        MouseEventKind::Down(MouseButton::Left),
        MouseEventKind::ScrollUp,
        MouseEventKind::ScrollDown,
        MouseEventKind::Moved,
    ]);
    (kind, 0u16..130, 0u16..50).prop_map(|(kind, column, row)| {
        Terminal::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })
    })
}

fn terminal() -> impl Strategy<Value = Terminal> {
    prop_oneof![
        20 => key(),
        3 => mouse(),
        2 => "\\PC{0,40}|[a\r\n\t\u{1b}\u{202e}漢👩\u{200d}]{0,30}".prop_map(Terminal::Paste),
        3 => (1u16..130, 1u16..50).prop_map(|(columns, rows)| Terminal::Resize(columns, rows)),
        1 => Just(Terminal::FocusLost),
        1 => Just(Terminal::FocusGained),
    ]
}

/// Messages of anybody who writes anything.
fn messages() -> impl Strategy<Value = Answer> {
    let text = "\\PC{0,90}|[a \n\u{301}\u{202e}漢👩\u{200d}\u{fe0f}]{0,60}";
    let one = (any::<u8>(), 0usize..3, 0u64..5_000, text, prop::option::of(any::<u8>()));
    prop::collection::vec(one, 0..40).prop_map(|mut all| {
        let (photo, pictures) = samples::photo(u32::from(all.len() as u8 % 33), 20);
        all.sort_by_key(|(_, _, minutes, ..)| std::cmp::Reverse(*minutes));
        let messages = all.into_iter().map(|(n, sender, minutes, text, answers)| {
            let sender = [samples::ALICE, samples::BOB, samples::CAROL][sender];
            let mut message = samples::message(n, sender, minutes, &text);
            message.reply_to = answers.map(|n| MessageRef { author: samples::BOB, id: MessageId([n; 16]) });
            message.edited_at_ms = (n % 3 == 0).then_some(1);
            if n % 5 == 0 {
                message.attachments = vec![photo.clone(); usize::from(n % 3)];
            }
            message
        });
        Answer::Messages(samples::CLUB, 200, messages.collect(), pictures)
    })
}

fn happening() -> impl Strategy<Value = Input> {
    let found = prop::collection::vec((any::<u8>(), 1u32..9_999), 0..5).prop_map(|hits| {
        let hits =
            hits.into_iter().map(|(n, depth)| (MessageRef { author: samples::BOB, id: MessageId([n; 16]) }, depth));
        Answer::Found(samples::CLUB, "a".to_owned(), hits.collect())
    });
    let typing =
        any::<bool>().prop_map(|active| Event::Typing { conversation: samples::CLUB, by: samples::BOB, active });
    let came = (any::<u8>(), "\\PC{0,20}")
        .prop_map(|(n, text)| Event::MessageReceived(samples::message(n, samples::BOB, 0, &text)));
    let answer = prop_oneof![
        4 => messages(),
        1 => found,
        1 => Just(Answer::Conversations(Vec::new())),
        2 => Just(Answer::Conversations(samples::list().conversations)),
        1 => Just(Answer::Opened(samples::WITH_BOB)),
        1 => Just(Answer::Opened(samples::CLUB)),
        1 => "\\PC{0,80}".prop_map(Answer::Failed),
        1 => prop::collection::vec(("\\PC{1,20}", any::<bool>(), any::<u64>()), 0..30).prop_map(|entries| {
            let entry = |(name, folder, size)| Entry { name, folder, size };
            Answer::Folder("/tmp".into(), entries.into_iter().map(entry).collect())
        }),
        1 => (0u64..4, any::<u32>(), any::<u32>()).prop_map(|(transfer, bytes, total)| {
            let (bytes, total) = (u64::from(bytes), u64::from(total));
            Answer::Progress(transfer, Progress { bytes, total, rate: bytes, left: None })
        }),
        1 => prop::collection::vec("\\PC{0,30}", 0..30).prop_map(|lines| Answer::Lines("Lines".to_owned(), lines)),
    ];
    prop_oneof![
        20 => terminal().prop_map(Input::Terminal),
        5 => answer.prop_map(Input::Answer),
        2 => typing.prop_map(Input::Sdk),
        2 => came.prop_map(Input::Sdk),
        1 => Just(Input::Sdk(Event::Lagged(3))),
        1 => Just(Input::Tick),
    ]
}

/// Draws through a real terminal of the library, which panics where a cell is none.
fn draw(model: &mut Model) {
    let (columns, rows) = model.size;
    let mut screen = Screen::new(TestBackend::new(columns, rows)).unwrap();
    screen
        .draw(|frame| {
            if let Some(cursor) = view::draw(model, frame.buffer_mut()) {
                assert!(cursor.x < columns && cursor.y < rows);
                frame.set_cursor_position(cursor);
            }
        })
        .unwrap();
    let drawn = screen.backend().buffer();
    for cell in &drawn.content {
        let steers = cell
            .symbol()
            .chars()
            .any(|character| character.is_control() || ('\u{202a}'..='\u{202e}').contains(&character));
        assert!(!steers, "{:?} on the screen", cell.symbol());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 96 } else { 512 }))]
    #[test]
    fn nothing_breaks_it(inputs in prop::collection::vec(happening(), 1..60), vim in any::<bool>(), plain in any::<bool>()) {
        let mut model = samples::model();
        model.options.keymap = if vim { Keymap::Vim } else { Keymap::Plain };
        model.options.theme = if plain { Theme::None } else { Theme::Light };
        let mut now_ms = samples::NOW_MS;
        for input in inputs {
            now_ms += 700;
            update(&mut model, now_ms, input);
            draw(&mut model);
        }
    }
}

#[test]
fn every_size_from_one_cell_up_can_be_drawn() {
    for (columns, rows) in (1..=125).step_by(2).flat_map(|columns| (1..=40).step_by(3).map(move |rows| (columns, rows)))
    {
        let mut model = samples::model();
        model.size = (columns, rows);
        draw(&mut model);
        update(&mut model, samples::NOW_MS, Input::Terminal(Terminal::Key(KeyEvent::from(KeyCode::F(1)))));
        draw(&mut model);
    }
}
