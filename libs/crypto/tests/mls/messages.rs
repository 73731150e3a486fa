//! What members say to each other, and Welcomes.

use qpc_crypto::mls::{
    Changes, MlsError, join_welcome, key_package, key_package_ref, peek_private_message, split_welcome,
};
use qpc_crypto::{Conversation, GroupView, Incoming, Policy, Provider, Suite};
use qpc_wire::GroupId;

use crate::world::{Device, GROUP, World, plaintext};

#[test]
fn only_the_length_class_shows() {
    let mut world = World::group(Suite::Classic, 1);
    let hello = world.members[0].encrypt(b"hello").unwrap();
    let longer = world.members[0].encrypt(&[b'x'; 200]).unwrap();
    assert_eq!(hello.len(), longer.len());
    assert_eq!(peek_private_message(&hello).unwrap(), (GROUP, 1));
    let sender = world.device(0).certificate.clone();
    let expected = Incoming::Message { sender, epoch: 1, plaintext: b"hello".to_vec() };
    assert_eq!(world.members[1].process(&hello).unwrap(), expected);
    // What was under way when the epoch changed is still read.
    world.commit(0, Changes::default(), Vec::new());
    assert_eq!(plaintext(world.members[1].process(&longer).unwrap()), [b'x'; 200]);
}

#[test]
fn what_is_no_failure_is_told_apart() {
    let mut world = World::group(Suite::Classic, 1);
    let message = world.members[0].encrypt(b"once").unwrap();
    world.members[1].process(&message).unwrap();
    assert!(matches!(world.members[1].process(&message), Err(MlsError::AlreadyProcessed)));
    assert!(matches!(world.members[0].process(&message), Err(MlsError::OwnMessage)));

    // Out of order, each once; the first was skipped and comes last.
    let [one, two, three] = [b"1", b"2", b"3"].map(|text| world.members[0].encrypt(text).unwrap());
    let bob = &mut world.members[1];
    assert_eq!(plaintext(bob.process(&three).unwrap()), b"3");
    assert_eq!(plaintext(bob.process(&one).unwrap()), b"1");
    assert!(matches!(bob.process(&one), Err(MlsError::AlreadyProcessed)));
    let mut broken = two.clone();
    *broken.last_mut().unwrap() ^= 1;
    assert!(matches!(bob.process(&broken), Err(MlsError::Invalid(_))));
    assert_eq!(plaintext(bob.process(&two).unwrap()), b"2");

    let pending = world.members[0].update();
    assert!(matches!(world.members[0].process(&pending.commit), Err(MlsError::OwnPendingCommit)));
    world.deliver(Some(0), pending.clone(), Vec::new());
    let alice = &mut world.members[0];
    assert!(matches!(alice.at.merge_pending(&alice.device.provider), Err(MlsError::NothingPending)));
    let late = world.members[1].process(&pending.commit);
    assert!(matches!(late, Err(MlsError::WrongEpoch { message: 1, group: 2 })));

    // A message from so long ago that its keys are gone.
    for _ in 0..6 {
        world.commit(0, Changes { update: true, ..Changes::default() }, Vec::new());
    }
    assert!(matches!(world.members[1].process(&message), Err(MlsError::WrongEpoch { message: 1, group: 8 })));

    let (bob, elsewhere) = (world.device(1), GroupId([8; 16]));
    let policy = Policy::own(elsewhere);
    let other =
        Conversation::create(&bob.provider, &bob.key, &bob.certificate, Suite::Classic, elsewhere, &policy).unwrap();
    let other = { other }.encrypt(&bob.provider, &bob.key, b"x").unwrap();
    assert!(matches!(world.members[0].process(&other), Err(MlsError::UnknownGroup)));
    assert!(matches!(world.members[0].process(b"\0\x01\0\x02"), Err(MlsError::Malformed(_))));
}

fn welcome_in_parts(suite: Suite) {
    let mut world = World::group(suite, 0);
    let joiners = [Device::new(), Device::new(), Device::new()];
    let packages = joiners.each_ref().map(|device| device.key_package(suite));
    let pending = world.members[0].change(Changes { add: &packages, ..Changes::default() }).unwrap();
    let applied = world.server.apply(&pending.commit).unwrap();
    world.members[0].merge();
    let tree = world.server.ratchet_tree().unwrap();
    assert_eq!(tree, world.members[0].at.ratchet_tree().unwrap());

    let split = split_welcome(&pending.welcome).unwrap();
    assert_eq!((split.suite, split.secrets.len()), (suite.id(), 3));
    let refs = packages.each_ref().map(|package| key_package_ref(package).unwrap());
    assert_eq!(
        applied.added.iter().map(|added| &added.key_package_ref).collect::<Vec<_>>(),
        refs.iter().collect::<Vec<_>>()
    );
    // All secrets together are the Welcome that was taken apart.
    let secrets = split.secrets.iter().flat_map(|secret| secret.secret.clone()).collect::<Vec<_>>();
    assert_eq!(join_welcome(split.suite, &split.encrypted_group_info, &secrets).unwrap(), pending.welcome);
    // The tree is not in it.
    assert!(tree.len() > 1_000 && split.encrypted_group_info.len() < 1_000);

    let welcome_for = |index: usize| {
        let secret = split.secrets.iter().find(|secret| secret.key_package_ref == refs[index]).unwrap();
        join_welcome(split.suite, &split.encrypted_group_info, &secret.secret).unwrap()
    };
    for (index, device) in joiners.iter().enumerate() {
        let others = welcome_for((index + 1) % 3);
        assert!(matches!(Conversation::join(&device.provider, &others, &tree), Err(MlsError::NotForUs)));
        let at = Conversation::join(&device.provider, &welcome_for(index), &tree).unwrap();
        assert_eq!(at.epoch_tag().unwrap(), world.server.epoch_tag().unwrap());
        assert_eq!(at.members(), world.server.members());
    }
}

#[test]
fn hybrid_welcome_in_parts() {
    welcome_in_parts(Suite::Hybrid);
}

#[test]
fn classic_welcome_in_parts() {
    welcome_in_parts(Suite::Classic);
}

#[test]
fn welcome_for_others_used_repeated_or_with_a_wrong_tree() {
    let mut world = World::group(Suite::Classic, 1);
    let (carol, dave) = (Device::new(), Device::new());
    dave.key_package(Suite::Classic);
    let old_tree = world.server.ratchet_tree().unwrap();
    let packages = [carol.key_package(Suite::Classic)];
    let pending = world.members[0].change(Changes { add: &packages, ..Changes::default() }).unwrap();
    world.server.apply(&pending.commit).unwrap();
    let tree = world.server.ratchet_tree().unwrap();
    let join = |device: &Device, tree: &[u8]| Conversation::join(&device.provider, &pending.welcome, tree).map(|_| ());
    assert!(matches!(join(&dave, &tree), Err(MlsError::NotForUs)));
    assert!(matches!(join(&carol, &tree[1..]), Err(MlsError::Malformed("ratchet tree"))));
    join(&carol, &tree).unwrap();
    assert!(matches!(join(&carol, &tree), Err(MlsError::NotForUs)));
    assert!(matches!(world.device(0).create_with(Suite::Classic, &world.policy()), Err(MlsError::GroupExists)));

    let eve = Device::new();
    world.members[0].merge();
    let packages = [eve.key_package(Suite::Classic)];
    let pending = world.members[0].change(Changes { add: &packages, ..Changes::default() }).unwrap();
    let joined = Conversation::join(&eve.provider, &pending.welcome, &old_tree);
    assert!(matches!(joined, Err(MlsError::Invalid(_))));
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
        let policy = Policy::direct(id);
        let mut group =
            Conversation::create(&alice.provider, &alice.key, &alice.certificate, Suite::Hybrid, id, &policy).unwrap();
        let pending = group.add(&alice.provider, &alice.key, std::slice::from_ref(&package)).unwrap();
        group.merge_pending(&alice.provider).unwrap();
        let joined = Conversation::join(&bob.provider, &pending.welcome, &group.ratchet_tree().unwrap()).unwrap();
        assert_eq!(joined.epoch_authenticator(), group.epoch_authenticator());
    }
}

#[test]
fn removing_a_stranger_is_an_error() {
    let mut world = World::group(Suite::Classic, 1);
    let stranger = Device::new().id();
    let result = world.members[0].change(Changes { remove: &[stranger], ..Changes::default() });
    assert!(matches!(result, Err(MlsError::UnknownDevice(device)) if device == stranger));
    assert!(!world.members[0].at.has_pending());
}

#[test]
fn values_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<GroupView>();
    crosses::<Conversation>();
    crosses::<Provider<openmls_memory_storage::MemoryStorage>>();
    crosses::<MlsError>();
}
