//! What becomes of a model by what happens.

use crossterm::event::{Event as Terminal, KeyCode, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use qpc_sdk::{Draft, Event, MessageId, MessageRef, MessageState, Progress};

use super::{ctrl, press, samples, shown, tap, types};
use crate::tui::{
    areas::Areas,
    command::{Command, Here},
    files::Entry,
    keys::Keymap,
    model::{Focus, Model, Overlay, Pictures, Purpose},
    theme::Theme,
    update::{Answer, Day, Effect, Input, update},
};

fn written(model: &Model) -> &str {
    model.writing().map_or("", |writing| writing.composer.text())
}

fn refers(n: u8, author: qpc_sdk::AccountId) -> MessageRef {
    MessageRef { author, id: MessageId([n; 16]) }
}

fn answer(model: &mut Model, answer: Answer) -> Vec<Effect> {
    update(model, samples::NOW_MS, Input::Answer(answer))
}

fn sent(effects: &[Effect]) -> Vec<&Draft> {
    effects.iter().filter_map(|effect| if let Effect::Send(_, draft) = effect { Some(draft) } else { None }).collect()
}

#[test]
fn what_is_written_is_sent_as_it_is() {
    let mut model = samples::model();
    types(&mut model, "one");
    press(&mut model, KeyModifiers::ALT, KeyCode::Enter);
    update(&mut model, samples::NOW_MS, Input::Terminal(Terminal::Paste("two\r\nthree\x1b[2J".into())));
    assert_eq!(written(&model), "one\ntwo\nthree[2J");
    let effects = tap(&mut model, KeyCode::Enter);
    assert_eq!(sent(&effects)[0].text, "one\ntwo\nthree[2J");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Keep(_, draft) if draft.text.is_empty())));
    assert_eq!(written(&model), "");
    assert!(tap(&mut model, KeyCode::Enter).is_empty(), "nothing is not sent");
}

#[test]
fn slips_are_not_sent() {
    let mut model = samples::model();
    let effects = types(&mut model, "/hsitory\n");
    assert!(sent(&effects).is_empty());
    assert_eq!(written(&model), "/hsitory");
    assert!(model.notice.as_ref().unwrap().text.contains("nothing was sent"));
    ctrl(&mut model, 'u');
    assert_eq!(sent(&types(&mut model, "//slash\n"))[0].text, "/slash");
    let effects = types(&mut model, "/add bob\n");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Run(Command::Here(Here::Add(_)), Some(_)))));
    types(&mut model, "/theme none\n");
    assert_eq!((model.options.theme, written(&model)), (Theme::None, ""));
}

#[test]
fn a_message_is_answered_and_esc_takes_that_back() {
    let mut model = samples::model();
    tap(&mut model, KeyCode::Tab);
    types(&mut model, "kkkkkk");
    assert_eq!(model.open.as_ref().unwrap().selected, Some(refers(5, samples::CAROL)));
    types(&mut model, "ryes");
    assert!(shown(&mut model, 80, 24).contains("reply to carol: Next time"));
    tap(&mut model, KeyCode::Esc);
    assert_eq!(model.writing().unwrap().purpose, Purpose::Message);
    tap(&mut model, KeyCode::Tab);
    types(&mut model, "kkkkkkr");
    let effects = types(&mut model, "!\n");
    let draft = sent(&effects)[0];
    assert_eq!((draft.text.as_str(), draft.reply_to), ("yes!", Some(refers(5, samples::CAROL))));
}

#[test]
fn the_last_own_message_is_edited_and_what_was_begun_comes_back() {
    let mut model = samples::model();
    tap(&mut model, KeyCode::Up);
    assert_eq!(written(&model), "written on the train");
    let effects = types(&mut model, ", late\n");
    assert!(effects.iter().any(|effect| {
        matches!(effect, Effect::Edit(_, target, text) if *target == refers(12, samples::ALICE) && text.ends_with("late"))
    }));
    types(&mut model, "begun");
    tap(&mut model, KeyCode::Tab);
    types(&mut model, "e");
    assert_eq!(written(&model), "written on the train");
    assert_eq!(model.writing().unwrap().draft().text, "begun", "the draft is what was begun");
    tap(&mut model, KeyCode::Esc);
    assert_eq!(written(&model), "begun");
    tap(&mut model, KeyCode::Tab);
    types(&mut model, "kkkkke");
    assert!(model.notice.as_ref().unwrap().text.contains("only what you wrote"));
}

#[test]
fn deleting_asks_and_reacting_goes_both_ways() {
    let mut model = samples::model();
    tap(&mut model, KeyCode::Tab);
    assert!(types(&mut model, "d\n").is_empty() && model.overlay.is_none());
    assert!(
        matches!(&types(&mut model, "kkdy")[..], [Effect::Delete(_, target)] if *target == refers(9, samples::ALICE))
    );
    let effects = types(&mut model, "+tada\n");
    assert!(matches!(&effects[..], [Effect::React(_, _, sign, false)] if sign == "🎉"), "{effects:?}");
    types(&mut model, "gj+joy");
    let effects = tap(&mut model, KeyCode::Enter);
    assert!(
        matches!(&effects[..], [Effect::React(_, target, sign, true)]
        if sign == "😂" && *target == refers(2, samples::BOB)),
        "{effects:?}"
    );
}

#[test]
fn what_was_not_sent_is_taken_back_or_sent_again() {
    let mut model = samples::model();
    tap(&mut model, KeyCode::Tab);
    let effects = types(&mut model, "dy");
    assert!(matches!(&effects[..], [Effect::Cancel(_, id)] if *id == MessageId([12; 16])), "it waits: {effects:?}");
    let effects = types(&mut model, "kr");
    assert!(matches!(&effects[..], [Effect::Retry(_, id)] if *id == MessageId([10; 16])), "it failed: {effects:?}");
    assert!(model.writing().is_none(), "and is not answered");
}

#[test]
fn days_are_gone_to() {
    const TODAY: u64 = samples::NOW_MS / 86_400_000;
    let messages = samples::messages();
    let found =
        [Day::Before(TODAY), Day::Since(TODAY), Day::Since(TODAY - 7), Day::Before(TODAY - 1), Day::Since(TODAY + 1)];
    assert_eq!(found.map(|day| day.find(&messages)), [Some(0), Some(2), Some(0), None, None]);

    let mut model = samples::model();
    let effects = types(&mut model, "/date 2026-11-19\n");
    assert!(
        matches!(&effects[..], [Effect::Day(samples::CLUB, day), ..] if *day == Day::Since(TODAY - 1)),
        "{effects:?}"
    );
    tap(&mut model, KeyCode::Tab);
    let effects = types(&mut model, "[");
    assert!(matches!(&effects[..], [Effect::Day(samples::CLUB, day)] if *day == Day::Before(TODAY)), "{effects:?}");
    answer(&mut model, Answer::Day(samples::CLUB, Some((refers(1, samples::CAROL), 11))));
    assert_eq!(model.open.as_ref().unwrap().selected, Some(refers(1, samples::CAROL)));
    assert!(shown(&mut model, 80, 24).contains("── 2026-11-19"));
    let effects = types(&mut model, "]");
    assert!(matches!(&effects[..], [Effect::Day(samples::CLUB, day)] if *day == Day::Since(TODAY)), "{effects:?}");
    answer(&mut model, Answer::Day(samples::CLUB, None));
    assert_eq!(model.notice.as_ref().unwrap().text, "nothing was written then");
    // One that is not loaded is asked for.
    let effects = answer(&mut model, Answer::Day(samples::CLUB, Some((refers(99, samples::BOB), 700))));
    assert!(matches!(&effects[..], [Effect::Messages(samples::CLUB, 750)]), "{effects:?}");
}

#[test]
fn a_number_of_a_list_is_a_conversation_where_none_is_called_so() {
    let mut model = samples::model();
    let effects = types(&mut model, "/switch 7\n");
    assert!(
        effects.iter().any(|effect| { matches!(effect, Effect::Run(Command::Switch(number), _) if number == "7") })
    );
    types(&mut model, "/switch 12\n");
    assert_eq!(model.open_info().unwrap().name.as_deref(), Some("Flat 12b"));
}

#[test]
fn drafts_stay_with_their_conversations() {
    let mut model = samples::model();
    types(&mut model, "half a thought");
    ctrl(&mut model, 'k');
    let effects = types(&mut model, "bob\n");
    assert!(effects.iter().any(|effect| {
        matches!(effect, Effect::Keep(id, draft) if *id == samples::CLUB && draft.text == "half a thought")
    }));
    assert_eq!(written(&model), "");
    assert!(shown(&mut model, 80, 24).contains("✎"), "the list shows that something was begun");
    ctrl(&mut model, 'p');
    assert_eq!(written(&model), "half a thought");
    let effects = types(&mut model, "!");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Keep(..))), "not with every key");
    let effects = ctrl(&mut model, 'c');
    assert!(matches!(&effects[..], [Effect::Keep(..), Effect::Quit]), "{effects:?}");
    let draft = Draft { text: "kept".into(), reply_to: Some(refers(2, samples::BOB)), ..Draft::default() };
    let mut model = samples::model();
    answer(&mut model, Answer::Drafts(vec![(samples::CLUB, draft.clone())]));
    assert_eq!(model.writing().unwrap().draft(), draft);
    let refused = Answer::NotSent(samples::WITH_BOB, "not taken".into(), "why".into());
    answer(&mut model, refused);
    assert_eq!(model.writings[&samples::WITH_BOB].draft().text, "not taken");
}

#[test]
fn what_comes_while_somebody_looks_is_read_and_while_nobody_does_is_not() {
    let mut model = samples::model();
    model.options.bell = true;
    let list = |unread| {
        let mut list = samples::list().conversations;
        list[0].unread = unread;
        Answer::Conversations(list)
    };
    let effects = answer(&mut model, list(1));
    assert!(matches!(&effects[..], [Effect::Read(id)] if *id == samples::CLUB), "{effects:?}");
    update(&mut model, samples::NOW_MS, Input::Terminal(Terminal::FocusLost));
    let message = samples::message(40, samples::BOB, 0, "are you there?");
    let effects = update(&mut model, samples::NOW_MS, Input::Sdk(Event::MessageReceived(message)));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Ring(line) if line == "bob wrote")), "{effects:?}");
    assert!(answer(&mut model, list(1)).is_empty());
    answer(&mut model, Answer::Messages(samples::CLUB, 201, samples::messages(), Pictures::new()));
    let effects = update(&mut model, samples::NOW_MS, Input::Terminal(Terminal::FocusGained));
    assert!(matches!(&effects[..], [Effect::Read(_)]), "{effects:?}");
}

#[test]
fn a_conversation_opens_at_what_is_unread() {
    let mut model = samples::list();
    model.size = (80, 24);
    tap(&mut model, KeyCode::Down);
    let effects = tap(&mut model, KeyCode::Enter);
    assert!(matches!(&effects[..], [Effect::Messages(..), Effect::Members(_)]), "{effects:?}");
    let mut messages: Vec<_> = (0..60).map(|n| samples::message(n, samples::BOB, 120 - u64::from(n), "text")).collect();
    messages.iter_mut().for_each(|message| message.conversation = samples::WITH_BOB);
    answer(&mut model, Answer::Messages(samples::WITH_BOB, 200, messages, Pictures::new()));
    let screen = shown(&mut model, 80, 24);
    assert!(screen.contains("── unread"), "{screen}");
    assert_eq!(model.open.as_ref().unwrap().divider, Some(refers(58, samples::BOB)));
}

#[test]
fn older_messages_are_asked_for_at_the_top_once() {
    let mut model = samples::model();
    let messages = || (0..200).map(|n| samples::message(n, samples::BOB, 1000 - u64::from(n), "text")).collect();
    answer(&mut model, Answer::Messages(samples::CLUB, 200, messages(), Pictures::new()));
    let effects = tap(&mut model, KeyCode::Home);
    assert!(matches!(&effects[..], [Effect::Messages(_, 400)]), "{effects:?}");
    assert!(tap(&mut model, KeyCode::PageUp).is_empty(), "they are on their way");
    let before = shown(&mut model, 80, 24);
    answer(&mut model, Answer::Messages(samples::CLUB, 400, messages(), Pictures::new()));
    assert_eq!(shown(&mut model, 80, 24), before);
    assert!(tap(&mut model, KeyCode::PageUp).is_empty(), "there is nothing older");
}

#[test]
fn searching_goes_from_hit_to_hit_and_loads_what_is_far() {
    let mut model = samples::model();
    ctrl(&mut model, 'f');
    let effects = types(&mut model, "book\n");
    assert!(matches!(&effects[..], [Effect::Search(_, query)] if query == "book"), "{effects:?}");
    let hits = vec![(refers(99, samples::BOB), 500), (refers(1, samples::CAROL), 11), (refers(5, samples::CAROL), 7)];
    answer(&mut model, Answer::Found(samples::CLUB, "book".into(), hits));
    assert_eq!(model.open.as_ref().unwrap().selected, Some(refers(5, samples::CAROL)));
    types(&mut model, "n");
    assert_eq!(model.open.as_ref().unwrap().selected, Some(refers(1, samples::CAROL)));
    assert!(shown(&mut model, 80, 24).contains("Who has finished the book?"));
    model.open.as_mut().unwrap().complete = false;
    let effects = types(&mut model, "n");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Messages(_, 550))), "{effects:?}");
    let mut far = samples::messages();
    far.insert(0, samples::message(99, samples::BOB, 9_000, "the book is here"));
    answer(&mut model, Answer::Messages(samples::CLUB, 550, far, Pictures::new()));
    assert_eq!(model.open.as_ref().unwrap().selected, Some(refers(99, samples::BOB)));
    types(&mut model, "N");
    assert_eq!(model.open.as_ref().unwrap().selected, Some(refers(1, samples::CAROL)));
}

#[test]
fn what_is_looked_at_stays_where_it_is_when_something_comes() {
    let mut model = samples::model();
    model.size = (80, 12);
    tap(&mut model, KeyCode::PageUp);
    let before = shown(&mut model, 80, 12);
    let mut more = samples::messages();
    more.push(samples::message(50, samples::BOB, 0, "news"));
    answer(&mut model, Answer::Messages(samples::CLUB, 201, more, Pictures::new()));
    assert_eq!(shown(&mut model, 80, 12), before);
    tap(&mut model, KeyCode::End);
    assert!(shown(&mut model, 80, 12).contains("news"));
}

#[test]
fn typing_is_told_now_and_then_and_others_for_ten_seconds() {
    let mut model = samples::model();
    let typing = |effects: &[Effect]| effects.iter().filter(|effect| matches!(effect, Effect::Typing(..))).count();
    assert_eq!(typing(&types(&mut model, "hello")), 1);
    model.now_ms += 3_000;
    assert_eq!(typing(&types(&mut model, " there")), 1);
    assert!(matches!(&ctrl(&mut model, 'u')[..], [Effect::Typing(_, false)]));
    let bob = Event::Typing { conversation: samples::CLUB, by: samples::BOB, active: true };
    update(&mut model, samples::NOW_MS, Input::Sdk(bob));
    assert!(shown(&mut model, 80, 24).contains("bob is writing"));
    update(&mut model, samples::NOW_MS + 10_001, Input::Tick);
    assert!(!shown(&mut model, 80, 24).contains("bob is writing"));
}

#[test]
fn words_are_completed() {
    let mut model = samples::model();
    types(&mut model, "hi @bo");
    tap(&mut model, KeyCode::Tab);
    types(&mut model, ":tada");
    tap(&mut model, KeyCode::Tab);
    assert_eq!(written(&model), "hi @bob 🎉");
    tap(&mut model, KeyCode::Enter);
    types(&mut model, "/disa");
    tap(&mut model, KeyCode::Tab);
    assert_eq!(written(&model), "/disappear ");
}

#[test]
fn the_mouse_opens_chooses_and_scrolls() {
    let mut model = samples::model();
    model.size = (80, 24);
    let point = |model: &mut Model, kind, column, row| {
        let event = MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE };
        update(model, samples::NOW_MS, Input::Terminal(Terminal::Mouse(event)))
    };
    let areas = Areas::of(&model);
    point(&mut model, MouseEventKind::Down(MouseButton::Left), areas.timeline.x + 4, areas.timeline.bottom() - 1);
    assert_eq!(model.open.as_ref().unwrap().selected, Some(refers(12, samples::ALICE)));
    point(&mut model, MouseEventKind::ScrollUp, areas.timeline.x, areas.timeline.y);
    assert!(model.open.as_ref().unwrap().bottom.is_some());
    point(&mut model, MouseEventKind::Down(MouseButton::Left), areas.composer.x + 2, areas.composer.y);
    assert_eq!(model.focus, Focus::Composer);
    types(&mut model, "ab漢d");
    point(&mut model, MouseEventKind::Down(MouseButton::Left), areas.composer.x + 2 + 4, areas.composer.y);
    types(&mut model, "c");
    assert_eq!(written(&model), "ab漢cd");
    point(&mut model, MouseEventKind::Down(MouseButton::Left), 3, 2);
    assert_eq!(model.open.as_ref().unwrap().id, samples::WITH_BOB);
}

#[test]
fn vim_goes_between_text_and_messages() {
    let mut model = samples::model();
    model.options.keymap = Keymap::Vim;
    types(&mut model, "ihello world");
    tap(&mut model, KeyCode::Esc);
    types(&mut model, "bciwthere");
    tap(&mut model, KeyCode::Esc);
    assert_eq!(written(&model), "hello there");
    types(&mut model, "3k");
    assert_eq!(model.open.as_ref().unwrap().selected, Some(refers(9, samples::ALICE)));
    types(&mut model, "2j");
    assert_eq!(model.open.as_ref().unwrap().selected, Some(refers(12, samples::ALICE)));
    types(&mut model, "gg");
    assert_eq!(model.open.as_ref().unwrap().selected, Some(refers(1, samples::CAROL)));
    types(&mut model, "Gi!");
    assert_eq!(written(&model), "hello there!");
    tap(&mut model, KeyCode::Esc);
    assert_eq!(sent(&tap(&mut model, KeyCode::Enter)).len(), 1);
    types(&mut model, ":theme light\n");
    assert_eq!(model.options.theme, Theme::Light);
    types(&mut model, "/whales\n");
    tap(&mut model, KeyCode::Esc);
    types(&mut model, "?");
    assert!(matches!(model.overlay, Some(Overlay::Help(_))));
}

#[test]
fn what_was_not_sent_is_sent_again_and_text_is_copied() {
    let mut model = samples::model();
    tap(&mut model, KeyCode::Tab);
    types(&mut model, "k");
    assert_eq!(model.open.as_ref().unwrap().chosen().unwrap().state, MessageState::Failed);
    assert!(matches!(&types(&mut model, "r")[..], [Effect::Retry(_, id)] if *id == MessageId([10; 16])));
    assert!(matches!(&types(&mut model, "y")[..], [Effect::Copy(text)] if text == "and this one did not make it"));
    types(&mut model, "i");
    assert!(shown(&mut model, 80, 24).contains("⚠ not sent"));
}

#[test]
fn links_are_shown_whole_before_one_is_opened() {
    let mut model = samples::model();
    tap(&mut model, KeyCode::Tab);
    types(&mut model, "o");
    assert!(model.notice.as_ref().unwrap().text.contains("no link"));
    let long = format!("https://example.org/{}", "x".repeat(100));
    let text = format!("{long} {long} javascript:alert(1) file:///etc/passwd ftp://a.b (http://b.example/c)");
    let open = model.open.as_mut().unwrap();
    open.messages.last_mut().unwrap().text = text;
    types(&mut model, "o");
    let Some(Overlay::Links { links, .. }) = &model.overlay else { panic!("{:?}", model.overlay) };
    assert_eq!(links[..], [long.clone(), "http://b.example/c".to_owned()]);
    let screen: String = shown(&mut model, 80, 24).chars().filter(|character| *character == 'x').collect();
    assert!(screen.len() >= 100, "no part of it is hidden");
    assert!(tap(&mut model, KeyCode::Esc).is_empty());
    assert!(matches!(&types(&mut model, "ojj\n")[..], [Effect::Browse(link)] if link == "http://b.example/c"));
}

#[test]
fn an_editor_goes_on_with_what_is_written() {
    let mut model = samples::model();
    types(&mut model, "dear all");
    let effects = ctrl(&mut model, 'x');
    let [Effect::Editor(id, text)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(text, "dear all");
    answer(&mut model, Answer::Edited(*id, Err("no editor: set VISUAL or EDITOR".to_owned())));
    assert_eq!(written(&model), "dear all", "nothing is lost");
    answer(&mut model, Answer::Edited(*id, Ok("dear all,\nhello".to_owned())));
    assert_eq!(written(&model), "dear all,\nhello");
    assert_eq!(sent(&tap(&mut model, KeyCode::Enter))[0].text, "dear all,\nhello");
    // The command is not part of the text.
    let effects = types(&mut model, "/compose\n");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Editor(_, text) if text.is_empty())), "{effects:?}");
    answer(&mut model, Answer::Edited(*id, Ok("ü".repeat(40 << 10))));
    assert!(written(&model).len() <= 60 << 10 && model.notice.as_ref().unwrap().text.contains("60 KiB"));
}

#[test]
fn a_file_is_chosen_and_its_way_is_shown() {
    let mut model = samples::model();
    tap(&mut model, KeyCode::Tab);
    types(&mut model, "gr");
    assert!(matches!(&ctrl(&mut model, 'o')[..], [Effect::Folder(_)]));
    let entry = |name: &str, folder| Entry { name: name.to_owned(), folder, size: 1_234_567 };
    let entries = vec![entry("letters", true), entry("cake.jpg", false), entry("cat.jpg", false)];
    answer(&mut model, Answer::Folder("/home/alice".into(), entries.clone()));
    assert!(shown(&mut model, 80, 24).contains("cake.jpg  1.18 MiB"));
    let effects = types(&mut model, "lett\n");
    assert!(matches!(&effects[..], [Effect::Folder(path)] if path.ends_with("letters")), "{effects:?}");
    answer(&mut model, Answer::Folder("/home/alice".into(), entries));
    assert!(matches!(&tap(&mut model, KeyCode::Backspace)[..], [Effect::Folder(path)] if path.ends_with("home")));
    let effects = types(&mut model, "cat\n");
    let [Effect::Upload { transfer, path, reply_to, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert!(path.ends_with("cat.jpg") && *reply_to == Some(refers(1, samples::CAROL)));
    let progress = Progress { bytes: 40, total: 100, rate: 1_500_000, left: None };
    answer(&mut model, Answer::Progress(*transfer, progress));
    assert!(shown(&mut model, 80, 24).contains("↑ cat.jpg ████░░░░░░ 40 % 1.43 MiB/s"));
    answer(&mut model, Answer::Arrived(*transfer, Ok("cat.jpg is sent".to_owned())));
    assert!(shown(&mut model, 80, 24).contains("cat.jpg is sent"));
}
