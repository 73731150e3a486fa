//! Messages that disappear: the timer of a conversation, and the task that lets them go, connected or not. What is due is
//! not shown any more, also before that.

use std::{collections::BTreeMap, time::Duration};

use qpc_crypto::mls::{Kind, Role};
use qpc_wire::GroupId;

use crate::{
    Error, Event, MessageId,
    client::Inner,
    content::{Body, MAX_TIME_MS},
    receive,
    store::{ConversationKind, Tx},
};

/// Longest sleep: so late a clock that was set forward is noticed.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// Lets messages disappear when they are due.
pub(crate) async fn run(inner: &Inner) {
    loop {
        let sleep = match let_go(inner).await {
            Ok(None) => MAX_SLEEP,
            Ok(Some(ms)) => MAX_SLEEP.min(Duration::from_millis(ms)),
            Err(error) => {
                tracing::warn!(%error, "messages that are due stay for now");
                MAX_SLEEP
            }
        };
        tokio::select! {
            biased;
            () = inner.timer_wake.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// Lets go what is due. Returns the milliseconds until something is again.
async fn let_go(inner: &Inner) -> Result<Option<u64>, Error> {
    let work = |tx: &Tx<'_>| {
        let next = tx.next_expiry()?.map(|at| at.saturating_sub(tx.now_ms()));
        let gone = if next == Some(0) { tx.expire()? } else { Vec::new() };
        Ok((gone, next))
    };
    let (gone, next) = inner.store.run(work).await?;
    let mut by_conversation: BTreeMap<GroupId, Vec<MessageId>> = BTreeMap::new();
    for (conversation, message) in gone {
        by_conversation.entry(conversation).or_default().push(message);
    }
    for (conversation, messages) in by_conversation {
        inner.events.emit(Event::Expired { conversation, messages });
    }
    Ok(next)
}

/// Says how long what is written in a conversation from now on stays after it was read.
pub(crate) async fn set(inner: &Inner, conversation: GroupId, after: Option<Duration>) -> Result<(), Error> {
    let after_ms = after.map_or(0, |after| after.as_millis().clamp(1, u128::from(MAX_TIME_MS)) as u64);
    let identity = inner.identity.clone();
    inner
        .store
        .run(move |tx| {
            let info = tx.conversation(conversation)?.ok_or(Error::UnknownConversation(conversation))?;
            // Later than the word before it, whatever the clock of who gave that.
            let at_ms = tx.now_ms().max(tx.timer(conversation)?.1.saturating_add(1));
            tx.set_timer(conversation, after_ms, at_ms)?;
            if info.kind == ConversationKind::Notes {
                return Ok(());
            }
            let policy = tx.load_current(conversation)?.policy()?;
            let least = if policy.kind == Kind::Group { Role::Admin } else { Role::Member };
            if policy.role(identity.account()) < least {
                return Err(Error::NotAllowed("change the timer"));
            }
            let mut content = receive::told_by(tx, &identity, Body::Timer(after_ms));
            content.sent_at_ms = at_ms;
            receive::push(tx, conversation, &content)
        })
        .await?;
    inner.outbox_wake.notify_one();
    Ok(())
}
