//! The mailbox, entry by entry in its order. The server keeps what is not acknowledged and may deliver it again; the
//! cursor of the store makes at-least-once into once.

use futures_util::{StreamExt as _, stream};
use qpc_wire::{
    AccountId, GroupId,
    limits::MAX_TAGS,
    methods::{Ack, Fetch},
    v1::{self, entry::Body},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Event, GapReason,
    client::Inner,
    commit,
    directory::{self, Source},
    receive::{self, Delivered, Received},
    retry,
    runtime::planted::{Mistake, planted},
    shared,
    transport::Connection,
};

/// Names that the directory is asked for at a time.
const LOOKUPS: usize = 8;

/// Takes in everything that is in the mailbox.
pub(crate) async fn pull(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    let _turn = inner.turn.lock().await;
    pull_in_turn(inner, connection).await
}

/// [`pull`] for who has the turn. Commits without an answer come first: what the mailbox holds may be of their epoch.
pub(crate) async fn pull_in_turn(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    commit::resume(inner, connection).await?;
    loop {
        let after = inner.store.run(|tx| tx.cursor()).await?;
        let request = v1::FetchRequest { after, limit: 0 };
        let fetched = retry::call::<Fetch>(&inner.runtime, connection, &request).await?;
        if fetched.head < after {
            // The server has lost its memory, as after a restore from a backup: sequences that were read come again with
            // other content. What it can still deliver is taken from where it stands, and the loss is told.
            tracing::error!(head = fetched.head, after, "the mailbox has gone back");
            let to = fetched.acked.min(fetched.head);
            inner.store.run(move |tx| tx.set_cursor(to).and_then(|()| tx.untell_epochs())).await?;
            inner.events.emit(Event::Gap { from: fetched.head + 1, to: after, reason: GapReason::Unexplained });
            // Nothing may come that could be acknowledged.
            tell(inner, connection, to).await?;
            // Not at once again: a server that goes back and back would keep this loop for ever.
            return Ok(());
        }
        if after < fetched.acked && fetched.acked <= fetched.head {
            // By this very device, which has been set back to an older copy of itself.
            inner.store.run(|tx| tx.interrupt_chains()).await?;
        }
        let Some(last) = fetched.entries.iter().map(|entry| entry.seq).max() else { return Ok(()) };
        take_in(inner, connection, fetched.entries).await?;
        // The first part guards against a server that sends the same again and again.
        if last <= after || last >= fetched.head {
            return Ok(());
        }
    }
}

/// A doorbell. Takes in the entries that come with it if they are the next ones, and fetches otherwise.
pub(crate) async fn on_mailbox(inner: &Inner, connection: &Connection, event: v1::MailboxEvent) -> Result<(), Error> {
    let _turn = inner.turn.lock().await;
    let (cursor, pending) = inner.store.run(|tx| Ok((tx.cursor()?, tx.some_pending()?.is_some()))).await?;
    if event.head <= cursor {
        return Ok(());
    }
    let fits = !pending && continues(cursor, &event.entries);
    if fits {
        take_in(inner, connection, event.entries).await?;
    }
    if fits && inner.store.run(|tx| tx.cursor()).await? >= event.head {
        return Ok(());
    }
    pull_in_turn(inner, connection).await
}

/// Whether the entries follow the cursor without a hole; what is before it does not matter.
fn continues(cursor: u64, entries: &[v1::Entry]) -> bool {
    let mut next = cursor + 1;
    entries.iter().all(|entry| {
        let fits = entry.seq <= next || planted(Mistake::AcceptsHole);
        next = next.max(entry.seq + 1);
        fits
    })
}

async fn take_in(inner: &Inner, connection: &Connection, entries: Vec<v1::Entry>) -> Result<(), Error> {
    for entry in entries {
        let (identity, delivered) = (inner.identity.clone(), complete(inner, connection, entry).await?);
        #[cfg(feature = "sim")]
        let shown = planted(Mistake::ShowsBeforeStoring);
        #[cfg(feature = "sim")]
        if shown {
            show_early(inner, connection, &delivered).await;
        }
        let received = inner.store.run(move |tx| receive::entry(tx, &identity, &delivered)).await?;
        #[cfg(feature = "sim")]
        let received = if shown { Vec::new() } else { received };
        for received in received {
            announce(inner, connection, received).await;
        }
        inner.ack_wake.notify_one();
    }
    inner.chore_wake.notify_one();
    inner.outbox_wake.notify_one();
    // What another device of this account has read.
    inner.timer_wake.notify_one();
    Ok(())
}

/// The mistake of that name: what an entry says is told, and forgotten again.
#[cfg(feature = "sim")]
async fn show_early(inner: &Inner, connection: &Connection, delivered: &Delivered) {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let again = Delivered { entry: delivered.entry.clone(), shared: delivered.shared.clone() };
    let (identity, out) = (inner.identity.clone(), seen.clone());
    let undone = inner.store.run(move |tx| {
        let received = receive::entry(tx, &identity, &again)?;
        out.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(received);
        Err::<(), _>(Error::Offline)
    });
    drop(undone.await);
    let received = std::mem::take(&mut *seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    for received in received {
        announce(inner, connection, received).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
}

/// Fetches what an entry only points to. An error means that it cannot be had now; what is gone for good is left out.
async fn complete(inner: &Inner, connection: &Connection, entry: v1::Entry) -> Result<Delivered, Error> {
    let pointer = match &entry.body {
        Some(Body::Envelope(envelope)) => envelope.shared.clone(),
        _ => None,
    };
    let Some(pointer) = pointer else { return Ok(entry.into()) };
    let shared = match shared::fetch(inner, connection, &pointer).await {
        Err(Error::Call(error)) => return Err(error.into()),
        Err(error) => {
            tracing::warn!(seq = entry.seq, %error, "what an entry points to is not to be had");
            None
        }
        Ok(shared) => shared,
    };
    Ok(Delivered { entry, shared })
}

/// Tells the user, after asking the directory whether an unknown sender is who they say.
async fn announce(inner: &Inner, connection: &Connection, received: Received) {
    match received {
        Received::Event(event) => inner.events.emit(event),
        Received::Message { mut message, claim } => {
            if message.sender_name.is_none()
                && confirmed(inner, connection, &claim, message.sender, Source::Itself).await
            {
                message.sender_name = Some(claim);
            }
            inner.events.emit(Event::MessageReceived(message));
        }
        Received::Claims(claims, source) => {
            let asked = stream::iter(claims).for_each_concurrent(LOOKUPS, async |(account, claim)| {
                confirmed(inner, connection, &claim, account, source).await;
            });
            asked.await;
        }
    }
}

async fn confirmed(inner: &Inner, connection: &Connection, claim: &str, account: AccountId, source: Source) -> bool {
    match directory::confirm(inner, connection, claim, account, source).await {
        Ok(confirmed) => confirmed,
        Err(error) => {
            tracing::info!(%error, "name not confirmed");
            false
        }
    }
}

/// Acknowledges what was taken in, many entries at a time when they come fast.
pub(crate) async fn acknowledge(inner: &Inner, connection: &Connection, stop: &CancellationToken) {
    let mut acked = 0;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = inner.ack_wake.notified() => {}
        }
        let seq = match inner.store.run(|tx| tx.cursor()).await {
            Ok(seq) if seq > acked => seq,
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(%error, "cursor");
                continue;
            }
        };
        match tell(inner, connection, seq).await {
            Ok(()) => acked = seq,
            // The next one covers it, at the latest that of the periodic look.
            Err(error) => tracing::debug!(%error, "not acknowledged"),
        }
    }
}

/// Acknowledges up to `seq`, with the tag of every epoch that is new since the last time.
async fn tell(inner: &Inner, connection: &Connection, seq: u64) -> Result<(), Error> {
    // Each time with others: those of before are told.
    while tell_some(inner, connection, seq).await? == MAX_TAGS {}
    Ok(())
}

/// The same with as many tags as one call takes; says how many those were. A group of which the server has another tag is not the
/// one that the others are in.
async fn tell_some(inner: &Inner, connection: &Connection, seq: u64) -> Result<usize, Error> {
    let (epochs, undecryptable) = inner
        .store
        .run(|tx| {
            let mut epochs = Vec::new();
            for (id, epoch) in tx.untold_epochs(MAX_TAGS)? {
                // Between a commit of this device and its answer the group is of two minds.
                if let Ok(group) = tx.load_group(id)
                    && group.epoch() == epoch
                {
                    epochs.push((id, epoch, group.epoch_tag()?));
                }
            }
            Ok((epochs, tx.untold_undecryptable()?))
        })
        .await?;
    let count = epochs.len();
    let tags = epochs.iter().map(|(id, epoch, tag)| v1::EpochTag {
        group_id: id.to_bytes(),
        epoch: *epoch,
        tag: tag.to_vec().into(),
    });
    let request =
        v1::AckRequest { seq, tags: tags.collect(), undecryptable: u32::try_from(undecryptable).unwrap_or(u32::MAX) };
    let answer = connection.call::<Ack>(&request).await?;
    let events = inner
        .store
        .run(move |tx| {
            tx.set_told_undecryptable(undecryptable)?;
            for (id, epoch, _) in epochs {
                tx.set_told(id, epoch)?;
            }
            let mut events = Vec::new();
            for group in answer.forked {
                events.extend(receive::forked(tx, GroupId::try_from(&group)?)?);
            }
            Ok(events)
        })
        .await?;
    for event in events {
        inner.events.emit(event);
        inner.chore_wake.notify_one();
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_continue_where_the_cursor_stands() {
        let entries = |seqs: &[u64]| seqs.iter().map(|seq| v1::Entry { seq: *seq, body: None }).collect::<Vec<_>>();
        assert!(continues(4, &entries(&[5, 6])));
        assert!(continues(4, &entries(&[3, 4, 5])));
        assert!(continues(4, &[]));
        assert!(!continues(4, &entries(&[6])));
        assert!(!continues(4, &entries(&[5, 7])));
    }
}
