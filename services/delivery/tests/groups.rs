//! The life of a group: what is created, committed, refused and left, over the bus.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::panic)]

mod common;

use bytes::Bytes;
use common::{Device, World, bundle, code, envelope, revoked, wrong_epoch};
use qpc_crypto::{Changes, Conversation, Incoming, Policy, Role, Suite, mls::join_welcome, receipt};
use qpc_wire::{
    Code, DeviceId, GroupId, Status,
    limits::{MAX_ADDS, MAX_HANDSHAKE},
    methods::{CommitGroup, CreateGroup, Enqueue, FetchGroupInfo, LeaveGroup},
    status::Detail,
    v1::{
        CommitBundle, CommitGroupRequest, CreateGroupRequest, EnvelopeKind, GroupKind, LeaveGroupRequest,
        LeaveGroupResponse,
    },
};

fn replaced(status: &Status) -> Option<Bytes> {
    match &status.detail {
        Some(Detail::Replaced(replaced)) => Some(replaced.successor.clone()),
        _ => None,
    }
}

fn exists(status: &Status) -> Option<Bytes> {
    match &status.detail {
        Some(Detail::ConversationExists(existing)) => Some(existing.group_id.clone()),
        _ => None,
    }
}

async fn leave(world: &World, device: &Device, group: &mut Conversation) -> Result<LeaveGroupResponse, Status> {
    let request = LeaveGroupRequest {
        idempotency_key: world.key(),
        group_id: group.group_id().to_bytes(),
        epoch: group.epoch(),
        proposal: group.leave(&device.provider, &device.key).unwrap().into(),
    };
    let left = world.call::<LeaveGroup>(device, &request).await?;
    assert_eq!(world.call::<LeaveGroup>(device, &request).await.unwrap(), left, "leaving again is answered the same");
    Ok(left)
}

#[tokio::test]
async fn commits_that_would_break_a_group_are_refused_before_anyone_forks() {
    let world = World::start().await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob]).await;
    let id = group[0].group_id();

    // Another update of the same epoch: its GroupInfo has another confirmation tag.
    let other = bundle(group[0].update(&alice.provider, &alice.key).unwrap());
    group[0].clear_pending(&alice.provider).unwrap();
    let pending = group[0].update(&alice.provider, &alice.key).unwrap();
    let good = world.commit_of(id, group[0].epoch(), pending);
    let with = |change: fn(&mut CommitBundle)| {
        let mut bundle = good.bundle.clone().unwrap();
        change(&mut bundle);
        CommitGroupRequest { idempotency_key: world.key(), bundle: Some(bundle), ..good.clone() }
    };
    let bad = [
        with(|bundle| {
            let mut tampered = bundle.commit.to_vec();
            let middle = tampered.len() / 2;
            tampered[middle] ^= 1;
            bundle.commit = tampered.into();
        }),
        with(|bundle| bundle.commit = vec![1, 2].into()),
        with(|bundle| bundle.commit = Bytes::new()),
        with(|bundle| bundle.welcome = vec![0; MAX_HANDSHAKE + 1].into()),
        with(|bundle| bundle.welcome = "welcome".into()),
        with(|bundle| bundle.group_info = Bytes::new()),
        with(|bundle| bundle.group_info = vec![0; MAX_HANDSHAKE + 1].into()),
        CommitGroupRequest {
            idempotency_key: world.key(),
            bundle: Some(CommitBundle { group_info: other.group_info, ..good.bundle.clone().unwrap() }),
            ..good.clone()
        },
    ];
    for (n, request) in bad.iter().enumerate() {
        assert_eq!(code(world.call::<CommitGroup>(&alice, request).await), Code::InvalidArgument, "{n}");
    }
    let stolen = with(|_| {});
    assert_eq!(code(world.call::<CommitGroup>(&bob, &stolen).await), Code::PermissionDenied);
    assert_eq!(code(world.call::<CommitGroup>(&carol, &stolen).await), Code::NotFound);
    let unknown = CommitGroupRequest { group_id: world.key(), ..stolen };
    assert_eq!(code(world.call::<CommitGroup>(&alice, &unknown).await), Code::NotFound);
    for epoch in [good.epoch - 1, good.epoch + 1] {
        let stale = CommitGroupRequest { idempotency_key: world.key(), epoch, ..good.clone() };
        assert_eq!(wrong_epoch(&world.call::<CommitGroup>(&alice, &stale).await.unwrap_err()), Some(good.epoch));
    }

    group[0].clear_pending(&alice.provider).unwrap();
    world.forget_queue_key(&carol);
    let add = [carol.key_package()];
    let unsealable = world.change(&alice, &mut group[0], Changes { add: &add, ..Changes::default() }).await;
    assert_eq!(code(unsealable), Code::FailedPrecondition);

    assert!(world.fetch(&bob, 1).await.entries.is_empty(), "{id}: nothing of all this was delivered");
    world.update(&alice, &mut group[0]).await.unwrap();
    world.catch_up(&bob, &mut group[1], 1).await;
    assert_eq!(group[0].epoch_tag().unwrap(), group[1].epoch_tag().unwrap());
}

#[tokio::test]
async fn a_welcome_is_for_those_who_are_added() {
    let world = World::start().await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob]).await;
    let (packages, others) = ([carol.key_package()], [world.device().key_package()]);
    let pending = group[0].add(&alice.provider, &alice.key, &others).unwrap();
    let foreign = pending.welcome;
    group[0].clear_pending(&alice.provider).unwrap();
    let pending = group[0].add(&alice.provider, &alice.key, &packages).unwrap();
    for welcome in [foreign, b"welcome".to_vec(), Vec::new()] {
        let mut wrong = pending.clone();
        wrong.welcome = welcome;
        let request = world.commit_of(group[0].group_id(), group[0].epoch(), wrong);
        assert_eq!(code(world.call::<CommitGroup>(&alice, &request).await), Code::InvalidArgument);
    }
    let request = world.commit_of(group[0].group_id(), group[0].epoch(), pending);
    world.call::<CommitGroup>(&alice, &request).await.unwrap();
    assert_eq!(world.fetch(&carol, 0).await.entries.len(), 1);
}

#[tokio::test]
async fn joiners_share_one_state_and_get_small_welcomes() {
    const JOINERS: usize = 10;
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let joiners: Vec<Device> = (0..JOINERS).map(|_| world.device()).collect();
    let id = GroupId(world.random());
    let policy = Policy::group(id, alice.identity.account);
    let (mut group, request) = world.founding_with(id, &policy, Suite::Hybrid, &alice, &[&bob]);
    world.call::<CreateGroup>(&alice, &request).await.unwrap();
    group.merge_pending(&alice.provider).unwrap();
    let before = world.rows("SELECT COUNT(*) FROM shared").await;

    let packages: Vec<_> = joiners.iter().map(|joiner| joiner.key_package_of(Suite::Hybrid)).collect();
    let commit = group.add(&alice.provider, &alice.key, &packages).unwrap();
    let request = world.commit_of(id, group.epoch(), commit.clone());
    let response = world.call::<CommitGroup>(&alice, &request).await.unwrap();
    group.merge_pending(&alice.provider).unwrap();
    assert_eq!(world.rows("SELECT COUNT(*) FROM shared").await, before + 1);

    let (mut pointers, mut joined) = (Vec::new(), Vec::new());
    for joiner in &joiners {
        let entries = world.fetch(joiner, 0).await.entries;
        let [entry] = &entries[..] else { panic!("{} entries", entries.len()) };
        assert!(prost::Message::encoded_len(entry) < 2 << 10, "{} bytes", prost::Message::encoded_len(entry));
        assert_eq!((envelope(entry).epoch, &envelope(entry).receipt), (group.epoch(), &response.receipt));
        pointers.push(envelope(entry).shared.clone());
        joined.push(world.join(joiner, entry).await);
        assert_eq!(joined.last().unwrap().epoch_tag().unwrap(), group.epoch_tag().unwrap());
    }
    world.call::<Enqueue>(&joiners[3], &world.message(&joiners[3], &mut joined[3], "hello")).await.unwrap();
    assert!(pointers.windows(2).all(|pair| pair[0] == pair[1]));
    let everyone: Vec<DeviceId> = joiners.iter().chain([&bob]).map(|device| device.identity.device).collect();
    let public = qpc_crypto::ReceiptKey::from_bytes(&world.deps.secrets.derive("delivery/receipt")).public();
    receipt::check(&public, &response.receipt.unwrap(), &commit.commit, id, Some(&everyone)).unwrap();

    // A secret opens for its device only.
    let entries = world.fetch(&joiners[0], 0).await.entries;
    let shared = world.shared(&joiners[1], pointers[0].as_ref().unwrap()).await;
    let welcome =
        join_welcome(shared.suite as u16, &shared.encrypted_group_info, &envelope(&entries[0]).payload).unwrap();
    assert!(Conversation::join(&joiners[1].provider, &welcome, &shared.ratchet_tree).is_err());
}

#[tokio::test]
async fn a_commit_adds_a_bounded_number() {
    let world = World::start().await;
    let alice = world.device();
    let others: Vec<Device> = (0..=MAX_ADDS).map(|_| world.device()).collect();
    let (_, request) = world.founding(GroupKind::Group, &alice, &others.iter().collect::<Vec<_>>());
    assert_eq!(code(world.call::<CreateGroup>(&alice, &request).await), Code::InvalidArgument);
}

#[tokio::test]
async fn a_group_has_as_many_devices_as_the_setting_says() {
    let world = World::start_with(qpc_delivery::Config { group_leaves: 3, ..Default::default() }).await;
    let (alice, bob, carol, dave) = (world.device(), world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob, &carol]).await;
    let add = [dave.key_package()];
    let fourth = world.change(&alice, &mut group[0], Changes { add: &add, ..Changes::default() }).await;
    assert_eq!(code(fourth), Code::ResourceExhausted);
    assert_eq!(
        code(world.come(&world.sibling(&bob), group[0].group_id(), None).await.map(|_| ())),
        Code::ResourceExhausted
    );
    // One in place of another is no more than there were.
    let (gone, add) = ([carol.identity.device], [world.device().key_package()]);
    world.change(&alice, &mut group[0], Changes { remove: &gone, add: &add, ..Changes::default() }).await.unwrap();
}

#[tokio::test]
async fn whom_there_can_be_one_of_is_founded_once() {
    let world = World::start().await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let (_, foreign) = world.founding(GroupKind::Direct, &alice, &[&bob]);
    assert_eq!(code(world.call::<CreateGroup>(&carol, &foreign).await), Code::PermissionDenied);
    let (_, lying) = world.founding(GroupKind::Direct, &alice, &[&bob]);
    let lying = CreateGroupRequest { kind: GroupKind::Group as i32, ..lying };
    assert_eq!(code(world.call::<CreateGroup>(&alice, &lying).await), Code::InvalidArgument);

    let group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let (_, second) = world.founding(GroupKind::Direct, &bob, &[&alice]);
    let refused = world.call::<CreateGroup>(&bob, &second).await.unwrap_err();
    assert_eq!((refused.code, exists(&refused)), (Code::AlreadyExists, Some(group[0].group_id().to_bytes())));

    let phone = world.sibling(&alice);
    let own = world.group(GroupKind::Own, &alice, &[]).await;
    let (_, second) = world.founding(GroupKind::Own, &phone, &[]);
    let refused = world.call::<CreateGroup>(&phone, &second).await.unwrap_err();
    assert_eq!(exists(&refused), Some(own[0].group_id().to_bytes()));
}

#[tokio::test]
async fn readers_read_until_their_role_changes() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob]).await;
    let mut policy = group[0].policy().unwrap();
    policy.default_role = Role::ReadOnly;
    world.change(&alice, &mut group[0], Changes { policy: Some(policy.clone()), ..Changes::default() }).await.unwrap();
    let head = world.catch_up(&bob, &mut group[1], 1).await;
    let request = world.message(&bob, &mut group[1], "hush");
    assert_eq!(code(world.call::<Enqueue>(&bob, &request).await), Code::PermissionDenied);
    world.call::<Enqueue>(&alice, &world.message(&alice, &mut group[0], "listen")).await.unwrap();

    policy.set_role(bob.identity.account, Role::Member).unwrap();
    world.change(&alice, &mut group[0], Changes { policy: Some(policy), ..Changes::default() }).await.unwrap();
    world.catch_up(&bob, &mut group[1], head).await;
    world.call::<Enqueue>(&bob, &world.message(&bob, &mut group[1], "now")).await.unwrap();
}

#[tokio::test]
async fn revoked_devices_go_with_the_next_commit_and_come_into_no_group() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let (phone, tablet) = (world.sibling(&bob), world.sibling(&bob));
    let carol = world.device();
    let mut group = world.group(GroupKind::Group, &alice, &[&bob, &phone, &carol]).await;
    let id = group[0].group_id();
    let pruning = Changes { remove: &[phone.identity.device], ..Changes::default() };
    let early = world.change(&carol, &mut group[3], pruning.clone()).await;
    assert_eq!(code(early), Code::PermissionDenied, "a member removes no device that was not revoked");

    let late = world.message(&phone, &mut group[2], "late");
    world.revoke(&phone).await;
    world.revoke(&phone).await;
    assert!(world.fetch(&phone, 0).await.entries.is_empty() && world.fetch(&phone, 0).await.head == 1);
    assert_eq!(code(world.call::<Enqueue>(&phone, &late).await), Code::NotFound);
    assert_eq!(code(world.call::<FetchGroupInfo>(&phone, &world.group_info_request(id)).await), Code::NotFound);
    // Members cannot know of the revocation: the receipt names the phone until a commit removes it, though it gets nothing.
    let sent = world.call::<Enqueue>(&alice, &world.message(&alice, &mut group[0], "without the phone")).await.unwrap();
    assert_eq!(sent.receipt.unwrap().recipients, 3);
    assert_eq!(world.fetch(&phone, 0).await.head, 1);

    let refused = world.update(&alice, &mut group[0]).await.unwrap_err();
    assert_eq!((refused.code, revoked(&refused)), (Code::FailedPrecondition, vec![phone.identity.device.to_bytes()]));
    world.change(&carol, &mut group[3], pruning).await.unwrap();
    world.catch_up(&alice, &mut group[0], 0).await;
    assert_eq!(group[0].members().len(), 3);
    world.update(&alice, &mut group[0]).await.unwrap();
    let sent = world.call::<Enqueue>(&alice, &world.message(&alice, &mut group[0], "and no more of it")).await.unwrap();
    assert_eq!(sent.receipt.unwrap().recipients, 2);

    let add = [tablet.key_package()];
    world.forget_queue_key(&tablet);
    let refused = world.change(&alice, &mut group[0], Changes { add: &add, ..Changes::default() }).await.unwrap_err();
    assert_eq!((refused.code, refused.detail), (Code::FailedPrecondition, None), "it never had one");
    world.revoke_queue_key(&tablet);
    let refused = world.change(&alice, &mut group[0], Changes { add: &add, ..Changes::default() }).await.unwrap_err();
    assert_eq!(revoked(&refused), [tablet.identity.device.to_bytes()], "the keypackage service has heard of it before");
    world.revoke(&tablet).await;
    world.remember_queue_key(&tablet);
    let refused = world.change(&alice, &mut group[0], Changes { add: &add, ..Changes::default() }).await.unwrap_err();
    assert_eq!(revoked(&refused), [tablet.identity.device.to_bytes()]);
    let (_, founding) = world.founding(GroupKind::Group, &alice, &[&tablet]);
    let refused = world.call::<CreateGroup>(&alice, &founding).await.unwrap_err();
    assert_eq!(revoked(&refused), [tablet.identity.device.to_bytes()]);
}

#[tokio::test]
async fn an_account_without_devices_blocks_nobody_who_cannot_remove_it() {
    let world = World::start().await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob, &carol]).await;
    world.revoke(&carol).await;
    world.update(&bob, &mut group[1]).await.unwrap();
    world.catch_up(&alice, &mut group[0], 0).await;
    let refused = world.update(&alice, &mut group[0]).await.unwrap_err();
    assert_eq!(revoked(&refused), [carol.identity.device.to_bytes()], "an admin can remove it");
    let removing = Changes { remove: &[carol.identity.device], ..Changes::default() };
    world.change(&alice, &mut group[0], removing).await.unwrap();
}

#[tokio::test]
async fn who_leaves_is_out_at_once_and_the_next_commit_lets_go() {
    let world = World::start().await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob, &carol]).await;
    let late = world.message(&bob, &mut group[1], "late");
    // Made before the proposal is known, decided after it.
    let pending = group[2].update(&carol.provider, &carol.key).unwrap();
    let hasty = world.commit_of(group[2].group_id(), group[2].epoch(), pending);
    let left = leave(&world, &bob, &mut group[1]).await.unwrap().receipt.unwrap();
    assert_eq!((left.seq, left.recipients, left.epoch), (2, 2, 1));
    assert_eq!(code(world.call::<Enqueue>(&bob, &late).await), Code::NotFound);
    let foreign = LeaveGroupRequest {
        idempotency_key: world.key(),
        group_id: group[2].group_id().to_bytes(),
        epoch: 1,
        proposal: "proposal".into(),
    };
    assert_eq!(code(world.call::<LeaveGroup>(&carol, &foreign).await), Code::InvalidArgument);
    assert_eq!(code(world.call::<LeaveGroup>(&bob, &foreign).await), Code::NotFound);
    let stale = LeaveGroupRequest { idempotency_key: world.key(), epoch: 0, ..foreign };
    assert_eq!(wrong_epoch(&world.call::<LeaveGroup>(&carol, &stale).await.unwrap_err()), Some(1));

    let refused = world.call::<CommitGroup>(&carol, &hasty).await.unwrap_err();
    assert_eq!(wrong_epoch(&refused), Some(1), "the proposal has to be taken up");
    group[2].clear_pending(&carol.provider).unwrap();
    let entries = world.fetch(&carol, 1).await.entries;
    assert_eq!((entries.len(), envelope(&entries[0]).kind()), (1, EnvelopeKind::Handshake));
    let proposal = group[2].process(&carol.provider, &carol.open(&entries[0])).unwrap();
    assert!(matches!(proposal, Incoming::Leave { sender } if sender == bob.certificate));
    world.update(&carol, &mut group[2]).await.unwrap();
    assert_eq!(group[2].members().len(), 2);
    assert_eq!(world.fetch(&bob, 1).await.entries.len(), 0, "who left gets nothing more");
    world.catch_up(&alice, &mut group[0], 0).await;
    assert_eq!(group[0].epoch_tag().unwrap(), group[2].epoch_tag().unwrap());
}

#[tokio::test]
async fn a_leaver_who_was_not_let_go_is_a_member_again() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let phone = world.sibling(&alice);
    let mut group = world.group(GroupKind::Group, &alice, &[&bob]).await;
    let mut policy = group[0].policy().unwrap();
    policy.set_role(bob.identity.account, Role::Admin).unwrap();
    world.change(&alice, &mut group[0], Changes { policy: Some(policy), ..Changes::default() }).await.unwrap();
    let head = world.catch_up(&bob, &mut group[1], 1).await;
    leave(&world, &bob, &mut group[1]).await.unwrap();
    // A commit from outside cannot drop the role of an account, and so cannot let it go.
    world.come(&phone, group[0].group_id(), None).await.unwrap();
    let entries = world.fetch(&bob, head).await.entries;
    assert_eq!(entries.len(), 1, "the leaver hears of it");
    group[1].process(&bob.provider, &bob.open(&entries[0])).unwrap();
    assert!(group[1].is_active() && group[1].pending_leaves().is_empty());
    world.call::<Enqueue>(&bob, &world.message(&bob, &mut group[1], "still here")).await.unwrap();
}

#[tokio::test]
async fn the_last_leaf_takes_the_group_along() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    leave(&world, &bob, &mut group[1]).await.unwrap();
    // Whoever has left meets the other in a new conversation.
    let (_, again) = world.founding(GroupKind::Direct, &bob, &[&alice]);
    world.call::<CreateGroup>(&bob, &again).await.unwrap();
    world.catch_up(&alice, &mut group[0], 0).await;
    leave(&world, &alice, &mut group[0]).await.unwrap();
    let info = world.call::<FetchGroupInfo>(&alice, &world.group_info_request(group[0].group_id())).await;
    assert_eq!(code(info), Code::NotFound);
    assert_eq!(world.rows("SELECT COUNT(*) FROM mls_group").await, 1);
    assert_eq!(world.rows("SELECT COUNT(*) FROM group_member").await, 2);
}

#[tokio::test]
async fn a_successor_closes_its_predecessor() {
    let world = World::start().await;
    let (alice, bob, eve) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob]).await;
    let old = group[0].group_id();
    let succession = |founder: &Device, conversation: GroupId| {
        let id = GroupId(world.random());
        let mut policy = Policy::group(conversation, founder.identity.account);
        policy.predecessor = Some(old);
        (id, policy)
    };
    let founded = |founder: &Device, other: &Device, conversation| {
        let (id, policy) = succession(founder, conversation);
        world.founding_with(id, &policy, Suite::Classic, founder, &[other]).1
    };
    // Members would not take a successor with other roles; the predecessor is not closed for it.
    assert_eq!(code(world.call::<CreateGroup>(&bob, &founded(&bob, &alice, old)).await), Code::Aborted);
    assert_eq!(code(world.call::<CreateGroup>(&eve, &founded(&eve, &alice, old)).await), Code::NotFound);
    let elsewhere = founded(&alice, &bob, GroupId(world.random()));
    assert_eq!(code(world.call::<CreateGroup>(&alice, &elsewhere).await), Code::InvalidArgument);

    let (id, policy) = succession(&alice, old);
    let (_, request) = world.founding_with(id, &policy, Suite::Hybrid, &alice, &[&bob]);
    world.call::<CreateGroup>(&alice, &request).await.unwrap();
    let successor = Some(id.to_bytes());
    let message = world.message(&bob, &mut group[1], "to the old one");
    let refused = world.call::<Enqueue>(&bob, &message).await.unwrap_err();
    assert_eq!((refused.code, replaced(&refused)), (Code::FailedPrecondition, successor.clone()));
    assert_eq!(replaced(&world.update(&bob, &mut group[1]).await.unwrap_err()), successor);
    let info = world.call::<FetchGroupInfo>(&bob, &world.group_info_request(old)).await;
    assert_eq!(replaced(&info.unwrap_err()), successor);
    assert_eq!(replaced(&leave(&world, &bob, &mut group[1]).await.unwrap_err()), successor);
    let refused = world.call::<CreateGroup>(&alice, &founded(&alice, &bob, old)).await.unwrap_err();
    assert_eq!(replaced(&refused), successor, "there is one successor");
    let entries = world.fetch(&bob, 1).await.entries;
    world.join(&bob, &entries[0]).await;
}

#[tokio::test]
async fn a_direct_conversation_is_continued_by_any_of_the_two() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let (old, id) = (group[0].group_id(), GroupId(world.random()));
    let mut policy = Policy::direct(old);
    policy.predecessor = Some(old);
    let (_, request) = world.founding_with(id, &policy, Suite::Hybrid, &bob, &[&alice]);
    world.call::<CreateGroup>(&bob, &request).await.unwrap();
    let (_, third) = world.founding(GroupKind::Direct, &alice, &[&bob]);
    assert_eq!(exists(&world.call::<CreateGroup>(&alice, &third).await.unwrap_err()), Some(id.to_bytes()));
}
