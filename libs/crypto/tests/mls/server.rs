//! The server's view.

use openmls::prelude::tls_codec::{Serialize as _, VLBytes};
use qpc_crypto::mls::{Changes, MlsError};
use qpc_crypto::{Conversation, GroupView, Policy, Suite};

use crate::world::{Device, GROUP, Member, World};

#[test]
fn changed_commit_is_refused_and_nothing_else_changes() {
    let mut world = World::group(Suite::Classic, 1);
    let newcomer = Device::new();
    let packages = [newcomer.key_package(Suite::Classic)];
    let pending = world.members[0].change(Changes { add: &packages, ..Changes::default() }).unwrap();
    let before = world.server.snapshot().unwrap();
    // The last 66 bytes are confirmation and membership tag, which take the group's secrets to check.
    for index in (0..pending.commit.len() - 70).step_by(5) {
        let mut bad = pending.commit.clone();
        bad[index] ^= 1;
        assert!(world.server.apply(&bad).is_err(), "byte {index}");
    }
    assert!(world.server.apply(&pending.commit[..pending.commit.len() - 1]).is_err());
    assert!(world.server.apply(&[pending.commit.clone(), vec![0]].concat()).is_err());
    assert_eq!(world.server.snapshot().unwrap(), before);

    // Members check those tags: a byte of either, and the right commit afterwards.
    let authenticator = world.members[1].at.epoch_authenticator();
    for from_end in [1, 34] {
        let mut bad = pending.commit.clone();
        let index = bad.len() - from_end;
        bad[index] ^= 1;
        assert!(matches!(world.members[1].process(&bad), Err(MlsError::WrongTag)));
        assert_eq!(world.members[1].at.epoch_authenticator(), authenticator);
        assert_eq!(world.device(1).load().epoch_authenticator(), authenticator);
    }
    world.deliver(Some(0), pending.clone(), vec![newcomer]);
    assert!(matches!(world.server.apply(&pending.commit), Err(MlsError::WrongEpoch { message: 1, group: 2 })));
    world.all_talk();
}

#[test]
fn outsider_is_refused() {
    let mut world = World::group(Suite::Classic, 1);
    // Mallory runs a group of the same id up to the same epoch and commits there.
    let mut forged = World::group(Suite::Classic, 1);
    let commit = forged.members[0].update().commit;
    assert!(matches!(world.server.apply(&commit), Err(MlsError::Invalid(_))));
    assert!(world.members[1].process(&commit).is_err());

    // And with a leaf that the true group does not have.
    let mut forged = World::group(Suite::Classic, 2);
    let commit = forged.members[2].update().commit;
    assert!(matches!(world.server.apply(&commit), Err(MlsError::UnknownSender)));
    let Member { device, at } = &mut forged.members[2];
    at.clear_pending(&device.provider).unwrap();
    let proposal = at.leave(&device.provider, &device.key).unwrap();
    assert!(matches!(world.server.propose(&proposal), Err(MlsError::UnknownSender)));
    assert_eq!(world.server.epoch(), 1);
}

#[test]
fn only_new_groups_are_taken_up() {
    let world = World::group(Suite::Hybrid, 1);
    let Member { device, at } = &world.members[0];
    let late = at.group_info(&device.provider, &device.key).unwrap();
    assert!(matches!(GroupView::found(&late), Err(MlsError::WrongEpoch { message: 1, .. })));
    let fresh = Device::new();
    let at = fresh.create(Suite::Hybrid);
    let mut info = at.group_info(&fresh.provider, &fresh.key).unwrap();
    *info.last_mut().unwrap() ^= 1;
    assert!(matches!(GroupView::found(&info), Err(MlsError::Invalid(_))));
    let without_tree = at.group_info_now(&fresh.provider, &fresh.key).unwrap();
    assert!(matches!(GroupView::found(&without_tree), Err(MlsError::Malformed(_))));
    assert!(matches!(GroupView::found(&fresh.key_package(Suite::Hybrid)), Err(MlsError::Malformed(_))));
}

#[test]
fn snapshot_brings_the_view_back() {
    let mut world = World::group(Suite::Hybrid, 3);
    let snapshot = world.server.snapshot().unwrap();
    let restored = GroupView::restore(&snapshot).unwrap();
    assert_eq!(restored.members(), world.server.members());
    assert_eq!((restored.epoch(), restored.suite(), restored.group_id()), (1, Suite::Hybrid, GROUP));
    assert_eq!((restored.snapshot().unwrap(), restored.policy().unwrap()), (snapshot.clone(), world.policy()));

    // With those who wait to leave.
    world.leave(2);
    world.leave(3);
    let waiting = world.server.snapshot().unwrap();
    let mut restored = GroupView::restore(&waiting).unwrap();
    assert_eq!((restored.proposals().len(), restored.proposals()), (2, world.server.proposals()));
    assert_eq!(restored.snapshot().unwrap(), waiting);
    assert!(matches!(restored.propose(&restored.proposals()[1]), Err(MlsError::AlreadyLeaving)));
    let pending = world.members[0].update();
    let applied = restored.apply(&pending.commit).unwrap();
    assert_eq!((applied.removed.len(), restored.proposals().len()), (2, 0));
    assert_eq!(applied, world.deliver(Some(0), pending, Vec::new()));
    assert_eq!(restored.snapshot().unwrap(), world.server.snapshot().unwrap());
    assert_ne!(restored.snapshot().unwrap(), snapshot);

    for bad in [&waiting[..waiting.len() - 1], &[waiting.clone(), vec![0]].concat(), &[9], &[]] {
        assert!(matches!(GroupView::restore(bad), Err(MlsError::Malformed(_))));
    }
    let mut other_id = snapshot;
    other_id[1] ^= 1;
    assert!(matches!(GroupView::restore(&other_id), Err(MlsError::Malformed(_))));
}

#[test]
fn refused_commit_leaves_those_who_wait() {
    let mut world = World::group(Suite::Classic, 2);
    world.leave(1);
    let before = world.server.snapshot().unwrap();
    let pending = world.members[0].update();
    let mut bad = pending.commit.clone();
    bad[60] ^= 1;
    world.server.apply(&bad).unwrap_err();
    assert_eq!(world.server.snapshot().unwrap(), before);
    assert_eq!(world.deliver(Some(0), pending, Vec::new()).removed.len(), 1);
}

#[test]
fn group_info_must_be_of_this_state() {
    let mut world = World::group(Suite::Hybrid, 1);
    let check = |world: &World, info: &[u8]| world.server.check_group_info(info).unwrap_err();
    let Member { device, at } = &world.members[0];
    let with_tree = at.group_info(&device.provider, &device.key).unwrap();
    assert!(matches!(check(&world, &with_tree), MlsError::Malformed(_)));
    let (bob, at_bob) = (&world.members[1].device, &world.members[1].at);
    // Any member may sign it; with another key it is nobody's.
    let info = at_bob.group_info_now(&bob.provider, &bob.key).unwrap();
    world.server.check_group_info(&info).unwrap();
    let by_another = at_bob.group_info_now(&bob.provider, &Device::new().key).unwrap();
    assert!(matches!(check(&world, &by_another), MlsError::Invalid(_)));
    for index in (4..info.len()).step_by(7) {
        let mut bad = info.clone();
        bad[index] ^= 1;
        assert!(world.server.check_group_info(&bad).is_err(), "byte {index}");
    }
    assert!(world.server.check_group_info(&[info.clone(), vec![0]].concat()).is_err());

    // A member signs another tree than the group's (RFC 9420 section 5.1.2).
    let mut content = info[4..info.len() - 66].to_vec();
    content[40] ^= 1;
    let vector = |bytes: &[u8]| VLBytes::from(bytes).tls_serialize_detached().unwrap();
    let signature = bob.key.sign(&[vector(b"MLS 1.0 GroupInfoTBS"), vector(&content)].concat());
    let resigned = [&info[..4], &content, &vector(&signature)].concat();
    assert!(matches!(check(&world, &resigned), MlsError::OtherState));
    let same = bob.key.sign(&[vector(b"MLS 1.0 GroupInfoTBS"), vector(&info[4..info.len() - 66])].concat());
    assert_eq!(info[info.len() - 64..], same);

    world.commit(0, Changes::default(), Vec::new());
    assert!(matches!(check(&world, &info), MlsError::WrongEpoch { message: 1, group: 2 }));
    // Of a commit that was not the one that won.
    let lost = world.members[1].update();
    let won = world.members[0].update();
    world.deliver(Some(0), won, Vec::new());
    assert!(matches!(check(&world, &lost.group_info), MlsError::OtherState));
    // Of another group.
    let other = Device::new();
    let id = qpc_wire::GroupId([9; 16]);
    let elsewhere =
        Conversation::create(&other.provider, &other.key, &other.certificate, Suite::Hybrid, id, &Policy::own(id));
    let info = elsewhere.unwrap().group_info_now(&other.provider, &other.key).unwrap();
    assert!(matches!(check(&world, &info), MlsError::UnknownGroup));
}

/// With a key that is none nobody could ever join again, and that is how a group heals.
#[test]
fn group_info_has_a_key_to_join_by() {
    let world = World::group(Suite::Classic, 1);
    let Member { device, at } = &world.members[1];
    let info = at.group_info_now(&device.provider, &device.key).unwrap();
    let vector = |bytes: &[u8]| VLBytes::from(bytes).tls_serialize_detached().unwrap();
    let content = &info[4..info.len() - 66];
    // Extension extensions<V>: one, external_pub (4), whose data is a vector of one vector of 32 bytes.
    let head = [36, 0, 4, 33, 32];
    let begin = content.windows(5).position(|window| window == head).unwrap();
    let (before, rest) = content.split_at(begin);
    let (key, after) = rest[5..].split_at(32);
    let signed = |extension: &[u8]| {
        let content = [before, extension, after].concat();
        let signature = device.key.sign(&[vector(b"MLS 1.0 GroupInfoTBS"), vector(&content)].concat());
        [&info[..4], &content, &vector(&signature)].concat()
    };
    world.server.check_group_info(&signed(&[&head, key].concat())).unwrap();
    let short = signed(&[&[35, 0, 4, 32, 31][..], &key[1..]].concat());
    assert!(matches!(world.server.check_group_info(&short), Err(MlsError::Malformed(_))));
    let none = signed(&[0]);
    assert!(matches!(world.server.check_group_info(&none), Err(MlsError::Malformed(_))));
}

#[test]
fn queue_of_proposals_is_bounded() {
    let mut world = World::group(Suite::Classic, 65);
    for member in 1..65 {
        let Member { device, at } = &mut world.members[member];
        let proposal = at.leave(&device.provider, &device.key).unwrap();
        world.server.propose(&proposal).unwrap();
        world.members[0].process(&proposal).unwrap();
    }
    let Member { device, at } = &mut world.members[65];
    let proposal = at.leave(&device.provider, &device.key).unwrap();
    assert!(matches!(world.server.propose(&proposal), Err(MlsError::QueueFull)));
    assert!(matches!(world.members[0].process(&proposal), Err(MlsError::QueueFull)));
    let full = GroupView::restore(&world.server.snapshot().unwrap()).unwrap();
    assert_eq!(full.proposals().len(), 64);
    let pending = world.members[0].change(Changes::default()).unwrap();
    assert_eq!(world.server.apply(&pending.commit).unwrap().removed.len(), 64);
}
