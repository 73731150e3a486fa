//! Groups from both sides: members with their own storages, and the server's view that follows them.

#![cfg(feature = "mls")]
#![allow(clippy::unwrap_used, reason = "allow-unwrap-in-tests does not reach helpers of tests")]

use openmls_memory_storage::MemoryStorage;
use qpc_crypto::mls::{MlsError, key_package, peek_private_message};
use qpc_crypto::{
    AccountKey, CertificateError, Conversation, DeviceCertificate, DeviceKey, GroupView, Incoming, PendingCommit,
    Provider, Suite,
};
use qpc_wire::GroupId;
use rand::rngs::OsRng;

const GROUP: GroupId = GroupId([7; 16]);

struct Device {
    key: DeviceKey,
    certificate: DeviceCertificate,
    provider: Provider<MemoryStorage>,
}

impl Device {
    fn new() -> Self {
        let (account, key) = (AccountKey::generate(&mut OsRng), DeviceKey::generate(&mut OsRng));
        let certificate = DeviceCertificate::issue(&account, &key.public(), 1_700_000_000);
        Self { key, certificate, provider: Provider::new(MemoryStorage::default()) }
    }

    fn key_package(&self, suite: Suite) -> Vec<u8> {
        key_package::generate(&self.provider, &self.key, &self.certificate, suite, false).unwrap()
    }

    fn create(&self, suite: Suite) -> Conversation {
        Conversation::create(&self.provider, &self.key, &self.certificate, suite, GROUP).unwrap()
    }

    fn join(&self, welcome: &[u8]) -> Conversation {
        Conversation::join(&self.provider, welcome).unwrap()
    }
}

/// Alice and Bob in one group at epoch 1, and the server's view of it.
struct Pair {
    alice: Device,
    bob: Device,
    at_alice: Conversation,
    at_bob: Conversation,
    server: GroupView,
}

impl Pair {
    fn new(suite: Suite) -> Self {
        let (alice, bob) = (Device::new(), Device::new());
        let mut at_alice = alice.create(suite);
        let mut server = GroupView::found(&at_alice.group_info(&alice.provider, &alice.key).unwrap()).unwrap();
        let pending = at_alice.add(&alice.provider, &alice.key, &[bob.key_package(suite)]).unwrap();
        server.apply(&pending.commit).unwrap();
        at_alice.merge_pending(&alice.provider).unwrap();
        let at_bob = bob.join(&pending.welcome);
        Self { alice, bob, at_alice, at_bob, server }
    }

    fn alice_adds(&mut self, device: &Device) -> PendingCommit {
        let package = device.key_package(self.server.suite());
        self.at_alice.add(&self.alice.provider, &self.alice.key, &[package]).unwrap()
    }
}

fn text(incoming: Incoming) -> Vec<u8> {
    match incoming {
        Incoming::Message { plaintext, .. } => plaintext,
        other => panic!("not a message: {other:?}"),
    }
}

fn life_of_a_group(suite: Suite) {
    let Pair { alice, bob, mut at_alice, mut at_bob, mut server } = Pair::new(suite);
    assert_eq!((server.epoch(), server.suite(), server.group_id()), (1, suite, GROUP));
    assert_eq!(server.members(), [alice.certificate.clone(), bob.certificate.clone()]);
    assert_eq!(at_bob.members(), server.members());
    assert_eq!(at_bob.own_device(), Some(bob.certificate.device_id()));
    assert_eq!(at_alice.epoch_authenticator(), at_bob.epoch_authenticator());

    // Messages go both ways, and only their length class shows.
    let hello = at_alice.encrypt(&alice.provider, &alice.key, b"hello").unwrap();
    let longer = at_alice.encrypt(&alice.provider, &alice.key, &[b'x'; 200]).unwrap();
    assert_eq!(hello.len(), longer.len());
    assert_eq!(peek_private_message(&hello).unwrap(), (GROUP, 1));
    let expected = Incoming::Message { sender: alice.certificate.clone(), epoch: 1, plaintext: b"hello".to_vec() };
    assert_eq!(at_bob.process(&bob.provider, &hello).unwrap(), expected);
    let answer = at_bob.encrypt(&bob.provider, &bob.key, b"answer").unwrap();
    assert_eq!(text(at_alice.process(&alice.provider, &answer).unwrap()), b"answer");

    // Bob adds Carol.
    let carol = Device::new();
    let pending = at_bob.add(&bob.provider, &bob.key, &[carol.key_package(suite)]).unwrap();
    let applied = server.apply(&pending.commit).unwrap();
    assert_eq!((applied.epoch, &applied.sender), (2, &bob.certificate));
    assert_eq!((applied.added.as_slice(), applied.removed.len()), ([carol.certificate.clone()].as_slice(), 0));
    at_bob.merge_pending(&bob.provider).unwrap();
    let mut at_carol = carol.join(&pending.welcome);
    let seen = at_alice.process(&alice.provider, &pending.commit).unwrap();
    let expected = Incoming::Commit {
        sender: Some(bob.certificate.clone()),
        added: vec![carol.certificate.clone()],
        removed: vec![],
        epoch: 2,
        self_removed: false,
    };
    assert_eq!(seen, expected);
    // Bob's message of epoch 1 that was under way is still read, at epoch 2.
    assert_eq!(text(at_bob.process(&bob.provider, &longer).unwrap()), [b'x'; 200]);

    // Carol updates.
    let pending = at_carol.update(&carol.provider, &carol.key).unwrap();
    assert!(pending.welcome.is_empty());
    assert_eq!(server.apply(&pending.commit).unwrap().epoch, 3);
    at_carol.merge_pending(&carol.provider).unwrap();
    at_alice.process(&alice.provider, &pending.commit).unwrap();
    at_bob.process(&bob.provider, &pending.commit).unwrap();
    let authenticator = at_alice.epoch_authenticator();
    assert_eq!([at_bob.epoch_authenticator(), at_carol.epoch_authenticator()], [authenticator.clone(), authenticator]);

    // Alice removes Bob.
    let bobs_id = bob.certificate.device_id();
    let pending = at_alice.remove(&alice.provider, &alice.key, &[bobs_id]).unwrap();
    assert_eq!(server.apply(&pending.commit).unwrap().removed, std::slice::from_ref(&bob.certificate));
    at_alice.merge_pending(&alice.provider).unwrap();
    at_carol.process(&carol.provider, &pending.commit).unwrap();
    match at_bob.process(&bob.provider, &pending.commit).unwrap() {
        Incoming::Commit { self_removed, removed, epoch, .. } => {
            assert_eq!((self_removed, removed, epoch), (true, vec![bob.certificate.clone()], 4));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((at_bob.is_active(), at_bob.own_device()), (false, None));
    assert!(matches!(at_bob.encrypt(&bob.provider, &bob.key, b"x"), Err(MlsError::NotMember)));
    let secret = at_carol.encrypt(&carol.provider, &carol.key, b"secret").unwrap();
    assert!(matches!(at_bob.process(&bob.provider, &secret), Err(MlsError::NotMember)));
    assert_eq!(text(at_alice.process(&alice.provider, &secret).unwrap()), b"secret");
    assert_eq!(at_alice.members(), server.members());
    assert_eq!(at_alice.epoch_authenticator(), at_carol.epoch_authenticator());

    // Bob comes back under the same group id.
    let pending = at_alice.add(&alice.provider, &alice.key, &[bob.key_package(suite)]).unwrap();
    server.apply(&pending.commit).unwrap();
    at_alice.merge_pending(&alice.provider).unwrap();
    let again = bob.join(&pending.welcome);
    assert_eq!(again.epoch_authenticator(), at_alice.epoch_authenticator());
    assert_eq!(server.members().len(), 3);
}

#[test]
fn life_of_a_hybrid_group() {
    life_of_a_group(Suite::Hybrid);
}

#[test]
fn life_of_a_classic_group() {
    life_of_a_group(Suite::Classic);
}

#[test]
fn state_survives_a_restart() {
    let Pair { alice, bob, at_alice, mut at_bob, .. } = Pair::new(Suite::Classic);
    let before = at_alice.epoch_authenticator();
    drop(at_alice);
    let mut at_alice = Conversation::load(&alice.provider, GROUP).unwrap().unwrap();
    assert_eq!((at_alice.epoch_authenticator(), at_alice.suite()), (before, Suite::Classic));
    let pending = at_alice.update(&alice.provider, &alice.key).unwrap();
    // A pending commit is kept too.
    let mut at_alice = Conversation::load(&alice.provider, GROUP).unwrap().unwrap();
    assert!(at_alice.has_pending());
    at_alice.merge_pending(&alice.provider).unwrap();
    at_bob.process(&bob.provider, &pending.commit).unwrap();
    assert_eq!(at_bob.epoch_authenticator(), at_alice.epoch_authenticator());
    at_alice.delete(&alice.provider).unwrap();
    assert!(Conversation::load(&alice.provider, GROUP).unwrap().is_none());
}

#[test]
fn what_is_no_failure_is_told_apart() {
    let Pair { alice, bob, mut at_alice, mut at_bob, .. } = Pair::new(Suite::Classic);
    let message = at_alice.encrypt(&alice.provider, &alice.key, b"once").unwrap();
    at_bob.process(&bob.provider, &message).unwrap();
    assert!(matches!(at_bob.process(&bob.provider, &message), Err(MlsError::AlreadyProcessed)));
    assert!(matches!(at_alice.process(&alice.provider, &message), Err(MlsError::OwnMessage)));

    // Out of order, each once; the first was skipped and comes last.
    let [one, two, three] = [b"1", b"2", b"3"].map(|text| at_alice.encrypt(&alice.provider, &alice.key, text).unwrap());
    assert_eq!(text(at_bob.process(&bob.provider, &three).unwrap()), b"3");
    assert_eq!(text(at_bob.process(&bob.provider, &one).unwrap()), b"1");
    assert!(matches!(at_bob.process(&bob.provider, &one), Err(MlsError::AlreadyProcessed)));
    let mut broken = two.clone();
    *broken.last_mut().unwrap() ^= 1;
    assert!(matches!(at_bob.process(&bob.provider, &broken), Err(MlsError::Invalid(_))));
    assert_eq!(text(at_bob.process(&bob.provider, &two).unwrap()), b"2");

    let pending = at_alice.update(&alice.provider, &alice.key).unwrap();
    assert!(matches!(at_alice.process(&alice.provider, &pending.commit), Err(MlsError::OwnPendingCommit)));
    at_alice.merge_pending(&alice.provider).unwrap();
    assert!(matches!(at_alice.merge_pending(&alice.provider), Err(MlsError::NothingPending)));
    at_bob.process(&bob.provider, &pending.commit).unwrap();
    let late = at_bob.process(&bob.provider, &pending.commit);
    assert!(matches!(late, Err(MlsError::WrongEpoch { message: 1, group: 2 })));

    // A message from so long ago that its keys are gone.
    for _ in 0..6 {
        let pending = at_alice.update(&alice.provider, &alice.key).unwrap();
        at_alice.merge_pending(&alice.provider).unwrap();
        at_bob.process(&bob.provider, &pending.commit).unwrap();
    }
    assert!(matches!(at_bob.process(&bob.provider, &message), Err(MlsError::WrongEpoch { message: 1, group: 8 })));

    let elsewhere = Conversation::create(&bob.provider, &bob.key, &bob.certificate, Suite::Classic, GroupId([8; 16]));
    let other = elsewhere.unwrap().encrypt(&bob.provider, &bob.key, b"x").unwrap();
    assert!(matches!(at_alice.process(&alice.provider, &other), Err(MlsError::UnknownGroup)));
    assert!(matches!(at_alice.process(&alice.provider, b"\0\x01\0\x02"), Err(MlsError::Malformed(_))));
}

#[test]
fn welcome_for_others_used_or_repeated() {
    let mut pair = Pair::new(Suite::Classic);
    let (carol, dave) = (Device::new(), Device::new());
    dave.key_package(Suite::Classic);
    let pending = pair.alice_adds(&carol);
    assert!(matches!(Conversation::join(&dave.provider, &pending.welcome), Err(MlsError::NotForUs)));
    carol.join(&pending.welcome);
    assert!(matches!(Conversation::join(&carol.provider, &pending.welcome), Err(MlsError::NotForUs)));

    let again =
        Conversation::create(&pair.alice.provider, &pair.alice.key, &pair.alice.certificate, Suite::Classic, GROUP);
    assert!(matches!(again, Err(MlsError::GroupExists)));
}

#[test]
fn loser_of_a_race_follows_and_retries() {
    let Pair { alice, bob, mut at_alice, mut at_bob, mut server } = Pair::new(Suite::Hybrid);
    let carol = Device::new();
    let won = at_alice.update(&alice.provider, &alice.key).unwrap();
    let lost = at_bob.add(&bob.provider, &bob.key, &[carol.key_package(Suite::Hybrid)]).unwrap();
    assert!(matches!(at_bob.update(&bob.provider, &bob.key), Err(MlsError::CommitPending)));
    server.apply(&won.commit).unwrap();
    let refused = server.apply(&lost.commit);
    assert!(matches!(refused, Err(MlsError::WrongEpoch { message: 1, group: 2 })));
    at_alice.merge_pending(&alice.provider).unwrap();

    at_bob.clear_pending(&bob.provider).unwrap();
    assert!(!at_bob.has_pending());
    at_bob.process(&bob.provider, &won.commit).unwrap();
    let retried = at_bob.add(&bob.provider, &bob.key, &[carol.key_package(Suite::Hybrid)]).unwrap();
    server.apply(&retried.commit).unwrap();
    at_bob.merge_pending(&bob.provider).unwrap();
    at_alice.process(&alice.provider, &retried.commit).unwrap();
    let at_carol = carol.join(&retried.welcome);
    assert_eq!(at_carol.epoch_authenticator(), at_alice.epoch_authenticator());
    assert_eq!(at_carol.epoch_authenticator(), at_bob.epoch_authenticator());
    assert_eq!(at_carol.epoch(), server.epoch());
}

#[test]
fn loser_that_forgot_to_clear_follows_too() {
    let Pair { alice, bob, mut at_alice, mut at_bob, .. } = Pair::new(Suite::Classic);
    let won = at_alice.update(&alice.provider, &alice.key).unwrap();
    at_bob.update(&bob.provider, &bob.key).unwrap();
    at_bob.process(&bob.provider, &won.commit).unwrap();
    assert!(!at_bob.has_pending());
}

#[test]
fn server_refuses_a_changed_commit_and_stays_as_it_was() {
    let mut pair = Pair::new(Suite::Classic);
    let pending = pair.alice_adds(&Device::new());
    let before = pair.server.snapshot().unwrap();
    // The last 66 bytes are confirmation and membership tag, which take the group's secrets to check.
    for index in (0..pending.commit.len() - 70).step_by(5) {
        let mut bad = pending.commit.clone();
        bad[index] ^= 1;
        assert!(pair.server.apply(&bad).is_err(), "byte {index}");
    }
    assert!(pair.server.apply(&pending.commit[..pending.commit.len() - 1]).is_err());
    assert!(pair.server.apply(&[pending.commit.clone(), vec![0]].concat()).is_err());
    assert_eq!(pair.server.snapshot().unwrap(), before);
    pair.server.apply(&pending.commit).unwrap();
    assert!(matches!(pair.server.apply(&pending.commit), Err(MlsError::WrongEpoch { message: 1, group: 2 })));
}

#[test]
fn server_refuses_an_outsider() {
    let mut pair = Pair::new(Suite::Classic);
    // Mallory runs a group of the same id up to the same epoch and commits there.
    let (mallory, puppet) = (Device::new(), Device::new());
    let mut at_mallory = mallory.create(Suite::Classic);
    at_mallory.add(&mallory.provider, &mallory.key, &[puppet.key_package(Suite::Classic)]).unwrap();
    at_mallory.merge_pending(&mallory.provider).unwrap();
    let forged = at_mallory.update(&mallory.provider, &mallory.key).unwrap();
    assert!(matches!(pair.server.apply(&forged.commit), Err(MlsError::Invalid(_))));
    assert!(pair.at_bob.process(&pair.bob.provider, &forged.commit).is_err());

    // And with a leaf that the true group does not have.
    let third = Device::new();
    let mut at_mallory = mallory_with_three(&mallory, &puppet, &third);
    let forged = at_mallory.update(&third.provider, &third.key).unwrap();
    assert!(matches!(pair.server.apply(&forged.commit), Err(MlsError::UnknownSender)));
    assert_eq!(pair.server.epoch(), 1);
}

/// A group of three at epoch 1, as the third member has it.
fn mallory_with_three(mallory: &Device, puppet: &Device, third: &Device) -> Conversation {
    Conversation::load(&mallory.provider, GROUP).unwrap().unwrap().delete(&mallory.provider).unwrap();
    let mut group = mallory.create(Suite::Classic);
    let packages = [puppet.key_package(Suite::Classic), third.key_package(Suite::Classic)];
    let pending = group.add(&mallory.provider, &mallory.key, &packages).unwrap();
    third.join(&pending.welcome)
}

/// Commits and leaves that our own client would not make, so made with openmls directly.
mod forged {
    use openmls::prelude::tls_codec::{DeserializeBytes as _, Serialize as _};
    use openmls::prelude::{
        BasicCredential, Capabilities, CredentialType, CredentialWithKey, KeyPackage, LeafNodeParameters, MlsGroup,
        MlsMessageBodyIn, MlsMessageIn, MlsMessageOut, ProtocolVersion,
    };

    use super::*;

    fn leaf_of(identity: &[u8], key: &DeviceKey) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(identity.to_vec()).into(),
            signature_key: key.public().as_slice().into(),
        }
    }

    fn capabilities() -> Capabilities {
        let suites = Suite::ALL.map(|suite| suite.id().try_into().unwrap());
        Capabilities::new(Some(&[ProtocolVersion::Mls10]), Some(&suites), None, None, Some(&[CredentialType::Basic]))
    }

    fn key_package(identity: &[u8], key: &DeviceKey, provider: &Provider<MemoryStorage>) -> KeyPackage {
        KeyPackage::builder()
            .leaf_node_capabilities(capabilities())
            .build(Suite::Classic.id().try_into().unwrap(), provider, key, leaf_of(identity, key))
            .unwrap()
            .key_package()
            .clone()
    }

    fn bytes(package: &KeyPackage) -> Vec<u8> {
        MlsMessageOut::from(package.clone()).tls_serialize_detached().unwrap()
    }

    fn raw_group(device: &Device) -> MlsGroup {
        let id = openmls::prelude::GroupId::from_slice(&GROUP.0);
        MlsGroup::load(device.provider.storage(), &id).unwrap().unwrap()
    }

    /// Both sides must refuse the commit with an error that `expected` accepts.
    fn refused(pair: &mut Pair, commit: &MlsMessageOut, expected: impl Fn(&MlsError) -> bool) {
        let commit = commit.to_bytes().unwrap();
        let at_server = pair.server.apply(&commit).unwrap_err();
        assert!(expected(&at_server), "{at_server:?}");
        let at_member = pair.at_bob.process(&pair.bob.provider, &commit).unwrap_err();
        assert!(expected(&at_member), "{at_member:?}");
        assert_eq!((pair.server.epoch(), pair.at_bob.epoch()), (1, 1));
    }

    #[test]
    fn certificate_in_an_added_leaf() {
        let unsigned = |error: &MlsError| matches!(error, MlsError::Certificate(CertificateError::Signature(_)));
        let mallory = Device::new();
        // The victim's account key in a certificate that the victim never signed.
        let victim = AccountKey::generate(&mut OsRng);
        let mut identity = DeviceCertificate::issue(&victim, &[1; 32], 5).to_bytes();
        identity[33..65].copy_from_slice(&mallory.key.public());
        let package = key_package(&identity, &mallory.key, &mallory.provider);
        assert!(unsigned(&qpc_crypto::mls::key_package::validate(&bytes(&package)).unwrap_err()));

        let mut pair = Pair::new(Suite::Classic);
        let Pair { alice, at_alice, .. } = &mut pair;
        assert!(unsigned(&at_alice.add(&alice.provider, &alice.key, &[bytes(&package)]).unwrap_err()));
        let added = raw_group(alice).add_members_without_update(&alice.provider, &alice.key, &[package]);
        refused(&mut pair, &added.unwrap().0, unsigned);
    }

    #[test]
    fn certificate_of_another_device() {
        let mismatch = |error: &MlsError| matches!(error, MlsError::KeyMismatch);
        // A stolen certificate is public; the key it names is not.
        let (mallory, victim) = (Device::new(), Device::new());
        let package = key_package(&victim.certificate.to_bytes(), &mallory.key, &mallory.provider);
        assert!(mismatch(&qpc_crypto::mls::key_package::validate(&bytes(&package)).unwrap_err()));
        let mut pair = Pair::new(Suite::Classic);
        let alice = &pair.alice;
        let added = raw_group(alice).add_members_without_update(&alice.provider, &alice.key, &[package]);
        refused(&mut pair, &added.unwrap().0, mismatch);

        let wrong_key =
            Conversation::create(&mallory.provider, &mallory.key, &victim.certificate, Suite::Classic, GROUP);
        assert!(matches!(wrong_key, Err(MlsError::KeyMismatch)));
    }

    #[test]
    fn update_that_takes_another_identity() {
        let mut pair = Pair::new(Suite::Classic);
        let alice = &pair.alice;
        // The same device key under an account of Alice's making is a valid certificate, and another person.
        let other = DeviceCertificate::issue(&AccountKey::generate(&mut OsRng), &alice.key.public(), 5);
        let leaf =
            LeafNodeParameters::builder().with_credential_with_key(leaf_of(&other.to_bytes(), &alice.key)).build();
        let update = raw_group(alice).self_update(&alice.provider, &alice.key, leaf).unwrap();
        refused(&mut pair, update.commit(), |error| matches!(error, MlsError::Forbidden(_)));
    }

    #[test]
    fn commit_of_an_extension_or_a_reference() {
        let mut pair = Pair::new(Suite::Classic);
        let (alice, bob) = (&pair.alice, &pair.bob);
        let mut group = raw_group(alice);
        let required = openmls::prelude::RequiredCapabilitiesExtension::new(&[], &[], &[CredentialType::Basic]);
        let extension = openmls::prelude::Extension::RequiredCapabilities(required);
        let (commit, _, _) = group
            .update_group_context_extensions(
                &alice.provider,
                openmls::prelude::Extensions::single(extension).unwrap(),
                &alice.key,
            )
            .unwrap();
        group.clear_pending_commit(alice.provider.storage()).unwrap();

        let (proposal, _) = group.propose_remove_member(&alice.provider, &alice.key, pair_leaf(&group, bob)).unwrap();
        let (by_reference, _, _) = group.commit_to_pending_proposals(&alice.provider, &alice.key).unwrap();
        refused(&mut pair, &commit, |error| matches!(error, MlsError::Forbidden(_)));
        assert!(pair.server.apply(&by_reference.to_bytes().unwrap()).is_err());

        let proposal = proposal.to_bytes().unwrap();
        assert!(matches!(pair.server.apply(&proposal), Err(MlsError::Malformed(_))));
        let seen = pair.at_bob.process(&pair.bob.provider, &proposal).unwrap();
        assert_eq!(seen, Incoming::Proposal { sender: Some(pair.alice.certificate.clone()), epoch: 1 });
        assert!(pair.at_bob.process(&pair.bob.provider, &by_reference.to_bytes().unwrap()).is_err());
        // The proposal left nothing behind that would stop Bob from writing.
        pair.at_bob.encrypt(&pair.bob.provider, &pair.bob.key, b"still here").unwrap();
    }

    fn pair_leaf(group: &MlsGroup, device: &Device) -> openmls::prelude::LeafNodeIndex {
        let key = device.key.public();
        group.members().find(|member| member.signature_key == key).unwrap().index
    }

    #[test]
    fn group_founded_on_a_forged_certificate() {
        let mallory = Device::new();
        let mut identity = mallory.certificate.to_bytes();
        identity[72] ^= 1;
        let group = MlsGroup::builder()
            .with_group_id(openmls::prelude::GroupId::from_slice(&GROUP.0))
            .ciphersuite(Suite::Classic.id().try_into().unwrap())
            .with_capabilities(capabilities())
            .build(&mallory.provider, &mallory.key, leaf_of(&identity, &mallory.key))
            .unwrap();
        let crypto = openmls_traits::OpenMlsProvider::crypto(&mallory.provider);
        let info = group.export_group_info(crypto, &mallory.key, true).unwrap().to_bytes().unwrap();
        assert!(matches!(GroupView::found(&info), Err(MlsError::Certificate(_))));
        let without_tree = group.export_group_info(crypto, &mallory.key, false).unwrap().to_bytes().unwrap();
        assert!(matches!(GroupView::found(&without_tree), Err(MlsError::Malformed(_))));
        let parsed = MlsMessageIn::tls_deserialize_exact_bytes(&info).unwrap().extract();
        assert!(matches!(parsed, MlsMessageBodyIn::GroupInfo(_)));
    }
}

#[test]
fn server_takes_up_only_new_groups() {
    let Pair { alice, at_alice, .. } = Pair::new(Suite::Hybrid);
    let late = at_alice.group_info(&alice.provider, &alice.key).unwrap();
    assert!(matches!(GroupView::found(&late), Err(MlsError::WrongEpoch { message: 1, .. })));
    let fresh = Device::new();
    let mut info = fresh.create(Suite::Hybrid).group_info(&fresh.provider, &fresh.key).unwrap();
    *info.last_mut().unwrap() ^= 1;
    assert!(matches!(GroupView::found(&info), Err(MlsError::Invalid(_))));
    assert!(matches!(GroupView::found(&fresh.key_package(Suite::Hybrid)), Err(MlsError::Malformed(_))));
}

#[test]
fn snapshot_brings_the_view_back() {
    let mut pair = Pair::new(Suite::Hybrid);
    let snapshot = pair.server.snapshot().unwrap();
    let mut restored = GroupView::restore(&snapshot).unwrap();
    assert_eq!(restored.members(), pair.server.members());
    assert_eq!((restored.epoch(), restored.suite(), restored.group_id()), (1, Suite::Hybrid, GROUP));
    assert_eq!(restored.snapshot().unwrap(), snapshot);

    let pending = pair.alice_adds(&Device::new());
    assert_eq!(restored.apply(&pending.commit).unwrap(), pair.server.apply(&pending.commit).unwrap());
    assert_eq!(restored.snapshot().unwrap(), pair.server.snapshot().unwrap());
    assert_ne!(restored.snapshot().unwrap(), snapshot);

    for bad in [&snapshot[..snapshot.len() - 1], &[snapshot.clone(), vec![0]].concat(), &[9], &[]] {
        assert!(matches!(GroupView::restore(bad), Err(MlsError::Malformed(_))));
    }
    let mut other_id = snapshot;
    other_id[1] ^= 1;
    assert!(matches!(GroupView::restore(&other_id), Err(MlsError::Malformed(_))));
}

#[test]
fn key_packages_say_what_they_are() {
    let device = Device::new();
    for suite in Suite::ALL {
        for last_resort in [false, true] {
            let bytes =
                key_package::generate(&device.provider, &device.key, &device.certificate, suite, last_resort).unwrap();
            let valid = key_package::validate(&bytes).unwrap();
            assert_eq!((valid.suite, valid.last_resort), (suite, last_resort));
            assert_eq!(valid.certificate, device.certificate);
            let mut bad = bytes.clone();
            *bad.last_mut().unwrap() ^= 1;
            assert!(matches!(key_package::validate(&bad), Err(MlsError::Invalid(_))));
            assert!(matches!(peek_private_message(&bytes), Err(MlsError::Malformed(_))));
        }
    }
    // Of the wrong suite for a group.
    let other = Device::new();
    let mut group = other.create(Suite::Hybrid);
    let added = group.add(&other.provider, &other.key, &[device.key_package(Suite::Classic)]);
    assert!(matches!(added, Err(MlsError::Suite(0x0001))));
}

#[test]
fn last_resort_key_package_serves_more_than_once() {
    let (alice, bob) = (Device::new(), Device::new());
    let package = key_package::generate(&bob.provider, &bob.key, &bob.certificate, Suite::Hybrid, true).unwrap();
    for id in [GroupId([1; 16]), GroupId([2; 16])] {
        let mut group =
            Conversation::create(&alice.provider, &alice.key, &alice.certificate, Suite::Hybrid, id).unwrap();
        let pending = group.add(&alice.provider, &alice.key, std::slice::from_ref(&package)).unwrap();
        group.merge_pending(&alice.provider).unwrap();
        assert_eq!(bob.join(&pending.welcome).epoch_authenticator(), group.epoch_authenticator());
    }
}

#[test]
fn removing_a_stranger_is_an_error() {
    let Pair { alice, mut at_alice, .. } = Pair::new(Suite::Classic);
    let stranger = Device::new().certificate.device_id();
    let result = at_alice.remove(&alice.provider, &alice.key, &[stranger]);
    assert!(matches!(result, Err(MlsError::UnknownDevice(device)) if device == stranger));
    assert!(!at_alice.has_pending());
}

#[test]
fn values_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<GroupView>();
    crosses::<Conversation>();
    crosses::<Provider<MemoryStorage>>();
    crosses::<MlsError>();
}
