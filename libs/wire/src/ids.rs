//! Identifiers: fixed-size, opaque, printed as hexadecimal.

use std::fmt;

use bytes::Bytes;

/// A byte string that is not an identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {expected} bytes, not {actual}")]
pub struct InvalidId {
    /// Name of the identifier.
    pub what: &'static str,
    /// Its length in bytes.
    pub expected: usize,
    /// The length that was given.
    pub actual: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; Self::LEN]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = 16;

            /// The id as bytes of a message field.
            pub fn to_bytes(self) -> Bytes {
                Bytes::copy_from_slice(&self.0)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = InvalidId;

            fn try_from(bytes: &[u8]) -> Result<Self, InvalidId> {
                bytes.try_into().map(Self).map_err(|_| InvalidId {
                    what: $what,
                    expected: Self::LEN,
                    actual: bytes.len(),
                })
            }
        }

        impl TryFrom<&Bytes> for $name {
            type Error = InvalidId;

            fn try_from(bytes: &Bytes) -> Result<Self, InvalidId> {
                Self::try_from(bytes.as_ref())
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

id!(
    /// An account: first 16 bytes of SHA-256("qpc account id v1" || account identity key), so that no server can move
    /// it to another key.
    AccountId,
    "account id"
);
id!(
    /// A device: first 16 bytes of SHA-256("qpc device id v1" || device key).
    DeviceId,
    "device id"
);
id!(
    /// An MLS group, 16 random bytes chosen by its founder (RFC 9420 `group_id`).
    GroupId,
    "group id"
);

impl GroupId {
    /// The id of no group and no conversation of several devices. What is of one device alone may stand under it.
    pub const NIL: Self = Self([0; Self::LEN]);
}
id!(
    /// Client-made random key under which a mutating call takes effect once in 24 hours.
    IdempotencyKey,
    "idempotency key"
);
