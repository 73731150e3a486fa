//! Telling others what has arrived here and what was read, and new members what the conversation is called.

use std::{collections::BTreeSet, sync::Arc};

use qpc_crypto::{
    Conversation, DeviceCertificate,
    mls::{Kind, Role},
};
use qpc_wire::{AccountId, GroupId};

use crate::{
    Error, MessageId,
    client::Inner,
    content::{Body, Content, MAX_LIST, MAX_NAMED, Naming},
    receive,
    store::{Identity, Tx},
};

/// Tells the others of a conversation which of their messages have arrived and which were read.
pub(super) async fn acknowledge(inner: &Arc<Inner>, conversation: GroupId) -> Result<(), Error> {
    let identity = inner.identity.clone();
    let told = inner
        .store
        .run(move |tx| {
            let mut told = 0;
            loop {
                let acks = tx.take_acks(conversation, MAX_LIST)?;
                if acks.is_empty() || !may_write(tx, conversation)? {
                    return Ok(told);
                }
                told += acks.len();
                let (read, arrived): (Vec<_>, Vec<_>) = acks.into_iter().partition(|(_, state)| *state == 2);
                let ids = |acks: Vec<(MessageId, u8)>| acks.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
                for (ids, body) in
                    [(ids(arrived), Body::Delivered as fn(_) -> _), (ids(read), Body::Read as fn(_) -> _)]
                {
                    if !ids.is_empty() {
                        receive::push(tx, conversation, &receive::told_by(tx, &identity, body(ids)))?;
                    }
                }
            }
        })
        .await?;
    if told > 0 {
        inner.outbox_wake.notify_one();
    }
    Ok(())
}

/// Tells the name of a conversation to whoever has come by an invite.
pub(super) async fn name(inner: &Arc<Inner>, conversation: GroupId) -> Result<(), Error> {
    let identity = inner.identity.clone();
    inner.store.run(move |tx| push_name(tx, &identity, conversation)).await?;
    inner.outbox_wake.notify_one();
    Ok(())
}

/// Sends the name of a conversation once more, as old as it is, and the names of its members.
pub(crate) fn push_name(tx: &Tx<'_>, identity: &Identity, conversation: GroupId) -> Result<(), Error> {
    let Some((name, sent_at_ms)) = tx.name(conversation)? else { return Ok(()) };
    // Nobody takes it from others.
    let group = tx.load_current(conversation)?;
    let policy = group.policy()?;
    if policy.kind != Kind::Group || policy.role(identity.account()) < Role::Admin {
        return Ok(());
    }
    let members = named(tx, identity, &group)?;
    let content = Content { sent_at_ms, ..receive::told_by(tx, identity, Body::Name(Naming { name, members })) };
    receive::push(tx, conversation, &content)
}

/// Those others in a group whose names are known here.
fn named(tx: &Tx<'_>, identity: &Identity, group: &Conversation) -> Result<Vec<(AccountId, String)>, Error> {
    let accounts: BTreeSet<_> = group.members().iter().map(DeviceCertificate::account_id).collect();
    let mut named = Vec::new();
    for account in accounts.into_iter().filter(|account| *account != identity.account()) {
        if named.len() == MAX_NAMED {
            break;
        }
        named.extend(tx.peer_name(account)?.map(|name| (account, name)));
    }
    Ok(named)
}

fn may_write(tx: &Tx<'_>, conversation: GroupId) -> Result<bool, Error> {
    match tx.load_current(conversation) {
        Ok(group) => Ok(group.role_of_self()? >= Some(Role::Member)),
        Err(Error::NotMember | Error::NotLetIn | Error::UnknownConversation(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
