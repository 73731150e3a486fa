//! The calls of this service, over the bus.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::panic)]

mod common;

use bytes::Bytes;
use common::{Device, World, code, envelope, wrong_epoch};
use futures_util::future::join_all;
use prost::Message;
use qpc_chassis::{Runtime, db::contract::fresh_database};
use qpc_crypto::{
    Changes, Conversation, FrankingKey, Incoming, ReceiptKey,
    franking::{self, Franked},
    receipt::{self, Link},
};
use qpc_wire::{
    Code,
    limits::{MAX_ENVELOPE, MAX_RELAY, MAX_TAGS},
    methods::{Ack, BatchEnqueue, CommitGroup, CreateGroup, Enqueue, Peek, Relay, StagePart},
    status::Detail,
    v1::{
        AckRequest, BatchEnqueueRequest, EnqueueRequest, EnqueueResult, EnvelopeKind, EpochTag, GroupKind,
        MailboxEvent, PeekRequest, RelayRequest, RelayedEvent, StagePartRequest, enqueue_result,
    },
};

use rand::RngCore;

#[tokio::test]
async fn a_message_is_receipted_fetched_read_and_acknowledged() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let request = world.message(&alice, &mut group[0], "hello");
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
    assert_eq!(world.call::<Ack>(&bob, &AckRequest { seq: 2, ..AckRequest::default() }).await.unwrap().acked, 2);
    assert!(world.fetch(&bob, 0).await.entries.is_empty());
    let peek = world.call::<Peek>(&bob, &PeekRequest {}).await.unwrap();
    assert_eq!((peek.head, peek.acked), (2, 2));
    assert_eq!(code(world.call::<Ack>(&bob, &AckRequest { seq: 3, ..AckRequest::default() }).await), Code::OutOfRange);
    assert!(world.fetch(&alice, 0).await.entries.is_empty(), "nothing comes back to the sender");
}

#[tokio::test]
async fn a_repeated_key_enqueues_once_and_belongs_to_its_request() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let request = world.message(&alice, &mut group[0], "once");
    let calls = join_all((0..32).map(|_| world.call::<Enqueue>(&alice, &request))).await;
    let receipts: Vec<_> = calls.into_iter().map(|answer| answer.unwrap().receipt.unwrap()).collect();
    assert!(receipts.iter().all(|receipt| *receipt == receipts[0]));
    assert_eq!(world.fetch(&bob, 1).await.entries.len(), 1);

    let other = EnqueueRequest {
        idempotency_key: request.idempotency_key.clone(),
        ..world.message(&alice, &mut group[0], "other")
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
    let good = world.message(&alice, &mut group[0], "x");

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
    let old: Vec<_> = (0..2).map(|n| world.message(&bob, &mut group[1], &n.to_string())).collect();
    for _ in 0..3 {
        world.update(&alice, &mut group[0]).await.unwrap();
    }
    let accepted = world.call::<Enqueue>(&bob, &old[0]).await.unwrap();
    let current_epoch = world.update(&alice, &mut group[0]).await.unwrap().epoch;
    let refused = world.call::<Enqueue>(&bob, &old[1]).await.unwrap_err();
    assert_eq!(wrong_epoch(&refused), Some(current_epoch));
    assert_eq!(world.call::<Enqueue>(&bob, &old[0]).await.unwrap(), accepted, "what was accepted stays so");

    // A refused message has not used up its key.
    group[1].clear_pending(&bob.provider).ok();
    for entry in world.fetch(&bob, 1).await.entries {
        group[1].process(&bob.provider, &bob.open(&entry)).unwrap();
    }
    let renewed = EnqueueRequest {
        idempotency_key: old[1].idempotency_key.clone(),
        ..world.message(&bob, &mut group[1], "again")
    };
    world.call::<Enqueue>(&bob, &renewed).await.unwrap();
}

#[tokio::test]
async fn what_a_newcomer_could_not_read_is_refused() {
    let world = World::start().await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob]).await;
    let before = world.message(&bob, &mut group[1], "before carol");
    let add = [carol.key_package()];
    world.change(&alice, &mut group[0], Changes { add: &add, ..Changes::default() }).await.unwrap();
    let refused = world.call::<Enqueue>(&bob, &before).await.unwrap_err();
    assert_eq!(wrong_epoch(&refused), Some(group[0].epoch()));

    let head = world.catch_up(&bob, &mut group[1], 1).await;
    let request = world.message(&bob, &mut group[1], "with carol");
    world.update(&alice, &mut group[0]).await.unwrap();
    world.call::<Enqueue>(&bob, &request).await.unwrap();
    let mut carols = world.join(&carol, &world.fetch(&carol, 0).await.entries[0]).await;
    world.catch_up(&carol, &mut carols, 1).await;
    world.catch_up(&bob, &mut group[1], head).await;
    assert_eq!(carols.epoch_tag().unwrap(), group[1].epoch_tag().unwrap(), "and could read all that it was given");
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
            world.commit_of(conversation.group_id(), conversation.epoch(), pending)
        })
        .collect();
    let calls = devices.iter().zip(&requests).map(|(device, request)| world.call::<CommitGroup>(device, request));
    let answers = join_all(calls).await;
    let winners: Vec<usize> = (0..16).filter(|n| answers[*n].is_ok()).collect();
    let [winner] = winners[..] else { panic!("{} won", winners.len()) };
    for answer in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(wrong_epoch(answer), Some(epoch + 1));
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
async fn items_of_a_batch_are_answered_each_for_itself() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let mut items: Vec<_> = (0..5).map(|n| world.message(&alice, &mut group[0], &n.to_string())).collect();
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

    // What was answered before takes no place in the chain from what comes behind it.
    let late = world.message(&alice, &mut group[0], "late");
    let again = BatchEnqueueRequest { items: vec![request.items[0].clone(), request.items[1].clone(), late] };
    let again = world.call::<BatchEnqueue>(&alice, &again).await.unwrap().results;
    assert_eq!(again[..2], results[..2]);
    let receipt = |result: &EnqueueResult| match &result.result {
        Some(enqueue_result::Result::Receipt(receipt)) => receipt.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(Link::after(&receipt(&results[4])).unwrap().seq, receipt(&again[2]).seq);
}

#[tokio::test]
async fn attached_devices_hear_of_their_messages() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let push = world.deps.push();
    push.register(&[bob.identity.device], "here").await.unwrap();
    let mut doorbells = world.deps.bus.subscribe(qpc_chassis::push::subject("here"), None).await.unwrap();
    let request = world.message(&alice, &mut group[0], "ding");
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
    let pointer = envelope(&entries[0]).shared.clone().unwrap();
    let shared = world.shared(&bob, &pointer).await;
    let staged = StagePartRequest { staged_id: world.key(), offset: 0, total: 40, data: vec![9; 40].into() };
    world.call::<StagePart>(&alice, &staged).await.unwrap();

    let mut stored = Vec::new();
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        stored.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let bundle = request.first_commit.unwrap();
    let key = bob.certificate.device_key();
    for (what, secret) in [
        ("commit", &bundle.commit[..]),
        ("group info", &bundle.group_info[..]),
        ("encrypted group info", &shared.encrypted_group_info[..]),
        ("tree", &shared.ratchet_tree[..]),
        ("key of the shared state", &pointer.key[..]),
        ("staged part", &staged.data[..]),
        ("key", &key[..]),
    ] {
        let part = &secret[secret.len() / 2..][..16];
        assert!(!stored.windows(16).any(|window| window == part), "{what} stands in the database");
    }
}

#[tokio::test]
async fn a_fork_is_noticed_by_a_message_and_by_an_acknowledgement() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let id = group[0].group_id();
    let forked = EnqueueRequest { epoch_tag: vec![9; 16].into(), ..world.message(&alice, &mut group[0], "x") };
    let refused = world.call::<Enqueue>(&alice, &forked).await.unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
    assert!(matches!(&refused.detail, Some(Detail::Forked(forked)) if forked.group_id == id.to_bytes()));
    let odd = EnqueueRequest { epoch_tag: vec![9; 15].into(), ..world.message(&alice, &mut group[0], "x") };
    assert_eq!(code(world.call::<Enqueue>(&alice, &odd).await), Code::InvalidArgument);
    let untagged = EnqueueRequest { epoch_tag: Bytes::new(), ..world.message(&alice, &mut group[0], "x") };
    world.call::<Enqueue>(&alice, &untagged).await.unwrap();

    // A tag of an epoch before is compared with that epoch's.
    let late = world.message(&bob, &mut group[1], "late");
    world.update(&alice, &mut group[0]).await.unwrap();
    world.call::<Enqueue>(&bob, &late).await.unwrap();

    let tag = |group: &Conversation, tag: &[u8]| EpochTag {
        group_id: group.group_id().to_bytes(),
        epoch: group.epoch(),
        tag: Bytes::copy_from_slice(tag),
    };
    let own = group[1].epoch_tag().unwrap();
    let ack = |tags: Vec<EpochTag>| AckRequest { seq: 1, tags, undecryptable: 7 };
    let answer = world.call::<Ack>(&bob, &ack(vec![tag(&group[1], &own), tag(&group[1], &[9; 16])])).await.unwrap();
    assert_eq!((answer.acked, answer.forked), (1, vec![id.to_bytes()]));
    let again = world.call::<Ack>(&bob, &ack(vec![tag(&group[1], &[9; 16])])).await.unwrap();
    assert_eq!(again.forked, [id.to_bytes()], "a repeated acknowledgement is told too");
    let eve = world.device();
    let unknown = AckRequest { seq: 0, ..ack(vec![tag(&group[1], &[9; 16])]) };
    assert!(world.call::<Ack>(&eve, &unknown).await.unwrap().forked.is_empty(), "strangers hear nothing");
    let many = ack(vec![tag(&group[1], &own); MAX_TAGS + 1]);
    assert_eq!(code(world.call::<Ack>(&bob, &many).await), Code::InvalidArgument);
    assert_eq!(code(world.call::<Ack>(&bob, &ack(vec![tag(&group[1], &[9; 15])])).await), Code::InvalidArgument);
    let metrics = world.deps.metrics.render();
    assert!(metrics.contains("qpc_delivery_undecryptable_total 1\n"), "one entry was there: {metrics}");
    assert!(metrics.contains("qpc_delivery_acknowledged_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn receipts_of_two_replicas_are_one_chain() {
    one_chain(World::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres: cargo xtask test"]
async fn receipts_of_two_replicas_are_one_chain_on_postgres() {
    let url = std::env::var("QPC_TEST_POSTGRES").expect("QPC_TEST_POSTGRES is not set; run cargo xtask test");
    let name = format!("chain_{:016x}", Runtime::system().rng().next_u64());
    one_chain(World::start_on(fresh_database(&url, &name).await).await).await;
}

async fn one_chain(world: World) {
    // Beside the first over the same tables.
    qpc_delivery::start(world.deps.clone(), qpc_delivery::Config::default()).await.unwrap();
    let devices: Vec<Device> = (0..4).map(|_| world.device()).collect();
    let others: Vec<&Device> = devices[1..].iter().collect();
    let (mut founder, request) = world.founding(GroupKind::Group, &devices[0], &others);
    let mut receipts = vec![world.call::<CreateGroup>(&devices[0], &request).await.unwrap().receipt.unwrap()];
    founder.merge_pending(&devices[0].provider).unwrap();
    let mut group = vec![founder];
    for other in &others {
        group.push(world.join(other, world.fetch(other, 0).await.entries.last().unwrap()).await);
    }
    for round in 0..3 {
        let messages: Vec<_> = devices
            .iter()
            .zip(&mut group)
            .flat_map(|(device, conversation)| {
                (0..5).map(|n| (device, world.message(device, conversation, &n.to_string()))).collect::<Vec<_>>()
            })
            .collect();
        // Each of them twice, beside a commit.
        let (first, second) = (messages.iter(), messages.iter());
        let sending = join_all(first.chain(second).map(|(device, request)| world.call::<Enqueue>(device, request)));
        let (answers, committed) = tokio::join!(sending, world.update(&devices[round], &mut group[round]));
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().receipt.unwrap()).collect();
        assert_eq!(answers[..20], answers[20..], "a repetition has the place of the first");
        receipts.extend_from_slice(&answers[..20]);
        receipts.push(committed.unwrap().receipt.unwrap());
        for (n, device) in devices.iter().enumerate().filter(|(n, _)| *n != round) {
            let entries = world.fetch(device, 0).await.entries;
            let commit = entries.iter().rev().find(|entry| envelope(entry).kind() == EnvelopeKind::Handshake).unwrap();
            group[n].process(&device.provider, &device.open(commit)).unwrap();
        }
    }
    receipts.sort_by_key(|receipt| receipt.seq);
    assert_eq!(receipts.len(), 1 + 3 * 21);
    assert_eq!((receipts[0].seq, receipts[0].prev.as_ref()), (1, [0; 32].as_slice()));
    let public = ReceiptKey::from_bytes(&world.deps.secrets.derive("delivery/receipt")).public();
    for pair in receipts.windows(2) {
        let next = Link::after(&pair[0]).unwrap();
        assert_eq!((next.seq, next.prev.as_slice()), (pair[1].seq, pair[1].prev.as_ref()));
        receipt::verify(&public, &pair[1]).unwrap();
    }
    // Every recipient has the receipt that the sender got.
    let entries = world.fetch(&devices[3], 0).await.entries;
    for entry in entries {
        let receipt = envelope(&entry).receipt.clone().unwrap();
        assert_eq!(receipts[usize::try_from(receipt.seq).unwrap() - 1], receipt);
    }
}

#[tokio::test]
async fn what_is_relayed_reaches_who_is_there_and_no_mailbox() {
    let world = World::start().await;
    let (alice, bob, eve) = (world.device(), world.device(), world.device());
    let group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    world.deps.push().register(&[alice.identity.device, bob.identity.device], "here").await.unwrap();
    let mut doorbells = world.deps.bus.subscribe(qpc_chassis::push::subject("here"), None).await.unwrap();
    let payload = Bytes::from(vec![7; MAX_RELAY]);
    let request = RelayRequest { group_id: group[0].group_id().to_bytes(), epoch: 1, payload: payload.clone() };
    world.call::<Relay>(&alice, &request).await.unwrap();
    let batch = qpc_wire::bus::PushBatch::decode(doorbells.next().await.unwrap().payload).unwrap();
    let devices: Vec<_> = batch.pushes.iter().map(|push| push.device_id.clone()).collect();
    assert_eq!(devices, [bob.identity.device.to_bytes()], "not back to who sent it");
    let event = RelayedEvent::decode(batch.pushes[0].body.clone()).unwrap();
    assert_eq!((event.group_id, event.epoch, event.payload), (request.group_id.clone(), 1, payload));
    let before = world.fetch(&bob, 0).await.head;
    assert_eq!(before, 1, "the Welcome alone");

    assert_eq!(code(world.call::<Relay>(&eve, &request).await), Code::NotFound);
    let large = RelayRequest { payload: vec![7; MAX_RELAY + 1].into(), ..request.clone() };
    assert_eq!(code(world.call::<Relay>(&alice, &large).await), Code::InvalidArgument);
    let nowhere = RelayRequest { group_id: vec![1; 16].into(), ..request };
    assert_eq!(code(world.call::<Relay>(&alice, &nowhere).await), Code::NotFound);
}

#[tokio::test]
async fn the_server_tags_what_a_sender_has_committed_to() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let commitment = franking::commitment(b"hello");
    let plain = world.message(&alice, &mut group[0], "no commitment");
    let request =
        EnqueueRequest { commitment: commitment.to_vec().into(), ..world.message(&alice, &mut group[0], "hello") };
    world.call::<Enqueue>(&alice, &plain).await.unwrap();
    world.call::<Enqueue>(&alice, &request).await.unwrap();
    let entries = world.fetch(&bob, 1).await.entries;
    assert_eq!(envelope(&entries[0]).franking, None);
    let told = envelope(&entries[1]);
    let given = told.franking.clone().unwrap();
    assert_eq!(given.commitment, request.commitment);
    let franked = Franked {
        group: group[0].group_id(),
        account: alice.identity.account,
        device: alice.identity.device,
        at_ms: told.accepted_at_ms,
        commitment,
    };
    let key = FrankingKey::from_bytes(&world.deps.secrets.derive("delivery/franking"));
    assert!(key.verify(&franked, &given.tag) && !given.anonymous);
    assert!(!key.verify(&Franked { account: bob.identity.account, ..franked }, &given.tag));

    let short = EnqueueRequest { commitment: vec![1; 31].into(), ..world.message(&alice, &mut group[0], "short") };
    assert_eq!(code(world.call::<Enqueue>(&alice, &short).await), Code::InvalidArgument);
}
