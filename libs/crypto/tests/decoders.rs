//! Every decoder takes whatever comes: arbitrary bytes, and real messages with a byte changed, cut or added. None panics,
//! and none accepts a change of what is signed.
#![cfg(feature = "mls")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::sync::LazyLock;

use openmls_memory_storage::MemoryStorage;
use proptest::prelude::*;
use qpc_crypto::{
    AccountKey, Changes, Conversation, DeviceCertificate, DeviceKey, GroupView, Policy, Provider, QueueKey, Suite,
    franking,
    mls::{InviteTerms, join_welcome, key_package, key_package_ref, peek_private_message, peek_welcome, split_welcome},
    opaque, padding, queue,
};
use qpc_wire::{DeviceId, GroupId};
use rand::{SeedableRng, rngs::StdRng};

/// One of each thing that is decoded.
struct Samples {
    certificate: Vec<u8>,
    key_package: Vec<u8>,
    group_info: Vec<u8>,
    snapshot: Vec<u8>,
    commit: Vec<u8>,
    welcome: Vec<u8>,
    /// The GroupInfo, tree and view after the commit.
    current_info: Vec<u8>,
    tree: Vec<u8>,
    current: Vec<u8>,
    leave: Vec<u8>,
    external: Vec<u8>,
    policy: Vec<u8>,
    message: Vec<u8>,
    device: (DeviceKey, DeviceCertificate),
    queue_key: QueueKey,
    sealed_key: Vec<u8>,
    sealed: Vec<u8>,
    /// A content signed by the device.
    signed: Vec<u8>,
}

const GROUP: GroupId = GroupId([3; 16]);
const DEVICE: DeviceId = DeviceId([4; 16]);

static SAMPLES: LazyLock<Samples> = LazyLock::new(|| {
    let mut rng = StdRng::seed_from_u64(1);
    let person = |rng: &mut StdRng| {
        let (account, device) = (AccountKey::generate(rng), DeviceKey::generate(rng));
        let certificate = DeviceCertificate::issue(&account, &device.public(), 1);
        (device, certificate, Provider::<MemoryStorage>::default())
    };
    let (alice, alice_certificate, alice_store) = person(&mut rng);
    let (bob, bob_certificate, bob_store) = person(&mut rng);
    let mut policy = Policy::group(GROUP, alice_certificate.account_id());
    policy.add_invite([1; 32], InviteTerms { expires_ms: 5, max_uses: 6 }).unwrap();
    let mut group =
        Conversation::create(&alice_store, &alice, &alice_certificate, Suite::Classic, GROUP, &policy).unwrap();
    let group_info = group.group_info(&alice_store, &alice).unwrap();
    let mut view = GroupView::found(&group_info).unwrap();
    let snapshot = view.snapshot().unwrap();
    let key_package = key_package::generate(&bob_store, &bob, &bob_certificate, Suite::Classic, false).unwrap();
    let changes = Changes { add: std::slice::from_ref(&key_package), ..Changes::default() };
    let pending = group.change(&alice_store, &alice, changes).unwrap();
    group.merge_pending(&alice_store).unwrap();
    view.apply(&pending.commit).unwrap();
    let tree = view.ratchet_tree().unwrap();
    let mut at_bob = Conversation::join(&bob_store, &pending.welcome, &tree).unwrap();
    let leave = at_bob.leave(&bob_store, &bob).unwrap();
    let current = view.snapshot().unwrap();
    let (_, external) =
        Conversation::join_external(&bob_store, &bob, &bob_certificate, &pending.group_info, &tree, &[], None).unwrap();
    let message = group.encrypt(&alice_store, &alice, b"hello").unwrap();
    let signed = franking::with_signature(b"said", &franking::sign(&bob, GROUP, b"said"));
    let queue_key = QueueKey::generate(&mut rng);
    let public = queue_key.public_bytes();
    let sealed = queue::seal_for(&mut rng, b"payload", GROUP, &[(DEVICE, &public)]).unwrap();
    Samples {
        certificate: alice_certificate.to_bytes().to_vec(),
        key_package,
        snapshot,
        group_info,
        commit: pending.commit,
        welcome: pending.welcome,
        current_info: pending.group_info,
        tree,
        current,
        leave,
        external: external.commit,
        policy: policy.to_bytes(),
        device: (bob, bob_certificate),
        message,
        queue_key,
        sealed_key: sealed.keys[0].1.clone(),
        sealed: sealed.payload,
        signed,
    }
});

/// Feeds `bytes` to everything that decodes.
fn decode_all(bytes: &[u8]) {
    let _ = DeviceCertificate::parse(bytes);
    let _ = key_package::validate(bytes);
    let _ = GroupView::found(bytes);
    let _ = GroupView::restore(bytes);
    let _ = GroupView::restore(&SAMPLES.snapshot).unwrap().apply(bytes);
    let _ = peek_private_message(bytes);
    let _ = peek_welcome(bytes);
    let store = Provider::<MemoryStorage>::default();
    let _ = Conversation::join(&store, bytes, &SAMPLES.tree);
    let _ = Conversation::join(&store, &SAMPLES.welcome, bytes);
    let (key, certificate) = &SAMPLES.device;
    let (info, tree) = (&SAMPLES.current_info, &SAMPLES.tree);
    for (info, tree, proposals) in
        [(bytes, &tree[..], vec![]), (info, bytes, vec![]), (info, tree, vec![bytes.to_vec()])]
    {
        let _ = Conversation::join_external(&store, key, certificate, info, tree, &proposals, None);
    }
    let mut view = GroupView::restore(&SAMPLES.current).unwrap();
    let _ = view.check_group_info(bytes);
    let _ = view.propose(bytes);
    let _ = view.apply(bytes);
    let _ = Policy::parse(bytes);
    let _ = key_package_ref(bytes);
    if let Ok(split) = split_welcome(bytes) {
        let secrets: Vec<u8> = split.secrets.iter().flat_map(|secret| secret.secret.clone()).collect();
        assert_eq!(join_welcome(split.suite, &split.encrypted_group_info, &secrets).unwrap(), bytes);
    }
    let _ = padding::unpad(bytes);
    let _ = franking::is_signed(certificate, GROUP, bytes);
    let _ = opaque::ServerSetup::from_bytes(bytes);
    let _ = opaque::register_finish(bytes);
    let _ = opaque::login_finish(bytes, bytes, b"");
    let _ = SAMPLES.queue_key.open_for(DEVICE, GROUP, bytes, bytes);
}

/// `bytes` with one change at a place chosen by `place`.
fn damaged(bytes: &[u8], place: prop::sample::Index, kind: u8) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let index = place.index(out.len());
    match kind % 4 {
        0 => out[index] ^= 1 << (kind / 4 % 8),
        1 => out.truncate(index),
        2 => out.insert(index, kind),
        _ => out[index] = 0xff,
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn arbitrary_bytes_are_refused_in_peace(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        decode_all(&bytes);
    }

    #[test]
    fn damaged_messages_are_refused_in_peace(place: prop::sample::Index, kind: u8, which in 0..13usize) {
        let samples = [
            &SAMPLES.certificate, &SAMPLES.key_package, &SAMPLES.group_info, &SAMPLES.snapshot,
            &SAMPLES.commit, &SAMPLES.welcome, &SAMPLES.message, &SAMPLES.current_info, &SAMPLES.tree, &SAMPLES.leave,
            &SAMPLES.external, &SAMPLES.policy, &SAMPLES.signed,
        ];
        decode_all(&damaged(samples[which], place, kind));
    }

    #[test]
    fn what_is_signed_or_sealed_accepts_no_change(place: prop::sample::Index, kind: u8) {
        let check = |original: &[u8], accepts: &dyn Fn(&[u8]) -> bool| {
            assert!(accepts(original), "the original is accepted");
            let changed = damaged(original, place, kind);
            changed == original || !accepts(&changed)
        };
        prop_assert!(check(&SAMPLES.certificate, &|bytes| DeviceCertificate::parse(bytes).is_ok()));
        prop_assert!(check(&SAMPLES.key_package, &|bytes| key_package::validate(bytes).is_ok()));
        prop_assert!(check(&SAMPLES.group_info, &|bytes| GroupView::found(bytes).is_ok()));
        let signed = |bytes: &[u8]| franking::is_signed(&SAMPLES.device.1, GROUP, bytes);
        prop_assert!(check(&SAMPLES.signed, &signed));
        let current = || GroupView::restore(&SAMPLES.current).unwrap();
        prop_assert!(check(&SAMPLES.current_info, &|bytes| current().check_group_info(bytes).is_ok()));
        let open = |key: &[u8], payload: &[u8]| SAMPLES.queue_key.open_for(DEVICE, GROUP, key, payload).is_ok();
        prop_assert!(check(&SAMPLES.sealed, &|bytes| open(&SAMPLES.sealed_key, bytes)));
        prop_assert!(check(&SAMPLES.sealed_key, &|bytes| open(bytes, &SAMPLES.sealed)));
    }
}
