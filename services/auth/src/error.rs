//! Why a call to this service fails.

use qpc_chassis::{cache::CacheError, db::DbError, limits::Limited};
use qpc_crypto::{CertificateError, KdfError, aead, opaque::OpaqueError, token::TokenError};
use qpc_wire::{Code, Status, ids::InvalidId, limits::MAX_TOKENS, status::Detail};

use crate::{admin::MAX_USES, admission::Refused, store::invites::MOST};

/// Milliseconds after which a call refused for want of the cache may be tried again.
const CACHE_RETRY_MS: u64 = 1_000;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("a username is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit")]
    Username,
    #[error("password cost: {0}")]
    Ksf(#[from] KdfError),
    #[error("the password cost is missing")]
    NoKsf,
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("malformed OPAQUE message")]
    Opaque(#[source] OpaqueError),
    #[error("the account key did not sign this registration on this connection")]
    AccountProof,
    #[error("the registration was not begun here for this name")]
    RegistrationState,
    #[error("the name, the account or the device is taken")]
    Taken,
    /// Wrong password, unknown user, expired or foreign login state, wrong device proof: which of them, nobody learns.
    #[error("login failed")]
    LoginFailed,
    #[error("the device does not belong to this account")]
    ForeignDevice,
    #[error("the device was revoked")]
    DeviceRevoked,
    #[error("an account has at most {0} devices")]
    DeviceLimit(u64),
    /// Unknown, expired or revoked, or not this device's, or not on this connection: which of them, nobody learns.
    #[error("the session is not valid")]
    SessionInvalid,
    #[error("the account is banned")]
    Banned,
    #[error("the account is not banned")]
    NotBanned,
    #[error("the account is to be deleted")]
    ToBeDeleted,
    #[error("nothing shows that this account sent this")]
    NotProved,
    #[error("no such report")]
    UnknownReport,
    #[error("the report is resolved")]
    Resolved,
    #[error("no such gateway")]
    UnknownGateway,
    #[error("neither a call nor whom it is about may be left out")]
    NoCall,
    #[error("a quota is called devices, tokens-day or blob-bytes-day, and is at most 2^63 - 1")]
    Quota,
    #[error("no such session of this device")]
    UnknownSession,
    #[error("no such user")]
    UnknownUser,
    #[error("no such device of this account")]
    UnknownDevice,
    #[error("{what} has {least} to {most} bytes, not {actual}")]
    Length { what: &'static str, least: usize, most: usize, actual: usize },
    #[error("the link id is not that of the offer")]
    LinkId,
    #[error("the link is offered or answered already")]
    LinkTaken,
    #[error("no such link, or its time is over")]
    UnknownLink,
    #[error("links cannot be kept")]
    Links(#[source] CacheError),
    #[error("1 to {max} tokens are issued at a time, not {0}", max = MAX_TOKENS)]
    TokenCount(usize),
    #[error("tokens are issued under another key now")]
    TokenKey,
    #[error("tokens: {0}")]
    Tokens(#[source] TokenError),
    #[error("an account gets at most {most} tokens a day")]
    TooManyTokens { most: u64, retry_after_ms: u64 },
    #[error("the account key did not sign this deletion on this connection")]
    DeletionProof,
    #[error("a recovery set has 8 codes, each another one")]
    RecoveryCodes,
    #[error("the account has no such recovery set")]
    RecoverySet,
    /// It never was, was used, or its set was replaced: which of them, nobody learns.
    #[error("no such recovery code")]
    UnknownCode,
    /// Nobody has the name, or the account key did not sign this on this connection: which of them, nobody learns.
    #[error("the account key does not allow this password")]
    ResetRefused,
    /// On other terms than were met.
    #[error(transparent)]
    Registration(#[from] Refused),
    #[error("no such invite")]
    UnknownInvite,
    #[error("there are {MOST} invites: revoke some")]
    TooManyInvites,
    #[error("an invite is good for 1 to {MAX_USES} accounts and 1 ms to 366 days")]
    Invite,
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("OPAQUE setup {id} was sealed with another secret file")]
    SetupSealed { id: u64, source: aead::AeadError },
    #[error("OPAQUE setup {id} is damaged")]
    SetupDamaged { id: u64, source: OpaqueError },
    #[error("OPAQUE setup {0} is missing")]
    SetupMissing(u64),
    /// Too much of something, or too many.
    #[error(transparent)]
    Limited(#[from] Limited),
    #[error(transparent)]
    Store(#[from] DbError),
    /// The call lacks what every call of its kind has.
    #[error(transparent)]
    Call(#[from] Status),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Username
            | Error::Ksf(_)
            | Error::NoKsf
            | Error::Certificate(_)
            | Error::Opaque(_)
            | Error::AccountProof
            | Error::RegistrationState
            | Error::Length { .. }
            | Error::LinkId
            | Error::NoCall
            | Error::NotProved
            | Error::Quota
            | Error::TokenCount(_)
            | Error::Tokens(_)
            | Error::RecoveryCodes
            | Error::Invite
            | Error::Id(_) => Code::InvalidArgument,
            Error::Taken | Error::LinkTaken => Code::AlreadyExists,
            Error::LoginFailed | Error::SessionInvalid | Error::ResetRefused => Code::Unauthenticated,
            Error::DeviceLimit(_) | Error::TooManyTokens { .. } | Error::TooManyInvites => Code::ResourceExhausted,
            Error::Links(_) => Code::Unavailable,
            Error::ForeignDevice | Error::DeviceRevoked | Error::Banned | Error::DeletionProof => {
                Code::PermissionDenied
            }
            Error::NotBanned | Error::TokenKey | Error::ToBeDeleted | Error::Resolved | Error::RecoverySet => {
                Code::FailedPrecondition
            }
            Error::Registration(Refused::Closed | Refused::Invite(_)) => Code::PermissionDenied,
            Error::Registration(Refused::Work { .. }) => Code::FailedPrecondition,
            Error::UnknownSession
            | Error::UnknownUser
            | Error::UnknownDevice
            | Error::UnknownReport
            | Error::UnknownGateway
            | Error::UnknownCode
            | Error::UnknownInvite
            | Error::UnknownLink => Code::NotFound,
            Error::SetupSealed { .. } | Error::SetupDamaged { .. } | Error::SetupMissing(_) => return Self::internal(),
            Error::Limited(_) | Error::Store(_) | Error::Call(_) => {
                return match error {
                    Error::Limited(error) => error.into(),
                    Error::Store(error) => error.into(),
                    Error::Call(status) => status,
                    _ => Self::internal(),
                };
            }
        };
        let retry_after_ms = match &error {
            Error::TooManyTokens { retry_after_ms, .. } => *retry_after_ms,
            Error::Links(_) => CACHE_RETRY_MS,
            _ => 0,
        };
        let detail = match &error {
            Error::Registration(refused) => Some(Detail::RegistrationRefused(refused.detail())),
            _ => None,
        };
        Self { retry_after_ms, detail, ..Self::new(code, error.to_string()) }
    }
}
