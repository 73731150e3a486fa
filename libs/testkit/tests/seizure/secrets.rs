//! Which secrets a store holds, and where on its pages any part of one stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ciborium::Value;
use hmac::{Hmac, Mac as _};
use openmls_sqlite_storage::Codec as _;
use qpc_sdk::bench::MessagePack;
use rusqlite::Connection;
use sha2::Sha256;

use crate::pages::Page;

/// Bytes of a secret, as it is written, that are taken for it: about half of a secret that is cut by the end of a page, and
/// at least seven bytes of a key.
const TRACE: usize = 14;
/// Shortest secret: a key of AES-128.
const SHORTEST: usize = 16;

/// A secret and what it is for: table, kind and fields.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret {
    pub bytes: Vec<u8>,
    pub what: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.what, self.bytes.len())
    }
}

pub type Secrets = BTreeSet<Secret>;

/// All secrets of MLS that a store holds. What is public or of no use is left out: tree and leaves, contexts, nonces; and
/// resumption secrets, from which no key of a message follows and which nothing accepts.
pub fn secrets(sql: &Connection) -> Secrets {
    let mut found = Secrets::new();
    let mut take = |query: &str, wanted: fn(&[String]) -> bool| {
        let mut statement = sql.prepare(query).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (what, bytes): (String, Vec<u8>) = (row.get(0).unwrap(), row.get(1).unwrap());
            let value: Value = MessagePack::from_slice(&bytes).unwrap();
            walk(&value, &mut vec![what], wanted, &mut found);
        }
    };
    take("SELECT 'key package', key_package FROM openmls_key_packages", is_private);
    take("SELECT 'leaf', key_pair FROM openmls_encryption_keys", is_private);
    take("SELECT 'path', key_pairs FROM openmls_epoch_keys_pairs", is_private);
    take("SELECT 'pending', group_data FROM openmls_group_data WHERE data_type = 'group_state'", is_private);
    let of_epoch = "SELECT data_type, group_data FROM openmls_group_data
                    WHERE data_type IN ('message_secrets', 'group_epoch_secrets')";
    take(of_epoch, |path| {
        let public = ["serialized_context", "leaves", "nonce", "resumption_psk"];
        !path.iter().any(|field| public.contains(&field.as_str()))
    });
    found
}

fn is_private(path: &[String]) -> bool {
    path.iter().any(|field| field.starts_with("private"))
}

fn walk(value: &Value, path: &mut Vec<String>, wanted: fn(&[String]) -> bool, found: &mut Secrets) {
    if let Some(bytes) = as_bytes(value) {
        let is_key = bytes.len() >= SHORTEST && bytes.iter().collect::<BTreeSet<_>>().len() > 8;
        if is_key && wanted(path) {
            found.insert(Secret { bytes, what: path.join(" ") });
        }
        return;
    }
    match value {
        Value::Array(values) => values.iter().for_each(|value| walk(value, path, wanted, found)),
        Value::Map(fields) => {
            for (name, value) in fields {
                path.push(name.as_text().unwrap_or("?").to_owned());
                walk(value, path, wanted, found);
                path.pop();
            }
            if let Some(key) = message_key(fields).filter(|_| wanted(path)) {
                found.insert(Secret { bytes: key, what: format!("{} next message key", path.join(" ")) });
            }
        }
        _ => {}
    }
}

fn as_bytes(value: &Value) -> Option<Vec<u8>> {
    value.as_bytes().cloned()
}

/// The key of the next message of a ratchet (RFC 9420 section 9.1): ExpandWithLabel(secret, "key", generation, 16).
fn message_key(fields: &[(Value, Value)]) -> Option<Vec<u8>> {
    let field = |wanted: &str| fields.iter().find(|(name, _)| name.as_text() == Some(wanted)).map(|(_, value)| value);
    let generation = u32::try_from(field("generation")?.as_integer()?).ok()?;
    let Value::Map(secret) = field("secret")? else { return None };
    // Both layers that wrap the bytes have one field.
    let secret = match secret.as_slice() {
        [(_, Value::Map(inner))] => as_bytes(&inner.first()?.1)?,
        [(_, bytes)] => as_bytes(bytes)?,
        _ => return None,
    };
    let label = b"MLS 1.0 key";
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).ok()?;
    mac.update(&[0, 16, label.len() as u8]);
    mac.update(label);
    mac.update(&[4]);
    mac.update(&generation.to_be_bytes());
    mac.update(&[1]);
    Some(mac.finalize().into_bytes()[..16].to_vec())
}

/// Those of the secrets of which any part stands on a page, and where.
pub fn standing<'a>(secrets: &'a Secrets, pages: &[Page]) -> BTreeMap<&'a Secret, String> {
    let mut traces: BTreeMap<[u8; TRACE], &Secret> = BTreeMap::new();
    let mut begins = vec![false; 1 << 16];
    let begin = |trace: &[u8]| usize::from(u16::from_be_bytes([trace[0], trace[1]]));
    for secret in secrets {
        for trace in secret.bytes.windows(TRACE) {
            begins[begin(trace)] = true;
            traces.insert(trace.try_into().unwrap(), secret);
        }
    }
    let mut found = BTreeMap::new();
    for page in pages {
        for (at, window) in page.bytes.windows(TRACE).enumerate().filter(|(_, window)| begins[begin(window)]) {
            if let Some(secret) = traces.get(window) {
                found.entry(*secret).or_insert_with(|| format!("{}, byte {at}", page.place));
            }
        }
    }
    found
}
