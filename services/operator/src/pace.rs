//! When the next gateway may be replaced. Kubernetes decides how many at a time are (`maxSurge`, `maxUnavailable`); here it is
//! decided whether it may go on, by pausing the Deployment in between. No clock and no I/O.
//!
//! A Deployment that is paused still scales, and pods that die are still replaced. So an operator that goes away in the
//! middle leaves an update that stands still, never one that runs away.

use std::collections::BTreeMap;

use crate::crd::Gateways;

/// Time between two looks that are compared. Something else may wake the controller in between.
const MIN_LOOK_MS: u64 = 2_000;

/// A gateway's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) ready: bool,
    /// It was told to stop.
    pub(crate) terminating: bool,
    /// Client connections; `None` when it does not answer.
    pub(crate) connections: Option<u64>,
}

/// The Deployment of the gateways, as its status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// Whether the status is about the specification of now.
    pub(crate) observed: bool,
    pub(crate) desired: i32,
    pub(crate) total: i32,
    pub(crate) updated: i32,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing is being replaced.
    Done,
    /// The next one.
    Go,
    Hold(Why),
    /// Kubernetes has not looked yet.
    Unknown,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// A gateway is not ready.
    Unready,
    /// A gateway is draining.
    Draining,
    /// Clients are connecting faster than the Realm calls settled.
    Reconnecting,
    /// They are not any more, but not for long enough.
    Settling,
}

impl Why {
    /// For conditions and events.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Unready => "GatewayNotReady",
            Self::Draining => "GatewayDraining",
            Self::Reconnecting => "ClientsReconnecting",
            Self::Settling => "Settling",
        }
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Unready => "the next gateway is replaced when all are ready",
            Self::Draining => "the next gateway is replaced when the one before has let its clients go",
            Self::Reconnecting => "the next gateway is replaced when clients have come back",
            Self::Settling => "clients have come back; a little longer",
        }
    }
}

/// What was seen of one set of gateways. Lost with the process, which makes the next step later.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looks {
    /// Time and connections of each pod at the last look.
    last: Option<(u64, BTreeMap<String, u64>)>,
    /// Since when clients connect slowly enough.
    settled_since_ms: Option<u64>,
}

impl Looks {
    /// Notes how many connections there are now. Two looks make a rate: what the pods that answered both times have won. What
    /// leaves them is not counted against it, since that is what makes clients come.
    pub(crate) fn note(&mut self, pods: &[Pod], now_ms: u64, policy: &Gateways) {
        if self.last.as_ref().is_some_and(|(before_ms, _)| now_ms.abs_diff(*before_ms) < MIN_LOOK_MS) {
            return;
        }
        let now: BTreeMap<String, u64> =
            pods.iter().filter_map(|pod| Some((pod.uid.clone(), pod.connections?))).collect();
        let rate = self.last.as_ref().and_then(|(before_ms, before)| {
            let elapsed_ms = now_ms.checked_sub(*before_ms).filter(|elapsed| *elapsed > 0)?;
            // A pod that is new has won all that it has.
            let won = now.iter().map(|(uid, count)| count.saturating_sub(before.get(uid).copied().unwrap_or(0)));
            Some(won.sum::<u64>().saturating_mul(1000) / elapsed_ms)
        });
        let blind = pods.iter().any(|pod| pod.ready && !pod.terminating && pod.connections.is_none());
        let slow = !blind && rate.is_some_and(|rate| rate <= u64::from(policy.settled_rate));
        self.settled_since_ms = if slow { self.settled_since_ms.or(Some(now_ms)) } else { None };
        self.last = Some((now_ms, now));
    }
}

/// The next step.
pub(crate) fn step(rollout: &Rollout, pods: &[Pod], looks: &Looks, now_ms: u64, policy: &Gateways) -> Step {
    if !rollout.observed {
        return Step::Unknown;
    }
    if rollout.updated >= rollout.desired && rollout.total <= rollout.updated {
        return Step::Done;
    }
    // The first one of a new version needs no leave: nobody has had to move for it yet. So does the version that replaces one
    // that does not become ready, which would otherwise be waited for in vain.
    if !policy.paced || rollout.updated == 0 {
        return Step::Go;
    }
    if pods.iter().any(|pod| pod.terminating) {
        return Step::Hold(Why::Draining);
    }
    if pods.iter().any(|pod| !pod.ready) {
        return Step::Hold(Why::Unready);
    }
    match looks.settled_since_ms {
        None => Step::Hold(Why::Reconnecting),
        Some(since) if now_ms.saturating_sub(since) < u64::from(policy.settle_seconds) * 1000 => {
            Step::Hold(Why::Settling)
        }
        Some(_) => Step::Go,
    }
}

/// The deletion cost of a pod with so many connections, when it is worth telling: each change is a write to the API server.
/// `before` is what is written there.
pub(crate) fn deletion_cost(connections: u64, before: Option<i32>) -> Option<i32> {
    let cost = i32::try_from(connections).unwrap_or(i32::MAX);
    let Some(before) = before else { return Some(cost) };
    let difference = u64::from(cost.abs_diff(before));
    let worth = difference * 10 > u64::from(before.unsigned_abs()) && difference >= 10;
    (worth || (cost == 0) != (before == 0)).then_some(cost)
}

#[cfg(test)]
mod tests {
    use super::{Looks, Pod, Rollout, Step, Why, deletion_cost, step};
    use crate::crd::Gateways;

    fn pod(uid: &str, connections: u64) -> Pod {
        Pod { uid: uid.to_owned(), ready: true, terminating: false, connections: Some(connections) }
    }

    const HALF: Rollout = Rollout { observed: true, desired: 3, total: 4, updated: 1 };

    #[test]
    fn the_next_gateway_waits_until_clients_have_come_back_and_a_little_longer() {
        let policy = Gateways::default();
        let mut looks = Looks::default();
        let at = |looks: &Looks, pods: &[Pod], now| step(&HALF, pods, looks, now, &policy);

        // The old one drains.
        let mut pods = vec![pod("new", 0), pod("b", 1000), pod("c", 1000), pod("a", 1000)];
        pods[3].terminating = true;
        looks.note(&pods, 0, &policy);
        assert_eq!(at(&looks, &pods, 0), Step::Hold(Why::Draining));
        // Its clients come: 800 in 5 s are more than 50 a second.
        let pods = [pod("new", 300), pod("b", 1200), pod("c", 1300)];
        looks.note(&pods, 5_000, &policy);
        assert_eq!(at(&looks, &pods, 5_000), Step::Hold(Why::Reconnecting));
        // 250 in 5 s are not.
        let pods = [pod("new", 450), pod("b", 1250), pod("c", 1350)];
        looks.note(&pods, 10_000, &policy);
        assert_eq!(at(&looks, &pods, 10_000), Step::Hold(Why::Settling));
        looks.note(&pods, 24_999, &policy);
        assert_eq!(at(&looks, &pods, 24_999), Step::Hold(Why::Settling));
        assert_eq!(at(&looks, &pods, 25_000), Step::Go);
        // One more wave, and the time begins anew.
        let pods = [pod("new", 4500), pod("b", 1250), pod("c", 1350)];
        looks.note(&pods, 30_000, &policy);
        assert_eq!(at(&looks, &pods, 30_000), Step::Hold(Why::Reconnecting));
    }

    #[test]
    fn what_cannot_be_seen_is_not_settled() {
        let policy = Gateways::default();
        let mut looks = Looks::default();
        let mut pods = [pod("a", 5), pod("b", 5), pod("c", 5)];
        // One look makes no rate, and a restarted operator has one.
        looks.note(&pods, 0, &policy);
        assert_eq!(step(&HALF, &pods, &looks, 900_000, &policy), Step::Hold(Why::Reconnecting));
        pods[1].connections = None;
        looks.note(&pods, 5_000, &policy);
        assert_eq!(step(&HALF, &pods, &looks, 900_000, &policy), Step::Hold(Why::Reconnecting));
        pods[1].ready = false;
        looks.note(&pods, 10_000, &policy);
        assert_eq!(step(&HALF, &pods, &looks, 900_000, &policy), Step::Hold(Why::Unready));
    }

    #[test]
    fn a_version_that_does_not_start_is_not_waited_for_once_there_is_another() {
        let policy = Gateways::default();
        let mut broken = pod("new", 0);
        broken.ready = false;
        let pods = [broken, pod("a", 5)];
        assert_eq!(step(&HALF, &pods, &Looks::default(), 0, &policy), Step::Hold(Why::Unready));
        let rolled_back = Rollout { updated: 0, ..HALF };
        assert_eq!(step(&rolled_back, &pods, &Looks::default(), 0, &policy), Step::Go);
    }

    #[test]
    fn nothing_is_held_when_nothing_is_replaced_or_nobody_asks_for_it() {
        let policy = Gateways::default();
        let looks = Looks::default();
        let done = Rollout { observed: true, desired: 3, total: 3, updated: 3 };
        assert_eq!(step(&done, &[], &looks, 0, &policy), Step::Done);
        assert_eq!(step(&Rollout { total: 4, ..done }, &[], &looks, 0, &policy), Step::Hold(Why::Reconnecting));
        assert_eq!(step(&Rollout { observed: false, ..HALF }, &[], &looks, 0, &policy), Step::Unknown);
        let free = Gateways { paced: false, ..policy };
        assert_eq!(step(&HALF, &[], &looks, 0, &free), Step::Go);
    }

    #[test]
    fn costs_are_written_when_they_have_changed_enough() {
        assert_eq!(deletion_cost(0, None), Some(0));
        assert_eq!(deletion_cost(1050, Some(1000)), None);
        assert_eq!(deletion_cost(1101, Some(1000)), Some(1101));
        assert_eq!(deletion_cost(9, Some(1)), None, "a handful more is nothing");
        assert_eq!(deletion_cost(0, Some(3)), Some(0), "an empty gateway goes first");
        assert_eq!(deletion_cost(u64::MAX, Some(0)), Some(i32::MAX));
    }
}
