//! The server's word, taken away: receipts written to a file, and checked without server, account or password.
//!
//! A file is lines of JSON: a head with the server's public key and the device it is from, then one line for each receipt.
//! The receipts of a group are a chain (see [`qpc_wire::proofs::receipt`]), so a file alone shows forged, doubled and
//! exchanged receipts, and what was accepted and never delivered; the files of two devices together also show what one of
//! them was never given.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, Write},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;
use qpc_crypto::receipt::{self, Link};
use qpc_wire::{DeviceId, GroupId, v1};
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    client::Inner,
    store::{Break, Kept},
};

const FORMAT: &str = "qpc receipts";
const VERSION: u32 = 1;
/// Receipts that are read from the store at a time.
const CHUNK: usize = 1_000;
/// Longest line of a file, bytes.
const MAX_LINE: u64 = 4 << 10;
/// Places of one hole that are named, from its beginning.
const MAX_MISSING: usize = 1_000;
/// Lines of a file.
const MAX_LINES: usize = 10_000_000;

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    /// Ed25519, hexadecimal.
    server_key: String,
    device: String,
    exported_at_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// Whether the device sent what it is about.
    own: bool,
    /// Why what is missing before it is not held against the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Break>,
    /// The message `Receipt` of the protocol, base64.
    receipt: String,
}

/// Why a file of receipts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptFileError {
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin as such a file does.
    #[error("this is no file of receipts: its first line must name the format {FORMAT:?}, version {VERSION}")]
    Head,
    /// A line that is no receipt.
    #[error("line {0} is no receipt")]
    Line(usize),
    /// More than is read.
    #[error("more than {MAX_LINES} receipts")]
    TooLong,
}

/// What a set of files says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ReceiptReport {
    /// Receipts read, in all files.
    pub receipts: usize,
    /// The chains, one for each group and server key.
    pub chains: Vec<ChainReport>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is missing without anybody being to blame.
    pub excused: Vec<Excused>,
}

/// Places that a device had no receipts of because they were gone from its mailbox: they had expired, or the store of the
/// device was put back to an older copy. That it is so is the server's word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Excused {
    /// Group, hexadecimal.
    pub group: String,
    /// First place.
    pub first: u64,
    /// Last place.
    pub last: u64,
    /// Device, hexadecimal.
    pub device: String,
}

/// A group's chain, over all files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// Group, hexadecimal.
    pub group: String,
    /// Lowest place that is in a file.
    pub first: u64,
    /// Highest place.
    pub last: u64,
    /// How many places are in some file.
    pub places: usize,
}

/// Something that a server that keeps its word would not have done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// A receipt that the server's key has not signed: whoever wrote the file did.
    Forged {
        /// Device of the file.
        device: String,
        /// Line in it.
        line: usize,
    },
    /// The server has signed two receipts for one place: it tells devices different things.
    Two {
        /// Group.
        group: String,
        /// Place.
        seq: u64,
    },
    /// A receipt names another predecessor than the one that was given out.
    Broken {
        /// Group.
        group: String,
        /// Place.
        seq: u64,
    },
    /// The server has accepted something at this place, as the next one shows, and no file has it.
    Missing {
        /// Group.
        group: String,
        /// Place.
        seq: u64,
    },
    /// The server has accepted this, as another device's file shows, and never gave it to this device, although it gave
    /// it what came after.
    Withheld {
        /// Group.
        group: String,
        /// Place.
        seq: u64,
        /// Device that should have it.
        device: String,
        /// SHA-256 of the message, hexadecimal.
        message_hash: String,
    },
    /// Files of devices that know different keys of the server.
    ServerKeys,
}

/// Writes all receipts. Returns how many.
pub(crate) async fn export(inner: &Inner, out: &mut (impl Write + Send)) -> Result<usize, Error> {
    let file_error = |source| Error::Io { path: "receipts".into(), source };
    let key = inner.store.run(|tx| tx.receipt_key()).await?.ok_or(Error::Incomplete("a receipt key"))?;
    let head = Head {
        format: FORMAT.to_owned(),
        version: VERSION,
        server_key: hex::encode(key),
        device: inner.identity.device().to_string(),
        exported_at_ms: inner.runtime.now_ms(),
    };
    write_line(out, &head).map_err(file_error)?;
    let (mut after, mut count) = (None, 0);
    let mut receipts = inner.store.run(|tx| tx.lost_receipts()).await?;
    loop {
        count += receipts.len();
        for Kept { own, before, receipt } in receipts {
            let line = Line { own, before, receipt: BASE64_STANDARD.encode(receipt.encode_to_vec()) };
            write_line(out, &line).map_err(file_error)?;
        }
        receipts = inner.store.run(move |tx| tx.receipts_after(after, CHUNK)).await?;
        let Some(last) = receipts.last() else { return Ok(count) };
        after = Some((GroupId::try_from(&last.receipt.group_id)?, last.receipt.seq));
    }
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// The receipts of one device.
pub struct ReceiptFile {
    device: DeviceId,
    server_key: [u8; 32],
    receipts: Vec<Entry>,
}

/// A receipt in a file.
#[derive(Clone)]
struct Entry {
    before: Option<Break>,
    receipt: v1::Receipt,
}

impl ReceiptFile {
    /// Reads what [`crate::Client::export_receipts`] wrote.
    pub fn read(file: impl BufRead) -> Result<Self, ReceiptFileError> {
        let mut lines = Lines(file);
        let head: Head =
            lines.next()?.and_then(|line| serde_json::from_str(&line).ok()).ok_or(ReceiptFileError::Head)?;
        if head.format != FORMAT || head.version != VERSION {
            return Err(ReceiptFileError::Head);
        }
        let (mut server_key, mut device) = ([0; 32], [0; DeviceId::LEN]);
        hex::decode_to_slice(&head.server_key, &mut server_key).map_err(|_| ReceiptFileError::Head)?;
        hex::decode_to_slice(&head.device, &mut device).map_err(|_| ReceiptFileError::Head)?;
        let mut receipts = Vec::new();
        while let Some(line) = lines.next()? {
            let number = receipts.len() + 2;
            if number > MAX_LINES {
                return Err(ReceiptFileError::TooLong);
            }
            let bad = || ReceiptFileError::Line(number);
            let line: Line = serde_json::from_str(&line).map_err(|_| bad())?;
            let bytes = BASE64_STANDARD.decode(&line.receipt).map_err(|_| bad())?;
            let receipt = v1::Receipt::decode(bytes.as_slice()).map_err(|_| bad())?;
            receipts.push(Entry { before: line.before, receipt });
        }
        Ok(Self { device: DeviceId(device), server_key, receipts })
    }
}

struct Lines<R>(R);

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<String>, ReceiptFileError> {
        let mut line = String::new();
        let read = io::Read::take(&mut self.0, MAX_LINE).read_line(&mut line)?;
        Ok((read > 0).then_some(line))
    }
}

/// Group and place.
type Place = (String, u64);

/// Checks the receipts of any number of devices, each alone and all against each other.
pub fn verify_receipts(files: &[ReceiptFile]) -> ReceiptReport {
    let mut findings = BTreeSet::new();
    if files.windows(2).any(|pair| pair[0].server_key != pair[1].server_key) {
        findings.insert(Finding::ServerKeys);
    }
    // What each file has at each place, and what all have together.
    let mut of_file: Vec<BTreeMap<Place, &Entry>> = Vec::with_capacity(files.len());
    let mut of_all: BTreeMap<Place, &v1::Receipt> = BTreeMap::new();
    for file in files {
        let mut places = BTreeMap::new();
        for (index, entry) in file.receipts.iter().enumerate() {
            if receipt::verify(&file.server_key, &entry.receipt).is_err() {
                findings.insert(Finding::Forged { device: file.device.to_string(), line: index + 2 });
                continue;
            }
            let place = (hex::encode(&entry.receipt.group_id), entry.receipt.seq);
            places.insert(place.clone(), entry);
            match of_all.insert(place.clone(), &entry.receipt) {
                Some(other) if !same(other, &entry.receipt) => {
                    let (group, seq) = place;
                    findings.insert(Finding::Two { group, seq });
                }
                _ => {}
            }
        }
        of_file.push(places);
    }
    let chains = chains(&of_all, &mut findings);
    let mut excused = Vec::new();
    for (file, places) in files.iter().zip(&of_file) {
        holes(file.device, places, &of_all, &mut findings, &mut excused);
    }
    let receipts = files.iter().map(|file| file.receipts.len()).sum();
    ReceiptReport { receipts, chains, findings: findings.into_iter().collect(), excused }
}

/// Walks every chain, and finds where it breaks.
fn chains(all: &BTreeMap<Place, &v1::Receipt>, findings: &mut BTreeSet<Finding>) -> Vec<ChainReport> {
    let mut chains: Vec<ChainReport> = Vec::new();
    let mut before: Option<(&Place, &v1::Receipt)> = None;
    for (place, receipt) in all {
        let (group, seq) = (place.0.clone(), place.1);
        let last = before.filter(|(known, _)| known.0 == group && known.1 + 1 == seq);
        if last.is_some_and(|(_, known)| !follows(known, receipt)) {
            findings.insert(Finding::Broken { group: group.clone(), seq });
        }
        match chains.last_mut().filter(|chain| chain.group == group) {
            Some(chain) => (chain.last, chain.places) = (seq, chain.places + 1),
            None => chains.push(ChainReport { group, first: seq, last: seq, places: 1 }),
        }
        before = Some((place, receipt));
    }
    chains
}

/// What a device has not, between two things that it has: other devices may have it, or nobody who has brought a file.
fn holes(
    device: DeviceId,
    places: &BTreeMap<Place, &Entry>,
    all: &BTreeMap<Place, &v1::Receipt>,
    findings: &mut BTreeSet<Finding>,
    excused: &mut Vec<Excused>,
) {
    let mut before: Option<&Place> = None;
    for (place, entry) in places {
        let last = before.replace(place).filter(|before| before.0 == place.0).map_or(place.1, |before| before.1);
        let hole = last + 1..place.1;
        let group = place.0.clone();
        match entry.before {
            _ if hole.is_empty() => {}
            Some(Break::Out) => {}
            Some(Break::Gone) => {
                excused.push(Excused { group, first: hole.start, last: hole.end - 1, device: device.to_string() });
            }
            None => findings.extend(hole.take(MAX_MISSING).map(|seq| match all.get(&(group.clone(), seq)) {
                Some(receipt) => {
                    let message_hash = hex::encode(&receipt.message_hash);
                    Finding::Withheld { group: group.clone(), seq, device: device.to_string(), message_hash }
                }
                None => Finding::Missing { group: group.clone(), seq },
            })),
        }
    }
}

fn same(a: &v1::Receipt, b: &v1::Receipt) -> bool {
    matches!((Link::after(a), Link::after(b)), (Ok(a), Ok(b)) if a == b)
}

fn follows(before: &v1::Receipt, after: &v1::Receipt) -> bool {
    Link::after(before).is_ok_and(|link| link.prev.as_slice() == after.prev.as_ref())
}

#[cfg(test)]
mod tests {
    use qpc_crypto::{ReceiptKey, receipt::Accepted};

    use super::*;

    const GROUP: GroupId = GroupId([1; 16]);

    /// A server that accepts so many messages.
    fn chain(key: &ReceiptKey, count: u64) -> Vec<v1::Receipt> {
        let mut link = Link::FIRST;
        (0..count)
            .map(|n| {
                let payload = n.to_be_bytes();
                let accepted = Accepted { group: GROUP, epoch: 1, payload: &payload, devices: &[], at_ms: n };
                let receipt = receipt::build(key, &accepted, &link);
                link = Link::after(&receipt).unwrap();
                receipt
            })
            .collect()
    }

    fn file(device: u8, key: &ReceiptKey, receipts: Vec<v1::Receipt>) -> ReceiptFile {
        let receipts = receipts.into_iter().map(|receipt| Entry { before: None, receipt }).collect();
        ReceiptFile { device: DeviceId([device; 16]), server_key: key.public(), receipts }
    }

    fn without(receipts: &[v1::Receipt], seq: u64) -> Vec<v1::Receipt> {
        receipts.iter().filter(|receipt| receipt.seq != seq).cloned().collect()
    }

    #[test]
    fn a_server_that_keeps_its_word_has_nothing_to_fear() {
        let key = ReceiptKey::from_bytes(&[1; 32]);
        let all = chain(&key, 5);
        let report = verify_receipts(&[file(1, &key, all.clone()), file(2, &key, all[2..].to_vec())]);
        assert_eq!(report.findings, []);
        assert_eq!(report.receipts, 8);
        let group = hex::encode([1; 16]);
        assert_eq!(report.chains, [ChainReport { group, first: 1, last: 5, places: 5 }]);
    }

    #[test]
    fn a_dropped_message_is_shown_by_one_file_and_named_by_two() {
        let key = ReceiptKey::from_bytes(&[1; 32]);
        let all = chain(&key, 4);
        let reader = without(&all, 2);
        let group = hex::encode([1; 16]);
        let alone = verify_receipts(&[file(2, &key, reader.clone())]);
        assert_eq!(alone.findings, [Finding::Missing { group: group.clone(), seq: 2 }]);
        let message_hash = hex::encode(&all[1].message_hash);
        let both = verify_receipts(&[file(2, &key, reader), file(1, &key, vec![all[1].clone()])]);
        let device = DeviceId([2; 16]).to_string();
        assert_eq!(both.findings, [Finding::Withheld { group, seq: 2, device, message_hash }]);
    }

    /// A device that was not there for a while, or from whose mailbox something has expired, blames nobody.
    #[test]
    fn what_was_not_for_a_device_is_not_missing() {
        let key = ReceiptKey::from_bytes(&[1; 32]);
        let all = chain(&key, 5);
        let mut away = file(2, &key, vec![all[0].clone(), all[3].clone(), all[4].clone()]);
        away.receipts[1].before = Some(Break::Out);
        let report = verify_receipts(&[away, file(1, &key, all.clone())]);
        assert_eq!((report.findings, report.excused), (vec![], vec![]));
        let mut still = file(2, &key, vec![all[0].clone(), all[2].clone(), all[4].clone()]);
        still.receipts[1].before = Some(Break::Gone);
        let (group, device) = (hex::encode([1; 16]), DeviceId([2; 16]).to_string());
        let report = verify_receipts(&[still, file(1, &key, all[..3].to_vec())]);
        assert_eq!(report.findings, [Finding::Missing { group: group.clone(), seq: 4 }]);
        assert_eq!(report.excused, [Excused { group, first: 2, last: 2, device }], "said, and held against nobody");
    }

    #[test]
    fn a_server_that_tells_two_stories_is_caught() {
        let key = ReceiptKey::from_bytes(&[1; 32]);
        let all = chain(&key, 3);
        let link = Link::after(&all[0]).unwrap();
        let accepted = Accepted { group: GROUP, epoch: 1, payload: b"other", devices: &[], at_ms: 9 };
        let other = receipt::build(&key, &accepted, &link);
        let group = hex::encode([1; 16]);
        let report = verify_receipts(&[file(1, &key, all.clone()), file(2, &key, vec![other.clone()])]);
        assert!(report.findings.contains(&Finding::Two { group: group.clone(), seq: 2 }));
        let swapped = vec![all[0].clone(), other, all[2].clone()];
        let report = verify_receipts(&[file(1, &key, swapped)]);
        assert_eq!(report.findings, [Finding::Broken { group, seq: 3 }]);
    }

    #[test]
    fn what_the_server_did_not_sign_counts_for_nothing() {
        let key = ReceiptKey::from_bytes(&[1; 32]);
        let mut all = chain(&key, 3);
        all[1].accepted_at_ms += 1;
        let report = verify_receipts(&[file(1, &key, all)]);
        let device = DeviceId([1; 16]).to_string();
        assert!(report.findings.contains(&Finding::Forged { device, line: 3 }));
    }

    #[test]
    fn files_that_are_none_are_errors() {
        let read = |text: &str| ReceiptFile::read(text.as_bytes()).err().map(|error| error.to_string());
        let device = hex::encode([1; 16]);
        let key = hex::encode([2; 32]);
        let head = |version: u32| {
            format!(
                r#"{{"format":"qpc receipts","version":{version},"server_key":"{key}","device":"{device}","exported_at_ms":1}}"#
            )
        };
        assert_eq!(read(&head(1)), None);
        for bad in ["", "{}", &head(2), &head(1).replace("02", "zz")] {
            assert!(read(bad).unwrap().contains("first line"), "{bad}");
        }
        assert_eq!(read(&format!("{}\nnonsense", head(1))).unwrap(), "line 2 is no receipt");
        assert_eq!(read(&format!("{}\n{}", head(1), "x".repeat(10_000))).unwrap(), "line 2 is no receipt");
    }
}
