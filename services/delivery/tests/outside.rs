//! Coming into a group from outside: further devices, devices that are stuck, holders of an invite; and commits that are
//! too large for a frame.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::panic)]

mod common;

use bytes::Bytes;
use common::{Device, World, code, envelope, revoked, wrong_epoch};
use prost::Message;
use qpc_crypto::{Changes, Conversation, InviteSecret, mls::InviteTerms};
use qpc_wire::{
    Code, GroupId,
    limits::PART,
    methods::{CommitGroup, Enqueue, FetchGroupInfo, FetchPart, StagePart},
    v1::{CommitBundle, CommitGroupRequest, FetchGroupInfoRequest, FetchPartRequest, GroupKind, StagePartRequest},
};

#[tokio::test]
async fn a_sibling_and_a_stuck_device_come_in_by_themselves() {
    let world = World::start().await;
    let (alice, bob, eve) = (world.device(), world.device(), world.device());
    let phone = world.sibling(&bob);
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let id = group[0].group_id();
    assert_eq!(code(world.call::<FetchGroupInfo>(&eve, &world.group_info_request(id)).await), Code::NotFound);
    let nowhere = world.group_info_request(GroupId([0; 16]));
    assert_eq!(code(world.call::<FetchGroupInfo>(&alice, &nowhere).await), Code::NotFound);

    let mut joined = world.come(&phone, id, None).await.unwrap();
    world.catch_up(&alice, &mut group[0], 0).await;
    assert_eq!((group[0].members().len(), group[0].epoch_tag().unwrap()), (3, joined.epoch_tag().unwrap()));
    world.call::<Enqueue>(&phone, &world.message(&phone, &mut joined, "me too")).await.unwrap();

    // Bob has lost what he had and comes back in place of himself.
    let mut again = world.come(&bob, id, None).await.unwrap();
    world.catch_up(&phone, &mut joined, 0).await;
    assert_eq!((joined.members().len(), joined.epoch_tag().unwrap()), (3, again.epoch_tag().unwrap()));
    world.call::<Enqueue>(&bob, &world.message(&bob, &mut again, "back")).await.unwrap();
    assert_eq!(world.rows("SELECT COUNT(*) FROM group_member").await, 3);
}

#[tokio::test]
async fn a_commit_from_outside_that_comes_late_hears_the_epoch() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let phone = world.sibling(&bob);
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let id = group[0].group_id();
    let (_, late) = world.outsider(&phone, id, None).await.unwrap();
    let epoch = world.update(&alice, &mut group[0]).await.unwrap().epoch;
    assert_eq!(wrong_epoch(&world.call::<CommitGroup>(&phone, &late).await.unwrap_err()), Some(epoch));
    // Sent by another device than it is of.
    let (_, theirs) = world.outsider(&phone, id, None).await.unwrap();
    assert_eq!(code(world.call::<CommitGroup>(&bob, &theirs).await), Code::PermissionDenied);
    world.revoke(&phone).await;
    world.remember_queue_key(&phone);
    let refused = world.call::<CommitGroup>(&phone, &theirs).await.unwrap_err();
    assert_eq!(revoked(&refused), [phone.identity.device.to_bytes()]);
}

#[tokio::test]
async fn an_account_whose_last_device_was_revoked_comes_back_with_a_new_one() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let phone = world.sibling(&bob);
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    world.revoke(&bob).await;
    world.update(&alice, &mut group[0]).await.unwrap();
    let mut joined = world.come(&phone, group[0].group_id(), None).await.unwrap();
    // Now there is somebody to stay for the account, and the old device must go.
    let refused = world.update(&phone, &mut joined).await.unwrap_err();
    assert_eq!(revoked(&refused), [bob.identity.device.to_bytes()]);
    let removing = Changes { remove: &[bob.identity.device], ..Changes::default() };
    world.change(&phone, &mut joined, removing).await.unwrap();
}

#[tokio::test]
async fn what_joiners_share_is_made_once_an_epoch() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob]).await;
    let request = world.group_info_request(group[0].group_id());
    let entries = world.fetch(&bob, 0).await.entries;
    let of_welcome = envelope(&entries[0]).shared.clone();
    let first = world.call::<FetchGroupInfo>(&alice, &request).await.unwrap();
    assert_eq!((first.epoch, &first.shared), (1, &of_welcome), "the Welcome's serves");
    world.update(&alice, &mut group[0]).await.unwrap();
    let second = world.call::<FetchGroupInfo>(&bob, &request).await.unwrap();
    assert!(second.epoch == 2 && second.shared != first.shared);
    assert_eq!(world.call::<FetchGroupInfo>(&alice, &request).await.unwrap(), second);
    let shared = world.shared(&bob, &second.shared.unwrap()).await;
    assert!(shared.encrypted_group_info.is_empty());
    let unknown = FetchPartRequest { id: world.key(), offset: 0 };
    assert_eq!(code(world.call::<FetchPart>(&bob, &unknown).await), Code::NotFound);
    let odd = FetchPartRequest { id: "short".into(), offset: 0 };
    assert_eq!(code(world.call::<FetchPart>(&bob, &odd).await), Code::NotFound);
}

async fn invited(world: &World, alice: &Device, group: &mut Conversation, terms: InviteTerms) -> InviteSecret {
    let invite = InviteSecret::generate(&mut world.deps.runtime.rng());
    let mut policy = group.policy().unwrap();
    policy.add_invite(invite.key(), terms).unwrap();
    world.change(alice, group, Changes { policy: Some(policy), ..Changes::default() }).await.unwrap();
    invite
}

#[tokio::test]
async fn an_invite_opens_for_its_holder_as_often_as_it_says() {
    let world = World::start().await;
    let (alice, bob, carol) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob]).await;
    let id = group[0].group_id();
    let expires_ms = world.deps.runtime.now_ms() + 60_000;
    let invite = invited(&world, &alice, &mut group[0], InviteTerms { expires_ms, max_uses: 1 }).await;

    // Knowing the name of the invite is not holding it.
    let request = FetchGroupInfoRequest {
        invite_key: Bytes::copy_from_slice(&invite.key()),
        invite_signature: Bytes::copy_from_slice(&invite.info_proof(id, bob.identity.device)),
        ..world.group_info_request(id)
    };
    assert_eq!(code(world.call::<FetchGroupInfo>(&carol, &request).await), Code::NotFound);
    let other = InviteSecret::generate(&mut world.deps.runtime.rng());
    assert_eq!(code(world.outsider(&carol, id, Some(&other)).await.map(|_| ())), Code::NotFound);

    let (mut joined, request) = world.outsider(&carol, id, Some(&invite)).await.unwrap();
    world.call::<CommitGroup>(&carol, &request).await.unwrap();
    joined.merge_pending(&carol.provider).unwrap();
    world.catch_up(&alice, &mut group[0], 0).await;
    assert_eq!(group[0].epoch_tag().unwrap(), joined.epoch_tag().unwrap());
    let replayed = CommitGroupRequest { idempotency_key: world.key(), ..request };
    assert_eq!(wrong_epoch(&world.call::<CommitGroup>(&carol, &replayed).await.unwrap_err()), Some(joined.epoch()));

    let dave = world.device();
    assert_eq!(code(world.outsider(&dave, id, Some(&invite)).await.map(|_| ())), Code::FailedPrecondition);
    let used_up = world.call::<CommitGroup>(&dave, &told(&world, &dave, &alice, &group[0], &invite)).await.unwrap_err();
    assert_eq!((used_up.code, used_up.detail), (Code::FailedPrecondition, None));
    assert!(used_up.message.contains("used up"), "{}", used_up.message);
}

/// A commit from outside by somebody who was told the state of the group by a member and not by the server.
fn told(
    world: &World,
    joiner: &Device,
    member: &Device,
    group: &Conversation,
    invite: &InviteSecret,
) -> CommitGroupRequest {
    let (_, pending) = Conversation::join_external(
        &joiner.provider,
        &joiner.key,
        &joiner.certificate,
        &group.group_info_now(&member.provider, &member.key).unwrap(),
        &group.ratchet_tree().unwrap(),
        &[],
        Some(invite),
    )
    .unwrap();
    world.commit_of(group.group_id(), group.epoch(), pending)
}

#[tokio::test]
async fn an_invite_ends_by_the_clock_of_the_server_and_by_the_word_of_an_admin() {
    let world = World::start().await;
    let (alice, bob, dave) = (world.device(), world.device(), world.device());
    let mut group = world.group(GroupKind::Group, &alice, &[&bob]).await;
    let id = group[0].group_id();
    let terms = |expires_ms| InviteTerms { expires_ms, max_uses: 0 };
    let over = invited(&world, &alice, &mut group[0], terms(world.deps.runtime.now_ms() - 1)).await;
    assert_eq!(code(world.outsider(&dave, id, Some(&over)).await.map(|_| ())), Code::FailedPrecondition);
    let expired = world.call::<CommitGroup>(&dave, &told(&world, &dave, &alice, &group[0], &over)).await.unwrap_err();
    assert_eq!(expired.code, Code::FailedPrecondition);
    assert!(expired.message.contains("expired"), "{}", expired.message);

    let open = invited(&world, &alice, &mut group[0], terms(world.deps.runtime.now_ms() + 60_000)).await;
    world.come(&dave, id, Some(&open)).await.unwrap();
    world.catch_up(&alice, &mut group[0], 0).await;
    assert_eq!(world.rows("SELECT uses FROM invite_use").await, 1);
    let mut policy = group[0].policy().unwrap();
    policy.remove_invite(&open.key());
    world.change(&alice, &mut group[0], Changes { policy: Some(policy), ..Changes::default() }).await.unwrap();
    assert_eq!(world.rows("SELECT COUNT(*) FROM invite_use").await, 0, "uses go with their invite");
    let erin = world.device();
    assert_eq!(code(world.outsider(&erin, id, Some(&open)).await.map(|_| ())), Code::NotFound);
}

#[tokio::test]
async fn a_commit_may_come_in_parts() {
    let world = World::start().await;
    let (alice, bob) = (world.device(), world.device());
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let pending = group[0].update(&alice.provider, &alice.key).unwrap();
    let mut request = world.commit_of(group[0].group_id(), group[0].epoch(), pending);
    let staged_id = world.key();
    let whole = request.bundle.replace(CommitBundle { staged: staged_id.clone(), ..CommitBundle::default() });
    let whole = Bytes::from(whole.unwrap().encode_to_vec());
    assert_eq!(code(world.call::<CommitGroup>(&alice, &request).await), Code::FailedPrecondition, "nothing is staged");
    let part =
        StagePartRequest { staged_id: staged_id.clone(), offset: 0, total: whole.len() as u64, data: whole.clone() };
    for wrong in [
        StagePartRequest { staged_id: "short".into(), ..part.clone() },
        StagePartRequest { offset: 1, ..part.clone() },
        StagePartRequest { total: part.total + 1, ..part.clone() },
        StagePartRequest { total: u64::MAX, data: vec![0; PART].into(), ..part.clone() },
    ] {
        assert_eq!(code(world.call::<StagePart>(&alice, &wrong).await), Code::InvalidArgument);
    }
    world.call::<StagePart>(&bob, &part).await.unwrap();
    let again = CommitGroupRequest { idempotency_key: world.key(), ..request.clone() };
    assert_eq!(code(world.call::<CommitGroup>(&alice, &again).await), Code::FailedPrecondition, "that is bob's");
    world.call::<StagePart>(&alice, &part).await.unwrap();
    world.call::<StagePart>(&alice, &part).await.unwrap();
    world.call::<CommitGroup>(&alice, &request).await.unwrap();
    group[0].merge_pending(&alice.provider).unwrap();
    world.catch_up(&bob, &mut group[1], 1).await;
    assert_eq!(group[0].epoch_tag().unwrap(), group[1].epoch_tag().unwrap());
    assert_eq!(world.rows("SELECT COUNT(*) FROM staged").await, 1, "only bob's is left");
}
