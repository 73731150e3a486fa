//! The calls of this service, over the bus.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::panic)]

mod common;

use bytes::Bytes;
use common::{Device, World, envelope};
use futures_util::future::join_all;
use prost::Message;
use qpc_crypto::{Conversation, Incoming, ReceiptKey, receipt};
use qpc_wire::{
    Code, Status,
    limits::{MAX_ENVELOPE, MAX_HANDSHAKE},
    methods::{Ack, BatchEnqueue, CommitGroup, CreateGroup, Enqueue, Peek},
    status::Detail,
    v1::{
        AckRequest, BatchEnqueueRequest, CommitBundle, CommitGroupRequest, EnqueueRequest, EnvelopeKind, GroupKind,
        MailboxEvent, PeekRequest, enqueue_result,
    },
};

fn message(world: &World, sender: &Device, conversation: &mut Conversation, text: &str) -> EnqueueRequest {
    EnqueueRequest {
        idempotency_key: world.key(),
        group_id: conversation.group_id().to_bytes(),
        epoch: conversation.epoch(),
        payload: conversation.encrypt(&sender.provider, &sender.key, text.as_bytes()).unwrap().into(),
    }
}

fn commit(world: &World, conversation: &Conversation, pending: qpc_crypto::PendingCommit) -> CommitGroupRequest {
    CommitGroupRequest {
        idempotency_key: world.key(),
        group_id: conversation.group_id().to_bytes(),
        epoch: conversation.epoch(),
        bundle: Some(CommitBundle { commit: pending.commit.into(), welcome: pending.welcome.into() }),
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.unwrap_err().code
}

#[tokio::test]
async fn a_message_is_receipted_fetched_read_and_acknowledged() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let request = message(&world, &alice, &mut group[0], "hello");
    let response = world.call::<Enqueue>(&alice, &request).await.unwrap();

    let public = ReceiptKey::from_bytes(&world.deps.secrets.derive("delivery/receipt")).public();
    let devices = [bob.identity.device];
    let id = group[0].group_id();
    receipt::check(&public, response.receipt.as_ref().unwrap(), &request.payload, id, Some(&devices)).unwrap();

    let fetched = world.fetch(&bob, 1).await;
    assert_eq!((fetched.head, fetched.entries.len(), fetched.entries[0].seq), (2, 1, 2));
    match group[1].process(&bob.provider, &bob.open(&fetched.entries[0])).unwrap() {
        Incoming::Message { sender, plaintext, .. } => {
            assert_eq!((sender, plaintext.as_slice()), (alice.certificate.clone(), b"hello".as_slice()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.call::<Ack>(&bob, &AckRequest { seq: 2 }).await.unwrap().acked, 2);
    assert!(world.fetch(&bob, 0).await.entries.is_empty());
    let peek = world.call::<Peek>(&bob, &PeekRequest {}).await.unwrap();
    assert_eq!((peek.head, peek.acked), (2, 2));
    assert_eq!(code(world.call::<Ack>(&bob, &AckRequest { seq: 3 }).await), Code::OutOfRange);
    assert!(world.fetch(&alice, 0).await.entries.is_empty(), "nothing comes back to the sender");
}

#[tokio::test]
async fn a_repeated_key_enqueues_once_and_belongs_to_its_request() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let request = message(&world, &alice, &mut group[0], "once");
    let calls = join_all((0..32).map(|_| world.call::<Enqueue>(&alice, &request))).await;
    let receipts: Vec<_> = calls.into_iter().map(|answer| answer.unwrap().receipt.unwrap()).collect();
    assert!(receipts.iter().all(|receipt| *receipt == receipts[0]));
    assert_eq!(world.fetch(&bob, 1).await.entries.len(), 1);

    let other = EnqueueRequest {
        idempotency_key: request.idempotency_key.clone(),
        ..message(&world, &alice, &mut group[0], "other")
    };
    assert_eq!(code(world.call::<Enqueue>(&alice, &other).await), Code::InvalidArgument);
    let keyless = EnqueueRequest { idempotency_key: Bytes::new(), ..other };
    assert_eq!(code(world.call::<Enqueue>(&alice, &keyless).await), Code::InvalidArgument);
}

#[tokio::test]
async fn what_is_not_a_message_of_a_member_is_refused() {
    let world = World::start().await;
    let (alice, bob, eve) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let good = message(&world, &alice, &mut group[0], "x");

    assert_eq!(code(world.call::<Enqueue>(&eve, &good).await), Code::NotFound, "a stranger sees no group");
    let huge = EnqueueRequest { payload: vec![0; MAX_ENVELOPE + 1].into(), ..good.clone() };
    assert_eq!(code(world.call::<Enqueue>(&alice, &huge).await), Code::InvalidArgument);
    let garbage = EnqueueRequest { payload: "not mls".into(), ..good.clone() };
    assert_eq!(code(world.call::<Enqueue>(&alice, &garbage).await), Code::InvalidArgument);
    let lying = EnqueueRequest { epoch: good.epoch + 1, ..good.clone() };
    assert_eq!(code(world.call::<Enqueue>(&alice, &lying).await), Code::InvalidArgument);
    let handshake =
        EnqueueRequest { payload: group[0].update(&alice.provider, &alice.key).unwrap().commit.into(), ..good.clone() };
    assert_eq!(code(world.call::<Enqueue>(&alice, &handshake).await), Code::InvalidArgument);
    assert_eq!(world.fetch(&bob, 1).await.entries.len(), 0);
    world.call::<Enqueue>(&alice, &good).await.unwrap();
}

#[tokio::test]
async fn a_message_may_lag_three_epochs_behind_its_group_and_no_more() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let old: Vec<_> = (0..2).map(|n| message(&world, &bob, &mut group[1], &n.to_string())).collect();
    for _ in 0..3 {
        let pending = group[0].update(&alice.provider, &alice.key).unwrap();
        let request = commit(&world, &group[0], pending);
        world.call::<CommitGroup>(&alice, &request).await.unwrap();
        group[0].merge_pending(&alice.provider).unwrap();
    }
    let accepted = world.call::<Enqueue>(&bob, &old[0]).await.unwrap();
    let pending = group[0].update(&alice.provider, &alice.key).unwrap();
    let request = commit(&world, &group[0], pending);
    let current_epoch = world.call::<CommitGroup>(&alice, &request).await.unwrap().epoch;
    let refused = world.call::<Enqueue>(&bob, &old[1]).await.unwrap_err();
    assert!(matches!(refused.detail, Some(Detail::WrongEpoch(wrong)) if wrong.current_epoch == current_epoch));
    assert_eq!(world.call::<Enqueue>(&bob, &old[0]).await.unwrap(), accepted, "what was accepted stays so");

    // A refused message has not used up its key.
    group[1].clear_pending(&bob.provider).ok();
    for entry in world.fetch(&bob, 1).await.entries {
        group[1].process(&bob.provider, &bob.open(&entry)).unwrap();
    }
    let renewed = EnqueueRequest {
        idempotency_key: old[1].idempotency_key.clone(),
        ..message(&world, &bob, &mut group[1], "again")
    };
    world.call::<Enqueue>(&bob, &renewed).await.unwrap();
}

#[tokio::test]
async fn one_of_sixteen_committers_wins_and_the_others_learn_the_epoch() {
    let world = World::start().await;
    let devices: Vec<Device> = (0..16).map(|_| world.device()).collect();
    let others: Vec<&Device> = devices[1..].iter().collect();
    let mut group = world.group(GroupKind::Group, &devices[0], &others).await;
    let epoch = group[0].epoch();
    let requests: Vec<_> = devices
        .iter()
        .zip(&mut group)
        .map(|(device, conversation)| {
            let pending = conversation.update(&device.provider, &device.key).unwrap();
            commit(&world, conversation, pending)
        })
        .collect();
    let calls = devices.iter().zip(&requests).map(|(device, request)| world.call::<CommitGroup>(device, request));
    let answers = join_all(calls).await;
    let winners: Vec<usize> = (0..16).filter(|n| answers[*n].is_ok()).collect();
    let [winner] = winners[..] else { panic!("{} won", winners.len()) };
    for answer in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert!(matches!(&answer.detail, Some(Detail::WrongEpoch(wrong)) if wrong.current_epoch == epoch + 1));
    }
    let again = world.call::<CommitGroup>(&devices[winner], &requests[winner]).await.unwrap();
    assert_eq!(again, *answers[winner].as_ref().unwrap(), "the winner may ask again");

    group[winner].merge_pending(&devices[winner].provider).unwrap();
    let authenticator = group[winner].epoch_authenticator();
    for (n, device) in devices.iter().enumerate().filter(|(n, _)| *n != winner) {
        let entries = world.fetch(device, if n == 0 { 0 } else { 1 }).await.entries;
        assert_eq!(entries.len(), 1, "exactly the winner's commit");
        group[n].process(&device.provider, &device.open(&entries[0])).unwrap();
        assert_eq!(group[n].epoch_authenticator(), authenticator);
    }
}

#[tokio::test]
async fn commits_that_would_break_a_group_are_refused_before_anyone_forks() {
    let world = World::start().await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob]).await;
    let id = group[0].group_id();

    let pending = group[0].update(&alice.provider, &alice.key).unwrap();
    let good = commit(&world, &group[0], pending);
    let bundle = good.bundle.clone().unwrap();
    let with = |commit: Vec<u8>, welcome: &'static str| CommitGroupRequest {
        idempotency_key: world.key(),
        bundle: Some(CommitBundle { commit: commit.into(), welcome: welcome.into() }),
        ..good.clone()
    };
    let mut tampered = bundle.commit.to_vec();
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    assert_eq!(code(world.call::<CommitGroup>(&alice, &with(tampered, "")).await), Code::InvalidArgument);
    assert_eq!(code(world.call::<CommitGroup>(&alice, &with(vec![1, 2], "")).await), Code::InvalidArgument);
    let huge = CommitGroupRequest {
        idempotency_key: world.key(),
        bundle: Some(CommitBundle { welcome: vec![0; MAX_HANDSHAKE + 1].into(), ..bundle.clone() }),
        ..good.clone()
    };
    assert_eq!(code(world.call::<CommitGroup>(&alice, &huge).await), Code::InvalidArgument);
    let needless = with(bundle.commit.to_vec(), "welcome");
    assert_eq!(code(world.call::<CommitGroup>(&alice, &needless).await), Code::InvalidArgument);
    let stolen = with(bundle.commit.to_vec(), "");
    assert_eq!(code(world.call::<CommitGroup>(&bob, &stolen).await), Code::PermissionDenied);
    assert_eq!(code(world.call::<CommitGroup>(&carol, &stolen).await), Code::NotFound);
    let unknown = CommitGroupRequest { group_id: world.key(), ..stolen };
    assert_eq!(code(world.call::<CommitGroup>(&alice, &unknown).await), Code::NotFound);

    group[0].clear_pending(&alice.provider).unwrap();
    world.forget_queue_key(&carol);
    let pending = group[0].add(&alice.provider, &alice.key, &[carol.key_package()]).unwrap();
    let unsealable = commit(&world, &group[0], pending);
    assert_eq!(code(world.call::<CommitGroup>(&alice, &unsealable).await), Code::FailedPrecondition);

    let fake = CommitBundle { welcome: "welcome".into(), ..unsealable.bundle.clone().unwrap() };
    let misleading = CommitGroupRequest { idempotency_key: world.key(), bundle: Some(fake), ..unsealable };
    assert_eq!(code(world.call::<CommitGroup>(&alice, &misleading).await), Code::InvalidArgument);

    assert!(world.fetch(&bob, 1).await.entries.is_empty(), "{id}: nothing of all this was delivered");
    group[0].clear_pending(&alice.provider).unwrap();
    let pending = group[0].update(&alice.provider, &alice.key).unwrap();
    let request = commit(&world, &group[0], pending);
    world.call::<CommitGroup>(&alice, &request).await.unwrap();
}

#[tokio::test]
async fn a_pair_has_one_conversation_and_a_direct_one_has_two_accounts() {
    let world = World::start().await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let (_, three) = world.founding(GroupKind::Direct, &alice, &[&bob, &carol]);
    assert_eq!(code(world.call::<CreateGroup>(&alice, &three).await), Code::InvalidArgument);
    let (_, foreign) = world.founding(GroupKind::Direct, &alice, &[&bob]);
    assert_eq!(code(world.call::<CreateGroup>(&carol, &foreign).await), Code::PermissionDenied);

    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let (_, second) = world.founding(GroupKind::Direct, &bob, &[&alice]);
    let refused = world.call::<CreateGroup>(&bob, &second).await.unwrap_err();
    assert_eq!(refused.code, Code::AlreadyExists);
    let Some(Detail::ConversationExists(existing)) = refused.detail else { panic!("{refused:?}") };
    assert_eq!(existing.group_id, group[0].group_id().to_bytes());

    let pending = group[0].add(&alice.provider, &alice.key, &[carol.key_package()]).unwrap();
    let request = commit(&world, &group[0], pending);
    assert_eq!(code(world.call::<CommitGroup>(&alice, &request).await), Code::InvalidArgument);
}

#[tokio::test]
async fn items_of_a_batch_are_answered_each_for_itself() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let mut items: Vec<_> = (0..5).map(|n| message(&world, &alice, &mut group[0], &n.to_string())).collect();
    items[2].group_id = world.key();
    items.push(items[0].clone());
    let request = BatchEnqueueRequest { items };
    let results = world.call::<BatchEnqueue>(&alice, &request).await.unwrap().results;
    let ok: Vec<bool> =
        results.iter().map(|item| matches!(item.result, Some(enqueue_result::Result::Receipt(_)))).collect();
    assert_eq!(ok, [true, true, false, true, true, true]);
    assert_eq!(results[0], results[5]);
    let texts: Vec<_> =
        world.fetch(&bob, 1).await.entries.iter().map(|entry| envelope(entry).payload.clone()).collect();
    let sent: Vec<_> = [0, 1, 3, 4].map(|n: usize| request.items[n].payload.clone()).to_vec();
    assert!(texts == sent, "in order, without the refused and the repeated one");
    let empty = BatchEnqueueRequest { items: vec![] };
    assert_eq!(code(world.call::<BatchEnqueue>(&alice, &empty).await), Code::InvalidArgument);
}

#[tokio::test]
async fn attached_devices_hear_of_their_messages() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let push = world.deps.push();
    push.register(&[bob.identity.device], "here").await.unwrap();
    let mut doorbells = world.deps.bus.subscribe(qpc_chassis::push::subject("here"), None).await.unwrap();
    let request = message(&world, &alice, &mut group[0], "ding");
    world.call::<Enqueue>(&alice, &request).await.unwrap();
    let batch = qpc_wire::bus::PushBatch::decode(doorbells.next().await.unwrap().payload).unwrap();
    assert_eq!(batch.pushes[0].device_id, bob.identity.device.to_bytes());
    let event = MailboxEvent::decode(batch.pushes[0].body.clone()).unwrap();
    assert_eq!((event.head, envelope(&event.entries[0]).payload.clone()), (2, request.payload));
}

#[tokio::test]
async fn a_stolen_database_shows_no_handshake() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let (_, request) = world.founding(GroupKind::Direct, &alice, &[&bob]);
    world.call::<CreateGroup>(&alice, &request).await.unwrap();
    let entries = world.fetch(&bob, 0).await.entries;
    assert_eq!(envelope(&entries[0]).kind(), EnvelopeKind::Welcome);

    let mut stored = Vec::new();
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        stored.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let bundle = request.first_commit.unwrap();
    let key = bob.certificate.device_key();
    for (what, secret) in [("commit", &bundle.commit[..]), ("welcome", &bundle.welcome[..]), ("key", &key[..])] {
        let part = &secret[secret.len() / 2..][..16];
        assert!(!stored.windows(16).any(|window| window == part), "{what} stands in the database");
    }
}
