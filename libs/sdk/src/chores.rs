//! What a client does by itself, without anybody asking: joining groups again that it cannot follow, committing the
//! leaving of others, renewing leaves, asking for what is missing, telling what has arrived, keeping the account's devices
//! together.
//!
//! A chore is a row of the store: it survives a restart, is done when it is due, and put off when it fails. What makes it
//! necessary and the row are written in one transaction.

mod ask;
mod tell;

pub(crate) use tell::push_name;

use std::{sync::Arc, time::Duration};

use qpc_crypto::{Conversation, mls::warm_rank};
use qpc_wire::GroupId;
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    client::Inner,
    commit::{self, Plan},
    devices, groups, heal, history, outbox,
    store::{Chore, ChoreKind, RENEW_EVERY_MS, Tx},
    transport::Connection,
};

/// First pause after a chore failed; each further one is twice as long, up to [`MAX_PAUSE_MS`].
const FIRST_PAUSE_MS: u64 = 500;
/// Longest pause after a chore failed.
const MAX_PAUSE_MS: u64 = 10 * 60 * 1000;

/// Time between two looks for a device that was given the account.
const LINK_LOOK_MS: u64 = 1_000;
/// Looks for a device that is listed and cannot be reached.
const MAX_DEVICE_LOOKS: u32 = 60;
/// Looks for it, ten minutes long: so long the person at the other device has for the password.
const MAX_LINK_LOOKS: u32 = 600;

/// Times that a group is to be joined whose Welcome could not be read: for some hours.
const MAX_JOINS: u32 = 30;

/// What is to follow from a chore that went well.
pub(crate) enum Done {
    Finished,
    /// Tried, and to be tried again after these milliseconds.
    Later(u64),
    /// Not tried yet: look again after these milliseconds.
    Wait(u64),
}

/// Does what is due, until told to stop.
pub(crate) async fn run(inner: &Arc<Inner>, connection: &Connection, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let next = match inner.store.run(|tx| Ok((tx.next_chore()?, tx.now_ms()))).await {
            // No longer than the longest pause: a clock that was ahead must not put things off for ever.
            Ok((next, now_ms)) => next.map(|chore| (chore, chore.due_ms.saturating_sub(now_ms).min(longest(chore)))),
            Err(error) => {
                tracing::warn!(%error, "chores");
                None
            }
        };
        match next {
            Some((chore, 0)) => {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = attempt(inner, connection, chore) => {}
                }
            }
            Some((_, wait_ms)) => tokio::select! {
                biased;
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
                () = inner.chore_wake.notified() => {}
                () = stop.cancelled() => return,
            },
            None => tokio::select! {
                biased;
                () = inner.chore_wake.notified() => {}
                () = stop.cancelled() => return,
            },
        }
    }
}

/// The longest time, milliseconds, for which a chore is ever put off.
fn longest(chore: Chore) -> u64 {
    match chore.kind {
        ChoreKind::Renew => RENEW_EVERY_MS,
        ChoreKind::Ask => ask::LATE_MS,
        _ => MAX_PAUSE_MS,
    }
}

async fn attempt(inner: &Arc<Inner>, connection: &Connection, chore: Chore) {
    let outcome = perform(inner, connection, chore).await;
    let settled = match outcome {
        Ok(Done::Finished) => inner.store.run(move |tx| tx.finish_chore(&chore)).await,
        Ok(Done::Later(ms)) => inner.store.run(move |tx| tx.postpone_chore(&chore, ms, chore.tries + 1)).await,
        Ok(Done::Wait(ms)) => inner.store.run(move |tx| tx.postpone_chore(&chore, ms, chore.tries)).await,
        // There is nothing left to be done it to.
        Err(Error::NotMember | Error::NotLetIn | Error::UnknownConversation(_)) => {
            inner.store.run(move |tx| tx.drop_chore(chore.conversation, chore.kind)).await
        }
        Err(error) => {
            tracing::info!(%error, conversation = %chore.conversation, kind = ?chore.kind, "chore put off");
            commit::hang_up(&error, connection);
            // What looks again and again has had many tries without a failure.
            let failures = match chore.kind {
                ChoreKind::Devices | ChoreKind::Linked => chore.tries.min(4),
                _ => chore.tries.min(16),
            };
            let pause = MAX_PAUSE_MS.min(FIRST_PAUSE_MS << failures);
            let pause = inner.runtime.jittered(Duration::from_millis(pause)).as_millis() as u64;
            inner.store.run(move |tx| tx.postpone_chore(&chore, pause, chore.tries + 1)).await
        }
    };
    if let Err(error) = settled {
        tracing::warn!(%error, "chore not settled");
        tokio::time::sleep(Duration::from_millis(FIRST_PAUSE_MS)).await;
    }
}

async fn perform(inner: &Arc<Inner>, connection: &Connection, chore: Chore) -> Result<Done, Error> {
    let conversation = chore.conversation;
    match chore.kind {
        ChoreKind::Heal => {
            let _turn = inner.turn.lock().await;
            let stuck =
                inner.store.run(move |tx| tx.current_group(conversation).and_then(|group| tx.is_stuck(group))).await?;
            if stuck {
                heal::rejoin(inner, connection, conversation).await?;
            }
        }
        ChoreKind::CommitLeaves => {
            outbox::commit_leaves(inner, connection, conversation).await?;
        }
        // Planned when it is due for the first time, done when it is so for the second.
        ChoreKind::Warm if chore.tries == 0 => {
            let place = move |tx: &Tx<'_>| {
                let group = tx.load_current(conversation)?;
                warm_place(&group)
            };
            let rank = inner.store.run(place).await?;
            return Ok(Done::Later((inner.warm_every * (rank + 1)).as_millis() as u64));
        }
        ChoreKind::Warm => {
            commit::change(inner, connection, conversation, Arc::new(warm)).await?;
        }
        ChoreKind::Renew => return renew(inner, connection, conversation).await,
        ChoreKind::Ask => return ask::ask(inner, chore).await,
        ChoreKind::Acknowledge => tell::acknowledge(inner, conversation).await?,
        ChoreKind::Leave => commit::leave(inner, connection, conversation).await?,
        ChoreKind::Name => tell::name(inner, conversation).await?,
        ChoreKind::Devices => {
            let complete = devices::reconcile(inner, connection, conversation).await?;
            return Ok(if complete || chore.tries > MAX_DEVICE_LOOKS {
                Done::Finished
            } else {
                Done::Later(LINK_LOOK_MS)
            });
        }
        ChoreKind::Linked => {
            let there = devices::let_in(inner, connection).await?;
            return Ok(if there || chore.tries > MAX_LINK_LOOKS { Done::Finished } else { Done::Later(LINK_LOOK_MS) });
        }
        ChoreKind::History => return history::send(inner, chore).await,
        ChoreKind::Join if chore.tries > MAX_JOINS => {
            tracing::warn!(group = %conversation, "a group that this device was let into cannot be joined");
        }
        ChoreKind::Join => heal::come_in(inner, connection, conversation).await?,
        ChoreKind::Admit => groups::admit(inner, connection, conversation).await?,
        ChoreKind::Retire => inner.store.run(move |tx| tx.retire_former_groups(conversation)).await?,
    }
    Ok(Done::Finished)
}

/// This device's place in the order in which the members of a group renew their leaves: the first few fill most of the tree.
fn warm_place(group: &Conversation) -> Result<u32, Error> {
    let size = group.member_leaves().iter().map(|(leaf, _)| leaf + 1).max().unwrap_or(1);
    Ok(warm_rank(group.own_leaf(), size))
}

fn warm(tx: &Tx<'_>, group: &Conversation) -> Result<Option<Plan>, Error> {
    if !group.path_is_cold()? {
        return Ok(None);
    }
    tx.set_renewed(group.group_id())?;
    Ok(Some(Plan { update: true, ..Plan::default() }))
}

async fn renew(inner: &Arc<Inner>, connection: &Connection, conversation: GroupId) -> Result<Done, Error> {
    let plan = |tx: &Tx<'_>, group: &Conversation| {
        let due = tx.renewed_at_ms(group.group_id())? + RENEW_EVERY_MS <= tx.now_ms();
        if due {
            tx.set_renewed(group.group_id())?;
        }
        Ok(due.then(|| Plan { update: true, ..Plan::default() }))
    };
    commit::change(inner, connection, conversation, Arc::new(plan)).await?;
    Ok(Done::Later(RENEW_EVERY_MS))
}
