//! A network in memory, with what QUIC gives: connections of ordered streams that do not wait for each other.
//!
//! Every piece takes a time of its own, so streams overtake each other. A connection can be cut, loudly or without a word;
//! a machine can be isolated; a stream can be reset. There is no flow control: frames are small and bounded.

mod stream;

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use self::stream::Pipe;
pub use self::stream::{Cut, RecvStream, SendStream};

/// After so long a peer that says nothing is taken for gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(12);
/// Connections that wait to be accepted at one address.
const BACKLOG: usize = 1024;

/// How the network is at the moment.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Longest time of a piece on its way, usually.
    pub delay: Duration,
    /// Of a hundred pieces, how many take up to ten times as long.
    pub slow_percent: u32,
    /// Of a thousand streams, how many are reset.
    pub reset_permille: u32,
}

impl Weather {
    /// Quick and without faults.
    pub const FAIR: Self = Self { delay: Duration::from_millis(5), slow_percent: 0, reset_permille: 0 };
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// This side has closed it, or has crashed.
    Local,
    /// The other side has closed it, with this code.
    Closed(u32),
    /// Nothing was heard for too long.
    TimedOut,
    /// The other side does not know of it.
    Reset,
}

/// Nobody takes connections there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// The network. Cheap to clone.
#[derive(Clone)]
pub struct Net(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
}

struct State {
    rng: StdRng,
    weather: Weather,
    listeners: HashMap<SocketAddr, (u32, mpsc::Sender<Incoming>)>,
    isolated: Vec<u32>,
    connections: BTreeMap<u64, Weak<Wire>>,
    next: u64,
    hosts: u32,
    /// What happened, for telling two runs apart.
    trace: u64,
}

impl Net {
    /// A network in which `seed` decides all that is random.
    pub fn new(seed: u64) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            weather: Weather::FAIR,
            listeners: HashMap::new(),
            isolated: Vec::new(),
            connections: BTreeMap::new(),
            next: 0,
            hosts: 0,
            trace: 0xcbf2_9ce4_8422_2325,
        };
        Self(Arc::new(Shared { state: Mutex::new(state) }))
    }

    /// A new place in it.
    pub fn port(&self) -> Port {
        let mut state = self.state();
        state.hosts += 1;
        Port { net: self.clone(), host: state.hosts }
    }

    /// Changes the weather, for what is sent from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// A number that differs when anything that was sent differed, in place, length or time.
    pub fn trace(&self) -> u64 {
        self.state().trace
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: [u64; 4]) {
        let mut state = self.state();
        // FNV-1a
        for word in what {
            state.trace = (state.trace ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn delay(&self) -> Duration {
        let mut state = self.state();
        let Weather { delay, slow_percent, .. } = state.weather;
        let most = if state.rng.gen_range(0..100) < slow_percent { delay * 10 } else { delay };
        let most = most.as_millis().max(1) as u64;
        Duration::from_millis(state.rng.gen_range(1..=most))
    }

    /// The wires of a host and on which side of them it is.
    fn wires(&self, host: u32) -> Vec<(Arc<Wire>, usize)> {
        let mut state = self.state();
        state.connections.retain(|_, wire| wire.strong_count() > 0);
        let wires = state.connections.values().filter_map(Weak::upgrade);
        wires.filter_map(|wire| wire.hosts.iter().position(|one| *one == host).map(|side| (wire, side))).collect()
    }
}

/// A machine's place in the network. Cheap to clone.
#[derive(Clone)]
pub struct Port {
    net: Net,
    host: u32,
}

impl Port {
    /// Its address.
    pub fn ip(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | self.host))
    }

    /// Takes connections at `address`, until the listener is dropped.
    pub fn listen(&self, address: SocketAddr) -> Listener {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        self.net.state().listeners.insert(address, (self.host, sender));
        Listener { receiver: tokio::sync::Mutex::new(receiver) }
    }

    /// A connection to whoever listens at `address`. Waits for ever for one that is isolated.
    pub async fn connect(&self, address: SocketAddr) -> Result<Connection, Refused> {
        tokio::time::sleep(self.net.delay()).await;
        let Some(Way { there, wire }) = self.dial(address)? else { return std::future::pending().await };
        let (answer, answered) = oneshot::channel();
        let from = SocketAddr::new(self.ip(), 4433);
        let incoming = Incoming { connection: Connection::new(wire.clone(), 1), from, answer };
        there.try_send(incoming).map_err(|_| Refused)?;
        let here = Connection::new(wire, 0);
        answered.await.map_err(|_| Refused)?;
        tokio::time::sleep(self.net.delay()).await;
        Ok(here)
    }

    /// `None` when nothing comes through.
    fn dial(&self, address: SocketAddr) -> Result<Option<Way>, Refused> {
        let mut state = self.net.state();
        let found = state.listeners.get(&address).map(|(host, sender)| (*host, sender.clone()));
        let Some((host, there)) = found.filter(|(_, there)| !there.is_closed()) else { return Err(Refused) };
        if state.isolated.contains(&self.host) || state.isolated.contains(&host) {
            return Ok(None);
        }
        let id = state.next;
        state.next += 1;
        let wire = Arc::new(Wire::new(self.net.clone(), id, [self.host, host], state.rng.next_u64()));
        state.connections.insert(id, Arc::downgrade(&wire));
        Ok(Some(Way { there, wire }))
    }

    /// Cuts all connections. What was on its way is lost; if `silent`, both sides notice only by silence.
    pub fn cut(&self, silent: bool) {
        for (wire, _) in self.net.wires(self.host) {
            wire.sever(if silent { IDLE_TIMEOUT } else { self.net.delay() });
        }
    }

    /// Nobody can connect to this host, nor it to others, until [`Self::rejoin`]; existing connections fall silent.
    pub fn isolate(&self) {
        self.cut(true);
        self.net.state().isolated.push(self.host);
    }

    /// Ends [`Self::isolate`].
    pub fn rejoin(&self) {
        self.net.state().isolated.retain(|host| *host != self.host);
    }

    /// The machine is gone and comes back without a memory: others notice by silence or, when they send, at once.
    pub(super) fn crash(&self) {
        self.net.state().listeners.retain(|_, (host, _)| *host != self.host);
        for (wire, side) in self.net.wires(self.host) {
            let after = if self.net.state().rng.gen_bool(0.5) { IDLE_TIMEOUT } else { self.net.delay() };
            wire.sever(after);
            wire.end(side, Instant::now(), End::Local);
        }
    }
}

/// A connection that begins, and to whom it is announced.
struct Way {
    there: mpsc::Sender<Incoming>,
    wire: Arc<Wire>,
}

/// Where connections arrive.
pub struct Listener {
    receiver: tokio::sync::Mutex<mpsc::Receiver<Incoming>>,
}

impl Listener {
    /// The next one.
    pub async fn accept(&self) -> Option<Incoming> {
        self.receiver.lock().await.recv().await
    }
}

/// A connection that was not accepted yet. Dropped, it is refused.
pub struct Incoming {
    connection: Connection,
    from: SocketAddr,
    answer: oneshot::Sender<()>,
}

impl Incoming {
    /// Address of the other side.
    pub fn remote_address(&self) -> SocketAddr {
        self.from
    }

    /// Takes it.
    pub fn accept(self) -> Connection {
        // The other side may have given up.
        let _ = self.answer.send(());
        self.connection
    }
}

/// Which streams.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Both,
    One,
}

/// What both sides of a connection share.
struct Wire {
    net: Net,
    id: u64,
    hosts: [u32; 2],
    secret: u64,
    state: Mutex<WireState>,
    changed: Notify,
}

struct WireState {
    /// When each side learns that it is over, and how.
    ended: [Option<(Instant, End)>; 2],
    /// Nothing that is sent from now on arrives, nor what arrives later than this.
    severed: Option<Instant>,
    /// Streams that have not been accepted by each side, by arrival.
    arriving: [BTreeMap<(Kind, Instant, u64), ()>; 2],
    pipes: BTreeMap<(u64, usize), Pipe>,
    next_stream: u64,
}

impl Wire {
    fn new(net: Net, id: u64, hosts: [u32; 2], secret: u64) -> Self {
        let state = WireState {
            ended: [None, None],
            severed: None,
            arriving: Default::default(),
            pipes: BTreeMap::new(),
            next_stream: 0,
        };
        Self { net, id, hosts, secret, state: Mutex::new(state), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, WireState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is under way is lost, and each side learns of it after a while.
    fn sever(&self, after: Duration) {
        let now = Instant::now();
        let mut state = self.state();
        state.severed.get_or_insert(now);
        let end = if after == IDLE_TIMEOUT { End::TimedOut } else { End::Reset };
        for ended in &mut state.ended {
            ended.get_or_insert((now + after, end));
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// `side` learns at `at` that it is over, unless it knows something earlier.
    fn end(&self, side: usize, at: Instant, end: End) {
        let mut state = self.state();
        if state.ended[side].is_none_or(|(known, _)| at < known) {
            state.ended[side] = Some((at, end));
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn over(&self, side: usize) -> Option<End> {
        self.state().over(side)
    }

    /// Waits until `look` has found what it looks for.
    async fn wait<T>(&self, mut look: impl FnMut(&mut WireState) -> Look<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let found = look(&mut self.state());
            match found {
                Look::Found(found) => return found,
                Look::Never => changed.await,
                Look::At(at) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }
}

enum Look<T> {
    Found(T),
    At(Instant),
    Never,
}

impl WireState {
    fn over(&self, side: usize) -> Option<End> {
        self.ended[side].filter(|(at, _)| *at <= Instant::now()).map(|(_, end)| end)
    }

    /// When something sent by the other side comes through: not after the cut.
    fn passes(&self, at: Instant) -> bool {
        self.severed.is_none_or(|severed| at <= severed)
    }

    /// The earlier of what is awaited and of the end.
    fn until<T>(&self, side: usize, awaited: Option<Instant>) -> Look<T> {
        let end = self.ended[side].map(|(at, _)| at);
        match (awaited, end) {
            (Some(one), Some(other)) => Look::At(one.min(other)),
            (Some(at), None) | (None, Some(at)) => Look::At(at),
            (None, None) => Look::Never,
        }
    }
}

/// One side of a connection. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct Connection {
    wire: Arc<Wire>,
    side: usize,
    _hold: Arc<Hold>,
}

/// Closes the connection of a side that has forgotten it.
struct Hold {
    wire: Arc<Wire>,
    side: usize,
}

impl Drop for Hold {
    fn drop(&mut self) {
        close(&self.wire, self.side, 0);
    }
}

fn close(wire: &Wire, side: usize, code: u32) {
    if wire.over(side).is_some() {
        return;
    }
    let now = Instant::now();
    wire.end(side, now, End::Local);
    let severed = wire.state().severed.is_some();
    if !severed {
        wire.end(1 - side, now + wire.net.delay(), End::Closed(code));
    }
}

impl Connection {
    fn new(wire: Arc<Wire>, side: usize) -> Self {
        let hold = Arc::new(Hold { wire: wire.clone(), side });
        Self { wire, side, _hold: hold }
    }

    /// Opens a stream in both directions. The other side sees it with its first bytes.
    pub fn open_bi(&self) -> Result<(SendStream, RecvStream), End> {
        let id = self.open(Kind::Both)?;
        Ok((self.sender(id), self.receiver(id)))
    }

    /// Opens a stream to the other side.
    pub fn open_uni(&self) -> Result<SendStream, End> {
        self.open(Kind::One).map(|id| self.sender(id))
    }

    fn open(&self, kind: Kind) -> Result<u64, End> {
        if let Some(end) = self.wire.over(self.side) {
            return Err(end);
        }
        let cut = stream::fate(&self.wire.net);
        let mut state = self.wire.state();
        let id = state.next_stream;
        state.next_stream += 1;
        // Of a stream in both directions the way back: whoever opened it does not reset it unasked.
        let (there, back) = if kind == Kind::Both { (false, cut) } else { (cut, false) };
        state.pipes.insert((id, self.side), Pipe::new(Some(kind), there));
        if kind == Kind::Both {
            state.pipes.insert((id, 1 - self.side), Pipe::new(None, back));
        }
        Ok(id)
    }

    fn sender(&self, id: u64) -> SendStream {
        SendStream::new(self.wire.clone(), self.side, id)
    }

    fn receiver(&self, id: u64) -> RecvStream {
        RecvStream::new(self.wire.clone(), self.side, id)
    }

    /// The next stream in both directions that the other side has opened.
    pub async fn accept_bi(&self) -> Result<(SendStream, RecvStream), End> {
        let id = self.accept(Kind::Both).await?;
        Ok((self.sender(id), self.receiver(id)))
    }

    /// The next stream to this side.
    pub async fn accept_uni(&self) -> Result<RecvStream, End> {
        self.accept(Kind::One).await.map(|id| self.receiver(id))
    }

    fn accept(&self, kind: Kind) -> impl Future<Output = Result<u64, End>> + Send + '_ {
        let side = self.side;
        self.wire.wait(move |state| {
            if let Some(end) = state.over(side) {
                return Look::Found(Err(end));
            }
            let first = state.arriving[side].keys().find(|(one, ..)| *one == kind).copied();
            match first {
                Some((_, at, _)) if !state.passes(at) => state.until(side, None),
                Some(key @ (_, at, id)) if at <= Instant::now() => {
                    state.arriving[side].remove(&key);
                    Look::Found(Ok(id))
                }
                first => state.until(side, first.map(|(_, at, _)| at)),
            }
        })
    }

    /// Returns when it is over, with the reason.
    pub async fn closed(&self) -> End {
        let side = self.side;
        let look = move |state: &mut WireState| match state.over(side) {
            Some(end) => Look::Found(end),
            None => state.until(side, None),
        };
        self.wire.wait(look).await
    }

    /// Why it is over, if it is.
    pub fn close_reason(&self) -> Option<End> {
        self.wire.over(self.side)
    }

    /// Ends it.
    pub fn close(&self, code: u32) {
        close(&self.wire, self.side, code);
    }

    /// Differs between the connections of a host.
    pub fn stable_id(&self) -> usize {
        self.wire.id as usize
    }

    /// The same bytes on both sides and nowhere else, as the exporter of TLS gives.
    pub fn export(&self, out: &mut [u8], label: &[u8]) {
        let label =
            label.iter().fold(self.wire.secret, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        StdRng::seed_from_u64(label).fill_bytes(out);
    }
}
