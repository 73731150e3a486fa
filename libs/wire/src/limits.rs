//! Sizes that are part of the protocol. What an operator may choose is a setting of the service, not here.

/// Application protocol of the client port (TLS ALPN).
pub const ALPN: &[u8] = b"qpc";
/// Service type under which servers are announced on the local network (RFC 6763 section 7).
pub const MDNS_SERVICE: &str = "_quicprochat._udp.local.";
/// Key of the announcement's TXT record: version of the server.
pub const MDNS_VERSION: &str = "version";
/// The same: the domain that the server says it serves.
pub const MDNS_DOMAIN: &str = "domain";
/// The same: SHA-256 of the server's certificate, hexadecimal.
pub const MDNS_FINGERPRINT: &str = "fingerprint";
/// Default UDP port.
pub const DEFAULT_PORT: u16 = 7000;
/// Largest payload of a frame, bytes.
pub const MAX_FRAME_PAYLOAD: usize = 1 << 20;
/// Largest message envelope that is fanned out, bytes.
pub const MAX_ENVELOPE: usize = 256 << 10;
/// Largest payload that is relayed without being stored, bytes.
pub const MAX_RELAY: usize = 1 << 10;
/// Largest commit or Welcome inside a request, bytes: sealed and wrapped it still fits a fetch response.
pub const MAX_HANDSHAKE: usize = 512 << 10;
/// Largest CommitBundle that is brought in parts, bytes: an update in a group of 5,000 that was filled at once. What it
/// sends is fetched in parts too.
pub const MAX_STAGED: usize = 8 << 20;
/// Size of all parts but the last of what is brought or fetched in parts, bytes.
pub const PART: usize = 512 << 10;
/// Devices added by one commit. Whoever is added by one of several gets the commits of the later ones too; with the hybrid
/// suite each device is 2.8 KB of a commit.
pub const MAX_ADDS: usize = 500;
/// Epoch tags of one acknowledgement.
pub const MAX_TAGS: usize = 100;
/// Bytes of a blob that one BlobGet gives at the most.
pub const MAX_BLOB_GET: u64 = 16 << 20;
/// Parts of a blob are of multiples of this many bytes.
pub const BLOB_GRAIN: usize = 64 << 10;
/// Entries of one fetch when the client does not say.
pub const DEFAULT_FETCH: u32 = 100;
/// Entries of one fetch at the most.
pub const MAX_FETCH: u32 = 500;
/// A fetch response ends before its entries pass this many bytes.
pub const MAX_FETCH_BYTES: usize = 768 << 10;
/// Longest wait of a FetchWait, milliseconds.
pub const MAX_FETCH_WAIT_MS: u32 = 30_000;
/// Items of one BatchEnqueue.
pub const MAX_BATCH: usize = 100;
/// Blinded elements of one IssueTokens.
pub const MAX_TOKENS: usize = 50;
/// KeyPackages of one upload.
pub const MAX_KEY_PACKAGES: usize = 100;
/// Devices named by one KeyPackage fetch.
pub const MAX_FETCH_DEVICES: usize = 50;
/// Devices named by one hybrid key fetch.
pub const MAX_HYBRID_KEYS: usize = 500;
/// Bytes of the URL at which a device is woken.
pub const MAX_PUSH_ENDPOINT: usize = 1 << 10;
/// Bytes of a username, UTF-8.
pub const MAX_USERNAME: usize = 64;
/// Devices of one account.
pub const MAX_DEVICES: usize = 10;
/// Entries are carried inside a mailbox event up to this size of payload, bytes.
pub const MAX_INLINE_PUSH: usize = 16 << 10;
/// Bytes of a recovery bundle.
pub const MAX_RECOVERY_BUNDLE: usize = 256 << 10;
/// Leaves of one group, whatever the setting of the server says.
pub const MAX_GROUP_LEAVES: usize = 5_000;

/// What an admin may set for one account, beside the settings that are for all.
pub mod quotas {
    /// Devices that are not revoked.
    pub const DEVICES: &str = "devices";
    /// Tokens of sealed messages that are issued on a day.
    pub const TOKENS_DAY: &str = "tokens-day";
    /// Bytes of files that are announced on a day.
    pub const BLOB_BYTES_DAY: &str = "blob-bytes-day";
    /// All of them.
    pub const ALL: [&str; 3] = [DEVICES, TOKENS_DAY, BLOB_BYTES_DAY];
}

/// Whether `name` may be a username: 1 to 64 of `a-z 0-9 . _ -`, beginning with a letter or digit. There is one spelling
/// of a name.
pub fn is_username(name: &str) -> bool {
    let first = name.bytes().next();
    name.len() <= MAX_USERNAME
        && first.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::is_username;

    #[test]
    fn usernames_have_one_spelling() {
        for good in ["alice", "a", "0", "a.b-c_d", &"x".repeat(64)] {
            assert!(is_username(good), "{good}");
        }
        for bad in ["", "Alice", ".a", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(!is_username(bad), "{bad}");
        }
    }
}
