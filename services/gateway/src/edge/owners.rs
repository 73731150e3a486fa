//! Which gateway has a server id, and whether it lives.
//!
//! Each holds a lease in the cache while it lives, and says so there when it is gone. A packet of a gateway that is gone is
//! answered with a stateless reset; of one that may live never, since whoever can have resets made for connections that
//! live can end them (RFC 9000 section 21.11). The cache may be emptied at any time, so that a lease is missing proves
//! nothing by itself: see [`Owners::look`].

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use qpc_chassis::cache::{Cache, CacheError};
use tokio::time::Instant;

use super::{cid::ServerId, packet::Packet};

/// A lease lapses unless repeated within this time.
const LEASE: Duration = Duration::from_secs(6);
/// Time between two repetitions.
pub(super) const RENEW: Duration = Duration::from_secs(2);
/// That a gateway has ended in order is remembered so long; connections that nobody uses end before.
const EPITAPH: Duration = Duration::from_secs(10 * 60);
/// What the lease of a gateway says that has ended.
const GONE: &str = "gone";
/// Age of knowledge at which it is asked for again, and up to which a gateway counts as gone.
const FRESH: Duration = Duration::from_secs(1);
/// A new gateway waits so long before it takes connections, so that nobody takes it for one that is gone.
pub(super) const DAWN: Duration = Duration::from_millis(1_200);
/// Server ids that are known at the most. Only such as gateways have had come here.
const CAPACITY: usize = 1_024;
/// Packets that wait for the answer where an owner is.
const HELD: usize = 32;

/// What is known of an owner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    /// It can be reached here.
    Lives(SocketAddr),
    Gone,
    /// It may live.
    Unknown,
}

/// What a probe on the bus has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Heard {
    /// Nobody listens there.
    Nobody,
    /// It is there, or the bus is not.
    Something,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    Forward(SocketAddr),
    /// Nobody has this connection any more.
    Reset,
    /// It waits, or is lost.
    Nothing,
}

struct Entry {
    fate: Fate,
    known_at: Instant,
    asking: bool,
    held: Vec<Packet>,
}

/// See the module.
pub(super) struct Owners {
    cache: Arc<dyn Cache>,
    own: ServerId,
    /// What this gateway's lease says: where it can be reached, and a random name.
    lease: String,
    /// Where others listen whose address is in their id.
    port: u16,
    known: Mutex<HashMap<ServerId, Entry>>,
    /// Since when nothing was lost from the cache, as far as this gateway's lease shows.
    undisturbed: Mutex<Option<Instant>>,
    warned: AtomicBool,
}

impl Owners {
    pub(super) fn new(cache: Arc<dyn Cache>, own: ServerId, announce: SocketAddr, name: &str) -> Self {
        Self {
            cache,
            own,
            lease: format!("{announce} {name}"),
            port: announce.port(),
            known: Mutex::default(),
            undisturbed: Mutex::default(),
            warned: AtomicBool::new(false),
        }
    }

    /// Says that this gateway lives.
    pub(super) async fn renew(&self) -> Result<(), CacheError> {
        let now = Instant::now();
        let there = self.cache.set_many(vec![(key(self.own), self.lease.clone())], LEASE).await;
        let mut since = self.undisturbed.lock().unwrap_or_else(PoisonError::into_inner);
        match there?.first() {
            Some(true) => drop(since.get_or_insert(now)),
            _ => {
                if since.replace(now).is_some() && !self.warned.swap(true, Ordering::AcqRel) {
                    tracing::warn!(
                        server_id = %self.own,
                        "the lease was lost: the cache was emptied or away, or another gateway has the same server id"
                    );
                }
            }
        }
        Ok(())
    }

    /// Says that this gateway is gone.
    pub(super) async fn leave(&self) -> Result<(), CacheError> {
        self.cache.set_many(vec![(key(self.own), GONE.to_owned())], EPITAPH).await.map(|_| ())
    }

    /// What to do with a packet for `server`; true when [`Self::look`] and [`Self::learn`] are to be called for it.
    pub(super) fn judge(&self, server: ServerId, now: Instant, packet: impl FnOnce() -> Packet) -> (Verdict, bool) {
        let mut known = self.known();
        if known.len() >= CAPACITY && !known.contains_key(&server) {
            known.retain(|_, entry| entry.asking || now - entry.known_at < FRESH);
            if known.len() >= CAPACITY {
                return (Verdict::Nothing, false);
            }
        }
        let entry = known.entry(server).or_insert_with(|| {
            let fate = self.guess(server).map_or(Fate::Unknown, Fate::Lives);
            Entry { fate, known_at: now - FRESH, asking: false, held: Vec::new() }
        });
        let fresh = now - entry.known_at < FRESH;
        let ask = !fresh && !std::mem::replace(&mut entry.asking, !fresh);
        let verdict = match entry.fate {
            Fate::Lives(at) => Verdict::Forward(at),
            Fate::Gone if fresh => Verdict::Reset,
            Fate::Gone | Fate::Unknown => {
                if entry.asking && entry.held.len() < HELD {
                    entry.held.push(packet());
                }
                Verdict::Nothing
            }
        };
        (verdict, ask)
    }

    /// Keeps what [`Self::look`] has found that was begun at `asked_at`; returns what to do with the packets that have
    /// waited for it.
    pub(super) fn learn(&self, server: ServerId, fate: Fate, asked_at: Instant) -> Vec<Packet> {
        let mut known = self.known();
        let Some(entry) = known.get_mut(&server) else { return Vec::new() };
        (entry.fate, entry.known_at, entry.asking) = (fate, asked_at, false);
        std::mem::take(&mut entry.held)
    }

    /// Finds out about an owner. It is gone if its lease says so; or if there is none, though the cache has lost nothing for
    /// as long as a lease lives, and `probe` hears nothing of it on the bus either.
    pub(super) async fn look(&self, server: ServerId, probe: impl Future<Output = Heard>) -> Fate {
        let before = self.address_of(server);
        let unknown = before.map_or(Fate::Unknown, Fate::Lives);
        let values = match self.cache.get_many(vec![key(server), key(self.own)]).await {
            Ok(values) => values,
            Err(error) => {
                tracing::debug!(%error, "no word of other gateways");
                return unknown;
            }
        };
        match values.first().and_then(Option::as_deref) {
            Some(GONE) => return Fate::Gone,
            Some(lease) => {
                let address = lease.split(' ').next().and_then(|address| address.parse().ok());
                return address.map_or(unknown, Fate::Lives);
            }
            None => {}
        }
        let ours = values.get(1).and_then(Option::as_deref) == Some(self.lease.as_str());
        if !ours || !self.undisturbed_for(LEASE) {
            return unknown;
        }
        if probe.await == Heard::Nobody { Fate::Gone } else { unknown }
    }

    /// Where a server was when it was last heard of, or where it should be.
    fn address_of(&self, server: ServerId) -> Option<SocketAddr> {
        match self.known().get(&server).map(|entry| entry.fate) {
            Some(Fate::Lives(at)) => Some(at),
            _ => self.guess(server),
        }
    }

    fn guess(&self, server: ServerId) -> Option<SocketAddr> {
        server.address().map(|address| SocketAddr::new(address.into(), self.port))
    }

    fn undisturbed_for(&self, time: Duration) -> bool {
        self.undisturbed.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|since| since.elapsed() >= time)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ServerId, Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(server: ServerId) -> String {
    format!("gateway:{server}")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use qpc_chassis::{cache::MemoryCache, runtime::Clock};
    use tokio::time::advance;

    use super::*;

    /// The clock of the cache, which goes with that of the test.
    struct Paused(Instant);

    impl Clock for Paused {
        fn now_ms(&self) -> u64 {
            self.0.elapsed().as_millis() as u64
        }
    }

    struct World {
        cache: Arc<dyn Cache>,
        here: Owners,
        there: Owners,
    }

    fn id(last: u8) -> ServerId {
        ServerId::from([last; 8])
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 7002))
    }

    fn world() -> World {
        let cache: Arc<dyn Cache> = Arc::new(MemoryCache::new(Arc::new(Paused(Instant::now()))));
        let here = Owners::new(cache.clone(), id(1), address(1), "one");
        let there = Owners::new(cache.clone(), id(2), address(2), "two");
        World { cache, here, there }
    }

    fn packet() -> Packet {
        Packet { from: address(9), local: None, ecn: None, bytes: Bytes::from_static(b"packet") }
    }

    async fn silent() -> Heard {
        Heard::Nobody
    }

    async fn answered() -> Heard {
        Heard::Something
    }

    /// Lets time pass while these renew.
    async fn live(time: Duration, owners: &[&Owners]) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            advance(RENEW).await;
            for owner in owners {
                owner.renew().await.unwrap();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_tells_where_its_owner_is_and_an_epitaph_that_it_is_gone() {
        let World { here, there, .. } = world();
        here.renew().await.unwrap();
        there.renew().await.unwrap();
        assert_eq!(here.look(id(2), silent()).await, Fate::Lives(address(2)));
        there.leave().await.unwrap();
        assert_eq!(here.look(id(2), silent()).await, Fate::Gone);
        there.renew().await.unwrap();
        assert_eq!(here.look(id(2), silent()).await, Fate::Lives(address(2)), "it has begun again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_has_lapsed_proves_death_only_if_the_cache_has_lost_nothing() {
        let World { here, there, .. } = world();
        here.renew().await.unwrap();
        there.renew().await.unwrap();
        live(LEASE, &[&here]).await;
        assert_eq!(here.look(id(2), silent()).await, Fate::Gone);
        assert_eq!(here.look(id(2), answered()).await, Fate::Unknown, "it cannot reach the cache");
        // Whoever has just come knows too little.
        let new = Owners::new(here.cache.clone(), id(3), address(3), "three");
        new.renew().await.unwrap();
        assert_eq!(new.look(id(2), silent()).await, Fate::Unknown);
        live(LEASE, &[&here, &new]).await;
        assert_eq!(new.look(id(2), silent()).await, Fate::Gone);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_counts_as_gone_after_the_cache_was_emptied() {
        let World { cache, here, there } = world();
        live(LEASE * 2, &[&here, &there]).await;
        for owner in [&here, &there] {
            cache.remove_if(key(owner.own), owner.lease.clone()).await.unwrap();
        }
        assert_eq!(here.look(id(2), silent()).await, Fate::Unknown, "our lease is missing too");
        here.renew().await.unwrap();
        assert_eq!(here.look(id(2), silent()).await, Fate::Unknown, "ours is there again, theirs not yet");
        live(LEASE, &[&here, &there]).await;
        assert_eq!(here.look(id(2), silent()).await, Fate::Lives(address(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_that_answers_lives_whatever_the_cache_says() {
        let World { here, .. } = world();
        let pod = ServerId::of("10.0.0.7".parse().unwrap());
        live(LEASE * 2, &[&here]).await;
        assert_eq!(here.look(pod, answered()).await, Fate::Lives(address(7)));
        assert_eq!(here.look(pod, silent()).await, Fate::Gone);
    }

    #[tokio::test(start_paused = true)]
    async fn packets_wait_for_the_first_answer_and_death_does_not_last() {
        let World { here, .. } = world();
        let judge = |server| here.judge(server, Instant::now(), packet);
        assert_eq!(judge(id(2)), (Verdict::Nothing, true));
        for _ in 0..HELD {
            assert_eq!(judge(id(2)), (Verdict::Nothing, false), "it was asked already");
        }
        assert_eq!(here.learn(id(2), Fate::Gone, Instant::now()).len(), HELD);
        assert_eq!(judge(id(2)), (Verdict::Reset, false));
        advance(FRESH).await;
        assert_eq!(judge(id(2)), (Verdict::Nothing, true), "it may have begun again");
        here.learn(id(2), Fate::Lives(address(2)), Instant::now());
        advance(FRESH).await;
        assert_eq!(judge(id(2)), (Verdict::Forward(address(2)), true), "where it was meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_in_the_id_needs_no_answer() {
        let World { here, .. } = world();
        let pod = ServerId::of("10.0.0.7".parse().unwrap());
        assert_eq!(here.judge(pod, Instant::now(), packet), (Verdict::Forward(address(7)), true));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_1024_owners_are_asked_for_at_a_time() {
        let World { here, .. } = world();
        let server = |n: usize| ServerId::from((n as u64).to_be_bytes());
        for n in 0..CAPACITY {
            assert!(here.judge(server(n), Instant::now(), packet).1);
        }
        assert!(!here.judge(server(CAPACITY), Instant::now(), packet).1);
        here.learn(server(0), Fate::Unknown, Instant::now() - FRESH);
        assert!(here.judge(server(CAPACITY), Instant::now(), packet).1);
    }
}
