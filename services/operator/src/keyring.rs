//! The keys that gateways share, and the order in which they are replaced, so that no gateway ever meets a ticket, token or
//! packet that was made with a key it does not have:
//!
//! 1. the next key is appended: every gateway accepts it, none uses it;
//! 2. when all have it, it goes to the front: each uses it from the moment it reads that;
//! 3. when nothing made with the old key can still be valid, that one goes.
//!
//! No clock and no I/O here. Where a replacement stands is kept beside the keys, in the same object, so that it survives
//! the operator and changes together with them.

use std::{collections::BTreeMap, fmt};

use sha2::{Digest as _, Sha256};

use crate::crd::{KeyStage, Keys};

/// Bytes of a key.
pub(crate) const KEY: usize = 32;
/// Keys that a gateway takes.
const MAX_KEYS: usize = 4;
/// Bytes of the hash by which people tell keys apart.
const ID: usize = 4;
const DAY_MS: u64 = 24 * 3_600_000;
const HOUR_MS: u64 = 3_600_000;

/// Annotations that hold where a replacement stands.
const STAGE: &str = "quicprochat.org/keys-stage";
const SINCE: &str = "quicprochat.org/keys-stage-since-ms";
const CURRENT_SINCE: &str = "quicprochat.org/keys-current-since-ms";
const REQUEST: &str = "quicprochat.org/keys-rotate";

/// One key. Its `Debug` is its hash.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key([u8; KEY]);

impl Key {
    pub(crate) fn new(bytes: [u8; KEY]) -> Self {
        Self(bytes)
    }

    /// The beginning of its SHA-256.
    pub(crate) fn id(&self) -> String {
        hex::encode(&Sha256::digest(self.0)[..ID])
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id())
    }
}

/// The keys of a Secret, current one first, and where their replacement stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keyring {
    current: Key,
    /// Accepted besides. While spreading, the last one is the next.
    others: Vec<Key>,
    pub(crate) stage: KeyStage,
    since_ms: u64,
    current_since_ms: u64,
    /// The word of `spec.keys.rotate` that was followed last.
    request: Option<String>,
}

/// What a Secret holds is no keyring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Secret must hold 1 to {MAX_KEYS} lines of {} hexadecimal digits under `keys`", 2 * KEY)]
pub(crate) struct InvalidKeys;

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Promoted,
    Retired,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// This is to be written.
    Write(Keyring, Change),
    /// Nothing before this time, if ever.
    Wait(Option<u64>),
    /// It is time, but some gateway may not have read the next key.
    ForGateways,
}

impl Keyring {
    /// A first key.
    pub(crate) fn first(key: Key, now_ms: u64, request: Option<&str>) -> Self {
        Self {
            current: key,
            others: Vec::new(),
            stage: KeyStage::Steady,
            since_ms: now_ms,
            current_since_ms: now_ms,
            request: request.map(str::to_owned),
        }
    }

    /// Reads lines and annotations. Of keys that came from elsewhere nothing is known: those besides the first were
    /// replaced just now.
    pub(crate) fn parse(lines: &str, annotations: &BTreeMap<String, String>, now_ms: u64) -> Result<Self, InvalidKeys> {
        let mut keys = Vec::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut key = [0; KEY];
            hex::decode_to_slice(line, &mut key).map_err(|_| InvalidKeys)?;
            keys.push(Key(key));
        }
        if keys.len() > MAX_KEYS || keys.is_empty() {
            return Err(InvalidKeys);
        }
        let current = keys.remove(0);
        let time = |name: &str| annotations.get(name).and_then(|text| text.parse::<u64>().ok());
        let stage = match annotations.get(STAGE).map(String::as_str) {
            Some("Spreading") if !keys.is_empty() => KeyStage::Spreading,
            _ if keys.is_empty() => KeyStage::Steady,
            _ => KeyStage::Retiring,
        };
        Ok(Self {
            current,
            others: keys,
            stage,
            since_ms: time(SINCE).unwrap_or(now_ms),
            current_since_ms: time(CURRENT_SINCE).unwrap_or(now_ms),
            request: annotations.get(REQUEST).cloned(),
        })
    }

    /// Whether it is written down where a replacement stands.
    pub(crate) fn is_recorded(annotations: &BTreeMap<String, String>) -> bool {
        annotations.contains_key(STAGE)
    }

    /// The content of the Secret.
    pub(crate) fn lines(&self) -> String {
        std::iter::once(&self.current).chain(&self.others).map(|key| hex::encode(key.0) + "\n").collect()
    }

    /// Its annotations.
    pub(crate) fn annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = BTreeMap::from([
            (STAGE.to_owned(), format!("{:?}", self.stage)),
            (SINCE.to_owned(), self.since_ms.to_string()),
            (CURRENT_SINCE.to_owned(), self.current_since_ms.to_string()),
        ]);
        annotations.extend(self.request.iter().map(|word| (REQUEST.to_owned(), word.clone())));
        annotations
    }

    pub(crate) fn current(&self) -> &Key {
        &self.current
    }

    /// All that are accepted.
    pub(crate) fn accepted(&self) -> usize {
        1 + self.others.len()
    }

    /// The next step at `now_ms`. `ready` tells whether every gateway runs, and so reads what its node brings it.
    pub(crate) fn next(&self, policy: &Keys, now_ms: u64, ready: bool, fresh: impl FnOnce() -> Key) -> Next {
        let wait = |until: u64| Next::Wait(Some(until));
        match (self.stage, self.others.split_last()) {
            (KeyStage::Spreading, Some((next, rest))) => {
                let due = self.since_ms.saturating_add(u64::from(policy.spread_seconds) * 1000);
                if now_ms < due {
                    return wait(due);
                }
                if !ready {
                    return Next::ForGateways;
                }
                let others = std::iter::once(self.current.clone()).chain(rest.iter().cloned()).collect();
                let step = Self {
                    current: next.clone(),
                    others,
                    stage: KeyStage::Retiring,
                    since_ms: now_ms,
                    current_since_ms: now_ms,
                    request: self.request.clone(),
                };
                Next::Write(step, Change::Promoted)
            }
            (KeyStage::Retiring, Some(_)) => {
                let due = self.since_ms.saturating_add(u64::from(policy.overlap_hours) * HOUR_MS);
                if now_ms < due {
                    return wait(due);
                }
                let step = Self { others: Vec::new(), stage: KeyStage::Steady, since_ms: now_ms, ..self.clone() };
                Next::Write(step, Change::Retired)
            }
            _ => {
                let due = (policy.rotate_days > 0)
                    .then(|| self.current_since_ms.saturating_add(u64::from(policy.rotate_days) * DAY_MS));
                let asked = policy.rotate.is_some() && policy.rotate != self.request;
                if !asked && due.is_none_or(|due| now_ms < due) {
                    return Next::Wait(due);
                }
                let step = Self {
                    others: vec![fresh()],
                    stage: KeyStage::Spreading,
                    since_ms: now_ms,
                    request: policy.rotate.clone().or_else(|| self.request.clone()),
                    ..self.clone()
                };
                Next::Write(step, Change::Added)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, DAY_MS, HOUR_MS, InvalidKeys, Key, Keyring, Next};
    use crate::crd::{KeyStage, Keys};

    const NOW: u64 = 1_800_000_000_000;

    fn key(number: u8) -> Key {
        Key::new([number; 32])
    }

    fn written(next: Next) -> (Keyring, Change) {
        match next {
            Next::Write(ring, change) => (ring, change),
            other => panic!("nothing written: {other:?}"),
        }
    }

    fn never() -> Key {
        panic!("no key is made here")
    }

    #[test]
    fn a_key_is_accepted_before_it_is_used_and_after_it_was_replaced() {
        let policy = Keys::default();
        let first = Keyring::first(key(1), NOW, None);
        let due = NOW + 30 * DAY_MS;
        assert_eq!(first.next(&policy, due - 1, true, never), Next::Wait(Some(due)));
        let (spreading, change) = written(first.next(&policy, due, true, || key(2)));
        assert_eq!((change, &spreading.current, &spreading.others[..]), (Change::Added, &key(1), &[key(2)][..]));

        let spread = due + 300_000;
        assert_eq!(spreading.next(&policy, spread - 1, true, never), Next::Wait(Some(spread)));
        assert_eq!(spreading.next(&policy, spread, false, never), Next::ForGateways);
        let (retiring, change) = written(spreading.next(&policy, spread, true, never));
        assert_eq!((change, &retiring.current, &retiring.others[..]), (Change::Promoted, &key(2), &[key(1)][..]));

        let over = spread + 24 * HOUR_MS;
        assert_eq!(retiring.next(&policy, over - 1, true, never), Next::Wait(Some(over)));
        let (steady, change) = written(retiring.next(&policy, over, true, never));
        assert_eq!((change, &steady.current, steady.accepted()), (Change::Retired, &key(2), 1));
        assert_eq!(steady.next(&policy, over, true, never), Next::Wait(Some(spread + 30 * DAY_MS)));
    }

    #[test]
    fn what_was_written_is_read_again_at_every_stage() {
        let policy = Keys { rotate: Some("leak".to_owned()), ..Keys::default() };
        let mut ring = Keyring::first(key(1), NOW, None);
        let mut now = NOW;
        for stage in [KeyStage::Spreading, KeyStage::Retiring, KeyStage::Steady] {
            now += 2 * DAY_MS;
            ring = written(ring.next(&policy, now, true, || key(2))).0;
            assert_eq!(ring.stage, stage);
            // A clock that is elsewhere changes nothing of what is written down.
            assert_eq!(Keyring::parse(&ring.lines(), &ring.annotations(), 5), Ok(ring.clone()));
        }
    }

    #[test]
    fn a_word_of_a_person_rotates_once() {
        let asked = |word: &str| Keys { rotate: Some(word.to_owned()), rotate_days: 0, ..Keys::default() };
        let ring = Keyring::first(key(1), NOW, Some("made-so"));
        assert_eq!(ring.next(&asked("made-so"), NOW, true, never), Next::Wait(None));
        let (ring, _) = written(ring.next(&asked("leak"), NOW, true, || key(2)));
        let (ring, _) = written(ring.next(&asked("leak"), NOW + DAY_MS, true, never));
        // Another word waits until this replacement is through.
        assert_eq!(ring.next(&asked("other"), NOW + DAY_MS, true, never), Next::Wait(Some(NOW + 2 * DAY_MS)));
        let (ring, _) = written(ring.next(&asked("leak"), NOW + 2 * DAY_MS, true, never));
        assert_eq!(ring.next(&asked("leak"), NOW + 9 * DAY_MS, true, never), Next::Wait(None));
        assert!(matches!(ring.next(&asked("other"), NOW + 9 * DAY_MS, true, || key(3)), Next::Write(..)));
    }

    #[test]
    fn keys_from_elsewhere_are_taken_over_and_the_others_of_them_retire() {
        let lines = format!("{}\n{}\n", "0a".repeat(32), "0b".repeat(32));
        let ring = Keyring::parse(&lines, &[].into(), NOW).unwrap();
        assert_eq!((ring.stage, ring.current(), ring.lines()), (KeyStage::Retiring, &key(10), lines));
        let (ring, _) = written(ring.next(&Keys::default(), NOW + DAY_MS, true, never));
        assert_eq!((ring.stage, ring.accepted()), (KeyStage::Steady, 1));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let good = "0a".repeat(32);
        for lines in [String::new(), "0a".to_owned(), "0x".repeat(32), format!("{good}\n").repeat(5)] {
            assert_eq!(Keyring::parse(&lines, &[].into(), NOW), Err(InvalidKeys), "{lines}");
        }
        assert!(Keyring::parse(&format!("{good}\n").repeat(4), &[].into(), NOW).is_ok());
    }

    #[test]
    fn a_key_is_not_printed() {
        let ring = Keyring::first(key(7), NOW, None);
        assert!(!format!("{ring:?}").contains("0707"));
    }
}
