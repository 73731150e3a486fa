//! Coming into a group from outside (RFC 9420 section 12.4.3.2): a device that can no longer follow it, a further device of
//! an account that is in it, and whoever holds an invite.

use qpc_crypto::{Conversation, mls::InviteSecret};
use qpc_wire::{Code, GroupId, methods::FetchGroupInfo, status::Detail, v1};

use crate::{
    Error, Event,
    client::Inner,
    commit::{self, Outcome},
    receive, retry, shared,
    store::{ChoreKind, ConversationState, Tx},
    sync,
    transport::Connection,
};

/// Times that an external commit is made anew because another one was first.
const MAX_RACES: usize = 16;
/// Successors of a group that are followed.
const MAX_HOPS: usize = 8;

/// Joins the group of a conversation again. The caller has the turn. What this device wrote meanwhile is encrypted anew,
/// and what it could not read is asked for.
pub(crate) async fn rejoin(inner: &Inner, connection: &Connection, conversation: GroupId) -> Result<(), Error> {
    let before = move |tx: &Tx<'_>| {
        let group = tx.current_group(conversation)?;
        Ok((group, tx.last_accounts(group)?))
    };
    let (group, before) = inner.store.run(before).await?;
    match join(inner, connection, group, None).await {
        Ok(_) => {
            let own = inner.identity.account();
            let after = inner
                .store
                .run(move |tx| {
                    tx.put_chore(conversation, ChoreKind::Ask, 0)?;
                    tx.last_accounts(tx.current_group(conversation)?)
                })
                .await?;
            inner.events.emit(Event::Healed(conversation));
            let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
            let added: Vec<_> = after.iter().filter(|account| !before.contains(account)).copied().collect();
            let removed: Vec<_> = before.iter().filter(|account| !after.contains(account)).copied().collect();
            if !added.is_empty() || !removed.is_empty() {
                // By whom cannot be told any more.
                inner.events.emit(Event::MembersChanged { conversation, by: own, added, removed, left: Vec::new() });
            }
            inner.chore_wake.notify_one();
            Ok(())
        }
        Err(error) if is_out(&error) => out(inner, conversation, group).await,
        Err(error) => Err(error),
    }
}

/// Nobody of this account is in the group any more.
fn is_out(error: &Error) -> bool {
    matches!(error, Error::Call(error) if error.code() == Some(Code::NotFound))
}

/// Takes leave of a conversation from which this account was removed, or that was carried on without it.
async fn out(inner: &Inner, conversation: GroupId, group: GroupId) -> Result<(), Error> {
    inner
        .store
        .run(move |tx| {
            tx.retire_group(group)?;
            tx.clear_stuck(group)?;
            tx.set_conversation_state(conversation, ConversationState::Removed)
        })
        .await?;
    inner.events.emit(Event::Removed(conversation));
    // What waits there is told to fail.
    inner.outbox_wake.notify_one();
    Ok(())
}

/// Comes into a group that has let this device in by a Welcome which cannot be read. The others take it for a member.
pub(crate) async fn come_in(inner: &Inner, connection: &Connection, group: GroupId) -> Result<(), Error> {
    let _turn = inner.turn.lock().await;
    sync::pull_in_turn(inner, connection).await?;
    let settled = move |tx: &Tx<'_>| {
        let Some(conversation) = tx.conversation_of(group)? else { return Ok(false) };
        let is_in = tx.conversation(conversation)?.is_some_and(|info| info.active && !info.stuck);
        Ok(is_in || tx.current_group(conversation)? != group)
    };
    if inner.store.run(settled).await? {
        return Ok(());
    }
    let conversation = match join(inner, connection, group, None).await {
        Err(error) if is_out(&error) => return Ok(()),
        conversation => conversation?,
    };
    let after = move |tx: &Tx<'_>| {
        tx.put_chore(conversation, ChoreKind::Ask, 0)?;
        // Of an account that was restored: the lost device goes with a commit of the new one.
        if tx.revoked()?.is_empty() { Ok(()) } else { tx.put_chore(conversation, ChoreKind::Devices, 0) }
    };
    inner.store.run(after).await?;
    inner.events.emit(Event::ConversationAdded(conversation));
    inner.chore_wake.notify_one();
    Ok(())
}

/// Goes to the group that carries a conversation on, when its Welcome did not come. The caller has the turn.
pub(crate) async fn follow(
    inner: &Inner,
    connection: &Connection,
    conversation: GroupId,
    successor: GroupId,
) -> Result<(), Error> {
    sync::pull_in_turn(inner, connection).await?;
    let there = move |tx: &Tx<'_>| Ok(tx.conversation_of(successor)?.is_some());
    if inner.store.run(there).await? {
        return Ok(());
    }
    match join(inner, connection, successor, None).await {
        Err(error) if is_out(&error) => {
            let group = inner.store.run(move |tx| tx.current_group(conversation)).await?;
            return out(inner, conversation, group).await;
        }
        joined => drop(joined?),
    }
    inner.store.run(move |tx| tx.put_chore(conversation, ChoreKind::Ask, 0)).await?;
    inner.events.emit(Event::Healed(conversation));
    Ok(())
}

/// Joins a group by an external commit. Returns its conversation. The caller has the turn.
pub(crate) async fn join(
    inner: &Inner,
    connection: &Connection,
    group: GroupId,
    invite: Option<&InviteSecret>,
) -> Result<GroupId, Error> {
    let (mut group, mut hops) = (group, 0);
    for _ in 0..MAX_RACES {
        sync::pull_in_turn(inner, connection).await?;
        match try_join(inner, connection, group, invite).await? {
            (conversation, Outcome::Accepted(_)) => return Ok(conversation),
            (_, Outcome::Replaced(successor)) if hops < MAX_HOPS => {
                (group, hops) = (successor, hops + 1);
            }
            (_, Outcome::Replaced(_) | Outcome::Late(_) | Outcome::Again | Outcome::Exists(_) | Outcome::Forked) => {}
        }
    }
    Err(Error::TooManyRaces)
}

async fn try_join(
    inner: &Inner,
    connection: &Connection,
    group: GroupId,
    invite: Option<&InviteSecret>,
) -> Result<(GroupId, Outcome), Error> {
    let device = inner.identity.device();
    let (invite_key, invite_signature) = match invite {
        Some(invite) => (invite.key().to_vec().into(), invite.info_proof(group, device).to_vec().into()),
        None => Default::default(),
    };
    let request = v1::FetchGroupInfoRequest { group_id: group.to_bytes(), invite_key, invite_signature };
    let info = match retry::call::<FetchGroupInfo>(&inner.runtime, connection, &request).await {
        Ok(info) => info,
        Err(error) => match error.detail() {
            Some(Detail::Replaced(by)) => return Ok((group, Outcome::Replaced(GroupId::try_from(&by.successor)?))),
            _ => return Err(error.into()),
        },
    };
    let state = shared::state(inner, connection, info.shared.as_ref()).await?;
    let (identity, key) = (inner.identity.clone(), inner.idempotency_key());
    let invite = invite.map(|invite| InviteSecret::from_bytes(&invite.to_bytes()));
    let pending = inner
        .store
        .run(move |tx| {
            let proposals: Vec<Vec<u8>> = info.proposals.iter().map(|proposal| proposal.to_vec()).collect();
            let (joined, made) = Conversation::join_external(
                &tx.mls(),
                &identity.device_key,
                &identity.certificate,
                &state.group_info,
                &state.ratchet_tree,
                &proposals,
                invite.as_ref(),
            )?;
            if joined.group_id() != group {
                return Err(Error::Incomplete("the group that was asked for"));
            }
            // Before the server is asked: what it has accepted cannot be taken back.
            receive::check_place(tx, &joined)?;
            // Whatever state of this group was here is gone now; should the process end, it is to be joined again. Who was out
            // of it begins anew, and what was written meanwhile is not missing.
            let conversation = tx.conversation_of(group)?.map(|id| tx.conversation(id)).transpose()?.flatten();
            if conversation.is_some_and(|info| info.active) {
                tx.set_stuck(group)?;
            }
            commit::keep_join(tx, &joined, made, info.epoch, key)
        })
        .await?;
    let conversation = pending.conversation;
    Ok((conversation, commit::submit(inner, connection, pending).await?))
}
