//! Who may connect: handshakes in progress, and connections without a session by address.
//!
//! An address can be forged until a handshake shows it, so a few pending handshakes of one address already make it prove
//! itself with a Retry; the limit by address therefore cannot be used to lock somebody else out.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{Limits, address::Network};

/// What to do with a new connection.
pub(crate) enum Verdict {
    Accept(Pending, Slot),
    /// Finish the handshake, only to say that there are too many.
    Explain(Pending),
    /// The address has to prove itself first.
    Retry,
    Refuse,
}

#[derive(Default)]
struct Counts {
    pending: usize,
    anonymous: usize,
}

#[derive(Default)]
struct State {
    pending: usize,
    networks: HashMap<Network, Counts>,
}

pub(crate) struct Admission {
    limits: Limits,
    state: Mutex<State>,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Judges a connection attempt; `validated` says that the address has proved itself.
    pub(crate) fn judge(self: &Arc<Self>, network: Network, validated: bool) -> Verdict {
        let mut state = self.state();
        let counts = state.networks.get(&network);
        let (pending, anonymous) = counts.map_or((0, 0), |counts| (counts.pending, counts.anonymous));
        let limits = &self.limits;
        let crowd = pending >= limits.retry_pending_per_address;
        if state.pending >= limits.max_pending {
            return Verdict::Refuse;
        }
        if !validated && (crowd || state.pending >= limits.retry_pending) {
            return Verdict::Retry;
        }
        let full = anonymous >= limits.max_connections_per_address;
        if full && crowd {
            return Verdict::Refuse;
        }
        state.pending += 1;
        let counts = state.networks.entry(network).or_default();
        counts.pending += 1;
        if !full {
            counts.anonymous += 1;
        }
        let hold = Pending { admission: self.clone(), network };
        if full {
            return Verdict::Explain(hold);
        }
        Verdict::Accept(hold, Slot { admission: self.clone(), network, counted: AtomicBool::new(true) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, network: Network, change: impl FnOnce(&mut Counts)) {
        let mut state = self.state();
        let counts = state.networks.entry(network).or_default();
        change(counts);
        if counts.pending == 0 && counts.anonymous == 0 {
            state.networks.remove(&network);
        }
    }
}

/// A handshake in progress.
pub(crate) struct Pending {
    admission: Arc<Admission>,
    network: Network,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.admission.state().pending -= 1;
        self.admission.change(self.network, |counts| counts.pending -= 1);
    }
}

/// A connection's place in the count of its address, held while it has no session.
pub(crate) struct Slot {
    admission: Arc<Admission>,
    network: Network,
    counted: AtomicBool,
}

impl Slot {
    pub(crate) fn network(&self) -> Network {
        self.network
    }

    /// Says whether the connection has no session. One that loses its session is counted again, never refused.
    pub(crate) fn set_anonymous(&self, anonymous: bool) {
        if self.counted.swap(anonymous, Ordering::AcqRel) != anonymous {
            self.admission.change(self.network, |counts| {
                if anonymous {
                    counts.anonymous += 1;
                } else {
                    counts.anonymous -= 1;
                }
            });
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.set_anonymous(false);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn network(last: u8) -> Network {
        Network::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    fn accept(admission: &Arc<Admission>, network: Network) -> (Pending, Slot) {
        match admission.judge(network, true) {
            Verdict::Accept(pending, slot) => (pending, slot),
            _ => panic!("not accepted"),
        }
    }

    #[test]
    fn the_33rd_connection_of_an_address_is_told_and_a_session_makes_room() {
        let admission = Admission::new(Limits::default());
        let slots: Vec<_> = (0..32).map(|_| accept(&admission, network(1)).1).collect();
        assert!(matches!(admission.judge(network(1), true), Verdict::Explain(_)));
        assert!(matches!(admission.judge(network(2), true), Verdict::Accept(..)));
        slots[0].set_anonymous(false);
        let (_, _slot) = accept(&admission, network(1));
        slots[0].set_anonymous(true);
        assert!(matches!(admission.judge(network(1), true), Verdict::Explain(_)));
        drop(slots);
        drop(_slot);
        assert!(admission.state().networks.is_empty());
    }

    #[test]
    fn the_9th_pending_handshake_of_an_address_must_prove_it() {
        let admission = Admission::new(Limits::default());
        let pending: Vec<_> = (0..8)
            .map(|_| match admission.judge(network(1), false) {
                Verdict::Accept(pending, slot) => (pending, slot),
                _ => panic!("not accepted"),
            })
            .collect();
        assert!(matches!(admission.judge(network(1), false), Verdict::Retry));
        assert!(matches!(admission.judge(network(1), true), Verdict::Accept(..)));
        assert!(matches!(admission.judge(network(2), false), Verdict::Accept(..)));
        drop(pending);
        assert!(matches!(admission.judge(network(1), false), Verdict::Accept(..)));
    }

    #[test]
    fn beyond_1024_pending_all_must_prove_themselves_and_beyond_4096_nobody_comes_in() {
        let admission = Admission::new(Limits { max_connections_per_address: 100_000, ..Limits::default() });
        let mut held: Vec<_> = (0..1024).map(|_| accept(&admission, network(1))).collect();
        assert!(matches!(admission.judge(network(2), false), Verdict::Retry));
        held.extend((1024..4096).map(|_| accept(&admission, network(1))));
        assert!(matches!(admission.judge(network(2), true), Verdict::Refuse));
        held.pop();
        assert!(matches!(admission.judge(network(2), true), Verdict::Accept(..)));
    }

    #[test]
    fn a_flood_over_the_limit_is_refused_without_a_handshake() {
        let limits = Limits { max_connections_per_address: 1, retry_pending_per_address: 2, ..Limits::default() };
        let admission = Admission::new(limits);
        let _first = accept(&admission, network(1));
        let _told = admission.judge(network(1), true);
        assert!(matches!(_told, Verdict::Explain(_)));
        assert!(matches!(admission.judge(network(1), true), Verdict::Refuse));
    }
}
