//! Who may write to this account: requests of strangers, and who is blocked.
//!
//! Neither is known to the server or to those whom it concerns: they see messages that arrive nowhere, as with somebody who is
//! offline. All devices of the account share it.

use std::{collections::BTreeSet, sync::Arc};

use qpc_crypto::{
    Conversation, DeviceCertificate,
    mls::{Kind, Role},
};
use qpc_wire::{AccountId, GroupId};

use crate::{
    Client, Error, Event,
    client::Inner,
    directory, groups, own,
    store::{ConversationKind, Identity, Standing, Tx},
};

/// Epoch of a group after its founding.
const FOUNDED: u64 = 1;

/// What becomes of a conversation that this device was let into by somebody else, and did not know.
pub(crate) fn begun(tx: &Tx<'_>, identity: &Identity, group: &Conversation) -> Result<Standing, Error> {
    let (policy, own) = (group.policy()?, identity.account());
    if let Some(standing) = own::standing(tx, policy.conversation)? {
        return Ok(standing);
    }
    let accounts: BTreeSet<AccountId> = group.members().iter().map(DeviceCertificate::account_id).collect();
    // Another device of this account was there first, and lets this one in: it has said where the conversation stands.
    let siblings = group.members().iter().filter(|member| member.account_id() == own).count() > 1;
    if policy.kind == Kind::Own || (siblings && group.epoch() > FOUNDED) {
        return Ok(Standing::Accepted);
    }
    // Those who can have let it in.
    let is_host =
        |account: &AccountId| *account != own && (policy.kind == Kind::Direct || policy.role(*account) >= Role::Admin);
    let hosts: Vec<AccountId> = accounts.into_iter().filter(is_host).collect();
    for host in &hosts {
        if policy.kind == Kind::Direct && tx.is_blocked(*host)? {
            return Ok(Standing::Declined);
        }
        if tx.is_contact(*host, policy.conversation)? {
            return Ok(Standing::Accepted);
        }
    }
    Ok(if own::settings(tx)?.ask && !hosts.is_empty() { Standing::Requested } else { Standing::Accepted })
}

/// This account takes part in a conversation that a stranger has begun.
pub(crate) async fn accept(inner: &Arc<Inner>, conversation: GroupId) -> Result<(), Error> {
    stand(inner, conversation, Standing::Accepted).await
}

/// It does not: the conversation is left, and not shown any more.
pub(crate) async fn decline(inner: &Arc<Inner>, conversation: GroupId) -> Result<(), Error> {
    stand(inner, conversation, Standing::Declined).await?;
    match groups::leave(inner, conversation).await {
        // Nobody to leave, or no way to say so now: it is not shown in any case.
        Err(Error::NotMember | Error::Offline | Error::LastOwner) => Ok(()),
        left => left,
    }
}

async fn stand(inner: &Arc<Inner>, conversation: GroupId, standing: Standing) -> Result<(), Error> {
    let identity = inner.identity.clone();
    inner
        .store
        .run(move |tx| {
            tx.conversation(conversation)?.ok_or(Error::UnknownConversation(conversation))?;
            own::put_standing(tx, &identity, conversation, standing)
        })
        .await?;
    inner.outbox_wake.notify_one();
    inner.chore_wake.notify_one();
    inner.events.emit(Event::StandingChanged { conversation, standing });
    Ok(())
}

/// Shuts somebody out, or lets them in again. Of what they write from now on nothing is kept, here or on other devices.
pub(crate) async fn block(inner: &Arc<Inner>, account: AccountId, blocked: bool) -> Result<(), Error> {
    if account == inner.identity.account() {
        return Err(Error::OwnName);
    }
    own::share(inner, own::block_key(account), vec![blocked.into()]).await
}

impl Client {
    /// The account of a name: as it is known here, else by the directory, which needs a connection.
    pub async fn account_of(&self, username: &str) -> Result<AccountId, Error> {
        let name = username.to_owned();
        if let Some(account) = self.inner.store.run(move |tx| tx.pinned_account(&name)).await? {
            return Ok(account);
        }
        let connection = self.inner.connection()?;
        Ok(directory::resolve(&self.inner, &connection, username).await?.account)
    }
}

/// Whether something is not to be sent: the other of a direct conversation is blocked.
pub(crate) fn check_peer(tx: &Tx<'_>, kind: ConversationKind, peer: Option<AccountId>) -> Result<(), Error> {
    match peer {
        Some(peer) if kind == ConversationKind::Direct && tx.is_blocked(peer)? => Err(Error::Blocked),
        _ => Ok(()),
    }
}
