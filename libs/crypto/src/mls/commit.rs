//! A member's side of a group: changing it.

use openmls::prelude::{LeafNodeIndex, LeafNodeParameters, MlsMessageOut};
use qpc_wire::DeviceId;

use super::{Conversation, MlsError, MlsStore, Provider, inspect, key_package};
use crate::DeviceKey;

/// A commit that this device made and the server has not answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingCommit {
    /// For the server and the other members: an MLSMessage with a PublicMessage.
    pub commit: Vec<u8>,
    /// For those added, all the same bytes: an MLSMessage with a Welcome. Empty when nobody was added.
    pub welcome: Vec<u8>,
}

impl Conversation {
    /// Adds the devices of these KeyPackages (MLSMessages), all or none. The commit has no path: with one it would grow
    /// with the group, and the next update brings the fresh secrets that it leaves out.
    pub fn add<S: MlsStore>(
        &mut self,
        provider: &Provider<S>,
        key: &DeviceKey,
        key_packages: &[Vec<u8>],
    ) -> Result<PendingCommit, MlsError> {
        let mut verified = Vec::with_capacity(key_packages.len());
        for bytes in key_packages {
            let (key_package, valid) = key_package::verify(provider.crypto(), bytes)?;
            if valid.suite != self.suite() {
                return Err(MlsError::Suite(valid.suite.id()));
            }
            verified.push(key_package);
        }
        let (commit, welcome, _) = self.group.add_members_without_update(provider, key, &verified)?;
        Ok(PendingCommit { commit: bytes(&commit)?, welcome: bytes(&welcome)? })
    }

    /// Replaces this device's secrets in the tree, which heals a past compromise.
    pub fn update<S: MlsStore>(&mut self, provider: &Provider<S>, key: &DeviceKey) -> Result<PendingCommit, MlsError> {
        let bundle = self.group.self_update(provider, key, LeafNodeParameters::default())?;
        Ok(PendingCommit { commit: bytes(bundle.commit())?, welcome: Vec::new() })
    }

    /// Removes these devices, all or none. This device cannot remove itself.
    pub fn remove<S: MlsStore>(
        &mut self,
        provider: &Provider<S>,
        key: &DeviceKey,
        devices: &[DeviceId],
    ) -> Result<PendingCommit, MlsError> {
        let members: Vec<(DeviceId, LeafNodeIndex)> = self
            .group
            .members()
            .filter_map(|member| Some((inspect::known(&member.credential).ok()?.device_id(), member.index)))
            .collect();
        let leaf_of = |device: &DeviceId| {
            let found = members.iter().find(|(member, _)| member == device);
            found.map(|(_, index)| *index).ok_or(MlsError::UnknownDevice(*device))
        };
        let leaves = devices.iter().map(leaf_of).collect::<Result<Vec<_>, _>>()?;
        let (commit, _, _) = self.group.remove_members(provider, key, &leaves)?;
        Ok(PendingCommit { commit: bytes(&commit)?, welcome: Vec::new() })
    }

    /// Whether a commit of this device is pending.
    pub fn has_pending(&self) -> bool {
        self.group.pending_commit().is_some()
    }

    /// The pending commit was accepted: makes its epoch the current one.
    pub fn merge_pending<S: MlsStore>(&mut self, provider: &Provider<S>) -> Result<(), MlsError> {
        if !self.has_pending() {
            return Err(MlsError::NothingPending);
        }
        Ok(self.group.merge_pending_commit(provider)?)
    }

    /// The pending commit was refused: forgets it. Without one nothing happens. If it was accepted after all, this device
    /// can no longer follow the group.
    pub fn clear_pending<S: MlsStore>(&mut self, provider: &Provider<S>) -> Result<(), MlsError> {
        self.group.clear_pending_commit(provider.storage()).map_err(MlsError::storage)
    }
}

fn bytes(message: &MlsMessageOut) -> Result<Vec<u8>, MlsError> {
    message.to_bytes().map_err(MlsError::invalid)
}
