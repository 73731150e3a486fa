//! `proto/golden/frames.json` holds one frozen frame of every message of the protocol. Whatever changes a field's number,
//! type or place makes this test red; so does a message without a frame.
//!
//! `QPC_BLESS=1 cargo test -p qpc-wire --test golden` adds frames for new messages and never touches the others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::panic)]

use std::{collections::BTreeMap, path::Path};

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};
use qpc_wire::{
    Access, Method, frame,
    methods::{self, Visitor},
    v1,
};
use serde_json::json;

/// Deeper messages are left out; no message of ours is recursive.
const MAX_DEPTH: u32 = 6;

type Frames = BTreeMap<String, serde_json::Value>;

#[test]
fn every_message_has_a_frozen_frame_that_decodes_to_itself() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let path = root.join("golden/frames.json");
    let frames: Frames = serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or("{}".into())).unwrap();
    let mut golden = Golden { pool: pool(&root), frames, missing: Vec::new(), seen: 0 };
    methods::visit_all(&mut golden);
    golden.push::<v1::MailboxEvent>(v1::EventType::Mailbox, "MailboxEvent");
    golden.push::<v1::KeyPackageLowEvent>(v1::EventType::KeyPackageLow, "KeyPackageLowEvent");
    golden.push::<v1::DrainEvent>(v1::EventType::Drain, "DrainEvent");
    golden.push::<v1::PullAgainEvent>(v1::EventType::PullAgain, "PullAgainEvent");
    golden.push::<v1::SessionEndedEvent>(v1::EventType::SessionEnded, "SessionEndedEvent");
    golden.response::<v1::Error>("Error", v1::Code::Aborted as u8);

    if std::env::var("QPC_BLESS").is_ok() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, serde_json::to_string_pretty(&golden.frames).unwrap() + "\n").unwrap();
    } else {
        assert!(golden.missing.is_empty(), "no frozen frame for {:?}; see the head of this file", golden.missing);
    }
    assert_eq!(golden.seen, golden.frames.len(), "a frozen frame belongs to no message any more");
}

fn pool(root: &Path) -> DescriptorPool {
    let files: Vec<_> = std::fs::read_dir(root.join("qpc/v1")).unwrap().map(|entry| entry.unwrap().path()).collect();
    DescriptorPool::from_file_descriptor_set(protox::compile(files, [root]).unwrap()).unwrap()
}

struct Golden {
    pool: DescriptorPool,
    frames: Frames,
    missing: Vec<String>,
    seen: usize,
}

impl Visitor for Golden {
    fn visit<M: Method>(&mut self) {
        // No client ever sees a frame of these; services are released together.
        if M::INFO.access == Access::Service {
            return;
        }
        let request = type_name::<M::Request>();
        let id = M::INFO.id;
        self.check::<M::Request>(&format!("request {id} {request}"), &request, frame::REQUEST_HEADER, |message| {
            frame::request(id, 7, message).unwrap().to_vec()
        });
        let response = type_name::<M::Response>();
        self.check::<M::Response>(&format!("response {id} {response}"), &response, frame::RESPONSE_HEADER, |message| {
            let payload = message.encode_to_vec();
            [frame::response_header(0, 7, &payload).unwrap().as_ref(), &payload].concat()
        });
    }
}

impl Golden {
    fn push<T: Message + Default>(&mut self, event: v1::EventType, name: &str) {
        self.check::<T>(&format!("push {} {name}", event as i32), name, frame::PUSH_HEADER, |message| {
            let payload = message.encode_to_vec();
            [frame::push_header(event as u16, &payload).unwrap().as_ref(), &payload].concat()
        });
    }

    fn response<T: Message + Default>(&mut self, name: &str, status: u8) {
        self.check::<T>(&format!("response {name}"), name, frame::RESPONSE_HEADER, |message| {
            let payload = message.encode_to_vec();
            [frame::response_header(status, 7, &payload).unwrap().as_ref(), &payload].concat()
        });
    }

    /// A frame for each alternative that a `oneof` of the message has.
    fn check<T: Message + Default>(&mut self, key: &str, name: &str, header: usize, frame: impl Fn(&T) -> Vec<u8>) {
        let name = format!("qpc.v1.{name}");
        let first = sample(&name, &self.pool, 0, 0);
        let second = sample(&name, &self.pool, 1, 0);
        if first != second {
            self.check_one(&format!("{key}, second alternative"), &second, header, &frame);
        }
        self.check_one(key, &first, header, &frame);
    }

    fn check_one<T: Message + Default>(
        &mut self,
        key: &str,
        sample: &DynamicMessage,
        header: usize,
        frame: &impl Fn(&T) -> Vec<u8>,
    ) {
        self.seen += 1;
        if !self.frames.contains_key(key) {
            self.missing.push(key.to_owned());
            let message = T::decode(sample.encode_to_vec().as_slice()).unwrap();
            let json = serde_json::to_value(sample).unwrap();
            self.frames.insert(key.to_owned(), json!({ "frame": hex::encode(frame(&message)), "message": json }));
        }
        let bytes = hex::decode(self.frames[key]["frame"].as_str().unwrap()).unwrap();
        let message = T::decode(&bytes[header..]).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(hex::encode(frame(&message)), hex::encode(&bytes), "{key} has changed");
        let dynamic = DynamicMessage::decode(sample.descriptor(), &bytes[header..]).unwrap();
        assert_eq!(serde_json::to_value(&dynamic).unwrap(), self.frames[key]["message"], "{key} has changed");
    }
}

fn type_name<T>() -> String {
    std::any::type_name::<T>().rsplit("::").next().unwrap().to_owned()
}

/// A message with every field set to something that differs from field to field; of a `oneof` the alternative
/// `variant`.
fn sample(name: &str, pool: &DescriptorPool, variant: usize, depth: u32) -> DynamicMessage {
    let descriptor = pool.get_message_by_name(name).unwrap();
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let chosen = field.containing_oneof().is_none_or(|oneof| {
            let alternatives: Vec<_> = oneof.fields().collect();
            alternatives[variant % alternatives.len()] == field
        });
        if chosen && depth < MAX_DEPTH {
            let value = value(&field, pool, variant, depth);
            let value = if field.is_list() { Value::List(vec![value.clone(), value]) } else { value };
            message.set_field(&field, value);
        }
    }
    message
}

fn value(field: &FieldDescriptor, pool: &DescriptorPool, variant: usize, depth: u32) -> Value {
    let number = field.number();
    match field.kind() {
        Kind::String => Value::String(format!("text {number}")),
        Kind::Bytes => Value::Bytes(vec![number as u8; 16].into()),
        Kind::Uint32 => Value::U32(1000 + number),
        Kind::Uint64 => Value::U64(1 << 40 | u64::from(number)),
        Kind::Bool => Value::Bool(true),
        Kind::Enum(_) => Value::EnumNumber(1),
        Kind::Message(inner) => Value::Message(sample(inner.full_name(), pool, variant, depth + 1)),
        other => panic!("teach this test about {other:?}"),
    }
}
