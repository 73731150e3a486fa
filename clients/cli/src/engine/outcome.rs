//! What a command has brought.

use qpc_sdk::{ConversationId, Device, MessageId};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Spot;
use crate::text;

/// Code of something that was done in part.
const PARTLY: u8 = 10;

/// The result of an action.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What was asked for: standard output.
    pub(crate) items: Vec<Item>,
    /// What a person wants to know besides: standard error.
    pub(crate) notes: Vec<String>,
    /// Exit code; of something that was done all the same.
    pub(crate) code: u8,
    /// What a chat does with it.
    pub(crate) effect: Effect,
}

/// What follows in a chat.
#[derive(Debug, Default)]
pub(crate) enum Effect {
    /// Nothing.
    #[default]
    None,
    /// A conversation is to be opened; its heading is shown in place of the items.
    Enter(ConversationId),
    /// A conversation was left.
    Gone(ConversationId),
    /// An event says it, so that the items are not shown.
    Told,
    /// The open conversation may be called otherwise.
    Retitle,
    /// A message was written, whose fate will be told under this text.
    Sent(MessageId, String),
    /// The items are numbered, and are these.
    Conversations(Vec<ConversationId>),
    /// The same.
    Devices(Vec<Device>),
    /// The same.
    Invites(ConversationId, Vec<[u8; 32]>),
    /// The same.
    Messages(Vec<Spot>),
}

/// One piece of data: a line of JSON, or of text.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Name and version of its fields, which are only ever added to.
    pub(crate) schema: &'static str,
    pub(crate) fields: Map<String, Value>,
    /// For a person. Safe to print; what others wrote is indented after the first line.
    pub(crate) text: String,
}

impl Item {
    /// `data` must be a struct or map.
    pub(crate) fn new(schema: &'static str, data: &impl Serialize, text: impl Into<String>) -> Self {
        let fields = match serde_json::to_value(data) {
            Ok(Value::Object(fields)) => fields,
            // Nothing here has keys or numbers that JSON has not.
            Ok(other) => Map::from_iter([("value".to_owned(), other)]),
            Err(error) => Map::from_iter([("error".to_owned(), error.to_string().into())]),
        };
        Self { schema, fields, text: text.into() }
    }

    /// The line of JSON: all fields, or those that are wanted.
    pub(crate) fn json(&self, wanted: Option<&[String]>) -> String {
        let mut object = Map::new();
        object.insert("schema".to_owned(), self.schema.into());
        for (name, value) in &self.fields {
            if wanted.is_none_or(|wanted| wanted.iter().any(|wanted| wanted == name)) {
                object.insert(name.clone(), value.clone());
            }
        }
        // The same to every parser, and nothing that could steer a terminal.
        let line = Value::Object(object).to_string();
        let mut safe = String::with_capacity(line.len());
        for character in line.chars() {
            match character {
                character if text::steers(character) => safe.push_str(&format!("\\u{:04x}", u32::from(character))),
                character => safe.push(character),
            }
        }
        safe
    }
}

impl Outcome {
    /// One piece of data.
    pub(crate) fn item(schema: &'static str, data: &impl Serialize, text: impl Into<String>) -> Self {
        Self::from(Item::new(schema, data, text))
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn then(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// It was not done for everybody.
    pub(crate) fn partly(mut self) -> Self {
        self.code = PARTLY;
        self
    }
}

impl From<Item> for Outcome {
    fn from(item: Item) -> Self {
        Self { items: vec![item], ..Self::default() }
    }
}

impl FromIterator<Item> for Outcome {
    fn from_iter<T: IntoIterator<Item = Item>>(items: T) -> Self {
        Self { items: items.into_iter().collect(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_of_json_cannot_steer_a_terminal() {
        let text = "a\u{202e}b\u{9b}2J\u{1b}[1m";
        let line = Item::new("qpc.thing/1", &json!({ "text": text }), "").json(None);
        assert_eq!(line, r#"{"schema":"qpc.thing/1","text":"a\u202eb\u009b2J\u001b[1m"}"#);
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["text"], text);
    }

    #[test]
    fn a_line_of_json_says_what_it_is_and_has_what_was_wanted() {
        let item = Item::new("qpc.thing/1", &json!({"b": 1, "a": "x\ny"}), "x");
        assert_eq!(item.json(None), r#"{"a":"x\ny","b":1,"schema":"qpc.thing/1"}"#);
        assert_eq!(item.json(Some(&["b".to_owned(), "none".to_owned()])), r#"{"b":1,"schema":"qpc.thing/1"}"#);
    }
}
