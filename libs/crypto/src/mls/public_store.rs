//! A storage for one public group: four values as CBOR. Postcard and the like do not work, as values of openmls describe
//! themselves.

use std::collections::TryReserveError;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cbor4ii::serde::{DecodeError, EncodeError};
use openmls_traits::public_storage::PublicStorageProvider;
use openmls_traits::storage::{CURRENT_VERSION, traits};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SlotError {
    #[error("encoding a group: {0}")]
    Encode(#[from] EncodeError<TryReserveError>),
    #[error("decoding a group: {0}")]
    Decode(#[from] DecodeError<Infallible>),
}

/// The values of a group, encoded; empty when never written.
#[derive(Clone, Default)]
pub(super) struct Slots {
    pub(super) tree: Vec<u8>,
    pub(super) context: Vec<u8>,
    pub(super) transcript: Vec<u8>,
    pub(super) confirmation: Vec<u8>,
}

/// Holds one group; ids are ignored. The lock is for the shared reference that openmls writes through and never waits.
#[derive(Default)]
pub(super) struct PublicStore(Mutex<Slots>);

impl PublicStore {
    pub(super) fn new(slots: Slots) -> Self {
        Self(Mutex::new(slots))
    }

    pub(super) fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, SlotError> {
    Ok(cbor4ii::serde::to_vec(Vec::new(), value)?)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, SlotError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    Ok(Some(cbor4ii::serde::from_slice(bytes)?))
}

const V: u16 = CURRENT_VERSION;

impl PublicStorageProvider<V> for PublicStore {
    type PublicError = SlotError;

    fn write_tree<G: traits::GroupId<V>, T: traits::TreeSync<V>>(&self, _: &G, tree: &T) -> Result<(), SlotError> {
        self.slots().tree = encode(tree)?;
        Ok(())
    }

    fn write_interim_transcript_hash<G: traits::GroupId<V>, H: traits::InterimTranscriptHash<V>>(
        &self,
        _: &G,
        hash: &H,
    ) -> Result<(), SlotError> {
        self.slots().transcript = encode(hash)?;
        Ok(())
    }

    fn write_context<G: traits::GroupId<V>, C: traits::GroupContext<V>>(
        &self,
        _: &G,
        context: &C,
    ) -> Result<(), SlotError> {
        self.slots().context = encode(context)?;
        Ok(())
    }

    fn write_confirmation_tag<G: traits::GroupId<V>, T: traits::ConfirmationTag<V>>(
        &self,
        _: &G,
        tag: &T,
    ) -> Result<(), SlotError> {
        self.slots().confirmation = encode(tag)?;
        Ok(())
    }

    fn tree<G: traits::GroupId<V>, T: traits::TreeSync<V>>(&self, _: &G) -> Result<Option<T>, SlotError> {
        decode(&self.slots().tree)
    }

    fn group_context<G: traits::GroupId<V>, C: traits::GroupContext<V>>(&self, _: &G) -> Result<Option<C>, SlotError> {
        decode(&self.slots().context)
    }

    fn interim_transcript_hash<G: traits::GroupId<V>, H: traits::InterimTranscriptHash<V>>(
        &self,
        _: &G,
    ) -> Result<Option<H>, SlotError> {
        decode(&self.slots().transcript)
    }

    fn confirmation_tag<G: traits::GroupId<V>, T: traits::ConfirmationTag<V>>(
        &self,
        _: &G,
    ) -> Result<Option<T>, SlotError> {
        decode(&self.slots().confirmation)
    }

    fn delete_tree<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), SlotError> {
        self.slots().tree.clear();
        Ok(())
    }

    fn delete_confirmation_tag<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), SlotError> {
        self.slots().confirmation.clear();
        Ok(())
    }

    fn delete_context<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), SlotError> {
        self.slots().context.clear();
        Ok(())
    }

    fn delete_interim_transcript_hash<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), SlotError> {
        self.slots().transcript.clear();
        Ok(())
    }

    // The view keeps proposals as they came, for those who join from outside, and queues them anew when it is restored.

    fn queue_proposal<G: traits::GroupId<V>, R: traits::ProposalRef<V>, P: traits::QueuedProposal<V>>(
        &self,
        _: &G,
        _: &R,
        _: &P,
    ) -> Result<(), SlotError> {
        Ok(())
    }

    fn queued_proposals<G: traits::GroupId<V>, R: traits::ProposalRef<V>, P: traits::QueuedProposal<V>>(
        &self,
        _: &G,
    ) -> Result<Vec<(R, P)>, SlotError> {
        Ok(Vec::new())
    }

    fn remove_proposal<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(&self, _: &G, _: &R) -> Result<(), SlotError> {
        Ok(())
    }

    fn clear_proposal_queue<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(&self, _: &G) -> Result<(), SlotError> {
        Ok(())
    }
}
