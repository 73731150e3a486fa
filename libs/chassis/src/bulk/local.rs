//! Pipes within one process.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use tokio::{io::DuplexStream, sync::mpsc};

use super::{Bulk, BulkAddress, BulkError, Listener, PIPE_BYTES, Pipe};

/// Pipes that wait for one replica to take them.
const BACKLOG: usize = 256;

/// See the module.
#[derive(Default)]
pub struct LocalBulk(Mutex<State>);

#[derive(Default)]
struct State {
    replicas: HashMap<&'static str, Vec<mpsc::Sender<DuplexStream>>>,
    turn: usize,
}

impl LocalBulk {
    /// One of the replicas that still listen.
    fn choose(&self, service: &'static str) -> Option<mpsc::Sender<DuplexStream>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.turn = state.turn.wrapping_add(1);
        let turn = state.turn;
        let replicas = state.replicas.get_mut(service)?;
        replicas.retain(|replica| !replica.is_closed());
        replicas.get(turn % replicas.len().max(1)).cloned()
    }
}

impl Bulk for LocalBulk {
    fn connect(&self, service: &'static str) -> BoxFuture<'_, Result<Pipe, BulkError>> {
        Box::pin(async move {
            let replica = self.choose(service).ok_or(BulkError::NoReplica(service))?;
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            replica.send(theirs).await.map_err(|_| BulkError::NoReplica(service))?;
            Ok(Box::new(ours) as Pipe)
        })
    }

    fn listen<'a>(
        &'a self,
        service: &'static str,
        _: &'a BulkAddress,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, BulkError>> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).replicas.entry(service).or_default().push(sender);
        Box::pin(async { Ok(Box::new(LocalListener(receiver)) as Box<dyn Listener>) })
    }
}

struct LocalListener(mpsc::Receiver<DuplexStream>);

impl Listener for LocalListener {
    fn accept(&mut self) -> BoxFuture<'_, Option<Pipe>> {
        Box::pin(async { self.0.recv().await.map(|pipe| Box::new(pipe) as Pipe) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::LocalBulk;

    #[tokio::test]
    async fn keeps_the_contract() {
        super::super::contract::check(Arc::new(LocalBulk::default()), Arc::new(LocalBulk::default())).await;
    }
}
