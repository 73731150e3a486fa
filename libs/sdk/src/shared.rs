//! What is too large for a call: brought and fetched in parts.

use bytes::Bytes;
use prost::Message as _;
use qpc_crypto::{aead, sha256};
use qpc_wire::{
    Code,
    limits::{MAX_HANDSHAKE, PART},
    methods::{FetchPart, StagePart},
    v1,
};

use crate::{
    Error,
    client::Inner,
    retry,
    transport::{CallError, Connection},
};

/// Largest thing that is fetched: the tree of a group of 5,000, or a commit.
const MAX_SHARED: u64 = 32 << 20;

/// Brings a bundle that is too large for a request, and leaves in it where it is. What was brought before is brought again.
pub(crate) async fn fit(
    inner: &Inner,
    connection: &Connection,
    bundle: &mut v1::CommitBundle,
) -> Result<(), CallError> {
    if bundle.encoded_len() <= MAX_HANDSHAKE {
        return Ok(());
    }
    let whole = Bytes::from(bundle.encode_to_vec());
    let staged_id = Bytes::copy_from_slice(&sha256(&[&whole])[..16]);
    for start in (0..whole.len()).step_by(PART) {
        let request = v1::StagePartRequest {
            staged_id: staged_id.clone(),
            offset: start as u64,
            total: whole.len() as u64,
            data: whole.slice(start..whole.len().min(start + PART)),
        };
        retry::call::<StagePart>(&inner.runtime, connection, &request).await?;
    }
    *bundle = v1::CommitBundle { staged: staged_id, ..v1::CommitBundle::default() };
    Ok(())
}

/// Fetches what a pointer points to, and opens it if the pointer has a key. None if it is there no more.
pub(crate) async fn fetch(
    inner: &Inner,
    connection: &Connection,
    pointer: &v1::Pointer,
) -> Result<Option<Vec<u8>>, Error> {
    if pointer.size > MAX_SHARED {
        return Err(Error::TooLarge { len: pointer.size, max: MAX_SHARED });
    }
    let mut body = Vec::new();
    while (body.len() as u64) < pointer.size {
        let request = v1::FetchPartRequest { id: pointer.id.clone(), offset: body.len() as u64 };
        let part = match retry::call::<FetchPart>(&inner.runtime, connection, &request).await {
            Err(error) if error.code() == Some(Code::NotFound) => return Ok(None),
            part => part?,
        };
        if part.data.is_empty() {
            return Ok(None);
        }
        body.extend_from_slice(&part.data);
    }
    if pointer.key.is_empty() {
        return Ok(Some(body));
    }
    let key = pointer.key.as_ref().try_into().map_err(|_| Error::Incomplete("a key of 32 bytes"))?;
    Ok(Some(aead::open(&key, &pointer.id, &body)?))
}

/// The shared state that a pointer points to.
pub(crate) async fn state(
    inner: &Inner,
    connection: &Connection,
    pointer: Option<&v1::Pointer>,
) -> Result<v1::SharedState, Error> {
    let pointer = pointer.ok_or(Error::Incomplete("a pointer to the group"))?;
    let body = fetch(inner, connection, pointer).await?.ok_or(Error::Expired("the state of a group"))?;
    Ok(v1::SharedState::decode(body.as_slice())?)
}
