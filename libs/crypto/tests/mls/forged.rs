//! Commits, proposals and leaves that our own client would not make, so made with openmls directly.

use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{
    BasicCredential, Capabilities, CredentialType, CredentialWithKey, Extension, ExtensionType, Extensions,
    GroupContext, KeyPackage, LeafNodeIndex, LeafNodeParameters, MlsGroup, MlsMessageOut, ProposalType,
    ProtocolVersion, RequiredCapabilitiesExtension, UnknownExtension,
};
use openmls_memory_storage::MemoryStorage;
use qpc_crypto::mls::{MlsError, key_package as ours, policy::POLICY_EXTENSION};
use qpc_crypto::{AccountKey, CertificateError, DeviceCertificate, DeviceKey, GroupView, Policy, Provider, Suite};
use rand::rngs::OsRng;

use crate::world::{Device, GROUP, World};

pub fn leaf_of(identity: &[u8], key: &DeviceKey) -> CredentialWithKey {
    CredentialWithKey {
        credential: BasicCredential::new(identity.to_vec()).into(),
        signature_key: key.public().as_slice().into(),
    }
}

pub fn capabilities(proposals: &[ProposalType]) -> Capabilities {
    let suites = Suite::ALL.map(|suite| suite.id().try_into().unwrap());
    let extensions = [ExtensionType::Unknown(POLICY_EXTENSION)];
    let (versions, credentials) = ([ProtocolVersion::Mls10], [CredentialType::Basic]);
    Capabilities::new(Some(&versions), Some(&suites), Some(&extensions), Some(proposals), Some(&credentials))
}

pub fn extensions(policy: &[u8]) -> Vec<Extension> {
    let required = RequiredCapabilitiesExtension::new(
        &[ExtensionType::Unknown(POLICY_EXTENSION)],
        &[ProposalType::SelfRemove],
        &[CredentialType::Basic],
    );
    let policy = Extension::Unknown(POLICY_EXTENSION, UnknownExtension(policy.to_vec()));
    vec![Extension::RequiredCapabilities(required), policy]
}

/// Founds a group without asking anybody.
pub fn raw_create(device: &Device, identity: &[u8], extensions: Vec<Extension>) -> MlsGroup {
    MlsGroup::builder()
        .with_group_id(openmls::prelude::GroupId::from_slice(&GROUP.0))
        .ciphersuite(Suite::Classic.id().try_into().unwrap())
        .with_capabilities(capabilities(&[ProposalType::SelfRemove]))
        .with_group_context_extensions(Extensions::<GroupContext>::from_vec(extensions).unwrap())
        .with_wire_format_policy(openmls::prelude::MIXED_PLAINTEXT_WIRE_FORMAT_POLICY)
        .build(&device.provider, &device.key, leaf_of(identity, &device.key))
        .unwrap()
}

pub fn raw_group(device: &Device) -> MlsGroup {
    let id = openmls::prelude::GroupId::from_slice(&GROUP.0);
    MlsGroup::load(device.provider.storage(), &id).unwrap().unwrap()
}

fn key_package(identity: &[u8], key: &DeviceKey, provider: &Provider<MemoryStorage>, caps: Capabilities) -> KeyPackage {
    let suite = Suite::Classic.id().try_into().unwrap();
    let builder = KeyPackage::builder().leaf_node_capabilities(caps);
    builder.build(suite, provider, key, leaf_of(identity, key)).unwrap().key_package().clone()
}

fn bytes(package: &KeyPackage) -> Vec<u8> {
    MlsMessageOut::from(package.clone()).tls_serialize_detached().unwrap()
}

/// Both sides must refuse the commit of the owner with an error that `expected` accepts.
fn refused(world: &mut World, commit: &MlsMessageOut, expected: impl Fn(&MlsError) -> bool) {
    let commit = commit.to_bytes().unwrap();
    let before = world.server.snapshot().unwrap();
    let at_server = world.server.apply(&commit).unwrap_err();
    assert!(expected(&at_server), "{at_server:?}");
    let at_member = world.members[1].process(&commit).unwrap_err();
    assert!(expected(&at_member), "{at_member:?}");
    assert_eq!((world.server.snapshot().unwrap(), world.members[1].at.epoch()), (before, 1));
}

fn forbidden(error: &MlsError) -> bool {
    matches!(error, MlsError::Forbidden(_))
}

#[test]
fn certificate_in_an_added_leaf() {
    let unsigned = |error: &MlsError| matches!(error, MlsError::Certificate(CertificateError::Signature(_)));
    let mallory = Device::new();
    // The victim's account key in a certificate that the victim never signed.
    let victim = AccountKey::generate(&mut OsRng);
    let mut identity = DeviceCertificate::issue(&victim, &[1; 32], 5).to_bytes();
    identity[33..65].copy_from_slice(&mallory.key.public());
    let package = key_package(&identity, &mallory.key, &mallory.provider, capabilities(&[ProposalType::SelfRemove]));
    assert!(unsigned(&ours::validate(&bytes(&package)).unwrap_err()));

    let mut world = World::group(Suite::Classic, 1);
    let (alice, packages) = (&mut world.members[0], [bytes(&package)]);
    let added = alice.at.add(&alice.device.provider, &alice.device.key, &packages);
    assert!(unsigned(&added.unwrap_err()));
    let alice = &alice.device;
    let added = raw_group(alice).add_members_without_update(&alice.provider, &alice.key, &[package]);
    refused(&mut world, &added.unwrap().0, unsigned);
}

#[test]
fn certificate_of_another_device() {
    let mismatch = |error: &MlsError| matches!(error, MlsError::KeyMismatch);
    // A stolen certificate is public; the key it names is not.
    let (mallory, victim) = (Device::new(), Device::new());
    let identity = victim.certificate.to_bytes();
    let package = key_package(&identity, &mallory.key, &mallory.provider, capabilities(&[ProposalType::SelfRemove]));
    assert!(mismatch(&ours::validate(&bytes(&package)).unwrap_err()));
    let mut world = World::group(Suite::Classic, 1);
    let alice = world.device(0);
    let added = raw_group(alice).add_members_without_update(&alice.provider, &alice.key, &[package]);
    refused(&mut world, &added.unwrap().0, mismatch);

    let stolen = Device { certificate: victim.certificate.clone(), ..mallory };
    let policy = Policy::group(GROUP, stolen.account());
    assert!(matches!(stolen.create_with(Suite::Classic, &policy), Err(MlsError::KeyMismatch)));
    let joined = stolen.join_external(&world.group_info, &world.server, None);
    assert!(matches!(joined, Err(MlsError::KeyMismatch)));
}

#[test]
fn leaf_that_does_not_know_our_rules() {
    let mallory = Device::new();
    let identity = mallory.certificate.to_bytes();
    let package = key_package(&identity, &mallory.key, &mallory.provider, capabilities(&[]));
    assert!(forbidden(&ours::validate(&bytes(&package)).unwrap_err()));
    // openmls sees to it that no group of ours takes it.
    let world = World::group(Suite::Classic, 1);
    let alice = world.device(0);
    assert!(raw_group(alice).add_members_without_update(&alice.provider, &alice.key, &[package]).is_err());
}

#[test]
fn update_that_takes_another_identity() {
    let mut world = World::group(Suite::Classic, 1);
    let alice = world.device(0);
    // The same device key under an account of Alice's making is a valid certificate, and another person.
    let other = DeviceCertificate::issue(&AccountKey::generate(&mut OsRng), &alice.key.public(), 5);
    let leaf = LeafNodeParameters::builder().with_credential_with_key(leaf_of(&other.to_bytes(), &alice.key)).build();
    let update = raw_group(alice).self_update(&alice.provider, &alice.key, leaf).unwrap();
    refused(&mut world, update.commit(), forbidden);
}

#[test]
fn extensions_beside_the_policy() {
    let world = World::group(Suite::Classic, 1);
    let policy = world.policy().to_bytes();
    let required = |extensions: &[ExtensionType]| {
        let credentials = [CredentialType::Basic];
        let extension = RequiredCapabilitiesExtension::new(extensions, &[ProposalType::SelfRemove], &credentials);
        Extension::RequiredCapabilities(extension)
    };
    let senders = Extension::ExternalSenders(Vec::new());
    let lists = [
        vec![required(&[])],
        vec![extensions(&policy)[0].clone()],
        [extensions(&policy), vec![senders]].concat(),
        extensions(&policy).into_iter().rev().collect(),
    ];
    for list in lists {
        let mut world = World::group(Suite::Classic, 1);
        let alice = world.device(0);
        let list = Extensions::from_vec(list).unwrap();
        let made = raw_group(alice).update_group_context_extensions(&alice.provider, list, &alice.key);
        refused(&mut world, &made.unwrap().0, forbidden);
    }
    let mut world = World::group(Suite::Classic, 1);
    let alice = world.device(0);
    let list = Extensions::from_vec(extensions(&policy[1..])).unwrap();
    let made = raw_group(alice).update_group_context_extensions(&alice.provider, list, &alice.key);
    refused(&mut world, &made.unwrap().0, |error| matches!(error, MlsError::Policy(_)));
}

#[test]
fn authenticated_data_beside_a_change() {
    let mut world = World::group(Suite::Classic, 1);
    let alice = world.device(0);
    let mut group = raw_group(alice);
    group.set_aad(b"smuggled".to_vec());
    let made = group.self_update(&alice.provider, &alice.key, LeafNodeParameters::default()).unwrap();
    group.clear_pending_commit(alice.provider.storage()).unwrap();
    refused(&mut world, made.commit(), forbidden);

    let mut group = raw_group(world.device(1));
    group.set_aad(b"smuggled".to_vec());
    let bob = world.device(1);
    let proposal = group.leave_group_via_self_remove(&bob.provider, &bob.key).unwrap().to_bytes().unwrap();
    assert!(forbidden(&world.server.propose(&proposal).unwrap_err()));
    assert!(forbidden(&world.members[0].process(&proposal).unwrap_err()));
}

fn leaf_index(group: &MlsGroup, device: &Device) -> LeafNodeIndex {
    let key = device.key.public();
    group.members().find(|member| member.signature_key == key).unwrap().index
}

#[test]
fn proposals_other_than_to_leave() {
    let mut world = World::group(Suite::Classic, 2);
    let (alice, bob) = (world.device(0), world.device(1));
    let mut group = raw_group(alice);
    let victim = leaf_index(&group, bob);
    let (remove, _) = group.propose_remove_member(&alice.provider, &alice.key, victim).unwrap();
    let (by_reference, _, _) = group.commit_to_pending_proposals(&alice.provider, &alice.key).unwrap();
    let (remove, by_reference) = (remove.to_bytes().unwrap(), by_reference.to_bytes().unwrap());
    let mut group = raw_group(world.device(2));
    let carol = world.device(2);
    let update = group.propose_self_update(&carol.provider, &carol.key, LeafNodeParameters::default()).unwrap().0;
    for proposal in [remove, update.to_bytes().unwrap()] {
        assert!(forbidden(&world.server.propose(&proposal).unwrap_err()));
        assert!(matches!(world.server.apply(&proposal), Err(MlsError::Malformed(_))));
        assert!(forbidden(&world.members[1].process(&proposal).unwrap_err()));
    }
    assert!(matches!(world.server.apply(&by_reference), Err(MlsError::MissingProposal)));
    assert!(matches!(world.members[1].process(&by_reference), Err(MlsError::MissingProposal)));
    assert!(matches!(world.server.propose(&by_reference), Err(MlsError::Malformed(_))));
    // They left nothing behind that would stop Bob from writing.
    world.members[1].encrypt(b"still here").unwrap();
}

#[test]
fn group_founded_on_a_forged_certificate() {
    let mallory = Device::new();
    let mut identity = mallory.certificate.to_bytes();
    identity[72] ^= 1;
    let policy = Policy::group(GROUP, mallory.account()).to_bytes();
    let group = raw_create(&mallory, &identity, extensions(&policy));
    assert!(matches!(found(&mallory, &group), MlsError::Certificate(_)));
}

#[test]
fn group_founded_without_policy_or_with_more() {
    let policy = |device: &Device| Policy::group(GROUP, device.account()).to_bytes();
    let found_with = |list: fn(Vec<Extension>) -> Vec<Extension>| {
        let mallory = Device::new();
        let group = raw_create(&mallory, &mallory.certificate.to_bytes(), list(extensions(&policy(&mallory))));
        found(&mallory, &group)
    };
    assert!(forbidden(&found_with(|_| Vec::new())));
    assert!(forbidden(&found_with(|list| list[..1].to_vec())));
    assert!(forbidden(&found_with(|list| [list, vec![Extension::ExternalSenders(Vec::new())]].concat())));
}

fn found(device: &Device, group: &MlsGroup) -> MlsError {
    let crypto = openmls_traits::OpenMlsProvider::crypto(&device.provider);
    let info = group.export_group_info(crypto, &device.key, true).unwrap().to_bytes().unwrap();
    GroupView::found(&info).map(|_| ()).unwrap_err()
}
