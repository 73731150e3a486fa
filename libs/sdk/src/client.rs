//! The surface of this crate.

mod people;
mod unsent;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use qpc_crypto::{AccountInvite, KsfParams, Role, Suite};
use qpc_wire::{AccountId, DeviceId, GroupId, IdempotencyKey, limits::is_username};
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::DropGuard;
use zeroize::Zeroizing;

use crate::{
    ArchiveProgress, BackupReport, ConversationInfo, ConversationKind, Draft, Error, EventStream, Invite, InviteLink,
    Member, Message, MessageId, MessageRef, Runtime, Settings, TranscriptReport, account, backup,
    commit::{self, Plan},
    conversation,
    directory::RefusedClaims,
    events::Events,
    groups,
    link::{self, Link},
    opening, own, receipts, report, say, sealed,
    store::{Identity, NOTES, Store, Tx},
    timers, transcript,
    transport::{Connection, Connector, Trust},
    whisper::{self, Whispers},
};

/// Messages of one call of [`Client::history`].
const MAX_HISTORY: u32 = 10_000;
/// Time that [`Client::close`] gives to what is in flight.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// What is due within this time, milliseconds, is waited for by [`Client::settle`].
const SOON_MS: u64 = 5_000;
/// Time between two looks whether anything is left to do.
const SETTLE_EVERY: Duration = Duration::from_millis(50);

/// What a client is opened with.
#[derive(Clone)]
pub struct ClientOptions {
    /// Folder of the store; made if it is missing.
    pub data: PathBuf,
    /// Name of the account.
    pub username: String,
    /// Opens the store and, through OPAQUE, the account.
    pub password: Zeroizing<String>,
    /// `HOST[:PORT]` of a gateway.
    pub server: String,
    /// Name in the server's certificate, where that is not the host.
    pub server_name: Option<String>,
    /// Whom to believe that it is the server.
    pub trust: Trust,
    /// Suite of new conversations.
    pub suite: Suite,
    /// Cost of the password, for a new store and a registration.
    pub ksf: KsfParams,
    /// Longest time between two looks into the mailbox, in case a doorbell was lost.
    pub sync_every: Duration,
    /// Time between the updates of two members that make a group's tree cheap again after it has grown.
    pub warm_every: Duration,
    /// Whether the server is kept from learning who sends what, except to the account's own devices; see [`crate::Event::NotSealed`].
    pub sealed: bool,
    /// Mean time between two messages that say nothing, by which nobody can tell when something is said; none for none. See
    /// [`Client::decoy_cost`].
    pub decoys: Option<Duration>,
    /// Key of an account that exists, for a further device of it; see [`Client::export_account_key`].
    pub account_key: Option<Zeroizing<[u8; 32]>>,
    /// Shown to a server that registers by invite only.
    pub invite: Option<AccountInvite>,
    /// Clock, randomness, tasks.
    pub runtime: Runtime,
}

impl ClientOptions {
    /// Options with the defaults of this crate for everything else.
    pub fn new(
        data: impl Into<PathBuf>,
        username: impl Into<String>,
        password: impl Into<String>,
        server: impl Into<String>,
        trust: Trust,
    ) -> Self {
        Self {
            data: data.into(),
            username: username.into(),
            password: Zeroizing::new(password.into()),
            server: server.into(),
            server_name: None,
            trust,
            suite: Suite::default(),
            ksf: KsfParams::RECOMMENDED,
            sync_every: Duration::from_secs(30),
            warm_every: Duration::from_secs(2),
            sealed: false,
            decoys: None,
            account_key: None,
            invite: None,
            runtime: Runtime::system(),
        }
    }
}

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identification {
    /// Name of the account.
    pub username: String,
    /// The account.
    pub account: AccountId,
    /// This device.
    pub device: DeviceId,
    /// Whether the server knows both.
    pub registered: bool,
    /// Whether there is a connection.
    pub connected: bool,
}

/// Counters of a store, since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Sequence of the last mailbox entry taken in.
    pub cursor: u64,
    /// Receipts whose signature, message and recipients were right.
    pub receipts_verified: u64,
    /// Mailbox entries that could not be read.
    pub undecryptable: u64,
    /// Messages waiting to be sent.
    pub outbox: u64,
}

/// A client of one account on one device. Cheap to clone; the last clone that is dropped ends the connection.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
    _stop: Arc<DropGuard>,
}

/// What all parts of a client share.
pub(crate) struct Inner {
    pub(crate) runtime: Runtime,
    pub(crate) store: Store,
    pub(crate) identity: Arc<Identity>,
    pub(crate) password: Zeroizing<String>,
    pub(crate) connector: Connector,
    pub(crate) suite: Suite,
    pub(crate) ksf: KsfParams,
    pub(crate) invite: Option<AccountInvite>,
    pub(crate) sync_every: Duration,
    pub(crate) warm_every: Duration,
    pub(crate) sealed: bool,
    pub(crate) decoys: Option<Duration>,
    /// Those on which this client has not said who it is.
    pub(crate) unnamed: sealed::Connections,
    pub(crate) events: Events,
    pub(crate) link: watch::Sender<Link>,
    /// Whoever takes in mailbox entries, or waits for the answer to a commit, has the turn: an entry of the new epoch
    /// must not be read before the answer.
    pub(crate) turn: Mutex<()>,
    pub(crate) outbox_wake: Notify,
    pub(crate) ack_wake: Notify,
    pub(crate) chore_wake: Notify,
    pub(crate) timer_wake: Notify,
    pub(crate) token_wake: Notify,
    /// Changes whenever a message has left the outbox.
    pub(crate) settled: watch::Sender<()>,
    pub(crate) refused_claims: RefusedClaims,
    /// Whether the server may have registered this account and not been heard.
    pub(crate) unanswered: AtomicBool,
    pub(crate) whispers: Whispers,
}

impl Inner {
    pub(crate) fn idempotency_key(&self) -> IdempotencyKey {
        IdempotencyKey(self.runtime.random())
    }

    /// The connection, if there is one.
    pub(crate) fn connection(&self) -> Result<Connection, Error> {
        match &*self.link.borrow() {
            Link::Online(connection) => Ok(connection.clone()),
            Link::Idle | Link::Offline(_) | Link::Refused(_) => Err(Error::Offline),
        }
    }
}

impl Client {
    /// Opens the store, making it, and the keys of a new account, where it is missing. Does not connect.
    pub async fn open(options: ClientOptions) -> Result<Self, Error> {
        Self::open_seeded(options, |_| Ok(())).await
    }

    /// [`Self::open`]; what `seed` puts into a store that is made comes to be together with it.
    pub(crate) async fn open_seeded(
        options: ClientOptions,
        seed: impl FnOnce(&Tx<'_>) -> Result<(), Error> + Send + 'static,
    ) -> Result<Self, Error> {
        if !is_username(&options.username) {
            return Err(Error::InvalidUsername(options.username));
        }
        let runtime = options.runtime.child();
        let connector =
            Connector::new(&options.server, options.server_name.as_deref(), &options.trust, runtime.clone())?;
        let (store, identity) = {
            let (options, runtime) = (options.clone(), runtime.clone());
            let opened = runtime.clone().blocking(move || opening::open_store(&options, runtime, seed)).await;
            opened.ok_or(Error::Interrupted)??
        };
        let inner = Inner {
            store,
            identity: Arc::new(identity),
            password: options.password,
            connector,
            suite: options.suite,
            ksf: options.ksf,
            invite: options.invite,
            sync_every: options.sync_every,
            warm_every: options.warm_every,
            sealed: options.sealed,
            decoys: options.decoys,
            unnamed: sealed::Connections::default(),
            events: Events::new(),
            link: watch::Sender::new(Link::Idle),
            turn: Mutex::new(()),
            outbox_wake: Notify::new(),
            ack_wake: Notify::new(),
            chore_wake: Notify::new(),
            timer_wake: Notify::new(),
            token_wake: Notify::new(),
            settled: watch::Sender::new(()),
            refused_claims: RefusedClaims::default(),
            unanswered: AtomicBool::new(false),
            whispers: Whispers::default(),
            runtime,
        };
        let stop = Arc::new(inner.runtime.shutdown().clone().drop_guard());
        Ok(Self { inner: Arc::new(inner), _stop: stop })
    }

    /// Registers the name, on a connection of its own. [`Self::connect`] does it by itself when it is needed.
    pub async fn register(&self) -> Result<(), Error> {
        if self.inner.store.run(|tx| tx.is_registered()).await? {
            return Err(Error::AlreadyRegistered);
        }
        let (connection, _pushes) = self.inner.connector.connect().await?;
        let result = account::register(&self.inner, &connection).await;
        connection.close();
        result
    }

    /// Proves the password to the server and keeps a new session for the connections to come. [`Self::connect`] does it
    /// by itself when it is needed.
    pub async fn login(&self) -> Result<(), Error> {
        let (connection, _pushes) = self.inner.connector.connect().await?;
        let result = account::login(&self.inner, &connection).await;
        connection.close();
        result
    }

    /// Begins to connect, and to connect again whenever the connection is lost. Does nothing if that was begun before
    /// and the server has not refused.
    pub fn start(&self) {
        link::start(&self.inner);
    }

    /// [`Self::start`], and waits for the first outcome. After an error that is transient ([`Error::is_transient`]) the
    /// client goes on trying.
    pub async fn connect(&self) -> Result<(), Error> {
        self.start();
        link::first_outcome(&self.inner).await
    }

    /// What happens from now on.
    pub fn events(&self) -> EventStream {
        self.inner.events.listen()
    }

    /// The direct conversation with a user, in the suite of the options if it must be founded. Needs a connection unless
    /// it is known here.
    pub async fn dm(&self, username: &str) -> Result<GroupId, Error> {
        conversation::dm(&self.inner, username, self.inner.suite).await
    }

    /// Founds a group of this account, as its owner, and others, with a name that only members see. Needs a connection.
    pub async fn create_group(&self, name: &str, usernames: &[String]) -> Result<GroupId, Error> {
        groups::create(&self.inner, name, usernames, self.inner.suite).await
    }

    /// Adds people to a group. Returns the new epoch. Needs a connection, and the role of an admin.
    pub async fn add(&self, conversation: GroupId, usernames: &[String]) -> Result<u64, Error> {
        groups::add(&self.inner, conversation, usernames).await
    }

    /// Removes somebody from a group. Returns the new epoch. Needs a connection, and the role of an admin.
    pub async fn remove(&self, conversation: GroupId, username: &str) -> Result<u64, Error> {
        groups::remove(&self.inner, conversation, username).await
    }

    /// Leaves a conversation with all devices of this account. What was written stays here. Needs a connection.
    pub async fn leave(&self, conversation: GroupId) -> Result<(), Error> {
        groups::leave(&self.inner, conversation).await
    }

    /// Gives a group another name. Needs the role of an admin.
    pub async fn rename(&self, conversation: GroupId, name: &str) -> Result<(), Error> {
        groups::rename(&self.inner, conversation, name).await
    }

    /// Calls a conversation something that only the devices of this account see; an empty name takes it away.
    pub async fn set_petname(&self, conversation: GroupId, name: &str) -> Result<(), Error> {
        own::set_petname(&self.inner, conversation, name).await
    }

    /// Gives somebody another role. Returns the new epoch. Needs a connection, and the right role.
    pub async fn set_role(&self, conversation: GroupId, username: &str, role: Role) -> Result<u64, Error> {
        groups::set_role(&self.inner, conversation, username, role).await
    }

    /// Who is in a conversation, owners first.
    pub async fn members(&self, conversation: GroupId) -> Result<Vec<Member>, Error> {
        self.inner.store.run(move |tx| groups::members(tx, conversation)).await
    }

    /// Makes an invite that is good for this time and so many joins (0 for any number). Needs a connection, and the role
    /// of an admin.
    pub async fn invite(&self, conversation: GroupId, valid: Duration, max_uses: u32) -> Result<InviteLink, Error> {
        let expires_ms = self.inner.runtime.now_ms() + valid.as_millis() as u64;
        groups::invite(&self.inner, conversation, expires_ms, max_uses).await
    }

    /// The invites of a group.
    pub async fn invites(&self, conversation: GroupId) -> Result<Vec<Invite>, Error> {
        self.inner.store.run(move |tx| groups::invites(tx, conversation)).await
    }

    /// Makes an invite void. Returns the new epoch. Needs a connection, and the role of an admin.
    pub async fn revoke_invite(&self, conversation: GroupId, key: [u8; 32]) -> Result<u64, Error> {
        groups::revoke_invite(&self.inner, conversation, key).await
    }

    /// Joins a group by an invite. Needs a connection.
    pub async fn join(&self, link: &InviteLink) -> Result<GroupId, Error> {
        groups::join(&self.inner, link).await
    }

    /// Carries a conversation on in a new group with the same members, roles and history: the last resort for a group that
    /// does not heal. Returns accounts of which no device could be reached. Needs a connection, and the role of an admin.
    pub async fn reset(&self, conversation: GroupId) -> Result<Vec<AccountId>, Error> {
        groups::replace(&self.inner, conversation, None).await
    }

    /// [`Self::reset`] to another cipher suite.
    pub async fn change_suite(&self, conversation: GroupId, suite: Suite) -> Result<Vec<AccountId>, Error> {
        groups::replace(&self.inner, conversation, Some(suite)).await
    }

    /// The conversation with oneself. Nothing of it ever leaves this device.
    pub async fn notes(&self) -> Result<GroupId, Error> {
        let keep = |tx: &Tx<'_>| tx.put_bare_conversation(NOTES, ConversationKind::Notes, None, tx.now_ms(), true);
        self.inner.store.run(keep).await?;
        Ok(NOTES)
    }

    /// A person has read a conversation up to its end. Returns how many messages that were.
    pub async fn mark_read(&self, conversation: GroupId) -> Result<u64, Error> {
        own::mark_read(&self.inner, conversation).await
    }

    /// Writes a message: when this returns it is encrypted and in the outbox, and will be sent as soon as there is a
    /// connection.
    pub async fn send(&self, conversation: GroupId, draft: impl Into<Draft>) -> Result<MessageId, Error> {
        say::write(&self.inner, conversation, draft.into()).await
    }

    /// A text for a conversation, in which the members mention each other as `@name`.
    pub async fn draft(&self, conversation: GroupId, text: impl Into<String>) -> Result<Draft, Error> {
        let text = text.into();
        self.inner
            .store
            .run(move |tx| {
                let mentions = say::find_mentions(tx, conversation, &text)?;
                Ok(Draft { text, mentions, ..Draft::default() })
            })
            .await
    }

    /// Puts a sign under a message, an emoji most often. It goes out as messages do.
    pub async fn react(&self, conversation: GroupId, message: MessageRef, sign: &str) -> Result<MessageId, Error> {
        say::react(&self.inner, conversation, message, sign, false).await
    }

    /// Takes a sign of this account away.
    pub async fn unreact(&self, conversation: GroupId, message: MessageRef, sign: &str) -> Result<MessageId, Error> {
        say::react(&self.inner, conversation, message, sign, true).await
    }

    /// Gives a message of this account another text. Of several edits the one counts that the server accepted last.
    pub async fn edit(
        &self,
        conversation: GroupId,
        message: MessageRef,
        draft: impl Into<Draft>,
    ) -> Result<MessageId, Error> {
        say::edit(&self.inner, conversation, message, draft.into()).await
    }

    /// Deletes a message for all: one of this account, or, as an admin of a group, one of somebody whose role is no higher.
    /// Others' clients comply; nothing can make them.
    pub async fn delete(&self, conversation: GroupId, message: MessageRef) -> Result<MessageId, Error> {
        say::delete(&self.inner, conversation, message).await
    }

    /// One message.
    pub async fn message(&self, conversation: GroupId, message: MessageRef) -> Result<Option<Message>, Error> {
        self.inner.store.run(move |tx| tx.message_of(conversation, message)).await
    }

    /// Shows the server messages of one account, and what edits of them are here, with a note of at most 2 KiB. The server can
    /// see that this account was sent exactly this by that one, and nothing else. Returns the id of the report. Needs a
    /// connection.
    pub async fn report(&self, conversation: GroupId, messages: &[MessageRef], note: &str) -> Result<[u8; 16], Error> {
        report::report(&self.inner, conversation, messages, note).await
    }

    /// Tells the members of a conversation who are there now that this account is writing, or no longer is. To be called
    /// with every keystroke: it says so every 3 s at the most, and nothing when there is no connection.
    pub async fn typing(&self, conversation: GroupId, active: bool) -> Result<(), Error> {
        whisper::typing(&self.inner, conversation, active).await
    }

    /// What this account wants of all its devices.
    pub async fn settings(&self) -> Result<Settings, Error> {
        self.inner.store.run(own::settings).await
    }

    /// Sets it, on all devices of this account.
    pub async fn set_settings(&self, settings: Settings) -> Result<(), Error> {
        own::set(&self.inner, settings).await
    }

    /// Has messages that are written in a conversation from now on disappear so long after they were read, or accepted
    /// for the devices of who wrote them; none for never. In a group needs the role of an admin.
    pub async fn set_timer(&self, conversation: GroupId, after: Option<Duration>) -> Result<(), Error> {
        timers::set(&self.inner, conversation, after).await
    }

    /// Waits until the outbox is empty, at most `within`. Tells whether it is.
    pub async fn flush(&self, within: Duration) -> bool {
        let mut settled = self.inner.settled.subscribe();
        let empty = async {
            loop {
                settled.mark_unchanged();
                match self.inner.store.run(|tx| tx.outbox_len()).await {
                    Ok(0) => return true,
                    Ok(_) if settled.changed().await.is_ok() => {}
                    Ok(_) | Err(_) => return false,
                }
            }
        };
        tokio::time::timeout(within, empty).await.unwrap_or(false)
    }

    /// Waits, at most `within`, until there is nothing left to do that others wait for: the outbox is empty, and devices and
    /// groups are looked after. Tells whether that is so.
    pub async fn settle(&self, within: Duration) -> bool {
        let settled = async {
            loop {
                let busy = |tx: &Tx<'_>| {
                    Ok(tx.outbox_len()? > 0 || tx.is_busy(tx.now_ms() + SOON_MS)? || tx.some_pending()?.is_some())
                };
                match self.inner.store.run(busy).await {
                    Ok(false) => return true,
                    Ok(true) => tokio::time::sleep(SETTLE_EVERY).await,
                    Err(_) => return false,
                }
            }
        };
        tokio::time::timeout(within, settled).await.unwrap_or(false)
    }

    /// All conversations, the liveliest first.
    pub async fn conversations(&self) -> Result<Vec<ConversationInfo>, Error> {
        self.inner.store.run(|tx| tx.conversations()).await
    }

    /// One conversation.
    pub async fn conversation(&self, id: GroupId) -> Result<ConversationInfo, Error> {
        self.inner.store.run(move |tx| tx.conversation(id)).await?.ok_or(Error::UnknownConversation(id))
    }

    /// The last `limit` messages of a conversation, at most 10,000, oldest first.
    pub async fn history(&self, conversation: GroupId, limit: u32) -> Result<Vec<Message>, Error> {
        self.inner.store.run(move |tx| tx.history(conversation, limit.min(MAX_HISTORY))).await
    }

    /// Replaces this device's secrets in a group, which heals a past compromise. Returns the new epoch. Needs a
    /// connection.
    pub async fn update_keys(&self, conversation: GroupId) -> Result<u64, Error> {
        let connection = self.inner.connection()?;
        let plan = |_: &Tx<'_>, _: &_| Ok(Some(Plan { update: true, ..Plan::default() }));
        commit::change(&self.inner, &connection, conversation, Arc::new(plan)).await
    }

    /// A value that all members of a group agree on if they are in the same epoch of the same group (RFC 9420 section
    /// 8.7).
    pub async fn epoch_authenticator(&self, conversation: GroupId) -> Result<Vec<u8>, Error> {
        self.inner.store.run(move |tx| Ok(tx.load_current(conversation)?.epoch_authenticator())).await
    }

    /// Whether this device's next update of a group is larger than it must be, because others have not renewed their leaves
    /// since the group has grown. Members see to that by themselves, see [`ClientOptions::warm_every`].
    pub async fn is_cold(&self, conversation: GroupId) -> Result<bool, Error> {
        self.inner.store.run(move |tx| Ok(tx.load_current(conversation)?.path_is_cold()?)).await
    }

    /// Looks into the mailbox now. Needs a connection.
    pub async fn sync(&self) -> Result<(), Error> {
        let connection = self.inner.connection()?;
        crate::sync::pull(&self.inner, &connection).await
    }

    /// Writes the server's receipts, of what this device has sent and was given, for [`crate::verify_receipts`]. Returns how
    /// many.
    pub async fn export_receipts(&self, out: &mut (impl std::io::Write + Send)) -> Result<usize, Error> {
        receipts::export(&self.inner, out).await
    }

    /// Writes a conversation as it is shown here, encrypted under a passphrase and signed by this device, for
    /// [`crate::verify_transcript`] and [`crate::read_transcript`]. Memory is flat; `progress` is told from time to time.
    /// Takes the time of Argon2id.
    pub async fn export_transcript(
        &self,
        conversation: GroupId,
        passphrase: &str,
        out: &mut (impl std::io::Write + Send),
        progress: &mut (dyn FnMut(ArchiveProgress) + Send),
    ) -> Result<TranscriptReport, Error> {
        transcript::export(&self.inner, conversation, passphrase, out, progress).await
    }

    /// Writes all that is the account's, encrypted under a passphrase, for [`crate::restore_backup`]: its key, people,
    /// conversations, messages, receipts and what its devices share. Whoever has the file and the passphrase is this account.
    /// Memory is flat; `progress` is told from time to time. Takes the time of Argon2id.
    pub async fn backup(
        &self,
        passphrase: &str,
        out: &mut (impl std::io::Write + Send),
        progress: &mut (dyn FnMut(ArchiveProgress) + Send),
    ) -> Result<BackupReport, Error> {
        backup::write(&self.inner, passphrase, out, progress).await
    }

    /// Who this client is.
    pub async fn whoami(&self) -> Result<Identification, Error> {
        let identity = &self.inner.identity;
        Ok(Identification {
            username: identity.username.clone(),
            account: identity.account(),
            device: identity.device(),
            registered: self.inner.store.run(|tx| tx.is_registered()).await?,
            connected: self.inner.connection().is_ok(),
        })
    }

    /// Counters.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.inner.store.run(|tx| tx.stats()).await
    }

    /// The account key, for [`ClientOptions::account_key`] of another device. Whoever has it is this account.
    pub fn export_account_key(&self) -> Zeroizing<[u8; 32]> {
        self.inner.identity.account_key.to_bytes()
    }

    /// Ends the connection when what is in flight is done, after a few seconds at the latest. What is in the outbox stays
    /// there. The store is free for another opening when the last clone is dropped.
    pub async fn close(self) {
        if !self.inner.runtime.drain(CLOSE_GRACE).await {
            tracing::warn!("closed with work in flight");
        }
    }
}
