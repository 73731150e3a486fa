//! Asking for messages that are missing.

use std::sync::Arc;

use qpc_wire::GroupId;

use super::Done;
use crate::{
    Error, Event,
    client::Inner,
    content::{Body, MAX_LIST},
    receive,
    store::{Chore, Tx},
};

/// Times that is asked before what is missing counts as lost.
const MAX_ASKS: u32 = 6;
/// Times that is asked after that: whoever has it may have been away.
const LATE_ASKS: u32 = 28;
/// Time between two of these.
pub(super) const LATE_MS: u64 = 6 * 60 * 60 * 1000;
/// Part of the time between two looks into the mailbox after which it is asked again; each further time is twice as long.
const AGAIN: u32 = 15;
/// Time that own messages under way get: one of them may be what seems to be missing.
const SETTLE_MS: u64 = 1_000;

/// What a look at the holes of a conversation says.
enum Holes {
    None,
    /// Own messages are under way; until then it is not known.
    Unsettled,
    Open(Vec<u64>),
    Lost(u64),
}

/// Asks the members of a conversation for what stands at the holes of its chain. Who has it sends it again; a device of
/// this account sends all that it has.
pub(super) async fn ask(inner: &Arc<Inner>, chore: Chore) -> Result<Done, Error> {
    let conversation = chore.conversation;
    let identity = inner.identity.clone();
    let holes = inner
        .store
        .run(move |tx| {
            let holes = look(tx, conversation, chore.tries)?;
            if let Holes::Open(places) = &holes {
                let content = receive::told_by(tx, &identity, Body::Ask(ranges(places)));
                receive::push(tx, conversation, &content)?;
            }
            Ok(holes)
        })
        .await?;
    Ok(match holes {
        Holes::None => Done::Finished,
        Holes::Unsettled => Done::Wait(SETTLE_MS),
        Holes::Open(places) => {
            tracing::info!(%conversation, missing = places.len(), "asked for what is missing");
            inner.outbox_wake.notify_one();
            let pause = inner.sync_every / AGAIN * 2u32.pow(chore.tries.min(MAX_ASKS));
            Done::Later(if chore.tries < MAX_ASKS { pause.as_millis() as u64 } else { LATE_MS })
        }
        Holes::Lost(count) => {
            tracing::warn!(%conversation, count, "nobody has what is missing");
            inner.events.emit(Event::Lost { conversation, count });
            Done::Later(LATE_MS)
        }
    })
}

fn look(tx: &Tx<'_>, conversation: GroupId, tries: u32) -> Result<Holes, Error> {
    let group = tx.current_group(conversation)?;
    if tx.holes(group, 1)?.is_empty() || tries > MAX_ASKS + LATE_ASKS {
        return Ok(Holes::None);
    }
    if tx.is_sending(conversation)? && tries == 0 || tx.some_pending()?.is_some() || tx.is_stuck(group)? {
        return Ok(Holes::Unsettled);
    }
    if tries == MAX_ASKS {
        return Ok(Holes::Lost(tx.give_up_holes(group)?));
    }
    let mut places = tx.holes(group, MAX_LIST)?;
    places.sort_unstable();
    Ok(Holes::Open(places))
}

/// Ascending places as ranges.
fn ranges(places: &[u64]) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for place in places {
        match ranges.last_mut() {
            Some((_, to)) if *to + 1 == *place => *to = *place,
            _ => ranges.push((*place, *place)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn neighbours_are_one_range() {
        assert_eq!(ranges(&[1, 2, 3, 5, 7, 8]), [(1, 3), (5, 5), (7, 8)]);
        assert_eq!(ranges(&[]), []);
    }
}
