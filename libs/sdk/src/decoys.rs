//! Messages that say nothing, at moments of chance: whoever watches the traffic cannot tell them from others by size, way or
//! what the others' devices do upon them. They are acknowledged as texts are; otherwise nobody notices them.

use std::{sync::Arc, time::Duration};

use qpc_crypto::Role;
use qpc_wire::GroupId;
use tokio_util::sync::CancellationToken;

use crate::{Client, Error, PeerTrust, client::Inner, content::Body, receive, store::Tx};

/// Shortest mean time between two decoys: more of them would crowd out what is written.
const LEAST: Duration = Duration::from_secs(1);
/// Longest gap, as a multiple of the mean one: one of a billion would be longer.
const MOST: u32 = 20;
/// Bytes of a request that carries a decoy, sealed by a delivery key, and of its response: the frames, without what QUIC adds.
const SENT: u64 = 539;
const ANSWERED: u64 = 221;
/// Bytes of the entry that every device of the conversation gets, in a mailbox or a doorbell.
const ENTRY: u64 = 724;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What decoys cost in a day, on average.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecoyCost {
    /// Messages that this device sends.
    pub messages: u64,
    /// Bytes that it sends and gets for them.
    pub bytes: u64,
    /// Bytes that each device of a conversation would get if all went there. Acknowledgements are not counted: where arrival is
    /// told, each other account sends one for each decoy, which is as large.
    pub bytes_of_others: u64,
}

/// What decoys with this mean time between them cost, whoever sends them.
pub fn decoy_cost(mean: Duration) -> DecoyCost {
    let messages = (DAY.as_millis() / mean.max(LEAST).as_millis()) as u64;
    DecoyCost { messages, bytes: messages * (SENT + ANSWERED + ENTRY), bytes_of_others: messages * ENTRY }
}

impl Client {
    /// What the decoys of this client cost in a day, on average.
    pub fn decoy_cost(&self) -> DecoyCost {
        self.inner.decoys.map(decoy_cost).unwrap_or_default()
    }
}

/// Sends decoys until told to stop, if they are wanted.
pub(crate) async fn run(inner: &Arc<Inner>, stop: &CancellationToken) {
    let Some(mean) = inner.decoys else { return };
    loop {
        let pause = gap(mean.max(LEAST), u64::from_be_bytes(inner.runtime.random()));
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if let Err(error) = send(inner).await {
            tracing::info!(%error, "no decoy");
        }
    }
}

/// A gap of the exponential distribution, as between things that happen independently of each other: the last one says nothing
/// about the next.
fn gap(mean: Duration, random: u64) -> Duration {
    let share = (random as f64 + 1.0) / (u64::MAX as f64 + 1.0);
    mean.mul_f64((-share.ln()).min(f64::from(MOST)))
}

/// Puts a decoy for some conversation into the outbox. What people write goes first.
pub(crate) async fn send(inner: &Arc<Inner>) -> Result<(), Error> {
    let identity = inner.identity.clone();
    inner
        .store
        .run(move |tx| {
            let mut open = Vec::new();
            for conversation in tx.active_conversations()? {
                if may_write(tx, conversation)? {
                    open.push(conversation);
                }
            }
            if open.is_empty() {
                return Ok(());
            }
            let place = u64::from_be_bytes(tx.random()) % open.len() as u64;
            receive::push(tx, open[place as usize], &receive::told_by(tx, &identity, Body::Cover))
        })
        .await?;
    inner.outbox_wake.notify_one();
    Ok(())
}

fn may_write(tx: &Tx<'_>, conversation: GroupId) -> Result<bool, Error> {
    if tx.is_stuck(tx.current_group(conversation)?)? {
        return Ok(false);
    }
    // What waits for a decision about another key would only pile up.
    if tx.conversation(conversation)?.is_some_and(|it| it.trust == PeerTrust::Changed) {
        return Ok(false);
    }
    match tx.load_current(conversation) {
        Ok(group) => Ok(group.role_of_self()? >= Some(Role::Member)),
        Err(Error::NotMember | Error::NotLetIn | Error::UnknownConversation(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_follows_from_the_mean_gap() {
        let hourly = decoy_cost(Duration::from_secs(3600));
        assert_eq!(hourly.messages, 24);
        // As SECURITY.md has it.
        assert_eq!((hourly.bytes, hourly.bytes_of_others), (35_616, 17_376));
        assert_eq!(decoy_cost(Duration::from_secs(60)).bytes, 60 * hourly.bytes);
        assert_eq!(decoy_cost(Duration::ZERO), decoy_cost(LEAST));
        assert_eq!(decoy_cost(Duration::from_secs(1 << 40)), DecoyCost::default());
    }

    #[test]
    fn gaps_are_exponential_and_bounded() {
        let mean = Duration::from_secs(600);
        assert_eq!(gap(mean, u64::MAX), Duration::ZERO);
        assert_eq!(gap(mean, 0), mean * MOST);
        // By quantiles: half of the gaps are shorter than ln 2 of the mean, and one of ten is longer than ln 10 of it.
        let at = |share: f64| gap(mean, (share * u64::MAX as f64) as u64).as_secs_f64() / mean.as_secs_f64();
        assert!((at(0.5) - 2f64.ln()).abs() < 1e-6 && (at(0.1) - 10f64.ln()).abs() < 1e-6);
        let sum: f64 = (0..10_000).map(|n| at((f64::from(n) + 0.5) / 10_000.0)).sum();
        assert!((sum / 10_000.0 - 1.0).abs() < 0.01, "the mean is the mean: {sum}");
    }
}
