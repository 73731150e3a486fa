//! A conversation as a file: encrypted, and signed by this device so that it can be shown to others. The bytes are those of
//! [`qpc_crypto::archive`], the records those of `proto/qpc/content/v1/transcript.proto`.

use std::io::{BufReader, Read, Write};

use bytes::Bytes;
use prost::Message as _;
use qpc_crypto::archive::{self, About, ArchiveError, Head, Lock, Reader, Summary, Writer};
use qpc_wire::{
    AccountId, GroupId, content as pb,
    content::transcript_message::{Kind, State},
};
use serde::Serialize;

use crate::{
    ConversationKind, Error, Mention, MessageKind, MessageRef, MessageState, Reaction,
    client::Inner,
    store::{Telling, Told, Tx},
};

/// Messages that are read from the store at a time.
const CHUNK: usize = 500;

/// How far a file is written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveProgress {
    /// Messages done.
    pub done: u64,
    /// Messages in all, as far as that is known.
    pub total: u64,
}

/// What a transcript proves, to whoever reads it and without a passphrase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TranscriptReport {
    /// Whose word it is, hexadecimal. Nobody else can have made it who does not have a device of this account.
    pub account: String,
    /// Public key of the account, hexadecimal, to be compared with what is known of it.
    pub account_key: String,
    /// The device that signed it, hexadecimal.
    pub device: String,
    /// When it was begun, Unix milliseconds, by the clock of the device.
    pub made_at_ms: u64,
    /// SHA-256 of "qpc archive conversation v1" and the id of the conversation, hexadecimal.
    pub conversation_hash: String,
    /// Records: one for the conversation, and one for each message.
    pub records: u64,
    /// Root of their Merkle tree, hexadecimal: it stands for all of it.
    pub root: String,
    /// Length of the file.
    pub bytes: u64,
}

/// A record of a transcript, as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum TranscriptEntry {
    /// Which conversation it is.
    Conversation {
        /// Id, hexadecimal.
        id: String,
        /// `direct`, `group` or `notes`.
        kind: &'static str,
        /// Name of the group, or of the other.
        name: String,
        /// Who tells.
        told_by: String,
        /// Messages that were there when it was begun.
        messages: u64,
    },
    /// A message.
    Message(Box<TranscriptMessage>),
    /// Of a later version.
    Unknown,
}

/// A message of a transcript. Ids are hexadecimal, times Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TranscriptMessage {
    /// Chosen by its writer.
    pub id: String,
    /// Account of the writer.
    pub account: String,
    /// The writer's name, if the directory has confirmed it.
    pub name: Option<String>,
    /// Device of the writer.
    pub device: String,
    /// By the writer's clock.
    pub sent_at_ms: u64,
    /// By the server's clock; 0 for what it has not accepted.
    pub accepted_at_ms: u64,
    /// What became of it.
    pub state: String,
    /// Group and place in its chain of receipts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<(String, u64)>,
    /// Epoch in which it was encrypted.
    pub epoch: u64,
    /// Other accounts that have it.
    pub delivered_to: u32,
    /// Other accounts that have read it.
    pub read_by: u32,
    /// `text`, `unknown` or `deleted`.
    pub kind: String,
    /// What was written, as it was last edited.
    pub text: String,
    /// The message that it answers: account of its writer, and id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<(String, String)>,
    /// Who is named in the text: account, where that begins, and how many bytes it has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<(String, u32, u32)>,
    /// Its files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<TranscriptFile>,
    /// When it was last edited, by the clock of who did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited_at_ms: Option<u64>,
    /// Account that has deleted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_by: Option<String>,
    /// The signs under it, each with the accounts that have put it there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<(String, Vec<String>)>,
}

/// A file of a message in a transcript: its name, not its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TranscriptFile {
    /// For people.
    pub name: String,
    /// As its writer says.
    pub media_type: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of what the server has of it, hexadecimal.
    pub blob: String,
}

/// Writes a conversation.
pub(crate) async fn export(
    inner: &Inner,
    conversation: GroupId,
    passphrase: &str,
    out: &mut (impl Write + Send),
    progress: &mut (dyn FnMut(ArchiveProgress) + Send),
) -> Result<TranscriptReport, Error> {
    let (identity, mut rng) = (inner.identity.clone(), inner.runtime.rng());
    let username = identity.username.clone();
    let (head, mut telling) = inner.store.run(move |tx| head(tx, conversation, username)).await?;
    let lock = lock(inner, passphrase).await?;
    let about = About::Transcript { conversation, certificate: &identity.certificate };
    let mut writer = Writer::new(out, &mut rng, &lock, &about, inner.runtime.now_ms())?;
    let total = head.messages;
    push(&mut writer, pb::transcript_record::Record::Head(head))?;
    let mut done = 0;
    loop {
        let (told, next) = inner
            .store
            .run(move |tx| {
                let told = tx.tell(conversation, &mut telling, CHUNK)?;
                Ok((told, telling))
            })
            .await?;
        if told.is_empty() {
            break;
        }
        telling = next;
        for told in told {
            push(&mut writer, pb::transcript_record::Record::Message(message(told)))?;
            done += 1;
        }
        progress(ArchiveProgress { done, total });
    }
    let head = writer.head().clone();
    Ok(report(&head, &writer.finish(&identity.device_key)?))
}

/// The keys of a new file.
pub(crate) async fn lock(inner: &Inner, passphrase: &str) -> Result<Lock, Error> {
    let (passphrase, ksf, mut rng) = (passphrase.to_owned(), inner.ksf, inner.runtime.rng());
    let passphrase = zeroize::Zeroizing::new(passphrase);
    let made = inner.runtime.blocking(move || Lock::new(&mut rng, passphrase.as_bytes(), ksf)).await;
    Ok(made.ok_or(Error::Interrupted)??)
}

fn push<W: Write>(writer: &mut Writer<W>, record: pb::transcript_record::Record) -> Result<(), ArchiveError> {
    let record = zeroize::Zeroizing::new(pb::TranscriptRecord { record: Some(record) }.encode_to_vec());
    writer.push(&record)
}

fn head(tx: &Tx<'_>, conversation: GroupId, username: String) -> Result<(pb::TranscriptHead, Telling), Error> {
    let info = tx.conversation(conversation)?.ok_or(Error::UnknownConversation(conversation))?;
    let (telling, messages) = tx.begin_telling(conversation)?;
    let head = pb::TranscriptHead {
        conversation: conversation.to_bytes(),
        kind: info.kind.number().into(),
        name: info.name.or(info.peer_name).unwrap_or_default(),
        username,
        messages,
    };
    Ok((head, telling))
}

fn message(told: Told) -> pb::TranscriptMessage {
    let Told { message, at_ms, place } = told;
    pb::TranscriptMessage {
        id: Bytes::copy_from_slice(&message.id.0),
        account: message.sender.to_bytes(),
        device: message.device.to_bytes(),
        name: message.sender_name.unwrap_or_default(),
        sent_at_ms: message.sent_at_ms,
        accepted_at_ms: at_ms,
        state: state(message.state).into(),
        group: place.map(|(group, _)| group.to_bytes()).unwrap_or_default(),
        place: place.map_or(0, |(_, place)| place),
        epoch: message.epoch,
        delivered_to: message.delivered_to,
        read_by: message.read_by,
        kind: kind(message.kind).into(),
        text: Some(text(message.text, message.reply_to, &message.mentions, message.attachments)),
        edited_at_ms: message.edited_at_ms.unwrap_or_default(),
        deleted_by: message.deleted_by.map(AccountId::to_bytes).unwrap_or_default(),
        reactions: message.reactions.into_iter().map(reaction).collect(),
    }
}

fn text(
    text: String,
    reply_to: Option<MessageRef>,
    mentions: &[Mention],
    attachments: Vec<pb::Attachment>,
) -> pb::Text {
    let named = |file| pb::Attachment { key: Bytes::new(), thumbnail: Bytes::new(), ..file };
    pb::Text {
        text,
        reply_to: reply_to.map(MessageRef::encode),
        mentions: mentions.iter().map(Mention::encode).collect(),
        attachments: attachments.into_iter().map(named).collect(),
        expires_after_ms: 0,
    }
}

fn reaction(reaction: Reaction) -> pb::transcript_message::Reaction {
    let accounts = reaction.accounts.into_iter().map(AccountId::to_bytes).collect();
    pb::transcript_message::Reaction { emoji: reaction.emoji, accounts }
}

fn kind(kind: MessageKind) -> Kind {
    match kind {
        MessageKind::Text => Kind::Text,
        MessageKind::Deleted | MessageKind::Expired => Kind::Deleted,
        MessageKind::Unknown => Kind::Unknown,
    }
}

fn state(state: MessageState) -> State {
    match state {
        MessageState::Queued => State::Queued,
        MessageState::Accepted => State::Accepted,
        MessageState::Failed => State::Failed,
        MessageState::Received => State::Received,
        MessageState::ReceiptRefused => State::ReceiptRefused,
        MessageState::Sent => State::Sent,
        MessageState::Delivered => State::Delivered,
        MessageState::Read => State::Read,
        MessageState::Local => State::Local,
    }
}

/// Reads a transcript without its passphrase: whether it is as its device has signed it, to the last byte. What is damaged is
/// named by the error, [`ArchiveError::Damaged`].
pub fn verify_transcript(input: impl Read) -> Result<TranscriptReport, ArchiveError> {
    let reader = Reader::new(BufReader::new(input), archive::Kind::Transcript)?;
    let head = reader.head().clone();
    Ok(report(&head, &reader.verify()?))
}

/// Reads a transcript with its passphrase and gives each record to `each`, in flat memory. What was given is whole even if
/// the file is found to be damaged later; who signed it is known at the end. Takes the time of Argon2id.
pub fn read_transcript<E: From<ArchiveError>>(
    input: impl Read,
    passphrase: &str,
    mut each: impl FnMut(TranscriptEntry) -> Result<(), E>,
) -> Result<TranscriptReport, E> {
    let mut opened = Reader::new(BufReader::new(input), archive::Kind::Transcript)?.unlock(passphrase.as_bytes())?;
    while let Some(record) = opened.next_record()? {
        each(entry(record))?;
    }
    let head = opened.head().clone();
    Ok(report(&head, &opened.finish()?))
}

/// Takes record `index` out of a transcript, from 0, in a form that shows it to others and proves that it stands there, and
/// says nothing of the other records. Takes the time of Argon2id.
pub fn prove_transcript(input: impl Read, passphrase: &str, index: u64) -> Result<Vec<u8>, ArchiveError> {
    Ok(archive::prove(BufReader::new(input), passphrase.as_bytes(), index)?.to_vec())
}

/// Checks what [`prove_transcript`] made, from nothing but itself. Returns the index and the record too.
pub fn verify_transcript_proof(proof: &[u8]) -> Result<(TranscriptReport, u64, TranscriptEntry), ArchiveError> {
    let proven = archive::verify_proof(proof)?;
    let summary = Summary { records: proven.records, root: proven.root, bytes: proof.len() as u64 };
    Ok((report(&proven.head, &summary), proven.index, entry(&proven.record)))
}

fn report(head: &Head, summary: &Summary) -> TranscriptReport {
    let (conversation, certificate) = head
        .signed_by
        .as_ref()
        .map_or_else(Default::default, |(conversation, signer)| (hex::encode(conversation), Some(signer)));
    let of = |part: fn(&qpc_crypto::DeviceCertificate) -> String| certificate.map(part).unwrap_or_default();
    TranscriptReport {
        account: of(|signer| signer.account_id().to_string()),
        account_key: of(|signer| hex::encode(signer.account_key())),
        device: of(|signer| signer.device_id().to_string()),
        made_at_ms: head.made_at_ms,
        conversation_hash: conversation,
        records: summary.records,
        root: hex::encode(summary.root),
        bytes: summary.bytes,
    }
}

/// A record that makes no sense is as one of a later version: it is what its writer has signed.
fn entry(record: &[u8]) -> TranscriptEntry {
    use pb::transcript_record::Record;
    match pb::TranscriptRecord::decode(record).ok().and_then(|record| record.record) {
        Some(Record::Head(head)) => TranscriptEntry::Conversation {
            id: hex::encode(&head.conversation),
            kind: match u8::try_from(head.kind).map(ConversationKind::from_u8) {
                Ok(ConversationKind::Direct) => "direct",
                Ok(ConversationKind::Notes) => "notes",
                Ok(ConversationKind::Group | ConversationKind::Own) | Err(_) => "group",
            },
            name: head.name,
            told_by: head.username,
            messages: head.messages,
        },
        Some(Record::Message(message)) => TranscriptEntry::Message(Box::new(shown(message))),
        None => TranscriptEntry::Unknown,
    }
}

fn shown(message: pb::TranscriptMessage) -> TranscriptMessage {
    let word = |name: &str, prefix| name.trim_start_matches(prefix).to_lowercase();
    let (state, kind) = (word(message.state().as_str_name(), "STATE_"), word(message.kind().as_str_name(), "KIND_"));
    let text = message.text.unwrap_or_default();
    let file = |file: pb::Attachment| TranscriptFile {
        name: file.name,
        media_type: file.media_type,
        size: file.size,
        blob: hex::encode(file.blob_id),
    };
    let reaction = |reaction: pb::transcript_message::Reaction| {
        (reaction.emoji, reaction.accounts.iter().map(hex::encode).collect())
    };
    let mention = |mention: &pb::Mention| (hex::encode(&mention.account), mention.start, mention.length);
    TranscriptMessage {
        id: hex::encode(&message.id),
        account: hex::encode(&message.account),
        name: Some(message.name).filter(|name| !name.is_empty()),
        device: hex::encode(&message.device),
        sent_at_ms: message.sent_at_ms,
        accepted_at_ms: message.accepted_at_ms,
        state,
        place: (!message.group.is_empty()).then(|| (hex::encode(&message.group), message.place)),
        epoch: message.epoch,
        delivered_to: message.delivered_to,
        read_by: message.read_by,
        kind,
        text: text.text,
        reply_to: text.reply_to.map(|target| (hex::encode(target.author), hex::encode(target.id))),
        mentions: text.mentions.iter().map(mention).collect(),
        files: text.attachments.into_iter().map(file).collect(),
        edited_at_ms: Some(message.edited_at_ms).filter(|at_ms| *at_ms > 0),
        deleted_by: (!message.deleted_by.is_empty()).then(|| hex::encode(&message.deleted_by)),
        reactions: message.reactions.into_iter().map(reaction).collect(),
    }
}
