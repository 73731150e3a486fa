//! Joining from outside.

use qpc_crypto::mls::{Changes, InviteTerms, MlsError, Role};
use qpc_crypto::{Conversation, Denied, InviteSecret, Suite};
use rand::rngs::OsRng;

use crate::world::{Device, GROUP, Member, World};

const TERMS: InviteTerms = InviteTerms { expires_ms: 1, max_uses: 1 };

fn open_invite(world: &mut World) -> InviteSecret {
    let invite = InviteSecret::generate(&mut OsRng);
    world.set_policy(0, |policy| policy.add_invite(invite.key(), TERMS).unwrap());
    invite
}

fn joins_from_outside(suite: Suite) {
    let mut world = World::group(suite, 2);

    // By an invite; then a further device of that account, which needs none and uses none.
    let invite = open_invite(&mut world);
    let dave = Device::new();
    let (laptop, tablet) = (dave.sibling(), dave.sibling());
    let applied = world.join_external(dave, Some(&invite));
    assert_eq!((applied.invite, applied.resync, applied.external), (Some(invite.key()), false, true));
    assert_eq!((applied.added.len(), applied.removed.len(), applied.policy_changed), (0, 0, false));
    let applied = world.join_external(laptop, None);
    assert_eq!((applied.invite, applied.resync), (None, false));
    assert_eq!(world.join_external(tablet, Some(&invite)).invite, None);
    world.all_talk();

    // Whoever joined so commits like any other.
    world.commit(4, Changes { update: true, ..Changes::default() }, Vec::new());

    // Bob has missed some epochs and comes back, to the same leaf.
    let mut stuck = world.members.remove(1);
    for _ in 0..3 {
        let pending = world.members[0].update();
        world.server.apply(&pending.commit).unwrap();
        world.members[0].merge();
        world.members[1..].iter_mut().for_each(|member| drop(member.process(&pending.commit).unwrap()));
        world.group_info = pending.group_info;
    }
    let last = world.members[0].update();
    assert!(matches!(stuck.process(&last.commit), Err(MlsError::WrongEpoch { .. })));
    world.members[0].clear();
    let leaf = stuck.at.own_leaf();
    let applied = world.join_external(stuck.device, None);
    assert_eq!((applied.resync, applied.removed.len(), applied.invite), (true, 0, None));
    assert_eq!(world.members.last().unwrap().at.own_leaf(), leaf);
    world.all_talk();
}

#[test]
fn hybrid_joins_from_outside() {
    joins_from_outside(Suite::Hybrid);
}

#[test]
fn classic_joins_from_outside() {
    joins_from_outside(Suite::Classic);
}

#[test]
fn stuck_device_that_follows_nobody_any_more() {
    let mut world = World::group(Suite::Classic, 2);
    let mut stuck = world.members.remove(1);
    // It has missed a commit, so the next ones are of no use to it; it even has one of its own pending.
    let missed = world.members[0].update();
    stuck.update();
    world.server.apply(&missed.commit).unwrap();
    world.members[0].merge();
    world.members[1].process(&missed.commit).unwrap();
    let next = world.members[0].update();
    assert!(matches!(stuck.process(&next.commit), Err(MlsError::WrongEpoch { message: 2, group: 1 })));
    world.server.apply(&next.commit).unwrap();
    world.members[0].merge();
    world.members[1].process(&next.commit).unwrap();
    world.group_info = next.group_info;
    assert!(world.join_external(stuck.device, None).resync);
    world.all_talk();
}

#[test]
fn nothing_is_left_of_what_was_replaced() {
    let mut world = World::group(Suite::Classic, 1);
    let stuck = world.members.remove(1).device;
    for _ in 0..2 {
        let pending = world.members[0].update();
        world.server.apply(&pending.commit).unwrap();
        world.members[0].merge();
        world.group_info = pending.group_info;
    }
    let values = || stuck.provider.storage().values.read().unwrap().len();
    assert!(values() > 5);
    // Neither of the old state, with its keys, nor of the new one when it is refused.
    let (mut at, _) = stuck.join_external(&world.group_info, &world.server, None).unwrap();
    at.clear_pending(&stuck.provider).unwrap();
    assert_eq!(values(), 0);
}

#[test]
fn device_that_lost_its_state_comes_back() {
    let mut world = World::group(Suite::Classic, 2);
    let Member { device, at } = world.members.remove(2);
    at.delete(&device.provider).unwrap();
    assert!(world.join_external(device, None).resync);
    world.all_talk();
}

#[test]
fn until_it_is_accepted_nothing_else_happens() {
    let mut world = World::group(Suite::Classic, 1);
    let laptop = world.device(1).sibling();
    let (_, pending) = laptop.join_external(&world.group_info, &world.server, None).unwrap();
    // The storage knows it too.
    let mut at = laptop.load();
    assert!(at.has_pending() && at.is_active());
    assert!(matches!(at.encrypt(&laptop.provider, &laptop.key, b"x"), Err(MlsError::CommitPending)));
    assert!(matches!(at.update(&laptop.provider, &laptop.key), Err(MlsError::CommitPending)));
    assert!(matches!(at.leave(&laptop.provider, &laptop.key), Err(MlsError::CommitPending)));
    assert!(matches!(at.process(&laptop.provider, &pending.commit), Err(MlsError::CommitPending)));

    // Another commit was faster: refused, forgotten, made again.
    world.commit(0, Changes::default(), Vec::new());
    assert!(matches!(world.server.apply(&pending.commit), Err(MlsError::WrongEpoch { message: 1, group: 2 })));
    at.clear_pending(&laptop.provider).unwrap();
    assert!(!at.is_active() && !at.has_pending());
    assert!(matches!(at.encrypt(&laptop.provider, &laptop.key, b"x"), Err(MlsError::NotMember)));
    assert!(Conversation::load(&laptop.provider, GROUP).unwrap().is_none());
    world.join_external(laptop, None);
    let at = world.device(2).load();
    assert!(!at.has_pending());
    world.all_talk();
}

#[test]
fn welcome_comes_before_an_external_join_is_accepted() {
    let mut world = World::group(Suite::Classic, 1);
    let laptop = world.device(1).sibling();
    laptop.join_external(&world.group_info, &world.server, None).unwrap();
    world.add(1, vec![laptop]);
    assert!(!world.device(2).load().has_pending());
    world.all_talk();
}

#[test]
fn those_who_leave_go_with_a_joiner() {
    let mut world = World::group(Suite::Classic, 3);
    let (owner, admin) = (world.device(0).account(), world.device(1).account());
    world.set_policy(0, |policy| policy.set_role(admin, Role::Admin).unwrap());
    let gone = world.device(3).certificate.clone();
    // The admin's role can only go with a commit that changes the policy, so the admin has to wait.
    world.leave(1);
    world.leave(3);
    let laptop = world.device(0).sibling();
    let applied = world.join_external(laptop, None);
    assert_eq!(applied.removed, [gone]);
    assert_eq!(world.policy().roles().filter(|(account, _)| [owner, admin].contains(account)).count(), 2);
    world.all_talk();

    // Who comes back has changed its mind.
    world.leave(2);
    let Member { device, .. } = world.members.remove(2);
    let applied = world.join_external(device, None);
    assert_eq!((applied.resync, applied.removed.len()), (true, 0));
}

#[test]
fn first_free_leaf_is_taken() {
    let mut world = World::group(Suite::Classic, 3);
    let gone = world.device(1).id();
    world.commit(0, Changes { remove: &[gone], ..Changes::default() }, Vec::new());
    let laptop = world.device(2).sibling();
    world.join_external(laptop, None);
    assert_eq!(world.members[3].at.own_leaf(), 1);
    world.all_talk();
}

#[test]
fn joining_is_refused_before_anything_is_made() {
    let mut world = World::group(Suite::Classic, 1);
    let stranger = Device::new();
    let refused = |world: &World, invite: Option<&InviteSecret>| {
        let error = stranger.join_external(&world.group_info, &world.server, invite).map(|_| ()).unwrap_err();
        assert!(Conversation::load(&stranger.provider, GROUP).unwrap().is_none());
        error
    };
    assert!(matches!(refused(&world, None), MlsError::Denied(Denied::NotInvited)));
    let never_open = InviteSecret::generate(&mut OsRng);
    assert!(matches!(refused(&world, Some(&never_open)), MlsError::Denied(Denied::BadInvite)));
    let invite = open_invite(&mut world);
    world.set_policy(0, |policy| assert!(policy.remove_invite(&invite.key())));
    assert!(matches!(refused(&world, Some(&invite)), MlsError::Denied(Denied::BadInvite)));

    // From a tree that is not the group's, or that shows somebody else.
    let (info, laptop) = (world.group_info.clone(), world.device(0).sibling());
    let old = world.server.ratchet_tree().unwrap();
    world.commit(0, Changes::default(), Vec::new());
    let join = |info: &[u8], tree: &[u8], proposals: &[Vec<u8>]| {
        Conversation::join_external(&laptop.provider, &laptop.key, &laptop.certificate, info, tree, proposals, None)
            .map(|_| ())
            .unwrap_err()
    };
    assert!(matches!(join(&world.group_info, &old, &[]), MlsError::Invalid(_)));
    let tree = world.server.ratchet_tree().unwrap();
    assert!(matches!(join(&info, &tree, &[]), MlsError::Invalid(_)));
    assert!(matches!(join(&info, &tree[1..], &[]), MlsError::Malformed("ratchet tree")));
    assert!(matches!(join(&tree, &tree, &[]), MlsError::Malformed("group info")));
    assert!(matches!(
        join(&world.group_info, &tree, std::slice::from_ref(&info)),
        MlsError::Malformed("proposal of a member")
    ));
    assert!(Conversation::load(&laptop.provider, GROUP).unwrap().is_none());
}

/// An external commit has no membership tag, so its last byte is in the confirmation tag.
#[test]
fn wrong_confirmation_tag_is_a_fork() {
    let mut world = World::group(Suite::Classic, 1);
    let laptop = world.device(1).sibling();
    let (at, pending) = laptop.join_external(&world.group_info, &world.server, None).unwrap();
    let mut wrong = pending.commit.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let before = world.members[0].at.epoch_authenticator();
    for member in &mut world.members {
        assert!(matches!(member.process(&wrong), Err(MlsError::WrongTag)));
        assert_eq!((member.at.epoch(), member.at.epoch_authenticator()), (1, before.clone()));
        assert_eq!(member.device.load().epoch_authenticator(), before);
    }
    world.all_talk();
    // The server cannot know, but sees that the GroupInfo is of another commit.
    let mut fooled = qpc_crypto::GroupView::restore(&world.server.snapshot().unwrap()).unwrap();
    fooled.apply(&wrong).unwrap();
    assert!(matches!(fooled.check_group_info(&pending.group_info), Err(MlsError::OtherState)));

    world.members.push(Member { device: laptop, at });
    world.deliver(Some(2), pending, Vec::new());
    world.all_talk();
}
