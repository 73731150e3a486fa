//! A balancer of UDP that knows nothing of QUIC: it goes by addresses, keeps a table of flows and can lose it, and changes
//! the address under which gateways see a client, as NAT does.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{net::UdpSocket, runtime::Handle, task::AbortHandle};

/// A datagram of UDP is no longer.
const MAX_DATAGRAM: usize = 65_535;

/// See the module.
pub struct UdpBalancer {
    /// What clients know.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    front: AbortHandle,
}

struct Shared {
    front: UdpSocket,
    /// Where its own sockets stand towards gateways.
    inside: IpAddr,
    /// Runs its tasks, also when it is called from elsewhere.
    handle: Handle,
    state: Mutex<State>,
}

struct State {
    rng: StdRng,
    /// Those that new flows go to.
    gateways: Vec<SocketAddr>,
    flows: HashMap<SocketAddr, Flow>,
}

struct Flow {
    gateway: SocketAddr,
    socket: Arc<UdpSocket>,
    back: AbortHandle,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.back.abort();
    }
}

impl UdpBalancer {
    /// Listens at `outside`; `seed` decides which gateway a flow gets.
    pub async fn start(outside: SocketAddr, inside: IpAddr, seed: u64) -> Result<Self> {
        let front = UdpSocket::bind(outside).await?;
        let address = front.local_addr()?;
        let state = State { rng: StdRng::seed_from_u64(seed), gateways: Vec::new(), flows: HashMap::new() };
        let shared = Arc::new(Shared { front, inside, handle: Handle::current(), state: Mutex::new(state) });
        let task = shared.clone();
        let front = Handle::current().spawn(async move { task.listen().await }).abort_handle();
        Ok(Self { address, shared, front })
    }

    /// New flows go to these from now on; those that there are stay where they are.
    pub fn set_gateways(&self, gateways: Vec<SocketAddr>) {
        self.shared.state().gateways = gateways;
    }

    /// Forgets which flow went where, as a node does whose table of connections is emptied.
    pub fn flush(&self) {
        self.shared.choose_again(|_| true);
    }

    /// The flows to a gateway that is no more go elsewhere.
    pub fn remove(&self, gateway: SocketAddr) {
        self.shared.choose_again(|flow| flow.gateway == gateway);
    }

    /// Gateways see every client under a new address.
    pub async fn rebind(&self) -> Result<()> {
        let clients: Vec<_> = self.shared.state().flows.iter().map(|(client, flow)| (*client, flow.gateway)).collect();
        for (client, gateway) in clients {
            let flow = self.shared.clone().open(client, gateway).await?;
            self.shared.state().flows.insert(client, flow);
        }
        Ok(())
    }
}

impl Drop for UdpBalancer {
    fn drop(&mut self) {
        self.front.abort();
        self.shared.state().flows.clear();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn listen(self: Arc<Self>) {
        let mut bytes = vec![0; MAX_DATAGRAM];
        loop {
            // An error is one of a former datagram: nobody listened.
            let Ok((len, client)) = self.front.recv_from(&mut bytes).await else { continue };
            if let Err(error) = self.pass_on(client, &bytes[..len]).await {
                tracing::debug!(%error, "not passed on");
            }
        }
    }

    async fn pass_on(self: &Arc<Self>, client: SocketAddr, datagram: &[u8]) -> Result<()> {
        let known = self.state().flows.get(&client).map(|flow| (flow.socket.clone(), flow.gateway));
        let (socket, gateway) = match known {
            Some(known) => known,
            None => {
                let gateway = self.state().choose().context("no gateway")?;
                let flow = self.clone().open(client, gateway).await?;
                let socket = flow.socket.clone();
                self.state().flows.insert(client, flow);
                (socket, gateway)
            }
        };
        socket.send_to(datagram, gateway).await?;
        Ok(())
    }

    async fn open(self: Arc<Self>, client: SocketAddr, gateway: SocketAddr) -> io::Result<Flow> {
        let (shared, inside) = (self.clone(), self.inside);
        // On its own threads, which may stand in another network than the caller.
        let bound = self.handle.spawn(async move { UdpSocket::bind((inside, 0)).await.map(Arc::new) }).await;
        let socket = bound.map_err(io::Error::other)??;
        let back = socket.clone();
        let back = self.handle.spawn(async move { shared.answer(client, &back).await }).abort_handle();
        Ok(Flow { gateway, socket, back })
    }

    /// What gateways send to a client; only that of the one that the flow goes to has a way back.
    async fn answer(&self, client: SocketAddr, socket: &UdpSocket) {
        let mut bytes = vec![0; MAX_DATAGRAM];
        loop {
            let Ok((len, from)) = socket.recv_from(&mut bytes).await else { continue };
            let current = self.state().flows.get(&client).map(|flow| flow.gateway);
            if current == Some(from)
                && let Err(error) = self.front.send_to(&bytes[..len], client).await
            {
                tracing::debug!(%error, "no way back");
            }
        }
    }

    fn choose_again(&self, which: impl Fn(&Flow) -> bool) {
        let mut state = self.state();
        let clients: Vec<_> = state.flows.iter().filter(|(_, flow)| which(flow)).map(|(client, _)| *client).collect();
        for client in clients {
            let gateway = state.choose();
            if let (Some(flow), Some(gateway)) = (state.flows.get_mut(&client), gateway) {
                flow.gateway = gateway;
            }
        }
    }
}

impl State {
    fn choose(&mut self) -> Option<SocketAddr> {
        if self.gateways.is_empty() {
            return None;
        }
        let index = self.rng.gen_range(0..self.gateways.len());
        self.gateways.get(index).copied()
    }
}
