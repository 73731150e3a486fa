//! Connections on which nobody has said who it is. Each is used for one conversation and for a short while: what goes over
//! the same connection comes from the same sender, and who is in all of several groups is often one person only.

use std::{collections::HashMap, time::Duration};

use qpc_wire::GroupId;
use tokio::sync::Mutex;

use crate::{Error, client::Inner, transport::Connection};

/// Time after which a connection is given up for another one; at least half of it, by chance.
const LIFE: Duration = Duration::from_secs(60);
/// Time that calls in flight get then.
const GRACE: Duration = Duration::from_secs(15);
/// Connections at a time; beyond, the one that was used least recently is given up.
const MAX_OPEN: usize = 8;

/// See the module.
#[derive(Default)]
pub(crate) struct Connections(Mutex<Open>);

#[derive(Default)]
struct Open {
    by_conversation: HashMap<GroupId, (Connection, u64)>,
    /// Counts uses.
    uses: u64,
}

impl Connections {
    /// The connection for a conversation; a new one if there is none that is still good.
    pub(crate) async fn to(&self, inner: &Inner, conversation: GroupId) -> Result<Connection, Error> {
        let mut open = self.0.lock().await;
        open.by_conversation.retain(|_, (connection, _)| !connection.is_closed());
        open.uses += 1;
        let now = open.uses;
        if let Some((connection, used)) = open.by_conversation.get_mut(&conversation) {
            *used = now;
            return Ok(connection.clone());
        }
        if open.by_conversation.len() >= MAX_OPEN {
            let oldest = open.by_conversation.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id);
            if let Some((connection, _)) = oldest.and_then(|id| open.by_conversation.remove(&id)) {
                connection.close();
            }
        }
        let connection = connect(inner).await?;
        open.by_conversation.insert(conversation, (connection.clone(), now));
        let (ended, life) = (connection.clone(), inner.runtime.jittered(LIFE));
        let shutdown = inner.runtime.shutdown().clone();
        inner.runtime.spawn(async move {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                _ = ended.closed() => return,
                () = tokio::time::sleep(life) => {}
            }
            ended.close_when_idle(GRACE).await;
        });
        Ok(connection)
    }
}

/// A connection that has nothing in common with any other of this client but the address that it comes from.
pub(super) async fn connect(inner: &Inner) -> Result<Connection, Error> {
    // Nothing is pushed to who has said nothing.
    let (connection, _pushes) = inner.connector.apart().connect().await?;
    Ok(connection)
}
