//! Every [`Denied`], refused three times: by whoever would make the change, by the server and by another member.

use openmls::prelude::tls_codec::DeserializeBytes as _;
use openmls::prelude::{
    Extensions, GroupContext, LeafNodeIndex, LeafNodeParameters, MlsGroup, MlsMessageBodyIn, MlsMessageIn, Proposal,
    ProposalType, ProtocolVersion, QueuedProposal, RatchetTreeIn,
};
use openmls_traits::OpenMlsProvider as _;
use qpc_crypto::mls::{Changes, InviteTerms, Kind, MlsError, Role};
use qpc_crypto::{AccountKey, Conversation, Denied, DeviceCertificate, GroupView, InviteSecret, Policy, Suite};
use qpc_wire::{DeviceId, GroupId};
use rand::rngs::OsRng;

use crate::forged::{capabilities, extensions, leaf_of, raw_create, raw_group};
use crate::world::{Device, GROUP, World};

const SUITE: Suite = Suite::Classic;

/// The changes as a commit of the device, whatever the rules say. Nothing stays behind.
fn raw_commit(device: &Device, changes: &Changes<'_>) -> Vec<u8> {
    let mut group = raw_group(device);
    let crypto = device.provider.crypto();
    let adds: Vec<_> = changes
        .add
        .iter()
        .map(|bytes| match MlsMessageIn::tls_deserialize_exact_bytes(bytes).unwrap().extract() {
            MlsMessageBodyIn::KeyPackage(package) => package.validate(crypto, ProtocolVersion::Mls10).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    let removes: Vec<LeafNodeIndex> = changes
        .remove
        .iter()
        .map(|device| {
            let leaf = |certificate: &[u8]| DeviceCertificate::parse(certificate).unwrap().device_id();
            let found = group.members().find(|member| leaf(member.credential.serialized_content()) == *device);
            found.unwrap().index
        })
        .collect();
    let mut builder = group.commit_builder().propose_adds(adds).propose_removals(removes);
    if let Some(policy) = &changes.policy {
        let list = Extensions::<GroupContext>::from_vec(extensions(&policy.to_bytes())).unwrap();
        builder = builder.propose_group_context_extensions(list).unwrap();
    }
    let bundle = builder
        .force_self_update(changes.update)
        .load_psks(device.provider.storage())
        .unwrap()
        .build(device.provider.rand(), crypto, &device.key, |_| true)
        .unwrap()
        .stage_commit(&device.provider)
        .unwrap();
    let commit = bundle.commit().to_bytes().unwrap();
    group.clear_pending_commit(device.provider.storage()).unwrap();
    commit
}

/// Nobody takes the change of `by`; `observer` is another member.
fn denied(world: &mut World, by: usize, observer: usize, changes: Changes<'_>, expected: Denied) {
    let commit = raw_commit(world.device(by), &changes);
    refused(world, observer, &commit, expected);
    let member = &mut world.members[by];
    let made = member.change(changes).unwrap_err();
    assert!(matches!(made, MlsError::Denied(denied) if denied == expected), "{made:?}");
    assert!(!member.at.has_pending() && !member.device.load().has_pending());
}

fn refused(world: &mut World, observer: usize, commit: &[u8], expected: Denied) {
    let before = (world.server.snapshot().unwrap(), world.members[observer].at.epoch_authenticator());
    let at_server = world.server.apply(commit).unwrap_err();
    assert!(matches!(at_server, MlsError::Denied(denied) if denied == expected), "{at_server:?}");
    let at_member = world.members[observer].process(commit).unwrap_err();
    assert!(matches!(at_member, MlsError::Denied(denied) if denied == expected), "{at_member:?}");
    let after = (world.server.snapshot().unwrap(), world.members[observer].at.epoch_authenticator());
    assert!(before == after, "something changed");
    assert_eq!(world.device(observer).load().epoch_authenticator(), before.1);
}

fn adding(packages: &[Vec<u8>]) -> Changes<'_> {
    Changes { add: packages, ..Changes::default() }
}

fn removing(devices: &[DeviceId]) -> Changes<'_> {
    Changes { remove: devices, ..Changes::default() }
}

/// Owner, owner, admin, admin, member, member of one account with two devices (5 and 6).
fn roles() -> World {
    let mut world = World::group(SUITE, 5);
    let accounts: Vec<_> = (0..6).map(|member| world.device(member).account()).collect();
    world.set_policy(0, |policy| {
        policy.set_role(accounts[1], Role::Owner).unwrap();
        policy.set_role(accounts[2], Role::Admin).unwrap();
        policy.set_role(accounts[3], Role::Admin).unwrap();
    });
    let second = world.device(5).sibling();
    world.add(5, vec![second]);
    world
}

#[test]
fn adding_takes_an_admin() {
    let mut world = roles();
    let stranger = [Device::new().key_package(SUITE)];
    denied(&mut world, 4, 0, adding(&stranger), Denied::AddsAccount);
    let sibling = [world.device(5).sibling().key_package(SUITE)];
    denied(&mut world, 4, 5, adding(&sibling), Denied::AddsDevice);
    // And the group goes on.
    let own = world.device(4).sibling();
    world.add(4, vec![own]);
    world.all_talk();
}

#[test]
fn removing_takes_a_higher_role() {
    let mut world = roles();
    let ids: Vec<_> = world.members.iter().map(|member| member.device.id()).collect();
    let without = |member: usize| {
        let account = world.device(member).account();
        Some(world.edited(|policy| policy.set_role(account, Role::Member).unwrap()))
    };
    let (no_owner, no_admin) = (without(0), without(3));
    denied(&mut world, 4, 0, removing(&ids[5..]), Denied::RemovesAccount);
    let changes = |member: usize, policy: &Option<Policy>| Changes {
        remove: std::slice::from_ref(&ids[member]),
        policy: policy.clone(),
        ..Changes::default()
    };
    denied(&mut world, 2, 0, changes(3, &no_admin), Denied::RemovesAccount);
    denied(&mut world, 1, 2, changes(0, &no_owner), Denied::RemovesOwner);
    denied(&mut world, 4, 2, changes(0, &no_owner), Denied::RemovesOwner);
}

#[test]
fn policy_has_its_keepers() {
    let mut world = roles();
    let (admin, member) = (world.device(2).account(), world.device(4).account());
    let policy = |policy| Changes { policy: Some(policy), ..Changes::default() };
    let invite = world.edited(|policy| {
        policy.add_invite([1; 32], InviteTerms { expires_ms: 1, max_uses: 0 }).unwrap();
    });
    denied(&mut world, 4, 0, policy(invite), Denied::NeedsAdmin);
    let promoted = world.edited(|policy| policy.set_role(member, Role::Admin).unwrap());
    denied(&mut world, 2, 0, policy(promoted), Denied::NeedsOwner);
    let usurped = world.edited(|policy| policy.set_role(admin, Role::Owner).unwrap());
    denied(&mut world, 2, 0, policy(usurped), Denied::NeedsOwner);
    let stranger = world.edited(|policy| policy.set_role(Device::new().account(), Role::Admin).unwrap());
    denied(&mut world, 0, 1, policy(stranger), Denied::RoleOfStranger);
    for edit in
        [(|policy: &mut Policy| policy.conversation = GroupId([1; 16])) as fn(&mut Policy), |policy: &mut Policy| {
            policy.predecessor = Some(GroupId([1; 16]))
        }]
    {
        let other = world.edited(edit);
        denied(&mut world, 0, 1, policy(other), Denied::FixedPolicy);
    }
    let owners = [0, 1].map(|member| world.device(member).account());
    let nobody = world.edited(|policy| owners.iter().for_each(|owner| policy.set_role(*owner, Role::Admin).unwrap()));
    denied(&mut world, 0, 1, policy(nobody), Denied::LastOwner);
}

#[test]
fn two_accounts_and_no_third() {
    let alice = Device::new();
    let mut world = World::new(SUITE, alice, &Policy::direct(GROUP));
    // At epoch 0 there is nobody else to refuse it but the founder herself, who gets it back.
    let sibling = [world.device(0).sibling().key_package(SUITE)];
    denied(&mut world, 0, 0, adding(&sibling), Denied::NoSecondAccount);
    let strangers = [Device::new().key_package(SUITE), Device::new().key_package(SUITE)];
    denied(&mut world, 0, 0, adding(&strangers), Denied::ThirdAccount);
    world.add(0, vec![Device::new()]);
    denied(&mut world, 1, 0, adding(&strangers[..1]), Denied::ThirdAccount);
    let other = world.device(0).id();
    denied(&mut world, 1, 0, removing(&[other]), Denied::RemovesAccount);
    let own = world.edited(|policy| policy.kind = Kind::Own);
    denied(&mut world, 1, 0, Changes { policy: Some(own), ..Changes::default() }, Denied::FixedPolicy);
}

#[test]
fn own_devices_and_no_others() {
    let alice = Device::new();
    let laptop = alice.sibling();
    let mut world = World::new(SUITE, alice, &Policy::own(GROUP));
    world.add(0, vec![laptop]);
    let stranger = [Device::new().key_package(SUITE)];
    denied(&mut world, 0, 1, adding(&stranger), Denied::OtherAccount);
}

#[test]
fn closed_groups_stay_as_they_are() {
    let mut world = World::group(SUITE, 2);
    let info = world.group_info.clone();
    world.set_policy(0, |policy| policy.successor = Some(GroupId([8; 16])));
    denied(&mut world, 0, 1, Changes { update: true, ..Changes::default() }, Denied::Closed);
    let reopened = world.edited(|policy| policy.successor = None);
    denied(&mut world, 0, 1, Changes { policy: Some(reopened), ..Changes::default() }, Denied::Closed);
    let sibling = world.device(1).sibling();
    assert_ne!(info, world.group_info);
    joiner_denied(&mut world, &sibling, &sibling.certificate, Vec::new(), Denied::Closed);

    let member = &mut world.members[1];
    let left = member.at.leave(&member.device.provider, &member.device.key);
    assert!(matches!(left, Err(MlsError::Denied(Denied::Closed))));
    let proposal = raw_group(&member.device).leave_group_via_self_remove(&member.device.provider, &member.device.key);
    let proposal = proposal.unwrap().to_bytes().unwrap();
    assert!(matches!(world.server.propose(&proposal), Err(MlsError::Denied(Denied::Closed))));
    assert!(matches!(world.members[0].process(&proposal), Err(MlsError::Denied(Denied::Closed))));
}

/// Nobody takes an external commit of the device with this certificate and authenticated data.
fn joiner_denied(world: &mut World, device: &Device, certificate: &DeviceCertificate, aad: Vec<u8>, expected: Denied) {
    let commit = raw_join(world, device, certificate, aad, |_| true);
    refused(world, 0, &commit, expected);
}

/// An external commit with those proposals that `keep` is for.
fn raw_join(
    world: &World,
    device: &Device,
    certificate: &DeviceCertificate,
    aad: Vec<u8>,
    keep: impl FnMut(&QueuedProposal) -> bool,
) -> Vec<u8> {
    let MlsMessageBodyIn::GroupInfo(info) =
        MlsMessageIn::tls_deserialize_exact_bytes(&world.group_info).unwrap().extract()
    else {
        panic!("group info");
    };
    let elsewhere = Device::new().provider;
    let leaf = LeafNodeParameters::builder().with_capabilities(capabilities(&[ProposalType::SelfRemove])).build();
    let tree = RatchetTreeIn::tls_deserialize_exact_bytes(&world.server.ratchet_tree().unwrap()).unwrap();
    let (_, bundle) = MlsGroup::external_commit_builder()
        .with_ratchet_tree(tree)
        .with_aad(aad)
        .build_group(&elsewhere, info, leaf_of(&certificate.to_bytes(), &device.key))
        .unwrap()
        .leaf_node_parameters(leaf)
        .load_psks(elsewhere.storage())
        .unwrap()
        .build(elsewhere.rand(), elsewhere.crypto(), &device.key, keep)
        .unwrap()
        .finalize(&elsewhere)
        .unwrap();
    bundle.commit().to_bytes().unwrap()
}

/// openmls compares the keys of leaves for Adds alone. With two leaves of one key nobody could join ever after.
#[test]
fn a_device_has_one_leaf() {
    let mut world = World::group(SUITE, 3);
    let gone = world.device(1).id();
    world.commit(0, Changes { remove: &[gone], ..Changes::default() }, Vec::new());
    // The place that is free comes before that of the device, so that there is a leaf to take.
    let device = world.device(1);
    let without_removal = |proposal: &QueuedProposal| !matches!(proposal.proposal(), Proposal::Remove(_));
    let commit = raw_join(&world, device, &device.certificate, Vec::new(), without_removal);
    refused(&mut world, 0, &commit, Denied::ExternalRemoves);
}

#[test]
fn joining_takes_an_account_inside_or_an_invite() {
    let mut world = World::group(SUITE, 2);
    let invite = InviteSecret::generate(&mut OsRng);
    world.set_policy(0, |policy| {
        policy.add_invite(invite.key(), InviteTerms { expires_ms: 1, max_uses: 0 }).unwrap();
    });
    let (stranger, epoch) = (Device::new(), world.server.epoch());
    let certificate = &stranger.certificate;
    joiner_denied(&mut world, &stranger, certificate, Vec::new(), Denied::NotInvited);
    let by_stranger = stranger.join_external(&world.group_info, &world.server, None).map(|_| ());
    assert!(matches!(by_stranger, Err(MlsError::Denied(Denied::NotInvited))));

    let proofs = [
        invite.proof(GROUP, epoch, Device::new().id()),
        invite.proof(GROUP, epoch - 1, stranger.id()),
        invite.proof(GroupId([8; 16]), epoch, stranger.id()),
        InviteSecret::generate(&mut OsRng).proof(GROUP, epoch, stranger.id()),
        vec![1],
    ];
    for proof in proofs {
        joiner_denied(&mut world, &stranger, certificate, proof, Denied::BadInvite);
    }
    let (sibling, stuck) = (world.device(1).sibling(), world.device(1));
    // Where no invite is needed, none may be there.
    let proof = invite.proof(GROUP, epoch, sibling.id());
    let commit = raw_join(&world, stuck, &stuck.certificate, invite.proof(GROUP, epoch, stuck.id()), |_| true);
    refused(&mut world, 0, &commit, Denied::BadInvite);
    joiner_denied(&mut world, &sibling, &sibling.certificate, proof, Denied::BadInvite);
    // The right one is taken.
    world.join_external(stranger, Some(&invite));
}

#[test]
fn joining_removes_nobody_else() {
    let mut world = World::group(SUITE, 2);
    // Bob's device key under another account in the group takes Bob's leaf.
    let (bob, accomplice) = (world.device(1), AccountKey::generate(&mut OsRng));
    let stolen = DeviceCertificate::issue(&accomplice, &bob.key.public(), 5);
    let commit = raw_join(&world, bob, &stolen, Vec::new(), |_| true);
    refused(&mut world, 0, &commit, Denied::ExternalRemoves);
    let bob = Device { certificate: stolen, ..world.members.remove(1).device };
    let joined = bob.join_external(&world.group_info, &world.server, None).map(|_| ());
    assert!(matches!(joined, Err(MlsError::Denied(Denied::ExternalRemoves))));
}

#[test]
fn joining_takes_no_role_along() {
    let mut world = World::group(SUITE, 2);
    let admin = world.device(1).account();
    world.set_policy(0, |policy| policy.set_role(admin, Role::Admin).unwrap());
    world.leave(1);
    // With the admin's proposal, which join_external leaves out.
    let sibling = world.device(2).sibling();
    let commit = {
        let parsed = MlsMessageIn::tls_deserialize_exact_bytes(&world.server.proposals()[0]).unwrap();
        let MlsMessageBodyIn::PublicMessage(proposal) = parsed.extract() else { panic!("public message") };
        let MlsMessageBodyIn::GroupInfo(info) =
            MlsMessageIn::tls_deserialize_exact_bytes(&world.group_info).unwrap().extract()
        else {
            panic!("group info");
        };
        let tree = RatchetTreeIn::tls_deserialize_exact_bytes(&world.server.ratchet_tree().unwrap()).unwrap();
        let elsewhere = Device::new().provider;
        let leaf = LeafNodeParameters::builder().with_capabilities(capabilities(&[ProposalType::SelfRemove])).build();
        let builder = MlsGroup::external_commit_builder().with_proposals(vec![proposal]).with_ratchet_tree(tree);
        let identity = leaf_of(&sibling.certificate.to_bytes(), &sibling.key);
        let builder = builder.build_group(&elsewhere, info, identity).unwrap().leaf_node_parameters(leaf);
        let builder = builder.load_psks(elsewhere.storage()).unwrap();
        let complete = builder.build(elsewhere.rand(), elsewhere.crypto(), &sibling.key, |_| true).unwrap();
        complete.finalize(&elsewhere).unwrap().1.commit().to_bytes().unwrap()
    };
    refused(&mut world, 0, &commit, Denied::RoleOfStranger);
}

#[test]
fn founding_takes_the_right_policy() {
    let refused = |edit: fn(&mut Policy, &Device)| {
        let founder = Device::new();
        let mut policy = Policy::group(GROUP, founder.account());
        edit(&mut policy, &founder);
        let created = founder.create_with(SUITE, &policy).map(|_| ());
        assert!(matches!(created, Err(MlsError::Denied(Denied::Founding))), "{created:?}");
        assert!(Conversation::load(&founder.provider, GROUP).unwrap().is_none());
        let group = raw_create(&founder, &founder.certificate.to_bytes(), extensions(&policy.to_bytes()));
        let info = group.export_group_info(founder.provider.crypto(), &founder.key, true).unwrap();
        let found = GroupView::found(&info.to_bytes().unwrap()).map(|_| ());
        assert!(matches!(found, Err(MlsError::Denied(Denied::Founding))), "{found:?}");
    };
    refused(|policy, founder| policy.set_role(founder.account(), Role::Admin).unwrap());
    refused(|policy, _| policy.set_role(Device::new().account(), Role::Owner).unwrap());
    refused(|policy, _| policy.successor = Some(GroupId([1; 16])));
    refused(|policy, _| policy.conversation = GroupId([1; 16]));
    refused(|policy, _| policy.predecessor = Some(GroupId([1; 16])));
}

/// A Welcome into a group that breaks its own rules is not accepted.
#[test]
fn unsound_groups_are_not_joined() {
    let (mallory, victim) = (Device::new(), Device::new());
    let mut policy = Policy::group(GROUP, mallory.account());
    policy.set_role(mallory.account(), Role::Admin).unwrap();
    let mut group = raw_create(&mallory, &mallory.certificate.to_bytes(), extensions(&policy.to_bytes()));
    let MlsMessageBodyIn::KeyPackage(package) =
        MlsMessageIn::tls_deserialize_exact_bytes(&victim.key_package(SUITE)).unwrap().extract()
    else {
        panic!("key package");
    };
    let package = package.validate(mallory.provider.crypto(), ProtocolVersion::Mls10).unwrap();
    let (_, welcome, _) = group.add_members_without_update(&mallory.provider, &mallory.key, &[package]).unwrap();
    group.merge_pending_commit(&mallory.provider).unwrap();
    let tree = openmls::prelude::tls_codec::Serialize::tls_serialize_detached(&group.export_ratchet_tree()).unwrap();
    let joined = Conversation::join(&victim.provider, &welcome.to_bytes().unwrap(), &tree).map(|_| ());
    assert!(matches!(joined, Err(MlsError::Denied(Denied::LastOwner))), "{joined:?}");
}
