//! What a client tells its user interface.

use std::{fmt, sync::Arc};

use qpc_crypto::Suite;
use qpc_wire::{AccountId, DeviceId, GroupId};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{Error, Message, Standing};

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
    /// The server was put back from a copy. What came since the copy was made may be missing; the numbers in between are none
    /// of messages.
    Restored,
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
    /// The server wants a proof of work before it makes the account, and this device is at it.
    Working {
        /// Tries that were made.
        done: u64,
        /// Tries that it takes on average: it may be done sooner, and it may take several times as many.
        expected: u64,
    },
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
    /// This account has left a conversation.
    Left(GroupId),
    /// People have come or gone.
    MembersChanged {
        /// Where.
        conversation: GroupId,
        /// Who did it.
        by: AccountId,
        /// Who came.
        added: Vec<AccountId>,
        /// Who was removed.
        removed: Vec<AccountId>,
        /// Who has left.
        left: Vec<AccountId>,
    },
    /// Roles or invites have changed.
    RolesChanged {
        /// Where.
        conversation: GroupId,
        /// Who did it.
        by: AccountId,
    },
    /// A conversation has another name.
    Renamed {
        /// Which one.
        conversation: GroupId,
        /// Its name.
        name: String,
    },
    /// Another group carries the conversation on.
    Replaced {
        /// Which one.
        conversation: GroupId,
        /// Cipher suite of the new group.
        suite: Suite,
    },
    /// A group cannot be followed any more; this device is about to join it again.
    Stuck(GroupId),
    /// This device is in the group again.
    Healed(GroupId),
    /// Somebody has messages of this account.
    Delivered {
        /// Where.
        conversation: GroupId,
        /// Which messages.
        messages: Vec<MessageId>,
        /// Who.
        by: AccountId,
    },
    /// Somebody has read messages of this account.
    Read {
        /// Where.
        conversation: GroupId,
        /// Which messages.
        messages: Vec<MessageId>,
        /// Who.
        by: AccountId,
    },
    /// A message that was missing is here.
    Recovered {
        /// Where.
        conversation: GroupId,
        /// Its place in the chain of receipts.
        place: u64,
    },
    /// Messages are missing, and nobody who was asked has them.
    Lost {
        /// Where.
        conversation: GroupId,
        /// How many.
        count: u64,
    },
    /// A further device of this account is in the group of the own ones; conversations and history follow.
    DeviceLinked(DeviceId),
    /// Messages of before this device have come from another one of the account.
    History {
        /// How many that were not known.
        messages: u64,
    },
    /// Another account key is shown under a known name. Nothing is sent to that person, and nobody of that name added to a
    /// group, until [`crate::Client::accept_identity`] or [`crate::Client::keep_identity`].
    IdentityChanged {
        /// The name.
        username: String,
        /// The account under which it is known.
        pinned: AccountId,
        /// The account of the other key.
        shown: AccountId,
    },
    /// A value that the devices of this account share has changed.
    Synced(String),
    /// Somebody wrote.
    MessageReceived(Message),
    /// A message was edited or deleted, or a sign was put under it or taken away; this is how it is now.
    MessageChanged {
        /// As it is now.
        message: Box<Message>,
        /// Who did it; none when a change of this device was refused and is taken back.
        by: Option<AccountId>,
    },
    /// A request was accepted or declined, on whichever device.
    StandingChanged {
        /// Which conversation.
        conversation: GroupId,
        /// Where it stands now.
        standing: Standing,
    },
    /// Somebody is writing, for the next [`crate::TYPING_FOR`] or until they write, or no longer is.
    Typing {
        /// Where.
        conversation: GroupId,
        /// Who.
        by: AccountId,
        /// Whether they are.
        active: bool,
    },
    /// Messages have disappeared, as their timers said.
    Expired {
        /// Where.
        conversation: GroupId,
        /// Which messages.
        messages: Vec<MessageId>,
    },
    /// How long messages of a conversation stay after they were read, for what is written from now on.
    TimerChanged {
        /// Where.
        conversation: GroupId,
        /// Milliseconds; 0 for ever.
        expires_after_ms: u64,
        /// Who said so.
        by: AccountId,
    },
    /// The server has accepted a message, and its receipt holds.
    Accepted {
        /// Its conversation.
        conversation: GroupId,
        /// Which message.
        message: MessageId,
        /// The server's word.
        receipt: qpc_wire::v1::Receipt,
    },
    /// A message waits: it cannot be sent without saying who sends it, and is not sent otherwise. It is tried again.
    NotSealed {
        /// Its conversation.
        conversation: GroupId,
        /// Why.
        error: Arc<Error>,
    },
    /// Tokens, or their key, are not what the server gives to everybody, and were refused: it could recognise this device by them.
    TokensRefused(Arc<Error>),
    /// The server refuses a message for good.
    SendFailed {
        /// Its conversation.
        conversation: GroupId,
        /// Which message.
        message: MessageId,
        /// Why.
        error: Arc<Error>,
    },
    /// A message of this device was taken back before the server had it.
    Cancelled {
        /// Its conversation.
        conversation: GroupId,
        /// Which message.
        message: MessageId,
    },
    /// The server says that a message or commit is accepted, and its receipt does not hold; or a receipt does not continue the
    /// chain of those before it, as after the server went back in time.
    ReceiptRefused {
        /// Which group.
        conversation: GroupId,
        /// Which message is therefore not accepted; none for a commit, and for a chain.
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

/// Where events come from. Cheap to clone.
#[derive(Clone)]
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
