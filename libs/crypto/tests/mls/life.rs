//! What happens to a group from its founding on.

use qpc_crypto::mls::{Changes, MlsError, Role};
use qpc_crypto::{Conversation, Denied, GroupView, Incoming, Policy, Suite};
use qpc_wire::GroupId;

use crate::world::{Device, GROUP, Member, World};

fn life_of_a_group(suite: Suite) {
    let mut world = World::group(suite, 0);
    assert_eq!((world.server.epoch(), world.server.suite(), world.server.group_id()), (0, suite, GROUP));

    // Many at once, two of one account.
    let bob = Device::new();
    let bob_laptop = bob.sibling();
    let added = [bob, bob_laptop, Device::new(), Device::new()].map(|device| (device.certificate.clone(), device));
    let (certificates, devices): (Vec<_>, Vec<_>) = added.into_iter().unzip();
    let applied = world.add(0, devices);
    assert_eq!((applied.epoch, applied.sender), (1, world.device(0).certificate.clone()));
    assert_eq!(applied.added.iter().map(|added| added.certificate.clone()).collect::<Vec<_>>(), certificates);
    assert!(applied.removed.is_empty() && applied.pruned.is_empty() && !applied.external && !applied.policy_changed);
    assert_eq!(world.server.members()[1..], certificates);
    world.all_talk();

    // Roles: member 3 becomes an admin and adds somebody, as a read-only account.
    let (carol, eve) = (world.device(3).account(), Device::new());
    let applied = world.set_policy(0, |policy| policy.set_role(carol, Role::Admin).unwrap());
    assert!(applied.policy_changed);
    let (account, packages) = (eve.account(), [eve.key_package(suite)]);
    let policy = Some(world.edited(|policy| policy.set_role(account, Role::ReadOnly).unwrap()));
    let changes = Changes { add: &packages, policy, ..Changes::default() };
    assert_eq!(world.commit(3, changes, vec![eve]).added.len(), 1);
    assert_eq!(world.members[5].at.role_of_self().unwrap(), Some(Role::ReadOnly));

    // The admin removes the read-only account, whose role goes with it.
    let removed = world.device(5).certificate.clone();
    let changes = Changes { remove: &[removed.device_id()], ..Changes::default() };
    let applied = world.commit(3, changes, Vec::new());
    assert_eq!((applied.removed, applied.policy_changed), (vec![removed], true));
    assert_eq!(world.policy().roles().count(), 2);

    // A member removes a revoked device of another account.
    let laptop = world.device(2).id();
    let applied = world.commit(4, Changes { remove: &[laptop], ..Changes::default() }, Vec::new());
    assert_eq!((applied.pruned, applied.policy_changed), (vec![laptop], false));

    // Bob leaves; somebody else commits that with an update.
    let bob = world.device(1).certificate.clone();
    world.leave(1);
    let applied = world.commit(3, Changes { update: true, ..Changes::default() }, Vec::new());
    assert_eq!((applied.removed, applied.epoch), (vec![bob], 6));
    assert_eq!(world.members.len(), 3);
    world.all_talk();
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
fn direct_conversation_and_own_devices() {
    let alice = Device::new();
    let (laptop, bob, phone) = (alice.sibling(), Device::new(), Device::new());
    let mut world = World::new(Suite::Classic, alice, &Policy::direct(GROUP));
    world.add(0, vec![bob, laptop]);
    // The other one brings a device of hers, and prunes one.
    let tablet = world.device(0).sibling();
    world.add(1, vec![tablet]);
    let laptop = world.device(2).id();
    let applied = world.commit(1, Changes { remove: &[laptop], ..Changes::default() }, Vec::new());
    assert_eq!(applied.pruned, [laptop]);
    world.all_talk();
    // One leaves for good, which leaves the other with the group.
    world.leave(1);
    world.commit(0, Changes::default(), Vec::new());
    let package = [phone.key_package(Suite::Classic)];
    let refused = world.members[0].change(Changes { add: &package, ..Changes::default() });
    assert!(matches!(refused, Err(MlsError::Denied(Denied::ThirdAccount))));

    let alice = Device::new();
    let (laptop, tablet) = (alice.sibling(), alice.sibling());
    let mut world = World::new(Suite::Classic, alice, &Policy::own(GROUP));
    world.add(0, vec![laptop]);
    world.join_external(tablet, None);
    let first = world.device(0).id();
    assert!(world.commit(2, Changes { remove: &[first], ..Changes::default() }, Vec::new()).pruned.is_empty());
    world.all_talk();
}

#[test]
fn successor_closes_a_group() {
    let mut world = World::group(Suite::Classic, 1);
    let next = GroupId([8; 16]);
    world.set_policy(0, |policy| policy.successor = Some(next));
    // What was said before can still be read.
    world.all_talk();

    let founder = &world.members[0].device;
    let mut policy = Policy::group(GROUP, founder.account());
    policy.predecessor = Some(GROUP);
    let at = Conversation::create(&founder.provider, &founder.key, &founder.certificate, Suite::Classic, next, &policy);
    let info = at.unwrap().group_info(&founder.provider, &founder.key).unwrap();
    assert_eq!(GroupView::found(&info).unwrap().policy().unwrap(), policy);
}

#[test]
fn state_survives_a_restart() {
    let mut world = World::group(Suite::Classic, 1);
    let Member { device, at } = &mut world.members[0];
    assert_eq!(
        (device.load().epoch_authenticator(), device.load().suite()),
        (at.epoch_authenticator(), Suite::Classic)
    );
    let pending = at.update(&device.provider, &device.key).unwrap();
    // A pending commit is kept too.
    *at = device.load();
    assert!(at.has_pending());
    world.deliver(Some(0), pending, Vec::new());
    // And who waits to leave.
    world.leave(1);
    let Member { device, at } = &mut world.members[0];
    *at = device.load();
    assert_eq!(at.pending_leaves(), [world.members[1].device.id()]);
    world.commit(0, Changes::default(), Vec::new());
    let Member { device, at } = world.members.remove(0);
    at.delete(&device.provider).unwrap();
    assert!(Conversation::load(&device.provider, GROUP).unwrap().is_none());
}

#[test]
fn removed_and_added_again() {
    let mut world = World::group(Suite::Hybrid, 2);
    let bob = world.device(1).certificate.clone();
    let pending = world.members[0].change(Changes { remove: &[bob.device_id()], ..Changes::default() }).unwrap();
    let mut gone = world.members.remove(1);
    match gone.process(&pending.commit).unwrap() {
        Incoming::Commit { self_removed, removed, epoch, .. } => {
            assert_eq!((self_removed, removed, epoch), (true, vec![bob], 2));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((gone.at.is_active(), gone.at.own_device(), gone.at.role_of_self().unwrap()), (false, None, None));
    assert!(matches!(gone.encrypt(b"x"), Err(MlsError::NotMember)));
    assert!(matches!(gone.change(Changes::default()), Err(MlsError::NotMember)));
    world.deliver(Some(0), pending, Vec::new());
    let secret = world.members[1].encrypt(b"secret").unwrap();
    assert!(matches!(gone.process(&secret), Err(MlsError::NotMember)));

    // Back under the same group id.
    world.add(0, vec![gone.device]);
    world.all_talk();
}

#[test]
fn loser_of_a_race_follows_and_retries() {
    let mut world = World::group(Suite::Hybrid, 1);
    let carol = Device::new();
    let account = world.device(1).account();
    world.set_policy(0, |policy| policy.set_role(account, Role::Admin).unwrap());
    let packages = [carol.key_package(Suite::Hybrid)];
    let changes = || Changes { add: &packages, ..Changes::default() };
    let won = world.members[0].update();
    let lost = world.members[1].change(changes()).unwrap();
    assert!(matches!(world.members[1].change(changes()), Err(MlsError::CommitPending)));
    world.members[1].clear();
    assert!(!world.members[1].at.has_pending());
    world.deliver(Some(0), won, Vec::new());
    assert!(matches!(world.server.apply(&lost.commit), Err(MlsError::WrongEpoch { message: 2, group: 3 })));
    world.commit(1, changes(), vec![carol]);
    world.all_talk();
}

#[test]
fn loser_that_forgot_to_clear_follows_too() {
    let mut world = World::group(Suite::Classic, 1);
    let won = world.members[0].update();
    world.members[1].update();
    world.deliver(Some(0), won, Vec::new());
    assert!(!world.members[1].at.has_pending());
}

#[test]
fn leaving_waits_for_a_commit() {
    let mut world = World::group(Suite::Classic, 3);
    let lost = world.leave(1);
    assert_eq!(world.server.proposals(), std::slice::from_ref(&lost));
    assert!(matches!(world.members[0].encrypt(b"x"), Err(MlsError::ProposalsPending)));
    assert!(matches!(world.members[1].encrypt(b"x"), Err(MlsError::ProposalsPending)));
    let Member { device, at } = &mut world.members[1];
    assert!(matches!(at.leave(&device.provider, &device.key), Err(MlsError::AlreadyLeaving)));
    assert!(matches!(world.members[1].process(&lost), Err(MlsError::OwnMessage)));
    assert!(matches!(world.members[2].process(&lost), Err(MlsError::AlreadyLeaving)));
    assert!(matches!(world.server.propose(&lost), Err(MlsError::AlreadyLeaving)));

    // The leaver commits without itself, and its proposal is forgotten with the epoch.
    world.commit(1, Changes::default(), Vec::new());
    assert_eq!(world.members.len(), 4);
    assert!(matches!(world.server.propose(&lost), Err(MlsError::WrongEpoch { message: 1, group: 2 })));

    // Again, with another at the same time and one that is removed while it waits.
    world.leave(1);
    world.leave(2);
    let (one, two) = (world.device(1).certificate.clone(), world.device(2).certificate.clone());
    let applied = world.commit(0, Changes { remove: &[two.device_id()], ..Changes::default() }, Vec::new());
    assert_eq!(applied.removed, [two, one]);
    world.all_talk();
}

#[test]
fn commit_of_a_leave_that_was_never_seen() {
    let mut world = World::group(Suite::Classic, 2);
    let Member { device, at } = &mut world.members[1];
    let proposal = at.leave(&device.provider, &device.key).unwrap();
    world.members[0].process(&proposal).unwrap();
    let pending = world.members[0].change(Changes::default()).unwrap();
    assert!(matches!(world.server.apply(&pending.commit), Err(MlsError::MissingProposal)));
    assert!(matches!(world.members[2].process(&pending.commit), Err(MlsError::MissingProposal)));
    // Once it is seen, all is well.
    world.members[2].process(&proposal).unwrap();
    world.server.propose(&proposal).unwrap();
    world.deliver(Some(0), pending, Vec::new());
}

#[test]
fn leave_that_was_refused_is_taken_back() {
    let mut world = World::group(Suite::Classic, 1);
    let Member { device, at } = &mut world.members[1];
    at.leave(&device.provider, &device.key).unwrap();
    at.stay(&device.provider).unwrap();
    at.stay(&device.provider).unwrap();
    assert!(at.pending_leaves().is_empty() && device.load().pending_leaves().is_empty());
    world.all_talk();
}

#[test]
fn last_owner_stays() {
    let mut world = World::group(Suite::Classic, 2);
    let Member { device, at } = &mut world.members[0];
    let refused = at.leave(&device.provider, &device.key);
    assert!(matches!(refused, Err(MlsError::Denied(Denied::LastOwner))));

    // With two owners each may leave, not both; a proposal that reached only some is left out by who commits.
    let second = world.device(1).account();
    world.set_policy(0, |policy| policy.set_role(second, Role::Owner).unwrap());
    let Member { device, at } = &mut world.members[1];
    let late = at.leave(&device.provider, &device.key).unwrap();
    at.stay(&device.provider).unwrap();
    world.leave(0);
    assert!(matches!(world.server.propose(&late), Err(MlsError::Denied(Denied::LastOwner))));
    let refused = world.members[2].process(&late);
    assert!(matches!(refused, Err(MlsError::Denied(Denied::LastOwner))));
    let applied = world.commit(2, Changes::default(), Vec::new());
    assert!(applied.policy_changed, "the role has gone with the owner");
    assert_eq!(world.policy().roles().collect::<Vec<_>>(), [(second, Role::Owner)]);
}

#[test]
fn updates_warm_the_tree() {
    let mut world = World::group(Suite::Classic, 4);
    assert!(world.members.iter().all(|member| member.at.path_is_cold().unwrap()));
    for member in 0..5 {
        world.commit(member, Changes { update: true, ..Changes::default() }, Vec::new());
        assert!(!world.members[member].at.path_is_cold().unwrap());
    }
    assert!(world.members.iter().all(|member| !member.at.path_is_cold().unwrap()));
    // A new leaf is not yet merged into the nodes above it, of which the highest is above all.
    world.add(0, vec![Device::new()]);
    assert!(world.members.iter().all(|member| member.at.path_is_cold().unwrap()));
    let alone = World::group(Suite::Classic, 0);
    assert!(!alone.members[0].at.path_is_cold().unwrap());
}

#[test]
fn exported_secrets_are_of_the_epoch() {
    let mut world = World::group(Suite::Classic, 1);
    let export = |world: &World, member: usize, label: &str| {
        let Member { device, at } = &world.members[member];
        at.export(&device.provider, label, b"context", 40).unwrap()
    };
    let secret = export(&world, 0, "qpc test");
    assert_eq!((secret.len(), &secret), (40, &export(&world, 1, "qpc test")));
    assert_ne!(secret, export(&world, 0, "qpc other"));
    let tag = world.members[0].at.epoch_tag().unwrap();
    world.commit(0, Changes::default(), Vec::new());
    assert_ne!(secret, export(&world, 0, "qpc test"));
    assert_ne!(tag, world.members[0].at.epoch_tag().unwrap());
}
