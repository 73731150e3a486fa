//! The carrier of simulations: takes connections from a network in memory, with the rules of the QUIC carrier.

use std::sync::Arc;

use qpc_chassis::runtime::sim::net::{Incoming, Listener};

use crate::{address::Network, admission::Verdict, carrier::Connection, core::Core, quic};

/// As [`quic::start`].
pub(crate) fn start(core: &Arc<Core>, listener: Listener) {
    let core = core.clone();
    core.clone().deps.runtime.spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = core.leaving.cancelled() => break,
                incoming = listener.accept() => match incoming {
                    Some(incoming) => admit(&core, incoming),
                    None => break,
                },
            }
        }
        // Dropped, it refuses whoever comes now.
        drop(listener);
        core.begin_drain();
        core.connections.close();
        core.connections.wait().await;
        core.empty.cancel();
    });
}

/// A connection that is not accepted is refused.
fn admit(core: &Arc<Core>, incoming: Incoming) {
    let network = Network::from(incoming.remote_address().ip());
    if let Verdict::Accept(_, slot) = core.admission.judge(network, true) {
        let connection = quic::run(core.clone(), Connection::Sim(incoming.accept()), slot);
        core.deps.runtime.spawn(core.connections.track_future(connection));
    }
}
