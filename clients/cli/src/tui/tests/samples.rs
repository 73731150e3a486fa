//! People and what they have written.

use std::sync::Arc;

use bytes::Bytes;
use qpc_sdk::{
    AccountId, ConversationId, ConversationInfo, ConversationKind, DeviceId, Member, Mention, Message, MessageId,
    MessageKind, MessageRef, MessageState, PeerTrust, Picture, Reaction, Role, Standing, Suite,
};

use crate::tui::{
    keys::Keymap,
    model::{Focus, Model, Open, Options, Pictures},
    theme::{Depth, Theme},
    update::{Answer, FileOfMessage, Input, update},
};

/// 2026-11-20 14:10 UTC.
pub(crate) const NOW_MS: u64 = 1_795_183_800_000;
const MINUTE_MS: u64 = 60_000;

pub(crate) const ALICE: AccountId = AccountId([1; 16]);
pub(crate) const BOB: AccountId = AccountId([5; 16]);
pub(crate) const CAROL: AccountId = AccountId([11; 16]);

pub(crate) const CLUB: ConversationId = ConversationId([1; 16]);
pub(crate) const WITH_BOB: ConversationId = ConversationId([2; 16]);

pub(crate) fn conversation(id: ConversationId, kind: ConversationKind, name: &str) -> ConversationInfo {
    let direct = kind == ConversationKind::Direct;
    ConversationInfo {
        id,
        kind,
        name: (kind == ConversationKind::Group).then(|| name.to_owned()),
        petname: None,
        peer: direct.then_some(BOB),
        peer_name: direct.then(|| name.to_owned()),
        trust: PeerTrust::default(),
        suite: Suite::Hybrid,
        epoch: 7,
        active: true,
        left: false,
        awaited: false,
        stuck: false,
        messages: 9,
        unread: 0,
        for_us: 0,
        expires_after_ms: 0,
        standing: Standing::Accepted,
        blocked: false,
        missing: 0,
        last_at_ms: NOW_MS,
    }
}

/// The message number `n` of somebody, so many minutes ago.
pub(crate) fn message(n: u8, sender: AccountId, minutes_ago: u64, text: &str) -> Message {
    let name = [(ALICE, "alice"), (BOB, "bob"), (CAROL, "carol")].into_iter().find(|(account, _)| *account == sender);
    let own = sender == ALICE;
    Message {
        id: MessageId([n; 16]),
        conversation: CLUB,
        sender,
        sender_name: name.map(|(_, name)| name.to_owned()),
        device: DeviceId(sender.0),
        kind: MessageKind::Text,
        text: text.to_owned(),
        mentions: Vec::new(),
        reply_to: None,
        attachments: Vec::new(),
        for_us: false,
        edited_at_ms: None,
        deleted_by: None,
        reactions: Vec::new(),
        expires_after_ms: 0,
        expires_at_ms: None,
        sent_at_ms: NOW_MS - minutes_ago * MINUTE_MS,
        seq: (!own).then_some(u64::from(n)),
        epoch: 7,
        state: if own { MessageState::Read } else { MessageState::Received },
        delivered_to: 0,
        read_by: 0,
    }
}

/// A hill before an evening sky: a file that comes with a small picture, and the picture.
pub(crate) fn photo(width: u32, height: u32) -> (FileOfMessage, Pictures) {
    let pixel = |at: u32| {
        let (x, y) = (at % width, at / width);
        let (far_x, far_y) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
        let hill = 0.75 - 0.35 * (far_x * std::f64::consts::PI).sin();
        let sun = (far_x - 0.7).hypot((far_y - 0.3) * 0.6) < 0.09;
        match () {
            () if sun => Some([255, 226, 140]),
            () if far_y > hill => Some([30, (70.0 + 60.0 * far_x) as u8, 50]),
            () => Some([(230.0 - 150.0 * far_y) as u8, (120.0 + 40.0 * far_y) as u8, (110.0 + 90.0 * far_y) as u8]),
        }
    };
    let picture = Picture { width, pixels: (0..width * height).map(pixel).collect() };
    let thumbnail = Bytes::from(format!("{width} {height}"));
    let file = FileOfMessage {
        name: "hill.jpg".to_owned(),
        size: 2_400_000,
        thumbnail: thumbnail.clone(),
        ..FileOfMessage::default()
    };
    (file, Pictures::from([(thumbnail, Some(Arc::new(picture)))]))
}

/// Alice in the book club, where Carol has sent that photo.
pub(crate) fn with_photo() -> Model {
    let mut model = model();
    let (file, pictures) = photo(32, 18);
    let mut sent = message(13, CAROL, 4, "The view from my place");
    sent.attachments = vec![file];
    let mut messages = messages();
    messages.insert(7, sent);
    update(&mut model, NOW_MS, Input::Answer(Answer::Messages(CLUB, 200, messages, pictures)));
    model
}

fn reaction(emoji: &str, accounts: &[AccountId]) -> Reaction {
    Reaction { emoji: emoji.to_owned(), accounts: accounts.to_vec() }
}

/// What was said in the book club.
pub(crate) fn messages() -> Vec<Message> {
    let chapter = message(
        2,
        BOB,
        1_500,
        "Chapter three is a hundred pages of whales. I skipped to the end, and I regret nothing.",
    );
    let mut chapter = chapter;
    chapter.reactions = vec![reaction("😂", &[ALICE, CAROL]), reaction("🐳", &[CAROL])];
    let mut answer = message(3, ALICE, 40, "You skipped the best part!");
    answer.reply_to = Some(MessageRef { author: BOB, id: MessageId([2; 16]) });
    let mut gone = message(4, CAROL, 39, "");
    (gone.kind, gone.deleted_by) = (MessageKind::Deleted, Some(CAROL));
    let mut edited = message(5, CAROL, 38, "Next time at my place, Thursday at seven?");
    edited.edited_at_ms = Some(NOW_MS);
    let mut mention = message(6, BOB, 5, "@alice will you bring the cake? 漢字 and e\u{301} as well, please");
    mention.mentions = vec![Mention { account: ALICE, range: 0..6 }];
    mention.for_us = true;
    let mut delivered = message(8, ALICE, 3, "Two of them");
    delivered.state = MessageState::Delivered;
    let mut accepted = message(9, ALICE, 2, "one is gone already");
    accepted.state = MessageState::Accepted;
    let mut failed = message(10, ALICE, 1, "and this one did not make it");
    failed.state = MessageState::Failed;
    let mut queued = message(12, ALICE, 0, "written on the train");
    queued.state = MessageState::Queued;
    vec![
        message(1, CAROL, 1_510, "Who has finished the book?"),
        chapter,
        answer,
        gone,
        edited,
        mention,
        message(
            7,
            BOB,
            5,
            "https://example.org/a/very/long/address/that/no/line/has/room/for/and/that/goes/on?and=on&on=on",
        ),
        delivered,
        accepted,
        failed,
        queued,
    ]
}

pub(crate) fn members() -> Vec<Member> {
    let member = |account: AccountId, name: &str, role| Member {
        account,
        name: Some(name.to_owned()),
        trust: PeerTrust::default(),
        role,
        devices: vec![DeviceId(account.0)],
    };
    vec![member(ALICE, "alice", Role::Owner), member(BOB, "bob", Role::Admin), member(CAROL, "carol", Role::Member)]
}

/// Alice before her list, with nothing open.
pub(crate) fn list() -> Model {
    let options =
        Options { theme: Theme::Dark, keymap: Keymap::Plain, bell: false, pictures: true, depth: Depth::Full };
    let mut model = Model::new(ALICE, "alice".to_owned(), options);
    model.online = true;
    let mut bob = conversation(WITH_BOB, ConversationKind::Direct, "bob");
    bob.unread = 2;
    let mut ops = conversation(ConversationId([3; 16]), ConversationKind::Group, "Operations on call");
    (ops.unread, ops.for_us, ops.expires_after_ms) = (14, 1, 604_800_000);
    let mut old = conversation(ConversationId([4; 16]), ConversationKind::Group, "Flat 12b");
    (old.active, old.left) = (false, true);
    let mut stranger = conversation(ConversationId([6; 16]), ConversationKind::Direct, "dave");
    (stranger.unread, stranger.standing, stranger.peer) = (1, Standing::Requested, Some(AccountId([13; 16])));
    let notes = conversation(ConversationId([0; 16]), ConversationKind::Notes, "");
    let club = conversation(CLUB, ConversationKind::Group, "Book club");
    update(&mut model, NOW_MS, Input::Answer(Answer::Conversations(vec![club, bob, ops, stranger, notes, old])));
    model
}

/// Alice in the book club.
pub(crate) fn model() -> Model {
    let mut model = list();
    model.open = Some(Open::new(CLUB, 0));
    model.focus = Focus::Composer;
    update(&mut model, NOW_MS, Input::Answer(Answer::Members(CLUB, members())));
    update(&mut model, NOW_MS, Input::Answer(Answer::Messages(CLUB, 200, messages(), Pictures::new())));
    model
}
