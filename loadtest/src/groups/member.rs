//! What a device does in a group, whoever implements it.

use anyhow::Result;
use qpc_crypto::Suite;
use qpc_wire::{DeviceId, GroupId, v1::Envelope};

/// What a commit is to do.
pub(super) enum Change<'a> {
    Add(&'a [(DeviceId, Vec<u8>)]),
    Remove(&'a [DeviceId]),
    Update,
}

/// A commit and what comes with it.
#[derive(Default)]
pub(super) struct Made {
    pub(super) commit: Vec<u8>,
    pub(super) welcome: Vec<u8>,
    pub(super) group_info: Vec<u8>,
}

/// What comes in.
#[derive(Clone, Copy)]
pub(super) enum Item<'a> {
    Commit(&'a [u8]),
    Message(&'a [u8]),
    Welcome { welcome: &'a [u8], tree: &'a [u8], group_info: &'a [u8] },
}

/// The same as the server puts it into the mailbox, for a device that reads one.
pub(super) enum Mail {
    Commit(Vec<u8>),
    Message(Vec<u8>),
    Welcome {
        welcome: Vec<u8>,
        tree: Vec<u8>,
    },
    /// A secret of a Welcome, and what all joiners share.
    Pointer {
        suite: u16,
        group_info: Vec<u8>,
        secret: Vec<u8>,
        tree: Vec<u8>,
    },
    Sealed(Box<Envelope>, Option<Vec<u8>>),
}

/// A device. Every step is durable, where the device has a disk, when it returns.
pub(super) trait Member {
    fn id(&self) -> DeviceId;
    fn key_package(&mut self, suite: Suite) -> Result<Vec<u8>>;
    /// Founds the group. Returns its GroupInfo with ratchet tree.
    fn found(&mut self, suite: Suite, group: GroupId) -> Result<Vec<u8>>;
    fn change(&mut self, change: &Change<'_>) -> Result<Made>;
    fn join_external(&mut self, group_info: &[u8], tree: &[u8], epoch: u64) -> Result<Made>;
    /// The server has accepted what this device made.
    fn settle(&mut self) -> Result<()>;
    /// Not part of what is timed.
    fn mail(&self, item: Item<'_>) -> Result<Mail>;
    fn take(&mut self, mail: Mail) -> Result<()>;
    fn encrypt(&mut self, text: &str) -> Result<Vec<u8>>;
    /// Loads the group. Tells whether that is a part of every step.
    fn load(&mut self) -> Result<bool> {
        Ok(false)
    }
    /// Loads the group and notes its members. Tells whether that is a part of every commit.
    fn note(&mut self) -> Result<bool> {
        Ok(false)
    }
}
