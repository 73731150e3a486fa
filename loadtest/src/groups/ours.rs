//! Devices that are ours: MLS state in memory, or the client's store on a disk.

use anyhow::{Context, Result, bail};
use openmls_memory_storage::MemoryStorage;
use prost::Message as _;
use qpc_crypto::{
    AccountKey, Changes, Conversation, DeviceCertificate, DeviceKey, PendingCommit, Policy, Provider, Suite,
    mls::{join_welcome, key_package, key_package_ref, split_welcome},
    queue,
};
use qpc_sdk::{Runtime, bench};
use qpc_wire::{
    DeviceId, GroupId,
    v1::{Envelope, EnvelopeKind, Pointer, SharedState},
};
use tempfile::TempDir;

use super::member::{Change, Item, Made, Mail, Member};

impl From<PendingCommit> for Made {
    fn from(made: PendingCommit) -> Self {
        Self { commit: made.commit, welcome: made.welcome, group_info: made.group_info }
    }
}

fn packages(add: &[(DeviceId, Vec<u8>)]) -> Vec<Vec<u8>> {
    add.iter().map(|(_, package)| package.clone()).collect()
}

/// The secret of a Welcome for a KeyPackage: suite, encrypted GroupInfo, secret.
fn secret_of(welcome: &[u8], package: &[u8]) -> Result<(u16, Vec<u8>, Vec<u8>)> {
    let split = split_welcome(welcome)?;
    let secret = split.secrets.into_iter().find(|secret| secret.key_package_ref == package);
    Ok((split.suite, split.encrypted_group_info, secret.context("no secret for the joiner")?.secret))
}

/// [`Conversation`] over a storage in memory, kept from one step to the next.
pub(super) struct Held {
    key: DeviceKey,
    certificate: DeviceCertificate,
    provider: Provider<MemoryStorage>,
    package: Vec<u8>,
    conversation: Option<Conversation>,
}

impl Held {
    pub(super) fn new(runtime: &Runtime, account: &AccountKey) -> Self {
        let key = DeviceKey::generate(&mut runtime.rng());
        let certificate = DeviceCertificate::issue(account, &key.public(), 1);
        Self { key, certificate, provider: Provider::default(), package: Vec::new(), conversation: None }
    }

    pub(super) fn certificate(&self) -> &DeviceCertificate {
        &self.certificate
    }
}

impl Member for Held {
    fn id(&self) -> DeviceId {
        self.certificate.device_id()
    }

    fn key_package(&mut self, suite: Suite) -> Result<Vec<u8>> {
        let package = key_package::generate(&self.provider, &self.key, &self.certificate, suite, false)?;
        self.package = key_package_ref(&package)?;
        Ok(package)
    }

    fn found(&mut self, suite: Suite, group: GroupId) -> Result<Vec<u8>> {
        let policy = Policy::group(group, self.certificate.account_id());
        let made = Conversation::create(&self.provider, &self.key, &self.certificate, suite, group, &policy)?;
        let info = made.group_info(&self.provider, &self.key)?;
        self.conversation = Some(made);
        Ok(info)
    }

    fn change(&mut self, change: &Change<'_>) -> Result<Made> {
        let conversation = self.conversation.as_mut().context("not in the group")?;
        let (provider, key) = (&self.provider, &self.key);
        let made = match change {
            Change::Add(add) => conversation.add(provider, key, &packages(add))?,
            Change::Remove(remove) => conversation.change(provider, key, Changes { remove, ..Changes::default() })?,
            Change::Update => conversation.update(provider, key)?,
        };
        Ok(made.into())
    }

    fn join_external(&mut self, group_info: &[u8], tree: &[u8], _: u64) -> Result<Made> {
        let (provider, key) = (&self.provider, &self.key);
        let (conversation, made) =
            Conversation::join_external(provider, key, &self.certificate, group_info, tree, &[], None)?;
        self.conversation = Some(conversation);
        Ok(made.into())
    }

    fn settle(&mut self) -> Result<()> {
        let conversation = self.conversation.as_mut().context("not in the group")?;
        Ok(conversation.merge_pending(&self.provider)?)
    }

    fn mail(&self, item: Item<'_>) -> Result<Mail> {
        Ok(match item {
            Item::Commit(commit) => Mail::Commit(commit.to_vec()),
            Item::Message(message) => Mail::Message(message.to_vec()),
            Item::Welcome { welcome, tree, .. } => {
                let (suite, group_info, secret) = secret_of(welcome, &self.package)?;
                Mail::Pointer { suite, group_info, secret, tree: tree.to_vec() }
            }
        })
    }

    fn take(&mut self, mail: Mail) -> Result<()> {
        match mail {
            Mail::Commit(bytes) | Mail::Message(bytes) => {
                let conversation = self.conversation.as_mut().context("not in the group")?;
                conversation.process(&self.provider, &bytes)?;
            }
            Mail::Pointer { suite, group_info, secret, tree } => {
                let welcome = join_welcome(suite, &group_info, &secret)?;
                self.conversation = Some(Conversation::join(&self.provider, &welcome, &tree)?);
            }
            Mail::Welcome { .. } | Mail::Sealed(..) => bail!("not for a device in memory"),
        }
        Ok(())
    }

    fn encrypt(&mut self, text: &str) -> Result<Vec<u8>> {
        let conversation = self.conversation.as_mut().context("not in the group")?;
        Ok(conversation.encrypt(&self.provider, &self.key, text.as_bytes())?)
    }
}

/// The transactions of the client, which load the group each time.
pub(super) struct Stored {
    device: bench::Device,
    group: GroupId,
    package: Vec<u8>,
    _folder: TempDir,
}

impl Stored {
    pub(super) fn new(runtime: &Runtime, account: &AccountKey, group: GroupId, folder: TempDir) -> Result<Self> {
        let device = bench::Device::open(&folder.path().join("store"), runtime, account)?;
        Ok(Self { device, group, package: Vec::new(), _folder: folder })
    }
}

impl Member for Stored {
    fn id(&self) -> DeviceId {
        self.device.certificate().device_id()
    }

    fn key_package(&mut self, suite: Suite) -> Result<Vec<u8>> {
        let package = self.device.key_package(suite)?;
        self.package = key_package_ref(&package)?;
        Ok(package)
    }

    fn found(&mut self, suite: Suite, group: GroupId) -> Result<Vec<u8>> {
        Ok(self.device.found(suite, group)?)
    }

    fn change(&mut self, change: &Change<'_>) -> Result<Made> {
        let (add, remove, update) = match change {
            Change::Add(add) => (add.to_vec(), Vec::new(), false),
            Change::Remove(remove) => (Vec::new(), remove.to_vec(), false),
            Change::Update => (Vec::new(), Vec::new(), true),
        };
        Ok(self.device.change(self.group, add, remove, update)?.into())
    }

    fn join_external(&mut self, group_info: &[u8], tree: &[u8], epoch: u64) -> Result<Made> {
        Ok(self.device.join_external(group_info, tree, epoch)?.into())
    }

    fn settle(&mut self) -> Result<()> {
        self.device.settle()?;
        Ok(())
    }

    fn mail(&self, item: Item<'_>) -> Result<Mail> {
        let mut envelope = Envelope { group_id: self.group.to_bytes(), ..Envelope::default() };
        let mut shared = None;
        match item {
            Item::Commit(commit) => {
                let mut rng = Runtime::system().rng();
                let key = self.device.queue_key();
                let mut sealed = queue::seal_for(&mut rng, commit, self.group, &[(self.id(), key.as_slice())])?;
                envelope.kind = EnvelopeKind::Handshake.into();
                envelope.sealed_key = sealed.keys.pop().context("nobody to seal to")?.1.into();
                envelope.payload = sealed.payload.into();
            }
            Item::Message(message) => {
                envelope.kind = EnvelopeKind::Application.into();
                envelope.payload = message.to_vec().into();
                // Later than any epoch since which the device is there.
                envelope.epoch = i64::MAX as u64;
            }
            Item::Welcome { welcome, tree, group_info } => {
                let (suite, encrypted_group_info, secret) = secret_of(welcome, &self.package)?;
                let state = SharedState {
                    suite: suite.into(),
                    encrypted_group_info: encrypted_group_info.into(),
                    ratchet_tree: tree.to_vec().into(),
                    group_info: group_info.to_vec().into(),
                };
                envelope.kind = EnvelopeKind::Welcome.into();
                envelope.payload = secret.into();
                envelope.shared = Some(Pointer::default());
                shared = Some(state.encode_to_vec());
            }
        }
        Ok(Mail::Sealed(Box::new(envelope), shared))
    }

    fn take(&mut self, mail: Mail) -> Result<()> {
        match mail {
            Mail::Sealed(envelope, shared) => Ok(self.device.receive(*envelope, shared)?),
            _ => bail!("not for a device with a mailbox"),
        }
    }

    fn encrypt(&mut self, text: &str) -> Result<Vec<u8>> {
        Ok(self.device.encrypt(self.group, text)?)
    }

    fn load(&mut self) -> Result<bool> {
        self.device.load(self.group)?;
        Ok(true)
    }

    fn note(&mut self) -> Result<bool> {
        self.device.note_epoch(self.group)?;
        Ok(true)
    }
}
