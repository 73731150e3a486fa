//! Who may register: everybody, who has done some work, who was invited, or nobody.
//!
//! The terms are told by the first call of a registration and, to whoever comes without, in the refusal of the last. Nothing is
//! stored for work: what is to be searched for is sealed in the state that the client carries, bound to one name, and a name is
//! taken once for ever, so work is spent with its name. An invite is used in the transaction that makes the account.

use qpc_chassis::run::Deps;
use qpc_crypto::{AccountInvite, admission::Puzzle};
use qpc_wire::v1::{self, InviteVerdict, OpaqueRegisterFinishRequest, RegistrationMode};

use crate::{
    Config, config,
    domain::registration_state::{RegistrationState, Work},
    error::Error,
};

/// Time for the work, milliseconds. By default it takes seconds, and ten times as many on a slow machine.
const WORK_MS: u64 = 10 * 60 * 1000;

/// See the module.
pub(crate) struct Admission {
    mode: config::Registration,
    bits: u32,
    /// Hashes invites; not in the database.
    invite_key: [u8; 32],
}

/// Why somebody may not register, in words that also help who has a client that knows nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("this server takes no new accounts")]
    Closed,
    #[error(
        "registering here takes a proof of work, which is missing, wrong or too late: a newer client makes it by itself"
    )]
    Work { bits: u32 },
    #[error("registering here takes an invite, from whoever runs this server: {}", said(*.0))]
    Invite(InviteVerdict),
}

fn said(verdict: InviteVerdict) -> &'static str {
    match verdict {
        InviteVerdict::Missing => "none was shown; a newer client takes one by --invite",
        InviteVerdict::Unknown => "this is none",
        InviteVerdict::Expired => "this one has expired",
        InviteVerdict::UsedUp => "this one is used up",
    }
}

impl Refused {
    /// What programs are told.
    pub(crate) fn detail(self) -> v1::RegistrationRefused {
        let (mode, work, invite) = match self {
            Self::Closed => (RegistrationMode::Closed, None, InviteVerdict::Missing),
            // Another search comes with another first call.
            Self::Work { bits } => {
                let work = v1::Work { bits, expires_at_ms: 0 };
                (RegistrationMode::ProofOfWork, Some(work), InviteVerdict::Missing)
            }
            Self::Invite(verdict) => (RegistrationMode::InviteOnly, None, verdict),
        };
        let terms = Some(v1::RegistrationTerms { mode: mode.into(), work });
        v1::RegistrationRefused { terms, invite: invite.into() }
    }
}

/// What somebody has brought, not yet looked at closely.
pub(crate) enum Brought {
    Nothing,
    Work {
        puzzle: Puzzle,
        nonce: u64,
        bits: u32,
    },
    /// Under which the invite is found.
    Invite([u8; 32]),
}

impl Admission {
    pub(crate) fn new(deps: &Deps, config: &Config) -> Self {
        Self {
            mode: config.registration,
            bits: config.registration_work,
            invite_key: deps.secrets.derive("auth/account-invite"),
        }
    }

    /// The work of a registration that begins now.
    pub(crate) fn work(&self, now_ms: u64) -> Option<Work> {
        (self.mode == config::Registration::ProofOfWork).then(|| Work { bits: self.bits, expires_ms: now_ms + WORK_MS })
    }

    /// As they are told to whoever begins to register.
    pub(crate) fn terms(&self, work: Option<&Work>) -> v1::RegistrationTerms {
        let mode = match self.mode {
            config::Registration::Open => RegistrationMode::Open,
            config::Registration::ProofOfWork => RegistrationMode::ProofOfWork,
            config::Registration::InviteOnly => RegistrationMode::InviteOnly,
            config::Registration::Closed => RegistrationMode::Closed,
        };
        let work = work.map(|work| v1::Work { bits: work.bits, expires_at_ms: work.expires_ms });
        v1::RegistrationTerms { mode: mode.into(), work }
    }

    /// Under which an invite is kept.
    pub(crate) fn lookup(&self, invite: &AccountInvite) -> [u8; 32] {
        invite.lookup(&self.invite_key)
    }

    /// What is there to be looked at, without effort; refuses what can be refused without.
    pub(crate) fn look(
        &self,
        state: &RegistrationState,
        request: &OpaqueRegisterFinishRequest,
        now_ms: u64,
    ) -> Result<Brought, Refused> {
        match self.mode {
            config::Registration::Open => Ok(Brought::Nothing),
            config::Registration::Closed => Err(Refused::Closed),
            config::Registration::InviteOnly => {
                let invite = AccountInvite::from_bytes(&request.invite).map_err(|_| {
                    let missing = request.invite.is_empty();
                    Refused::Invite(if missing { InviteVerdict::Missing } else { InviteVerdict::Unknown })
                })?;
                Ok(Brought::Invite(self.lookup(&invite)))
            }
            config::Registration::ProofOfWork => {
                let refused = Refused::Work { bits: self.bits };
                let work = state.work.as_ref().filter(|work| now_ms < work.expires_ms).ok_or(refused)?;
                let puzzle = Puzzle::new(&request.registration_state, work.bits).map_err(|_| refused)?;
                Ok(Brought::Work { puzzle, nonce: request.work, bits: self.bits })
            }
        }
    }
}

impl Brought {
    /// Checks work. Returns the invite that is to be used with the account.
    pub(crate) fn prove(self) -> Result<Option<[u8; 32]>, Error> {
        match self {
            Self::Nothing => Ok(None),
            Self::Invite(lookup) => Ok(Some(lookup)),
            Self::Work { puzzle, nonce, bits } => {
                if puzzle.check(nonce).map_err(Error::Ksf)? {
                    Ok(None)
                } else {
                    Err(Refused::Work { bits }.into())
                }
            }
        }
    }
}
