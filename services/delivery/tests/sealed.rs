//! Messages whose sender the service does not learn.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::panic)]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use common::{Device, World, code, envelope, wrong_epoch};
use futures_util::future::join_all;
use qpc_chassis::{
    Runtime,
    bus::LocalBus,
    db::{Db, contract::fresh_database},
    runtime::{Clock, SystemEntropy},
};
use qpc_crypto::{
    Changes, Conversation, FrankingKey, Incoming, MlsError, ReceiptKey,
    franking::{self, Franked},
    receipt::{self, Link},
    token::{KEY_MS, Token, TokenKeys, TokenRequest, key_epoch},
};
use qpc_wire::{
    Code, DeviceId,
    methods::{CommitGroup, Enqueue, SealedEnqueue},
    status::Detail,
    v1::{CommitGroupRequest, GroupKind, Receipt, SealedEnqueueRequest, sealed_enqueue_request::Permit},
};
use rand::RngCore;

/// A message that shows the delivery key of its epoch.
fn sealed(world: &World, sender: &Device, conversation: &mut Conversation, text: &str) -> SealedEnqueueRequest {
    let message = world.message(sender, conversation, text);
    let key = conversation.delivery_key(&sender.provider).unwrap();
    SealedEnqueueRequest {
        idempotency_key: message.idempotency_key,
        group_id: message.group_id,
        epoch: message.epoch,
        payload: message.payload,
        epoch_tag: message.epoch_tag,
        commitment: message.commitment,
        keep_ms: message.keep_ms,
        permit: Some(Permit::DeliveryKey(Bytes::copy_from_slice(&*key))),
    }
}

fn paid(
    world: &World,
    sender: &Device,
    conversation: &mut Conversation,
    text: &str,
    token: &Token,
) -> SealedEnqueueRequest {
    SealedEnqueueRequest { permit: Some(Permit::Token(token.into())), ..sealed(world, sender, conversation, text) }
}

/// As auth issues them.
fn tokens(world: &World, count: usize) -> Vec<Token> {
    let (keys, mut rng) = (TokenKeys::new(world.deps.secrets.derive("token/keys")), world.deps.runtime.rng());
    let epoch = key_epoch(world.deps.runtime.now_ms());
    let request = TokenRequest::new(&mut rng, epoch, count).unwrap();
    let answer = keys.evaluate(&mut rng, epoch, &request.blinded()).unwrap();
    let evaluated: Vec<_> = answer.elements.iter().map(|element| Bytes::copy_from_slice(element)).collect();
    request.finish(&keys.public(epoch).unwrap(), &evaluated, &answer.proof).unwrap()
}

fn holds(world: &World, receipt: &Receipt, request: &SealedEnqueueRequest, devices: &[&Device]) {
    let public = ReceiptKey::from_bytes(&world.deps.secrets.derive("delivery/receipt")).public();
    let devices: Vec<DeviceId> = devices.iter().map(|device| device.identity.device).collect();
    let group = (&request.group_id).try_into().unwrap();
    receipt::check(&public, receipt, &request.payload, group, Some(&devices)).unwrap();
}

async fn texts(world: &World, device: &Device, conversation: &mut Conversation, after: u64) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    for entry in world.fetch(device, after).await.entries {
        if let Incoming::Message { plaintext, .. } =
            conversation.process(&device.provider, &device.open(&entry)).unwrap()
        {
            texts.push(plaintext);
        }
    }
    texts
}

#[tokio::test]
async fn the_receipt_names_all_and_so_nobody_and_the_sender_gets_an_echo() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let open = world.call::<Enqueue>(&alice, &world.message(&alice, &mut group[0], "open")).await.unwrap();
    let request = sealed(&world, &alice, &mut group[0], "sealed");
    let receipt = world.call_anonymously::<SealedEnqueue>(&request).await.unwrap().receipt.unwrap();
    holds(&world, &receipt, &request, &[&alice, &bob]);
    assert_eq!(receipt.prev.as_ref(), Link::after(&open.receipt.unwrap()).unwrap().prev, "one chain");

    assert_eq!(texts(&world, &bob, &mut group[1], 1).await, [b"open".to_vec(), b"sealed".to_vec()]);
    let echo = world.fetch(&alice, 0).await.entries;
    let [echo] = &echo[..] else { panic!("{echo:?}") };
    let read = group[0].process(&alice.provider, &alice.open(echo));
    assert!(matches!(read, Err(MlsError::OwnMessage)), "{read:?}");

    // Of the two calls only the open one is kept under a name.
    let db = Db::open(&world.deps.db, "delivery", 1, qpc_delivery::store::MIGRATIONS).await.unwrap();
    let keys = db.rows("SELECT id, request_hash, response FROM idempotency", &[]).await.unwrap();
    let named = |row: &&qpc_chassis::db::Row| row.bytes(0).unwrap().starts_with(alice.identity.device.as_ref());
    assert_eq!(keys.iter().filter(named).count(), 2, "CreateGroup and Enqueue");
    let nameless: Vec<_> = keys.iter().filter(|row| row.bytes(0).unwrap().starts_with(&[0; 16])).collect();
    assert_eq!(nameless.len(), 1);
}

/// So recipients know that the tag names nobody, and want a signature.
#[tokio::test]
async fn the_tag_of_a_sealed_message_names_nobody_and_says_so() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let committed = franking::commitment(b"sealed");
    let message = sealed(&world, &alice, &mut group[0], "sealed");
    let message = SealedEnqueueRequest { commitment: Bytes::copy_from_slice(&committed), ..message };
    world.call_anonymously::<SealedEnqueue>(&message).await.unwrap();
    let token = &tokens(&world, 1)[0];
    let message = paid(&world, &alice, &mut group[0], "sealed", token);
    let message = SealedEnqueueRequest { commitment: Bytes::copy_from_slice(&committed), ..message };
    world.call_anonymously::<SealedEnqueue>(&message).await.unwrap();
    let key = FrankingKey::from_bytes(&world.deps.secrets.derive("delivery/franking"));
    let entries = world.fetch(&bob, 1).await.entries;
    assert_eq!(entries.len(), 2);
    for entry in &entries {
        let told = envelope(entry);
        let given = told.franking.clone().unwrap();
        let franked = Franked::by_nobody(group[0].group_id(), told.accepted_at_ms, committed);
        assert!(given.anonymous && key.verify(&franked, &given.tag));
        assert!(!key.verify(&Franked { account: alice.identity.account, ..franked }, &given.tag));
    }
}

#[tokio::test]
async fn a_key_opens_its_group_and_epoch_only_and_not_to_who_was_removed() {
    let world = World::start().await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob, &carol]).await;
    let early = sealed(&world, &bob, &mut group[1], "early");
    let other = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let foreign = other[0].delivery_key(&alice.provider).unwrap();

    let refused = async |permit| {
        let request = SealedEnqueueRequest { permit, ..early.clone() };
        code(world.call_anonymously::<SealedEnqueue>(&request).await)
    };
    let key = |bytes: &[u8]| Some(Permit::DeliveryKey(Bytes::copy_from_slice(bytes)));
    assert_eq!(refused(key(&*foreign)).await, Code::PermissionDenied);
    assert_eq!(refused(key(&[0; 32])).await, Code::PermissionDenied);
    assert_eq!(refused(key(&[])).await, Code::InvalidArgument);
    assert_eq!(refused(None).await, Code::InvalidArgument);
    // The key alone is not enough: the tag must be there, and be that of the epoch.
    let tagless = SealedEnqueueRequest { epoch_tag: Bytes::new(), ..early.clone() };
    assert_eq!(code(world.call_anonymously::<SealedEnqueue>(&tagless).await), Code::InvalidArgument);
    let forked = SealedEnqueueRequest { epoch_tag: Bytes::from_static(&[0; 16]), ..early.clone() };
    let forked = world.call_anonymously::<SealedEnqueue>(&forked).await.unwrap_err();
    assert!(matches!(forked.detail, Some(Detail::Forked(_))));
    assert_eq!(code(world.call::<SealedEnqueue>(&bob, &early).await), Code::FailedPrecondition, "said who it is");

    let gone = Changes { remove: &[carol.identity.device], ..Changes::default() };
    world.change(&alice, &mut group[0], gone).await.unwrap();
    // Written before the commit came, within three epochs: as open ones are.
    let receipt = world.call_anonymously::<SealedEnqueue>(&early).await.unwrap().receipt.unwrap();
    holds(&world, &receipt, &early, &[&alice, &bob]);
    let head = world.fetch(&bob, 0).await.entries.len() as u64;
    let old_key = group[2].delivery_key(&carol.provider).unwrap();
    let late = sealed(&world, &alice, &mut group[0], "late");
    let with_old_key = SealedEnqueueRequest { permit: key(&*old_key), ..late.clone() };
    assert_eq!(code(world.call_anonymously::<SealedEnqueue>(&with_old_key).await), Code::PermissionDenied);
    world.call_anonymously::<SealedEnqueue>(&late).await.unwrap();
    assert_eq!(world.fetch(&bob, head).await.entries.len(), 1);
    for _ in 0..3 {
        world.update(&alice, &mut group[0]).await.unwrap();
    }
    let early = SealedEnqueueRequest { idempotency_key: world.key(), ..early };
    let refused = world.call_anonymously::<SealedEnqueue>(&early).await.unwrap_err();
    assert_eq!(wrong_epoch(&refused), Some(group[0].epoch()));
}

#[tokio::test]
async fn where_no_commit_has_brought_a_key_tokens_pay() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let pending = group[0].update(&alice.provider, &alice.key).unwrap();
    let mut request = world.commit_of(group[0].group_id(), group[0].epoch(), pending);
    request.bundle.as_mut().unwrap().delivery_key_hash = Bytes::from_static(&[1; 31]);
    assert_eq!(code(world.call::<CommitGroup>(&alice, &request).await), Code::InvalidArgument);
    let mut request = CommitGroupRequest { idempotency_key: world.key(), ..request };
    request.bundle.as_mut().unwrap().delivery_key_hash = Bytes::new();
    world.call::<CommitGroup>(&alice, &request).await.unwrap();
    group[0].merge_pending(&alice.provider).unwrap();
    let message = sealed(&world, &alice, &mut group[0], "x");
    assert_eq!(code(world.call_anonymously::<SealedEnqueue>(&message).await), Code::PermissionDenied);
    let paid = SealedEnqueueRequest { permit: Some(Permit::Token((&tokens(&world, 1)[0]).into())), ..message };
    world.call_anonymously::<SealedEnqueue>(&paid).await.unwrap();
}

#[tokio::test]
async fn a_token_pays_for_one_message_and_a_repetition_is_no_other() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let [token, spare] = &tokens(&world, 2)[..] else { unreachable!() };

    // What is refused costs nothing.
    let stranger = SealedEnqueueRequest {
        epoch_tag: Bytes::from_static(&[0; 16]),
        ..paid(&world, &alice, &mut group[0], "knows the name only", token)
    };
    let refused = world.call_anonymously::<SealedEnqueue>(&stranger).await.unwrap_err();
    assert!(matches!(refused.detail, Some(Detail::Forked(_))));

    let request = paid(&world, &alice, &mut group[0], "once", token);
    let first = world.call_anonymously::<SealedEnqueue>(&request).await.unwrap();
    holds(&world, first.receipt.as_ref().unwrap(), &request, &[&alice, &bob]);
    let again = join_all((0..16).map(|_| world.call_anonymously::<SealedEnqueue>(&request))).await;
    assert!(again.into_iter().all(|answer| answer.unwrap() == first));
    let second = paid(&world, &alice, &mut group[0], "twice", token);
    assert_eq!(code(world.call_anonymously::<SealedEnqueue>(&second).await), Code::AlreadyExists);
    let second = SealedEnqueueRequest { permit: Some(Permit::Token(spare.into())), ..second };
    world.call_anonymously::<SealedEnqueue>(&second).await.expect("the key of a refused call is free");
    let mut forged = spare.clone();
    forged.nonce[0] ^= 1;
    let forged = paid(&world, &alice, &mut group[0], "forged", &forged);
    assert_eq!(code(world.call_anonymously::<SealedEnqueue>(&forged).await), Code::PermissionDenied);
    assert_eq!(texts(&world, &bob, &mut group[1], 1).await.len(), 2);
}

/// Each of `tokens` is shown with several messages at once; every message is to be counted once.
async fn spend_at_once(world: &World) {
    const TOKENS: usize = 8;
    const MESSAGES: usize = 6;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let mut groups = [
        world.group(GroupKind::Direct, &alice, &[&bob]).await,
        world.group(GroupKind::Direct, &alice, &[&carol]).await,
    ];
    let mut requests = Vec::new();
    for token in &tokens(world, TOKENS) {
        for n in 0..MESSAGES {
            requests.push(paid(world, &alice, &mut groups[n % 2][0], &n.to_string(), token));
        }
        requests.push(sealed(world, &alice, &mut groups[0][0], "beside"));
    }
    let answers = join_all(requests.iter().map(|request| world.call_anonymously::<SealedEnqueue>(request))).await;
    let mut receipts: Vec<_> = Vec::new();
    for answers in answers.chunks(MESSAGES + 1) {
        let (paid, beside) = answers.split_at(MESSAGES);
        assert_eq!(paid.iter().filter(|answer| answer.is_ok()).count(), 1, "{paid:?}");
        assert!(
            paid.iter().filter_map(|answer| answer.as_ref().err()).all(|status| status.code == Code::AlreadyExists)
        );
        receipts.extend(paid.iter().chain(beside).filter_map(|answer| answer.as_ref().ok()?.receipt.clone()));
    }
    // No place of a chain is left out for a message that was refused.
    for group in &groups {
        let id = group[0].group_id();
        let mut places: Vec<_> = receipts.iter().filter(|receipt| receipt.group_id == id.to_bytes()).collect();
        places.sort_by_key(|receipt| receipt.seq);
        for (index, receipt) in places.iter().enumerate() {
            assert_eq!(receipt.seq, index as u64 + 2);
        }
        for pair in places.windows(2) {
            assert_eq!(Link::after(pair[0]).unwrap().prev.as_slice(), pair[1].prev.as_ref());
        }
    }
    let accepted = receipts.len();
    assert_eq!(accepted, TOKENS * 2);
    assert_eq!(world.fetch(&alice, 0).await.entries.len(), accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_spent_once_on_two_replicas() {
    let world = World::start().await;
    qpc_delivery::start(world.deps.clone(), qpc_delivery::Config::default()).await.unwrap();
    spend_at_once(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres: cargo xtask test"]
async fn a_token_is_spent_once_on_two_replicas_over_postgres() {
    let url = std::env::var("QPC_TEST_POSTGRES").expect("QPC_TEST_POSTGRES is not set; run cargo xtask test");
    let scope = format!("sealed_{:016x}", Runtime::system().rng().next_u64());
    let world = World::start_on(fresh_database(&url, &scope).await).await;
    qpc_delivery::start(world.deps.clone(), qpc_delivery::Config { committers: 2, ..Default::default() })
        .await
        .unwrap();
    spend_at_once(&world).await;
}

struct Hands(AtomicU64);

impl Clock for Hands {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_token_that_is_over_pays_for_nothing_new_and_what_it_paid_for_stays() {
    let clock = Arc::new(Hands(AtomicU64::new(3_000 * KEY_MS)));
    let mut world = World::around(Arc::new(LocalBus::default())).await;
    world.deps.runtime = Runtime::new(clock.clone(), Arc::new(SystemEntropy));
    qpc_delivery::start(world.deps.clone(), qpc_delivery::Config::default()).await.unwrap();
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let [early, late] = &tokens(&world, 2)[..] else { unreachable!() };
    clock.0.fetch_add(2 * KEY_MS - 1, Ordering::SeqCst);
    let request = paid(&world, &alice, &mut group[0], "in time", early);
    let first = world.call_anonymously::<SealedEnqueue>(&request).await.unwrap();
    clock.0.fetch_add(1, Ordering::SeqCst);
    let late = paid(&world, &alice, &mut group[0], "too late", late);
    assert_eq!(code(world.call_anonymously::<SealedEnqueue>(&late).await), Code::PermissionDenied);
    assert_eq!(world.call_anonymously::<SealedEnqueue>(&request).await.unwrap(), first, "asked again");
}
