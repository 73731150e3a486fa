//! What everything that changes a group has in common: it is checked against the public group and sealed to each recipient
//! before a transaction begins, so that the lock of the group is held for no arithmetic.

mod check;
mod seal;

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use prost::Message;
use qpc_chassis::{
    db::Tx,
    rpc::{Ctx, Identity},
};
use qpc_crypto::{
    GroupView, Policy,
    mls::InviteTerms,
    receipt::{self, Link},
};
use qpc_wire::{
    AccountId, DeviceId, GroupId,
    v1::{CommitBundle, Pointer, Receipt, SharedState},
};

pub(crate) use check::{Arrival, claims_to_come_from_outside};

use crate::{
    State,
    domain::{mailbox::Payload, removal},
    error::Error,
    store::{Change, Mark, Member, Store},
};

/// A stored group.
pub(crate) struct Opened {
    /// Its public state.
    pub(crate) view: GroupView,
    /// The GroupInfo of its epoch.
    pub(crate) group_info: Bytes,
}

/// A commit that was checked, with what it leaves behind.
pub(crate) struct Accepted {
    pub(crate) id: GroupId,
    /// The commit itself.
    pub(crate) commit: Bytes,
    /// New epoch.
    pub(crate) epoch: u64,
    /// What it is known by.
    pub(crate) mark: Mark,
    /// Public group after the commit, sealed for the database.
    pub(crate) state: Vec<u8>,
    /// Policy after it.
    pub(crate) policy: Policy,
    /// All leaves after it.
    pub(crate) leaves: Vec<(DeviceId, AccountId)>,
    /// Who gets messages from now on, and did not before.
    pub(crate) added: Vec<Member>,
    /// Former devices.
    pub(crate) removed: Vec<DeviceId>,
    /// Accounts whose role is another one now.
    pub(crate) roles: Vec<(AccountId, u8)>,
    /// Of the added, those that come by this commit. None of them may be revoked.
    pub(crate) joined: Vec<DeviceId>,
    /// Of the removed, those that must be revoked.
    pub(crate) pruned: Vec<DeviceId>,
    /// Whether the sender came from outside.
    pub(crate) external: bool,
    /// Whether the policy is another one than before.
    pub(crate) policy_changed: bool,
    /// The invite that it came by.
    pub(crate) invite: Option<([u8; 32], InviteTerms)>,
    /// The commit for the old members and the secrets for the new.
    pub(crate) payloads: Vec<Payload>,
    /// Sealed bodies of what the payloads point to.
    pub(crate) bodies: Vec<([u8; 16], Vec<u8>)>,
    /// Which of them is the state that joiners share.
    pub(crate) shared: Option<[u8; 16]>,
    /// Everyone that the receipt speaks of.
    pub(crate) recipients: Vec<DeviceId>,
    /// When it was sealed, unix milliseconds.
    pub(crate) at_ms: u64,
}

/// Unseals a stored public group.
pub(crate) async fn open(state: &Arc<State>, id: GroupId, sealed: Vec<u8>) -> Result<Opened, Error> {
    let opener = state.clone();
    off_the_loop(state, move || {
        let (snapshot, group_info) = opener.vault.open_group(id, &sealed)?;
        Ok(Opened { view: GroupView::restore(&snapshot).map_err(Error::StoredGroup)?, group_info })
    })
    .await
}

/// Takes up a new group.
pub(crate) async fn found(state: &Arc<State>, group_info: Bytes) -> Result<GroupView, Error> {
    off_the_loop(state, move || GroupView::found(&group_info).map_err(Error::InvalidCommit)).await
}

/// Leaves that get nothing any more and were not revoked: they wait for somebody to commit their leaving.
pub(crate) async fn leavers(state: &State, view: &GroupView, members: &[Member]) -> Result<BTreeSet<DeviceId>, Error> {
    let served: BTreeSet<DeviceId> = members.iter().map(|member| member.device).collect();
    let absent: Vec<DeviceId> =
        view.members().iter().map(|leaf| leaf.device_id()).filter(|device| !served.contains(device)).collect();
    let revoked = state.store.revoked_among(&absent).await?;
    Ok(absent.into_iter().filter(|device| !revoked.contains(device)).collect())
}

/// MLS in a group of hundreds takes tens of milliseconds, which no other call should wait for.
pub(crate) async fn off_the_loop<T: Send + 'static>(
    state: &Arc<State>,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    state.runtime.blocking(work).await.ok_or(Error::Stopping)?
}

/// Checks the bundle of the caller against `view`, follows it there, and seals what it sends.
pub(crate) async fn accept(
    state: &Arc<State>,
    ctx: &Ctx,
    view: GroupView,
    bundle: CommitBundle,
    arrival: Arrival,
) -> Result<Accepted, Error> {
    let limit = state.group_leaves;
    let checked = off_the_loop(state, move || check::check(view, bundle, arrival, limit)).await?;
    let keys = seal::queue_keys(state, ctx, &checked.others, &checked.former, &checked.joined).await?;
    let sealing = state.clone();
    off_the_loop(state, move || seal::commit(&sealing, checked, &keys)).await
}

/// The proposal of `leaver`, sealed to the other members; see [`Accepted::payloads`] and [`Accepted::bodies`].
pub(crate) async fn seal_proposal(
    state: &Arc<State>,
    ctx: &Ctx,
    (id, epoch): (GroupId, u64),
    proposal: Bytes,
    others: Vec<DeviceId>,
) -> Result<seal::Sealed, Error> {
    let keys = seal::queue_keys(state, ctx, &others, &[], &[]).await?;
    let runtime = state.runtime.clone();
    off_the_loop(state, move || seal::handshake(&runtime, id, epoch, &proposal, &others, &keys)).await
}

/// A SharedState under an id of its own: the sealed bytes, and the pointer with their key.
pub(crate) fn seal_shared(state: &State, shared: &SharedState) -> ([u8; 16], Vec<u8>, Pointer) {
    let mut rng = state.runtime.rng();
    let id: [u8; 16] = state.runtime.random();
    let body = state.vault.seal_shared(&mut rng, &id, &shared.encode_to_vec());
    let pointer = state.pointer(&id, body.len() as u64);
    (id, body, pointer)
}

impl Accepted {
    /// Its receipt at a place of the group's chain, which the payloads then carry.
    pub(crate) fn receipt(&mut self, state: &State, link: &Link) -> Receipt {
        let accepted = receipt::Accepted {
            group: self.id,
            epoch: self.epoch,
            payload: &self.commit,
            devices: &self.recipients,
            at_ms: self.at_ms,
        };
        let receipt = receipt::build(&state.receipt_key, &accepted, link);
        for payload in &mut self.payloads {
            payload.accept(&receipt);
        }
        receipt
    }

    /// What only the database knows of it: which devices were revoked, and how often an invite was used.
    pub(crate) async fn judge(&mut self, tx: &mut Tx, sender: AccountId, now_ms: u64) -> Result<(), Error> {
        let mut asked: Vec<DeviceId> = self.leaves.iter().map(|(device, _)| *device).collect();
        asked.extend(&self.pruned);
        let revoked = Store::revoked_of(tx, &asked).await?;
        if self.pruned.iter().any(|device| !revoked.contains(device)) {
            return Err(Error::NotRevoked);
        }
        let mut wrong: BTreeSet<DeviceId> =
            self.joined.iter().filter(|device| revoked.contains(device)).copied().collect();
        // Whoever comes from outside can remove nobody.
        if !self.external {
            wrong.extend(removal::due(&self.policy, sender, &self.leaves, &revoked));
        }
        if !wrong.is_empty() {
            return Err(Error::DevicesRevoked(wrong.into_iter().collect()));
        }
        self.added.retain(|member| !revoked.contains(&member.device));
        if let Some((key, terms)) = &self.invite {
            if terms.expires_ms <= now_ms {
                return Err(Error::InviteExpired);
            }
            let uses = Store::use_invite(tx, &self.id, key).await?;
            if terms.max_uses != 0 && uses > u64::from(terms.max_uses) {
                return Err(Error::InviteUsedUp);
            }
        }
        if self.policy_changed {
            Store::keep_invites(tx, &self.id, |key| self.policy.invite(key).is_some()).await?;
        }
        Ok(())
    }

    /// Makes it the first commit of `founder`, who so becomes a member.
    pub(crate) fn founded_by(&mut self, founder: Identity) {
        let role = self.policy.role(founder.account) as u8;
        self.added.push(Member { device: founder.device, account: founder.account, role });
        self.joined.push(founder.device);
    }

    /// The step that it takes in the database, with the place that is next in the chain.
    pub(crate) fn change(&mut self, next: Link) -> Change {
        Change {
            id: self.id,
            epoch: self.epoch,
            mark: Some(self.mark),
            // May be megabytes.
            state: std::mem::take(&mut self.state),
            added: self.added.clone(),
            removed: self.removed.clone(),
            roles: self.roles.clone(),
            next,
            shared: self.shared,
        }
    }
}
