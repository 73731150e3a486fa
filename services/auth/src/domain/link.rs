//! What the two sides of a link may say.

use bytes::Bytes;
use qpc_crypto::sha256;
use qpc_wire::{ids::InvalidId, v1};

use crate::error::Error;

/// Bytes of an offer.
pub(crate) const MAX_OFFER: usize = 4 << 10;
/// Bytes of an answer.
pub(crate) const MAX_ANSWER: usize = 16 << 10;

/// First bytes of SHA-256 over the offer: nobody can take the id of an offer that is not his.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkId([u8; Self::LEN]);

impl LinkId {
    const LEN: usize = 16;

    pub(crate) fn parse(bytes: &Bytes) -> Result<Self, Error> {
        let id = bytes.as_ref().try_into().map_err(|_| InvalidId {
            what: "link id",
            expected: Self::LEN,
            actual: bytes.len(),
        });
        Ok(Self(id?))
    }
}

impl AsRef<[u8]> for LinkId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The id of an offer that may be made.
pub(crate) fn offer(request: &v1::LinkOfferRequest) -> Result<LinkId, Error> {
    length("an offer", 1, MAX_OFFER, request.offer.len())?;
    let id = LinkId::parse(&request.link_id)?;
    if sha256(&[&request.offer]).starts_with(&id.0) { Ok(id) } else { Err(Error::LinkId) }
}

/// The id that an answer which may be given is for.
pub(crate) fn answer(request: &v1::LinkAnswerRequest) -> Result<LinkId, Error> {
    // An empty one would look like none.
    length("an answer", 1, MAX_ANSWER, request.answer.len())?;
    LinkId::parse(&request.link_id)
}

/// Whether `what` is neither too short nor too long.
pub(crate) fn length(what: &'static str, least: usize, most: usize, actual: usize) -> Result<(), Error> {
    if (least..=most).contains(&actual) { Ok(()) } else { Err(Error::Length { what, least, most, actual }) }
}
