//! What a server wants before it makes an account: nothing, work, or an invite. It says so in the first answer of a registration,
//! and again when it refuses.

use bytes::Bytes;
use qpc_crypto::admission::{Puzzle, TooMuchWork};
use qpc_wire::{
    status::Detail,
    v1::{InviteVerdict, RegistrationMode, RegistrationRefused, RegistrationTerms},
};

use crate::{Error, Event, client::Inner, transport::CallError};

/// Steps in which listeners hear of work that takes as long as it does on average.
const STEPS: u64 = 100;

/// Why a server makes no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// It makes none at all.
    #[error("the server takes no new accounts")]
    Closed,
    /// It makes accounts of those who were invited.
    #[error("the server takes new accounts by invite only, and none was given")]
    NoInvite,
    /// There is no such invite, or no longer.
    #[error("the server knows no such invite")]
    UnknownInvite,
    /// The invite was good until some time ago.
    #[error("the invite has expired")]
    ExpiredInvite,
    /// Others have used it.
    #[error("the invite is used up")]
    UsedInvite,
    /// What was worked out came too late, again and again.
    #[error("the server did not take the proof of work")]
    WorkNotTaken,
    /// It wants more than anybody should do.
    #[error(transparent)]
    TooMuchWork(#[from] TooMuchWork),
}

/// What goes into the last call.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) work: u64,
    pub(crate) invite: Bytes,
}

/// Does what `terms` want, for a registration whose state is `challenge`. What cannot be done is refused here already.
pub(crate) async fn meet(inner: &Inner, terms: &RegistrationTerms, challenge: &Bytes) -> Result<Shown, Error> {
    match terms.mode() {
        RegistrationMode::Open => Ok(Shown::default()),
        RegistrationMode::Closed => Err(NotAdmitted::Closed.into()),
        RegistrationMode::InviteOnly => {
            let invite = inner.invite.as_ref().ok_or(NotAdmitted::NoInvite)?;
            Ok(Shown { invite: Bytes::copy_from_slice(&invite.to_bytes()), ..Shown::default() })
        }
        RegistrationMode::ProofOfWork => {
            let bits = terms.work.as_ref().map_or(0, |work| work.bits);
            Ok(Shown { work: work(inner, challenge, bits).await?, ..Shown::default() })
        }
    }
}

/// Beside the event loop, until it is done, the client is closed, or nobody waits for it any more.
async fn work(inner: &Inner, challenge: &Bytes, bits: u32) -> Result<u64, Error> {
    let puzzle = Puzzle::new(challenge, bits).map_err(NotAdmitted::from)?;
    let stop = inner.runtime.shutdown().child_token();
    let _dropped = stop.clone().drop_guard();
    let (events, first) = (inner.events.clone(), u64::from_be_bytes(inner.runtime.random()));
    let search = move || {
        let expected = puzzle.expected();
        let step = (expected / STEPS).max(1);
        puzzle.solve(first, |done| {
            if done.is_multiple_of(step) {
                events.emit(Event::Working { done, expected });
            }
            !stop.is_cancelled()
        })
    };
    inner.runtime.blocking(search).await.ok_or(Error::Interrupted)??.ok_or(Error::Interrupted)
}

/// A refusal for want of what the server wants, said so.
pub(crate) fn refused(error: CallError) -> Error {
    let why = match error.status().and_then(|status| status.detail.as_ref()) {
        Some(Detail::RegistrationRefused(refused)) => not_admitted(refused),
        _ => None,
    };
    why.map_or_else(|| error.into(), Error::from)
}

fn not_admitted(refused: &RegistrationRefused) -> Option<NotAdmitted> {
    match refused.terms.as_ref()?.mode() {
        RegistrationMode::Open => None,
        RegistrationMode::Closed => Some(NotAdmitted::Closed),
        RegistrationMode::ProofOfWork => Some(NotAdmitted::WorkNotTaken),
        RegistrationMode::InviteOnly => Some(match refused.invite() {
            InviteVerdict::Missing => NotAdmitted::NoInvite,
            InviteVerdict::Unknown => NotAdmitted::UnknownInvite,
            InviteVerdict::Expired => NotAdmitted::ExpiredInvite,
            InviteVerdict::UsedUp => NotAdmitted::UsedInvite,
        }),
    }
}
