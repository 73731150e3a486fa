use proptest::prelude::*;
use qpc_wire::{AccountId, DeviceId, GroupId};

use super::{text::MAX_ATTACHMENTS, *};

fn ids() -> impl Strategy<Value = Vec<MessageId>> {
    prop::collection::vec(any::<[u8; 16]>().prop_map(MessageId), 0..4)
}

fn target() -> impl Strategy<Value = MessageRef> {
    (any::<[u8; 16]>(), any::<[u8; 16]>())
        .prop_map(|(author, id)| MessageRef { author: AccountId(author), id: MessageId(id) })
}

fn texts() -> impl Strategy<Value = Text> {
    let draft = (any::<String>(), prop::option::of(target()), any::<[u8; 16]>(), any::<[u8; 32]>());
    (draft, 0..=MAX_TIME_MS).prop_map(|((text, reply_to, account, key), expires_after_ms)| {
        let first = text.chars().next().map(char::len_utf8);
        let mentions = first.map(|len| Mention { account: AccountId(account), range: 0..len }).into_iter().collect();
        let file = pb::Attachment { key: bytes(&key), name: text.clone(), size: 7, ..pb::Attachment::default() };
        Text { draft: Draft { text, reply_to, mentions, attachments: vec![file] }, expires_after_ms }
    })
}

fn sayings() -> impl Strategy<Value = Saying> {
    prop_oneof![
        texts().prop_map(Saying::Text),
        (target(), any::<bool>()).prop_map(|(target, removed)| Saying::Reaction {
            target,
            emoji: "👍🏽".into(),
            removed
        }),
        (target(), texts()).prop_map(|(target, text)| Saying::Edit { target, text }),
        target().prop_map(Saying::Delete),
        any::<Vec<u8>>().prop_map(Saying::Unknown),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let place = prop::option::of((any::<[u8; 16]>().prop_map(GroupId), 0..=MAX_TIME_MS));
    (any::<[u8; 16]>(), 0..=MAX_TIME_MS, place, sayings()).prop_map(|(id, at_ms, place, saying)| Said {
        conversation: GroupId(id),
        sender: AccountId(id),
        device: DeviceId(id),
        id: MessageId(id),
        sent_at_ms: 7,
        at_ms,
        place,
        saying,
    })
}

fn bodies() -> impl Strategy<Value = Body> {
    let value = |(name, value)| Synced { name, value, at_ms: 3 };
    prop_oneof![
        4 => sayings().prop_map(Body::Say),
        1 => ("[a-z ]{0,20}", prop::collection::vec((any::<[u8; 16]>().prop_map(AccountId), "[a-z]{1,9}"), 0..4))
            .prop_map(|(name, members)| Body::Name(Naming { name, members })),
        1 => (0..=MAX_TIME_MS).prop_map(Body::Timer),
        1 => ids().prop_map(Body::Delivered),
        1 => ids().prop_map(Body::Read),
        1 => Just(Body::Cover),
        1 => prop::collection::vec((any::<u64>(), 0..=MAX_TIME_MS), 0..4).prop_map(Body::Ask),
        1 => prop::collection::vec(any::<u64>(), 0..4).prop_map(Body::Void),
        1 => said().prop_map(|said| Body::Copy(Box::new(said))),
        1 => ("[a-z]{1,9}", any::<Vec<u8>>()).prop_map(move |pair| Body::Sync(vec![value(pair)])),
        1 => said().prop_map(|said| Body::History(pb::History { said: vec![said.encode()], ..pb::History::default() })),
    ]
}

fn made(sent_at_ms: u64, body: Body) -> Content {
    Content { id: MessageId([1; 16]), sent_at_ms, from: "a".into(), again: None, blind: [3; 16], body }
}

fn decoded(content: &Content) -> Result<Content, ContentError> {
    Content::decode(&content.encode().unwrap())
}

proptest! {
    #[test]
    fn comes_back_as_it_went(
        id: [u8; 16],
        sent_at_ms in 0..=MAX_TIME_MS,
        from in "[a-z]{1,9}",
        again in prop::option::of((any::<u64>(), 0..=MAX_TIME_MS)),
        body in bodies(),
    ) {
        let content = Content { id: MessageId(id), sent_at_ms, from, again, blind: id, body };
        prop_assert_eq!(decoded(&content), Ok(content));
    }

    #[test]
    fn what_is_kept_comes_back(saying in sayings()) {
        prop_assert_eq!(Saying::from_bytes(&saying.to_bytes()), Some(saying));
    }

    #[test]
    fn anything_else_is_an_error_and_no_panic(bytes: Vec<u8>) {
        let _ = Content::decode(&bytes);
        let _ = Saying::from_bytes(&bytes);
    }

    #[test]
    fn damage_is_an_error_or_another_content_and_no_panic(body in bodies(), at: prop::sample::Index, flip in 1..=255u8) {
        let mut bytes = made(5, body).encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _ = Content::decode(&bytes);
    }
}

/// The example of the wire reference.
#[test]
fn a_content_has_its_bytes() {
    let mut content = made(1_700_000_000_000, Body::Say(Saying::Text("hi".into())));
    content.id = MessageId(std::array::from_fn(|n| n as u8));
    content.blind = std::array::from_fn(|n| 0x10 + n as u8);
    content.from = "alice".into();
    let expected = "08021210000102030405060708090a0b0c0d0e0f1880d095ffbc312205616c696365\
                    3210101112131415161718191a1b1c1d1e1f52060a040a026869";
    assert_eq!(hex::encode(content.encode().unwrap()), expected);
}

#[test]
fn what_is_not_known_is_kept_whole() {
    // Field 99 of a later version instead of a body that is known.
    let mut later =
        pb::Content { version: 2, id: bytes(&[7; 16]), sent_at_ms: 5, ..pb::Content::default() }.encode_to_vec();
    later.extend_from_slice(&[0x9a, 0x06, 2, 1, 2]);
    let content = Content::decode(&later).unwrap();
    assert_eq!((content.id, content.body), (MessageId([7; 16]), Body::Say(Saying::Unknown(later.clone()))));
    // Beside a known body it is skipped.
    let naming = Naming { name: "n".into(), members: Vec::new() };
    let mut known = made(5, Body::Name(naming.clone())).encode().unwrap();
    known.extend_from_slice(&[0x9a, 0x06, 2, 1, 2]);
    assert_eq!(Content::decode(&known).unwrap().body, Body::Name(naming));
    let version = |version| pb::Content { version, ..pb::Content::default() }.encode_to_vec();
    assert_eq!(Content::decode(&version(3)), Err(ContentError::Version(3)));
    assert_eq!(Content::decode(&version(0)), Err(ContentError::Malformed));
}

#[test]
fn what_no_store_holds_is_malformed() {
    let text = |text: String| Body::Say(Saying::Text(text.as_str().into()));
    assert!(decoded(&made(MAX_TIME_MS, text("t".into()))).is_ok());
    for body in [
        text("t".repeat(MAX_TEXT + 1)),
        Body::Name(Naming { name: "n".repeat(MAX_NAME + 1), members: Vec::new() }),
        Body::Name(Naming { name: "n".into(), members: vec![(AccountId([1; 16]), "a".into()); MAX_LIST + 1] }),
        Body::Void(vec![1; MAX_LIST + 1]),
        Body::Timer(MAX_TIME_MS + 1),
    ] {
        assert_eq!(decoded(&made(1, body)), Err(ContentError::Malformed));
    }
    assert_eq!(decoded(&made(MAX_TIME_MS + 1, text("t".into()))), Err(ContentError::Malformed));
    let files = |count| {
        let attachments = vec![pb::Attachment::default(); count];
        Body::Say(Saying::Text(Text { draft: Draft { attachments, ..Draft::default() }, expires_after_ms: 0 }))
    };
    assert!(decoded(&made(1, files(MAX_ATTACHMENTS))).is_ok());
    assert_eq!(decoded(&made(1, files(MAX_ATTACHMENTS + 1))), Err(ContentError::Malformed));
}

#[test]
fn an_envelope_is_large_enough_for_the_largest_content() {
    let part = |len| {
        Body::History(pb::History {
            said: vec![pb::Said { conversation: vec![0; len].into(), ..pb::Said::default() }],
            ..pb::History::default()
        })
    };
    let largest = (0..64).find_map(|less| made(1, part(MAX_CONTENT - less)).encode().ok()).unwrap();
    assert!(qpc_crypto::padding::pad(&largest).len() + 1024 <= qpc_wire::limits::MAX_ENVELOPE);
    assert!(matches!(made(1, part(MAX_CONTENT)).encode(), Err(ContentError::TooLarge(_))));
}

#[test]
fn mentions_stand_for_a_part_of_the_text() {
    let mention = |start, length| pb::Mention { account: bytes(&[1; 16]), start, length };
    let mentions =
        vec![mention(0, 2), mention(1, 1), mention(2, 0), mention(2, 1), mention(2, u32::MAX), mention(9, 1)];
    let text = Text::decode(pb::Text { text: "äb".into(), mentions, ..pb::Text::default() }).unwrap();
    let ranges: Vec<_> = text.draft.mentions.iter().map(|mention| mention.range.clone()).collect();
    assert_eq!(ranges, [0..2, 2..3]);
    assert!(text.is_for(AccountId([1; 16])) && !text.is_for(AccountId([2; 16])));
}

#[test]
fn a_sign_is_short_and_does_not_move_what_is_around_it() {
    for good in ["👍", "👨‍👩‍👧‍👦", "+1", "ok"] {
        assert!(is_sign(good), "{good}");
    }
    for bad in ["", "a b", "\n", "\u{1b}[2J", &"x".repeat(33)] {
        assert!(!is_sign(bad), "{bad:?}");
    }
}
