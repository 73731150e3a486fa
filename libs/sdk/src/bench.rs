//! The steps of a group on the real store, one transaction each, as the client runs them, for the load generator to time.
//! Nothing is sent: what a step makes is handed out, and what the server would bring is handed in.

use std::path::Path;

use prost::Message as _;
use qpc_crypto::{
    AccountKey, Conversation, DeviceCertificate, DeviceKey, KsfParams, Policy, QueueKey, Suite,
    mls::{PendingCommit, key_package},
};
use qpc_wire::{DeviceId, GroupId, IdempotencyKey, v1};

use crate::{
    Error, Event, MessageId, Runtime,
    commit::{self, Answer, Plan},
    content::{Body, Content, Saying},
    outbox,
    receive::{self, Delivered, Received},
    store::{ConversationState, Identity, Pending, PendingKind, Store, Way},
};

/// How MLS state is encoded, which openmls leaves to the application.
pub use crate::store::MessagePack;

/// A device with a store of its own.
pub struct Device {
    store: Store,
    identity: Identity,
    seq: u64,
}

impl Device {
    /// A new device of `account`, with its store in `folder`.
    pub fn open(folder: &Path, runtime: &Runtime, account: &AccountKey) -> Result<Self, Error> {
        let mut rng = runtime.rng();
        let store = Store::open(folder, b"a password of the bench", KsfParams::FLOOR, runtime.clone())?;
        let device_key = DeviceKey::generate(&mut rng);
        let certificate = DeviceCertificate::issue(account, &device_key.public(), 1);
        let identity = Identity {
            username: "bench".into(),
            account_key: AccountKey::from_bytes(&account.to_bytes()),
            device_key,
            queue_key: QueueKey::generate(&mut rng),
            certificate,
        };
        store.run_blocking(|tx| tx.insert_identity(&identity))?;
        Ok(Self { store, identity, seq: 0 })
    }

    /// The device's certificate.
    pub fn certificate(&self) -> &DeviceCertificate {
        &self.identity.certificate
    }

    /// To whom handshakes are sealed.
    pub fn queue_key(&self) -> Vec<u8> {
        self.identity.queue_key.public_bytes()
    }

    /// A KeyPackage, whose secrets are in the store.
    pub fn key_package(&self, suite: Suite) -> Result<Vec<u8>, Error> {
        let identity = &self.identity;
        self.store.run_blocking(|tx| {
            Ok(key_package::generate(&tx.mls(), &identity.device_key, &identity.certificate, suite, false)?)
        })
    }

    /// Founds a group. Returns its GroupInfo with ratchet tree.
    pub fn found(&self, suite: Suite, id: GroupId) -> Result<Vec<u8>, Error> {
        let identity = &self.identity;
        let policy = Policy::group(id, identity.account());
        self.store.run_blocking(|tx| {
            let (mls, key) = (tx.mls(), &identity.device_key);
            let group = Conversation::create(&mls, key, &identity.certificate, suite, id, &policy)?;
            tx.put_group(&group, identity, ConversationState::Active)?;
            tx.note_epoch(&group, identity)?;
            Ok(group.group_info(&mls, key)?)
        })
    }

    /// Makes a commit and keeps it until it is answered.
    pub fn change(
        &self,
        id: GroupId,
        add: Vec<(DeviceId, Vec<u8>)>,
        remove: Vec<DeviceId>,
        update: bool,
    ) -> Result<PendingCommit, Error> {
        self.store.run_blocking(|tx| {
            let mut group = tx.load_current(id)?;
            let epoch = group.epoch();
            let plan = Plan { add, remove, policy: None, update };
            let made = commit::make(tx, &self.identity, &mut group, plan)?;
            let request = v1::CommitGroupRequest {
                idempotency_key: IdempotencyKey(tx.random()).to_bytes(),
                group_id: id.to_bytes(),
                epoch,
                bundle: Some(commit::bundle(made.clone())),
            };
            let request = request.encode_to_vec();
            tx.insert_pending(&Pending { group: id, conversation: id, kind: PendingKind::Commit, request })?;
            Ok(made)
        })
    }

    /// Joins from outside, and keeps the commit until it is answered.
    pub fn join_external(&self, info: &[u8], tree: &[u8], epoch: u64) -> Result<PendingCommit, Error> {
        let identity = &self.identity;
        self.store.run_blocking(|tx| {
            let (mls, key) = (tx.mls(), &identity.device_key);
            let (group, made) = Conversation::join_external(&mls, key, &identity.certificate, info, tree, &[], None)?;
            commit::keep_join(tx, &group, made.clone(), epoch, IdempotencyKey(tx.random()))?;
            Ok(made)
        })
    }

    /// The server has accepted the commit that waits. Returns the new epoch.
    pub fn settle(&self) -> Result<u64, Error> {
        self.store.run_blocking(|tx| {
            let pending = tx.some_pending()?.ok_or(Error::Incomplete("a pending commit"))?;
            let answer = Answer { message: bytes::Bytes::new(), receipt: None };
            // There is no server, and so nothing that its receipt could be held against.
            Ok(commit::accepted(tx, &self.identity, &pending, &answer)?.0)
        })
    }

    /// Takes in what came into the mailbox, and `shared` to which it points.
    pub fn receive(&mut self, envelope: v1::Envelope, shared: Option<Vec<u8>>) -> Result<(), Error> {
        self.seq += 1;
        let entry = v1::Entry { seq: self.seq, body: Some(v1::entry::Body::Envelope(envelope)) };
        let delivered = Delivered { entry, shared };
        let received = self.store.run_blocking(|tx| receive::entry(tx, &self.identity, &delivered))?;
        match received.into_iter().find_map(unreadable) {
            Some(error) => Err(Error::Failed(error)),
            None => Ok(()),
        }
    }

    /// Encrypts a text for the group.
    pub fn encrypt(&self, id: GroupId, text: &str) -> Result<Vec<u8>, Error> {
        self.store.run_blocking(|tx| {
            let body = Body::Say(Saying::Text(text.into()));
            let from = self.identity.username.clone();
            let (message, blind) = (MessageId(tx.random()), tx.random());
            let content = Content { id: message, sent_at_ms: tx.now_ms(), from, again: None, blind, body }.encode()?;
            Ok(outbox::encrypt(tx, &self.identity, id, &content, Way::Named)?.payload)
        })
    }

    /// Loads the group, as every step does first.
    pub fn load(&self, id: GroupId) -> Result<u64, Error> {
        self.store.run_blocking(|tx| Ok(tx.load_current(id)?.epoch()))
    }

    /// Loads the group and notes the members of its epoch, as every step does last that changes it.
    pub fn note_epoch(&self, id: GroupId) -> Result<(), Error> {
        self.store.run_blocking(|tx| {
            let group = tx.load_current(id)?;
            tx.note_epoch(&group, &self.identity)
        })
    }
}

fn unreadable(received: Received) -> Option<std::sync::Arc<Error>> {
    match received {
        Received::Event(Event::Undecryptable { error, .. }) => Some(error),
        _ => None,
    }
}
