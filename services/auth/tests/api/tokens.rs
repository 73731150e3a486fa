use std::time::Duration;

use bytes::Bytes;
use qpc_crypto::token::{self, KEY_MS, Token, TokenKeys, TokenRequest};
use qpc_wire::{
    Code, Status,
    limits::{MAX_TOKENS, quotas},
    methods, v1,
};

use crate::admin::{administer, set_quota};
use crate::world::{Connection, World, code, connection, key, rng};

/// What the services make of the secret of this world.
fn keys(world: &World) -> TokenKeys {
    TokenKeys::new(world.deps.secrets.derive("token/keys"))
}

async fn published(world: &World, from: &Connection) -> Vec<v1::TokenKey> {
    world.call::<methods::TokenKeys>(from, v1::TokenKeysRequest {}).await.unwrap().keys
}

fn request(key_epoch: u64, count: usize) -> (TokenRequest, v1::IssueTokensRequest) {
    let request = TokenRequest::new(&mut rng(), key_epoch, count).unwrap();
    let blinded = request.blinded();
    (request, v1::IssueTokensRequest { idempotency_key: key(), key_epoch, blinded })
}

async fn issue(
    world: &World,
    from: &Connection,
    request: &v1::IssueTokensRequest,
) -> Result<v1::IssueTokensResponse, Status> {
    world.call::<methods::IssueTokens>(from, request.clone()).await
}

fn finish(request: &TokenRequest, public: &Bytes, answer: &v1::IssueTokensResponse) -> Vec<Token> {
    request.finish(public, &answer.evaluated, &answer.proof).unwrap()
}

#[tokio::test]
async fn tokens_are_issued_under_the_key_that_everybody_is_told() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let keys_of_all = published(&world, &connection(9)).await;
    assert_eq!(keys_of_all, published(&world, &alice.attached(3)).await);
    let current = &keys_of_all[0];
    assert_eq!(keys_of_all[1].key_epoch + 1, current.key_epoch);
    assert_eq!(current.expires_at_ms, token::expires_ms(current.key_epoch));

    let (blinds, request) = request(current.key_epoch, MAX_TOKENS);
    let answer = issue(&world, &alice.attached(3), &request).await.unwrap();
    let tokens = finish(&blinds, &current.public_key, &answer);
    assert!(tokens.len() == MAX_TOKENS && tokens.iter().all(|token| keys(&world).made(token)));
}

#[tokio::test]
async fn the_201st_token_of_a_day_is_refused_until_the_next() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (bob, _) = world.logged_in("bob").await;
    let another = alice.another_device();
    world.log_in(&connection(2), &another).await.unwrap();
    world.pass(Duration::from_secs(3600));
    let epoch = published(&world, &connection(9)).await[0].key_epoch;
    let mut first = None;
    for device in [&alice, &another, &alice, &another] {
        let request = request(epoch, 50).1;
        let answer = issue(&world, &device.attached(3), &request).await.unwrap();
        first.get_or_insert((request, answer));
    }
    let refused = issue(&world, &alice.attached(3), &request(epoch, 1).1).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (Code::ResourceExhausted, 23 * 3_600_000));
    issue(&world, &bob.attached(3), &request(epoch, 1).1).await.expect("others have their own");
    // Asked again, it is the same answer, and counts no further.
    let (request_again, answer) = first.unwrap();
    assert_eq!(issue(&world, &alice.attached(3), &request_again).await.unwrap(), answer);

    world.pass(Duration::from_millis(23 * 3_600_000 - 1));
    assert_eq!(issue(&world, &alice.attached(3), &request(epoch, 1).1).await.unwrap_err().retry_after_ms, 1);
    world.pass(Duration::from_millis(1));
    let epoch = published(&world, &connection(9)).await[0].key_epoch;
    issue(&world, &alice.attached(3), &request(epoch, 50).1).await.unwrap();
}

#[tokio::test]
async fn what_an_admin_sets_for_an_account_counts_and_not_what_is_for_all() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    for (name, value) in [(quotas::TOKENS_DAY, 2), (quotas::DEVICES, 1)] {
        administer(&world, set_quota(&alice, name, Some(value))).await.unwrap();
    }
    let epoch = published(&world, &connection(9)).await[0].key_epoch;
    issue(&world, &alice.attached(3), &request(epoch, 2).1).await.unwrap();
    assert_eq!(code(issue(&world, &alice.attached(3), &request(epoch, 1).1).await), Code::ResourceExhausted);
    assert_eq!(code(world.log_in(&connection(2), &alice.another_device()).await), Code::ResourceExhausted);
    administer(&world, set_quota(&alice, quotas::DEVICES, None)).await.unwrap();
    world.log_in(&connection(2), &alice.another_device()).await.unwrap();
}

#[tokio::test]
async fn a_repeated_request_is_evaluated_and_counted_once() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let current = published(&world, &connection(9)).await.remove(0);
    let (blinds, request) = request(current.key_epoch, 3);
    let first = issue(&world, &alice.attached(3), &request).await.unwrap();
    for _ in 0..100 {
        assert_eq!(issue(&world, &alice.attached(4), &request).await.unwrap(), first);
    }
    assert_eq!(finish(&blinds, &current.public_key, &first).len(), 3);
    let other =
        v1::IssueTokensRequest { idempotency_key: request.idempotency_key, ..self::request(current.key_epoch, 1).1 };
    assert_eq!(code(issue(&world, &alice.attached(3), &other).await), Code::InvalidArgument);
}

#[tokio::test]
async fn what_is_no_request_for_tokens_is_refused_and_not_counted() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let epoch = published(&world, &connection(9)).await[0].key_epoch;
    let good = request(epoch, 1).1;
    assert_eq!(code(issue(&world, &connection(3), &good).await), Code::Unauthenticated);
    let none = v1::IssueTokensRequest { blinded: Vec::new(), ..good.clone() };
    assert_eq!(code(issue(&world, &alice.attached(3), &none).await), Code::InvalidArgument);
    let many = v1::IssueTokensRequest { blinded: vec![good.blinded[0].clone(); MAX_TOKENS + 1], ..good.clone() };
    assert_eq!(code(issue(&world, &alice.attached(3), &many).await), Code::InvalidArgument);
    for bad in [vec![0; 32], vec![255; 32], vec![1; 31]] {
        let bad = v1::IssueTokensRequest { blinded: vec![good.blinded[0].clone(), bad.into()], ..good.clone() };
        assert_eq!(code(issue(&world, &alice.attached(3), &bad).await), Code::InvalidArgument);
    }
    for other in [epoch - 1, epoch + 1] {
        let other = v1::IssueTokensRequest { key_epoch: other, ..good.clone() };
        assert_eq!(code(issue(&world, &alice.attached(3), &other).await), Code::FailedPrecondition);
    }
    for _ in 0..4 {
        issue(&world, &alice.attached(3), &request(epoch, 50).1).await.unwrap();
    }
}

#[tokio::test]
async fn keys_change_every_week() {
    let world = World::new().await;
    let before = published(&world, &connection(9)).await;
    world.pass(Duration::from_millis(KEY_MS));
    let after = published(&world, &connection(9)).await;
    assert_eq!(after[1], before[0], "that of last week is still known");
    assert_ne!(after[0].public_key, after[1].public_key);
}
