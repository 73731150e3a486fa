//! Every decoder takes whatever comes: arbitrary bytes, and real messages with a byte changed, cut or added. None panics,
//! and none accepts a change of what is signed.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::sync::LazyLock;

use openmls_memory_storage::MemoryStorage;
use proptest::prelude::*;
use qpc_crypto::{
    AccountKey, Conversation, DeviceCertificate, DeviceKey, GroupView, Provider, QueueKey, Suite,
    mls::{key_package, peek_private_message, peek_welcome},
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
    message: Vec<u8>,
    queue_key: QueueKey,
    sealed_key: Vec<u8>,
    sealed: Vec<u8>,
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
    let mut group = Conversation::create(&alice_store, &alice, &alice_certificate, Suite::Classic, GROUP).unwrap();
    let group_info = group.group_info(&alice_store, &alice).unwrap();
    let key_package = key_package::generate(&bob_store, &bob, &bob_certificate, Suite::Classic, false).unwrap();
    let pending = group.add(&alice_store, &alice, std::slice::from_ref(&key_package)).unwrap();
    group.merge_pending(&alice_store).unwrap();
    let message = group.encrypt(&alice_store, &alice, b"hello").unwrap();
    let queue_key = QueueKey::generate(&mut rng);
    let public = queue_key.public_bytes();
    let sealed = queue::seal_for(&mut rng, b"payload", GROUP, &[(DEVICE, &public)]).unwrap();
    Samples {
        certificate: alice_certificate.to_bytes().to_vec(),
        key_package,
        snapshot: GroupView::found(&group_info).unwrap().snapshot().unwrap(),
        group_info,
        commit: pending.commit,
        welcome: pending.welcome,
        message,
        queue_key,
        sealed_key: sealed.keys[0].1.clone(),
        sealed: sealed.payload,
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
    let _ = Conversation::join(&Provider::<MemoryStorage>::default(), bytes);
    let _ = padding::unpad(bytes);
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
    fn damaged_messages_are_refused_in_peace(place: prop::sample::Index, kind: u8, which in 0..7usize) {
        let samples = [
            &SAMPLES.certificate, &SAMPLES.key_package, &SAMPLES.group_info, &SAMPLES.snapshot,
            &SAMPLES.commit, &SAMPLES.welcome, &SAMPLES.message,
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
        let open = |key: &[u8], payload: &[u8]| SAMPLES.queue_key.open_for(DEVICE, GROUP, key, payload).is_ok();
        prop_assert!(check(&SAMPLES.sealed, &|bytes| open(&SAMPLES.sealed_key, bytes)));
        prop_assert!(check(&SAMPLES.sealed_key, &|bytes| open(bytes, &SAMPLES.sealed)));
    }
}
