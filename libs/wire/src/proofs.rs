//! Byte strings that keys of accounts and devices sign. Each begins with a label of its own, so that a signature for one
//! purpose can never serve another, and those of a connection contain its TLS exporter, so that they are useless on any
//! other connection.

/// Length of the channel binding, bytes.
pub const BINDING_LEN: usize = 32;

/// Label for the TLS exporter (RFC 8446 section 7.5) that gives the channel binding; empty context.
pub const BINDING_EXPORTER_LABEL: &[u8] = b"EXPORTER-qpc-channel-binding";

/// TLS exporter of a connection.
pub type ChannelBinding = [u8; BINDING_LEN];

/// Signed by the account key when it registers a name.
pub fn register(binding: &ChannelBinding, username: &str) -> Vec<u8> {
    [b"qpc register v1", binding.as_slice(), username.as_bytes()].concat()
}

/// Signed by the device key to finish a login; `state_hash` is SHA-256 of the login state.
pub fn login(binding: &ChannelBinding, state_hash: &[u8; 32]) -> Vec<u8> {
    [b"qpc login v1", binding.as_slice(), state_hash].concat()
}

/// Signed by the device key to attach a session; `token_hash` is SHA-256 of the session token.
pub fn attach(binding: &ChannelBinding, token_hash: &[u8; 32]) -> Vec<u8> {
    [b"qpc attach v1", binding.as_slice(), token_hash].concat()
}

/// Signed by the account key to give the account of a name another password; `upload_hash` is SHA-256 of the OPAQUE upload.
pub fn reset_password(binding: &ChannelBinding, upload_hash: &[u8; 32], username: &str) -> Vec<u8> {
    [b"qpc reset password v1", binding.as_slice(), upload_hash, username.as_bytes()].concat()
}

/// Signed by the account key to delete the account.
pub fn delete_account(binding: &ChannelBinding, account_id: &[u8; 16]) -> Vec<u8> {
    [b"qpc delete account v1", binding.as_slice(), account_id].concat()
}

/// Signed by the device key for its queue key.
pub fn queue_key(public_key: &[u8]) -> Vec<u8> {
    [b"qpc queue key v1", public_key].concat()
}

/// Label for the commitment to the content of a message: SHA-256 over it and the content.
pub const COMMITMENT_LABEL: &[u8] = b"qpc commitment v1";

/// Under the server's tag on a commitment; only the server checks it.
pub fn franking(group: &[u8; 16], account: &[u8; 16], device: &[u8; 16], at_ms: u64, commitment: &[u8; 32]) -> Vec<u8> {
    [b"qpc franking v1".as_slice(), group, account, device, &at_ms.to_be_bytes(), commitment].concat()
}

/// Signed by the device key for a content that leaves without saying by whom; `commitment` is that to the content without the
/// signature.
pub fn sealed_content(group: &[u8; 16], commitment: &[u8; 32]) -> Vec<u8> {
    [b"qpc sealed content v1".as_slice(), group, commitment].concat()
}

/// Signed by the device key for what it relays without being stored.
pub fn whisper(group: &[u8; 16], epoch: u64, body: &[u8]) -> Vec<u8> {
    [b"qpc whisper v1".as_slice(), group, &epoch.to_be_bytes(), body].concat()
}

/// What a delivery receipt says, in the order in which it is signed. Integers are big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptFields<'a> {
    /// 16 bytes.
    pub group_id: &'a [u8],
    /// Epoch of the group when the recipients were read.
    pub epoch: u64,
    /// SHA-256 of the payload.
    pub message_hash: &'a [u8; 32],
    /// SHA-256 over the recipients' device ids in ascending order.
    pub recipients_digest: &'a [u8; 32],
    /// Number of recipients.
    pub recipients: u32,
    /// Unix milliseconds.
    pub accepted_at_ms: u64,
    /// Place in the group's chain of receipts, from 1.
    pub seq: u64,
    /// SHA-256 of the signed bytes of the receipt before; zeros in the first.
    pub prev: &'a [u8; 32],
}

/// Signed by the server for an accepted message.
pub fn receipt(fields: &ReceiptFields<'_>) -> Vec<u8> {
    [
        b"qpc receipt v2".as_slice(),
        fields.group_id,
        &fields.epoch.to_be_bytes(),
        fields.message_hash,
        fields.recipients_digest,
        &fields.recipients.to_be_bytes(),
        &fields.accepted_at_ms.to_be_bytes(),
        &fields.seq.to_be_bytes(),
        fields.prev,
    ]
    .concat()
}

/// Signed by the key of an invite, to see the group that it is for.
pub fn invite_info(group_id: &[u8], device_id: &[u8]) -> Vec<u8> {
    [b"qpc invite info v1", group_id, device_id].concat()
}

/// Signed by the key of an invite for an external commit that joins a group by it. Good for this epoch and device alone,
/// so that a proof that was seen cannot be used again.
pub fn invite(group_id: &[u8], epoch: u64, device_id: &[u8]) -> Vec<u8> {
    [b"qpc invite v1", group_id, &epoch.to_be_bytes(), device_id].concat()
}

/// Signed by the device that writes a transcript, for all of it: `head` is the hash of its head, `root` the root of the
/// Merkle tree over its records.
pub fn transcript(head: &[u8; 32], records: u64, root: &[u8; 32]) -> Vec<u8> {
    [b"qpc transcript v1".as_slice(), head, &records.to_be_bytes(), root].concat()
}

/// MACed by a gateway before it hands a call and its body to a service: `challenge` is what the service has asked with.
pub fn bulk(challenge: &[u8; 16], call: &[u8]) -> Vec<u8> {
    [b"qpc bulk v1", challenge.as_slice(), call].concat()
}

/// An entry of the audit log as it is authenticated; `previous` is the MAC of the entry before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditFields<'a> {
    /// Place in the log, from 1.
    pub seq: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// Who.
    pub actor: &'a str,
    /// Did what.
    pub action: &'a str,
    /// To whom or what.
    pub subject: &'a str,
    /// With which end.
    pub code: u32,
    /// Hexadecimal; empty of the first entry.
    pub previous: &'a str,
}

/// Authenticated with a key of the server, so that who can write the table alone cannot write a log. Texts come with their
/// lengths, so that no two entries are the same bytes.
pub fn audit_entry(fields: &AuditFields<'_>) -> Vec<u8> {
    let mut bytes = b"qpc audit entry v1".to_vec();
    bytes.extend_from_slice(&fields.seq.to_be_bytes());
    bytes.extend_from_slice(&fields.at_ms.to_be_bytes());
    bytes.extend_from_slice(&fields.code.to_be_bytes());
    for text in [fields.actor, fields.action, fields.subject, fields.previous] {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// What a token for one sealed message is the VOPRF of.
pub fn token(key_epoch: u64, nonce: &[u8; 32]) -> Vec<u8> {
    [b"qpc token v1".as_slice(), &key_epoch.to_be_bytes(), nonce].concat()
}

/// What the server keeps the SHA-256 of, to know the delivery key of an epoch when it sees it.
pub fn delivery_key(key: &[u8]) -> Vec<u8> {
    [b"qpc delivery key v1", key].concat()
}
