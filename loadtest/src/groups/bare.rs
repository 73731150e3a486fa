//! The ceiling: openmls as it is, doing the same. A minimal group, with the settings that clients need to read what comes
//! late, over its storage in memory or over its SQLite storage in an SQLCipher database with the client's settings.

use std::fmt::Debug;

use anyhow::{Context, Result, anyhow, bail};
use openmls::{
    group::{
        MIXED_PLAINTEXT_WIRE_FORMAT_POLICY, MlsGroup, MlsGroupCreateConfig, MlsGroupJoinConfig, ProposalStore,
        PublicGroup, StagedWelcome,
    },
    prelude::{
        BasicCredential, Capabilities, Ciphersuite, CommitMessageBundle, CredentialType, CredentialWithKey, KeyPackage,
        LeafNodeIndex, LeafNodeParameters, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut, ProcessedMessageContent,
        ProtocolMessage, ProtocolVersion, RatchetTreeIn, SenderRatchetConfiguration,
        tls_codec::{Deserialize as _, Serialize as _},
    },
    storage::OpenMlsProvider as Storing,
};
use openmls_memory_storage::MemoryStorage;
use openmls_rust_crypto::RustCrypto;
use openmls_sqlite_storage::SqliteStorageProvider;
use openmls_traits::{
    OpenMlsProvider,
    storage::{CURRENT_VERSION, StorageProvider},
};
use qpc_crypto::{DeviceKey, Suite};
use qpc_sdk::{Runtime, bench::MessagePack};
use qpc_wire::{DeviceId, GroupId};
use rand::RngCore as _;
use rusqlite::{Connection, TransactionBehavior};
use tempfile::TempDir;

use super::member::{Change, Item, Made, Mail, Member};

/// As in the client.
const PAST_EPOCHS: usize = 5;
const OUT_OF_ORDER: u32 = 64;
const FORWARD: u32 = 2_000;

#[derive(Default)]
struct Provider<S> {
    crypto: RustCrypto,
    storage: S,
}

impl<S: StorageProvider<CURRENT_VERSION>> OpenMlsProvider for Provider<S> {
    type CryptoProvider = RustCrypto;
    type RandProvider = RustCrypto;
    type StorageProvider = S;

    fn storage(&self) -> &S {
        &self.storage
    }

    fn crypto(&self) -> &RustCrypto {
        &self.crypto
    }

    fn rand(&self) -> &RustCrypto {
        &self.crypto
    }
}

/// Where a device keeps its state.
#[allow(clippy::large_enum_variant, reason = "a device is boxed")]
enum Place {
    /// The group is kept from one step to the next.
    Memory(Provider<MemoryStorage>, Option<Box<MlsGroup>>),
    /// The group is loaded in each transaction.
    Disk(Connection, #[allow(dead_code, reason = "removed with the device")] TempDir),
}

/// A device.
pub(super) struct Bare {
    id: DeviceId,
    key: DeviceKey,
    /// Begins with the id.
    credential: Vec<u8>,
    suite: Ciphersuite,
    group: GroupId,
    place: Place,
}

/// Runs a step in a group.
macro_rules! step {
    ($self:ident, |$provider:ident, $group:ident| $work:expr) => {
        match &mut $self.place {
            Place::Memory(provider, group) => {
                let ($provider, $group) = (&*provider, group.as_deref_mut().context("not in the group")?);
                $work
            }
            Place::Disk(sql, _) => {
                let tx = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let provider = Provider::new(SqliteStorageProvider::<MessagePack, _>::new(&*tx));
                let id = openmls::group::GroupId::from_slice($self.group.as_ref());
                let mut group = MlsGroup::load(provider.storage(), &id)?.context("not in the group")?;
                let ($provider, $group) = (&provider, &mut group);
                let value = $work?;
                tx.commit()?;
                Ok(value)
            }
        }
    };
}

/// Runs a step that may begin a group.
macro_rules! begin {
    ($self:ident, |$provider:ident| $work:expr) => {
        match &mut $self.place {
            Place::Memory(provider, group) => {
                let $provider = &*provider;
                let (made, value) = $work?;
                if made.is_some() {
                    *group = made.map(Box::new);
                }
                Ok(value)
            }
            Place::Disk(sql, _) => {
                let tx = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let provider = Provider::new(SqliteStorageProvider::<MessagePack, _>::new(&*tx));
                let $provider = &provider;
                let (_, value): (Option<MlsGroup>, _) = $work?;
                tx.commit()?;
                Ok(value)
            }
        }
    };
}

impl<S> Provider<S> {
    fn new(storage: S) -> Self {
        Self { crypto: RustCrypto::default(), storage }
    }
}

fn failed(error: impl Debug) -> anyhow::Error {
    anyhow!("openmls: {error:?}")
}

impl Bare {
    pub(super) fn held(runtime: &Runtime, suite: Suite, group: GroupId, credential: usize) -> Result<Self> {
        Self::new(runtime, suite, group, credential, Place::Memory(Provider::default(), None))
    }

    /// With the settings of the client's store.
    pub(super) fn stored(
        runtime: &Runtime,
        suite: Suite,
        group: GroupId,
        credential: usize,
        folder: TempDir,
    ) -> Result<Self> {
        let mut sql = Connection::open(folder.path().join("bare.db"))?;
        sql.execute_batch(&format!("PRAGMA key = \"x'{}'\"", "5a".repeat(32)))?;
        sql.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON;",
        )?;
        SqliteStorageProvider::<MessagePack, &mut Connection>::new(&mut sql).run_migrations()?;
        Self::new(runtime, suite, group, credential, Place::Disk(sql, folder))
    }

    fn new(runtime: &Runtime, suite: Suite, group: GroupId, credential: usize, place: Place) -> Result<Self> {
        let suite = Ciphersuite::try_from(suite.id()).map_err(failed)?;
        let (id, key) = (DeviceId(runtime.random()), DeviceKey::generate(&mut runtime.rng()));
        let mut content = vec![0; credential.max(DeviceId::LEN)];
        runtime.rng().fill_bytes(&mut content);
        content[..DeviceId::LEN].copy_from_slice(id.as_ref());
        Ok(Self { id, key, credential: content, suite, group, place })
    }

    fn identity(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(self.credential.clone()).into(),
            signature_key: self.key.public().as_slice().into(),
        }
    }
}

impl Member for Bare {
    fn id(&self) -> DeviceId {
        self.id
    }

    fn key_package(&mut self, _: Suite) -> Result<Vec<u8>> {
        let (identity, suite) = (self.identity(), self.suite);
        let key = &self.key;
        begin!(self, |provider| {
            let builder = KeyPackage::builder().leaf_node_capabilities(capabilities(suite));
            let bundle = builder.build(suite, provider, key, identity.clone()).map_err(failed)?;
            let bytes = MlsMessageOut::from(bundle.key_package().clone()).tls_serialize_detached();
            bytes.map(|bytes| (None, bytes)).map_err(failed)
        })
    }

    fn found(&mut self, _: Suite, group: GroupId) -> Result<Vec<u8>> {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(self.suite)
            .capabilities(capabilities(self.suite))
            .wire_format_policy(MIXED_PLAINTEXT_WIRE_FORMAT_POLICY)
            .max_past_epochs(PAST_EPOCHS)
            .sender_ratchet_configuration(SenderRatchetConfiguration::new(OUT_OF_ORDER, FORWARD))
            .use_ratchet_tree_extension(false)
            .build();
        let (identity, key) = (self.identity(), &self.key);
        begin!(self, |provider| {
            let id = openmls::group::GroupId::from_slice(group.as_ref());
            let made = MlsGroup::new_with_group_id(provider, key, &config, id, identity.clone()).map_err(failed)?;
            let info = made.export_group_info(provider.crypto(), key, true).map_err(failed)?;
            info.to_bytes().map(|info| (Some(made), info)).map_err(failed)
        })
    }

    fn change(&mut self, change: &Change<'_>) -> Result<Made> {
        let key = &self.key;
        step!(self, |provider, group| make(provider, group, key, change))
    }

    fn join_external(&mut self, group_info: &[u8], tree: &[u8], _: u64) -> Result<Made> {
        let (identity, key, suite) = (self.identity(), &self.key, self.suite);
        begin!(self, |provider| come(provider, key, identity.clone(), suite, group_info, tree))
    }

    fn settle(&mut self) -> Result<()> {
        step!(self, |provider, group| match group.pending_commit() {
            Some(_) => group.merge_pending_commit(provider).map_err(failed),
            // An external commit is merged as it is made.
            None => Ok(()),
        })
    }

    fn mail(&self, item: Item<'_>) -> Result<Mail> {
        Ok(match item {
            Item::Commit(commit) => Mail::Commit(commit.to_vec()),
            Item::Message(message) => Mail::Message(message.to_vec()),
            Item::Welcome { welcome, tree, .. } => Mail::Welcome { welcome: welcome.to_vec(), tree: tree.to_vec() },
        })
    }

    fn take(&mut self, mail: Mail) -> Result<()> {
        match mail {
            Mail::Commit(bytes) | Mail::Message(bytes) => {
                step!(self, |provider, group| process(provider, group, &bytes))
            }
            Mail::Welcome { welcome, tree } => begin!(self, |provider| join(provider, &welcome, &tree)),
            Mail::Pointer { .. } | Mail::Sealed(..) => bail!("not of openmls"),
        }
    }

    fn encrypt(&mut self, text: &str) -> Result<Vec<u8>> {
        let key = &self.key;
        step!(self, |provider, group| {
            let message = group.create_message(provider, key, text.as_bytes()).map_err(failed)?;
            message.to_bytes().map_err(failed)
        })
    }

    fn load(&mut self) -> Result<bool> {
        match self.place {
            Place::Memory(..) => Ok(false),
            Place::Disk(..) => step!(self, |_provider, _group| anyhow::Ok(true)),
        }
    }
}

fn capabilities(suite: Ciphersuite) -> Capabilities {
    Capabilities::new(Some(&[ProtocolVersion::Mls10]), Some(&[suite]), None, None, Some(&[CredentialType::Basic]))
}

fn body(bytes: &[u8]) -> Result<MlsMessageBodyIn> {
    Ok(MlsMessageIn::tls_deserialize_exact(bytes).map_err(failed)?.extract())
}

fn protocol(bytes: &[u8]) -> Result<ProtocolMessage> {
    match body(bytes)? {
        MlsMessageBodyIn::PrivateMessage(message) => Ok(message.into()),
        MlsMessageBodyIn::PublicMessage(message) => Ok(message.into()),
        _ => bail!("not a message of a group"),
    }
}

fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(MIXED_PLAINTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(PAST_EPOCHS)
        .sender_ratchet_configuration(SenderRatchetConfiguration::new(OUT_OF_ORDER, FORWARD))
        .use_ratchet_tree_extension(false)
        .build()
}

fn made(bundle: CommitMessageBundle) -> Result<Made> {
    let (commit, welcome, group_info) = bundle.into_messages();
    let bytes = |message: Option<MlsMessageOut>| match message {
        Some(message) => message.to_bytes().map_err(failed),
        None => Ok(Vec::new()),
    };
    Ok(Made { commit: bytes(Some(commit))?, welcome: bytes(welcome)?, group_info: bytes(group_info)? })
}

fn make<P: Storing>(provider: &P, group: &mut MlsGroup, key: &DeviceKey, change: &Change<'_>) -> Result<Made> {
    let (mut adds, mut removes) = (Vec::new(), Vec::<LeafNodeIndex>::new());
    match change {
        Change::Add(add) => {
            for (_, package) in *add {
                let MlsMessageBodyIn::KeyPackage(package) = body(package)? else { bail!("not a KeyPackage") };
                adds.push(package.validate(provider.crypto(), ProtocolVersion::Mls10).map_err(failed)?);
            }
        }
        Change::Remove(devices) => {
            let gone = |content: &[u8]| devices.iter().any(|device| content.starts_with(device.as_ref()));
            let members = group.members().filter(|member| gone(member.credential.serialized_content()));
            removes.extend(members.map(|member| member.index));
        }
        Change::Update => {}
    }
    let bundle = group
        .commit_builder()
        .propose_adds(adds)
        .propose_removals(removes)
        .force_self_update(matches!(change, Change::Update))
        .load_psks(provider.storage())
        .map_err(failed)?
        .create_group_info(true)
        .use_ratchet_tree_extension(false)
        .build(provider.rand(), provider.crypto(), key, |_| true)
        .map_err(failed)?
        .stage_commit(provider)
        .map_err(failed)?;
    made(bundle)
}

fn process<P: Storing>(provider: &P, group: &mut MlsGroup, bytes: &[u8]) -> Result<()> {
    let processed = group.process_message(provider, protocol(bytes)?).map_err(failed)?;
    match processed.into_content() {
        ProcessedMessageContent::ApplicationMessage(_) => Ok(()),
        ProcessedMessageContent::StagedCommitMessage(staged) => {
            group.merge_staged_commit(provider, *staged).map_err(failed)
        }
        _ => bail!("neither message nor commit"),
    }
}

fn join<P: Storing>(provider: &P, welcome: &[u8], tree: &[u8]) -> Result<(Option<MlsGroup>, ())> {
    let MlsMessageBodyIn::Welcome(welcome) = body(welcome)? else { bail!("not a Welcome") };
    let staged = StagedWelcome::build_from_welcome(provider, &join_config(), welcome)
        .map_err(failed)?
        .with_ratchet_tree(RatchetTreeIn::tls_deserialize_exact(tree).map_err(failed)?)
        .skip_lifetime_validation()
        .build()
        .map_err(failed)?;
    Ok((Some(staged.into_group(provider).map_err(failed)?), ()))
}

fn come<P: Storing>(
    provider: &P,
    key: &DeviceKey,
    identity: CredentialWithKey,
    suite: Ciphersuite,
    group_info: &[u8],
    tree: &[u8],
) -> Result<(Option<MlsGroup>, Made)> {
    let MlsMessageBodyIn::GroupInfo(info) = body(group_info)? else { bail!("not a GroupInfo") };
    // A device that comes back cannot keep what it had.
    if let Some(mut old) = MlsGroup::load(provider.storage(), info.group_id()).map_err(failed)? {
        old.delete(provider.storage()).map_err(failed)?;
    }
    let (group, bundle) = MlsGroup::external_commit_builder()
        .with_ratchet_tree(RatchetTreeIn::tls_deserialize_exact(tree).map_err(failed)?)
        .with_config(join_config())
        .skip_lifetime_validation()
        .build_group(provider, info, identity)
        .map_err(failed)?
        .leaf_node_parameters(LeafNodeParameters::builder().with_capabilities(capabilities(suite)).build())
        .load_psks(provider.storage())
        .map_err(failed)?
        .create_group_info(true)
        .use_ratchet_tree_extension(false)
        .build(provider.rand(), provider.crypto(), key, |_| true)
        .map_err(failed)?
        .finalize(provider)
        .map_err(failed)?;
    Ok((Some(group), made(bundle)?))
}

/// A server that follows a group by openmls alone: what is stored is read, changed, and stored again.
pub(super) struct BareServer {
    provider: Provider<MemoryStorage>,
    group: openmls::group::GroupId,
}

impl BareServer {
    pub(super) fn found(group_info: &[u8]) -> Result<Self> {
        let MlsMessageBodyIn::GroupInfo(info) = body(group_info)? else { bail!("not a GroupInfo") };
        let group = info.group_id().clone();
        let tree = info.extensions().ratchet_tree().context("without tree")?.ratchet_tree().clone();
        let provider = Provider::<MemoryStorage>::default();
        PublicGroup::from_external(&provider.crypto, &provider.storage, tree, info, ProposalStore::new())
            .map_err(failed)?;
        Ok(Self { provider, group })
    }

    pub(super) fn tree(&self) -> Result<Vec<u8>> {
        let group = PublicGroup::load(&self.provider.storage, &self.group).map_err(failed)?.context("no such group")?;
        group.export_ratchet_tree().tls_serialize_detached().map_err(failed)
    }

    pub(super) fn apply(&mut self, commit: &[u8]) -> Result<()> {
        let storage = &self.provider.storage;
        let mut group = PublicGroup::load(storage, &self.group).map_err(failed)?.context("no such group")?;
        let processed = group.process_message(&self.provider.crypto, protocol(commit)?).map_err(failed)?;
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            bail!("not a commit");
        };
        group.merge_commit(storage, *staged).map_err(failed)
    }
}
