//! What a recovery code opens, as CBOR: the array `[1, username, account seed, people, conversations, values]` of
//!
//! - people: arrays of username and account key;
//! - conversations that the account is in: id, kind, peer or null, name or null, ms of the name, group;
//! - values that the devices share: name, value, ms. Not how far was read, which changes with every look.
//!
//! Never state of MLS: a group that goes on from an old state uses keys twice. The restored device joins from outside.

use ciborium::Value;
use qpc_crypto::AccountKey;
use qpc_wire::{AccountId, GroupId};
use zeroize::Zeroizing;

use crate::{
    Error,
    content::Synced,
    own,
    store::{ChoreKind, ConversationKind, Identity, Tx},
};

const VERSION: u64 = 1;
/// Bytes of each of the three lists; what is beyond is left out. Together they fit what the server takes, padded.
const MAX_LIST: usize = 60 << 10;
/// Values that are looked at in one piece.
const CHUNK: usize = 256;

/// See the module.
pub(super) struct Bundle {
    pub(super) username: String,
    pub(super) account_key: AccountKey,
    people: Vec<(String, [u8; 32])>,
    conversations: Vec<Known>,
    values: Vec<Synced>,
}

struct Known {
    id: GroupId,
    kind: ConversationKind,
    peer: Option<AccountId>,
    name: Option<(String, u64)>,
    group: GroupId,
}

impl Bundle {
    /// What is worth keeping of this device, encoded. The same bytes as long as nothing of it changes.
    pub(super) fn gather(tx: &Tx<'_>, identity: &Identity) -> Result<Zeroizing<Vec<u8>>, Error> {
        let people = tx.peers()?.into_iter().map(|(name, key)| vec![name.into(), Value::Bytes(key.to_vec())]);
        let mut conversations = Vec::new();
        for info in tx.all_conversations()?.into_iter().filter(|info| info.active) {
            let (group, name) = (tx.current_group(info.id)?, tx.name(info.id)?);
            conversations.push(vec![
                id(&info.id.0),
                info.kind.number().into(),
                info.peer.map_or(Value::Null, |peer| id(&peer.0)),
                name.as_ref().map_or(Value::Null, |(name, _)| name.clone().into()),
                name.map_or(0, |(_, at_ms)| at_ms).into(),
                id(&group.0),
            ]);
        }
        let (mut values, mut after) = (Vec::new(), String::new());
        loop {
            let chunk = tx.synced_after(&after, CHUNK)?;
            let Some(last) = chunk.last() else { break };
            after = last.name.clone();
            values.extend(chunk.into_iter().filter(|item| own::is_worth_keeping(&item.name)));
        }
        let values = values.into_iter().map(|item| vec![item.name.into(), Value::Bytes(item.value), item.at_ms.into()]);
        encode(&Value::Array(vec![
            VERSION.into(),
            identity.username.clone().into(),
            Value::Bytes(identity.account_key.to_bytes().to_vec()),
            within(people)?,
            within(conversations.into_iter())?,
            within(values)?,
        ]))
    }

    /// Reverse of [`Self::gather`]. Items that make no sense are left out.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let Ok(Value::Array(fields)) = ciborium::from_reader::<Value, _>(bytes) else { return Err(Error::BadBundle) };
        let [version, Value::Text(username), Value::Bytes(seed), people, conversations, values, ..] = fields.as_slice()
        else {
            return Err(Error::BadBundle);
        };
        if *version != Value::from(VERSION) {
            return Err(Error::BadBundle);
        }
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed.as_slice()).map_err(|_| Error::BadBundle)?);
        Ok(Self {
            username: username.clone(),
            account_key: AccountKey::from_bytes(&seed),
            people: list(people, |fields| match fields {
                [Value::Text(name), Value::Bytes(key)] => Some((name.clone(), key.as_slice().try_into().ok()?)),
                _ => None,
            })?,
            conversations: list(conversations, Known::decode)?,
            values: list(values, |fields| match fields {
                [Value::Text(name), Value::Bytes(value), at_ms] => {
                    Some(Synced { name: name.clone(), value: value.clone(), at_ms: number(at_ms)? })
                }
                _ => None,
            })?,
        })
    }

    /// Puts everything into a new store, and has its groups joined.
    pub(super) fn plant(&self, tx: &Tx<'_>) -> Result<(), Error> {
        for (name, key) in &self.people {
            tx.pin_peer(name, key)?;
        }
        for known in &self.conversations {
            tx.put_bare_conversation(known.id, known.kind, known.peer, tx.now_ms(), true)?;
            if let Some((name, at_ms)) = &known.name {
                tx.set_name(known.id, name, *at_ms)?;
            }
            tx.put_chore(known.group, ChoreKind::Join, 0)?;
        }
        // Of a store that is made there is nobody to tell.
        own::take_in(tx, self.values.clone()).map(drop)
    }
}

impl Known {
    fn decode(fields: &[Value]) -> Option<Self> {
        let [conversation, kind, peer, name, named_ms, group] = fields else { return None };
        let id = |value: &Value| <[u8; 16]>::try_from(value.as_bytes()?.as_slice()).ok();
        Some(Self {
            id: GroupId(id(conversation)?),
            kind: if number(kind)? == 1 { ConversationKind::Direct } else { ConversationKind::Group },
            peer: id(peer).map(AccountId),
            name: match name {
                Value::Text(name) => Some((name.clone(), number(named_ms)?)),
                _ => None,
            },
            group: GroupId(id(group)?),
        })
    }
}

fn id(bytes: &[u8; 16]) -> Value {
    Value::Bytes(bytes.to_vec())
}

/// A number that the store can hold.
fn number(value: &Value) -> Option<u64> {
    u64::try_from(value.as_integer()?).ok().filter(|value| i64::try_from(*value).is_ok())
}

fn list<T>(value: &Value, item: impl Fn(&[Value]) -> Option<T>) -> Result<Vec<T>, Error> {
    let items = value.as_array().ok_or(Error::BadBundle)?;
    Ok(items.iter().filter_map(|fields| item(fields.as_array()?)).collect())
}

/// As many items as there is room for.
fn within(items: impl Iterator<Item = Vec<Value>>) -> Result<Value, Error> {
    let (mut taken, mut size) = (Vec::new(), 0);
    for item in items {
        let item = Value::Array(item);
        size += encode(&item)?.len();
        if size > MAX_LIST {
            tracing::warn!("not everything fits the recovery bundle");
            break;
        }
        taken.push(item);
    }
    Ok(Value::Array(taken))
}

fn encode(value: &Value) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(Vec::new());
    ciborium::into_writer(value, &mut *bytes).map_err(|_| Error::BadBundle)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_bundle_fits_what_the_server_takes() {
        let item = || vec![Value::Bytes(vec![7; 50])];
        let full = within(std::iter::repeat_with(item).take(10_000)).unwrap();
        assert!(full.as_array().unwrap().len() > 1_000);
        let whole = Value::Array(vec![
            VERSION.into(),
            "x".repeat(64).into(),
            Value::Bytes(vec![1; 32]),
            full.clone(),
            full.clone(),
            full,
        ]);
        let root = qpc_crypto::recovery::RecoveryRoot::generate(&mut crate::Runtime::system().rng(), [7; 32]);
        let mut rng = crate::Runtime::system().rng();
        let plain = encode(&whole).unwrap();
        let sealed = qpc_crypto::recovery::seal(&mut rng, &root.public_bytes(), &[1; 16], &plain).unwrap();
        assert!(sealed.len() <= qpc_wire::limits::MAX_RECOVERY_BUNDLE, "{}", sealed.len());
        assert!(Bundle::decode(&plain).unwrap().people.is_empty(), "items that make no sense are left out");
        assert!(matches!(Bundle::decode(&plain[1..]), Err(Error::BadBundle)));
    }
}
