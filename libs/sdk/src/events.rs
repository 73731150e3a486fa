//! What a client tells its user interface.

use std::{fmt, sync::Arc};

use qpc_wire::GroupId;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{Error, Message};

/// Events that a slow listener may be behind; beyond it the oldest are replaced by [`Event::Lagged`].
const QUEUE: usize = 1024;

/// A message, 16 random bytes chosen by its writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 16]);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a part of the mailbox is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// It was not fetched in time.
    Expired,
    /// The mailbox was full.
    Quota,
    /// The server does not say. It should.
    Unexplained,
}

/// Something happened. What is lost by lagging is in the store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// There is a connection, and this device is logged in.
    Connected,
    /// The connection is gone; another one is being tried.
    Disconnected,
    /// The server refuses this device or its password; nothing is tried any more.
    LoginRefused(Arc<Error>),
    /// Somebody began a conversation, or [`crate::Client::dm`] did.
    ConversationAdded(GroupId),
    /// A group has a new epoch.
    EpochChanged {
        /// Which group.
        conversation: GroupId,
        /// Its epoch.
        epoch: u64,
    },
    /// This device was removed from a conversation.
    Removed(GroupId),
    /// Somebody wrote.
    MessageReceived(Message),
    /// The server has accepted a message, and its receipt holds.
    Accepted {
        /// Its conversation.
        conversation: GroupId,
        /// Which message.
        message: MessageId,
        /// The server's word.
        receipt: qpc_wire::v1::Receipt,
    },
    /// The server refuses a message for good.
    SendFailed {
        /// Its conversation.
        conversation: GroupId,
        /// Which message.
        message: MessageId,
        /// Why.
        error: Arc<Error>,
    },
    /// The server says that a message or commit is accepted, and its receipt does not hold.
    ReceiptRefused {
        /// Which group.
        conversation: GroupId,
        /// Which message; none for a commit.
        message: Option<MessageId>,
        /// What is wrong with it.
        error: Arc<Error>,
    },
    /// An entry of the mailbox cannot be read and never will.
    Undecryptable {
        /// Its place in the mailbox.
        seq: u64,
        /// Its group, if it says so.
        conversation: Option<GroupId>,
        /// Why.
        error: Arc<Error>,
    },
    /// Entries of the mailbox are gone.
    Gap {
        /// The first one.
        from: u64,
        /// The last one.
        to: u64,
        /// Why.
        reason: GapReason,
    },
    /// This listener was too slow for so many events.
    Lagged(u64),
}

/// The events from the moment it was made.
pub struct EventStream(broadcast::Receiver<Event>);

impl EventStream {
    /// The next event; `None` when the client is closed. Can be dropped while it waits, without losing one.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Lagged(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Where events come from.
pub(crate) struct Events(broadcast::Sender<Event>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(QUEUE))
    }

    pub(crate) fn emit(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.0.send(event);
    }

    pub(crate) fn listen(&self) -> EventStream {
        EventStream(self.0.subscribe())
    }
}
