//! What a client keeps of sealed messages: tokens, their keys, and how a message leaves.

use std::collections::BTreeSet;

use qpc_crypto::token::{self, Token, TokenKeys, TokenRequest};
use qpc_wire::{IdempotencyKey, v1};

use super::{TempDir, open};
use crate::{
    Client, Error,
    store::{Tx, Way},
};

async fn run<T: Send + 'static>(client: &Client, work: impl FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static) -> T {
    client.inner.store.run(work).await.unwrap()
}

fn issue(keys: &TokenKeys, request: &TokenRequest) -> Vec<Token> {
    let mut rng = crate::Runtime::system().rng();
    let answer = keys.evaluate(&mut rng, request.key_epoch(), &request.blinded()).unwrap();
    let evaluated: Vec<_> = answer.elements.iter().map(|element| bytes::Bytes::copy_from_slice(element)).collect();
    request.finish(&keys.public(request.key_epoch()).unwrap(), &evaluated, &answer.proof).unwrap()
}

#[tokio::test]
async fn a_key_of_tokens_is_believed_once() {
    let folder = TempDir::new().unwrap();
    let client = open(&folder, "alice").await;
    let key =
        |epoch: u64, byte: u8| v1::TokenKey { key_epoch: epoch, public_key: vec![byte; 32].into(), expires_at_ms: 0 };
    assert_eq!(run(&client, |tx| tx.newest_token_key()).await, None);
    for (epoch, byte, believed) in [(7, 1, true), (7, 1, true), (7, 2, false), (8, 2, true), (7, 1, true)] {
        assert_eq!(run(&client, move |tx| tx.pin_token_key(&key(epoch, byte))).await, believed, "{epoch} {byte}");
    }
    assert_eq!(run(&client, |tx| tx.newest_token_key()).await, Some(8));
    assert_eq!(run(&client, |tx| tx.token_key(7)).await, Some(vec![1; 32]));
}

#[tokio::test]
async fn tokens_are_taken_once_each_in_no_order_and_not_when_they_are_over() {
    let folder = TempDir::new().unwrap();
    let client = open(&folder, "alice").await;
    let (keys, current) = (TokenKeys::new([1; 32]), token::key_epoch(client.inner.runtime.now_ms()));
    let request = |epoch| TokenRequest::new(&mut crate::Runtime::system().rng(), epoch, 40).unwrap();
    let (old, new) = (issue(&keys, &request(current - 2)), issue(&keys, &request(current - 1)));
    let kept: BTreeSet<_> = new.iter().map(|token| token.nonce).collect();
    run(&client, move |tx| tx.end_token_request(&[old, new].concat())).await;
    assert_eq!(run(&client, |tx| tx.count_tokens()).await, 40);
    let mut taken = Vec::new();
    while let Some(token) = run(&client, |tx| tx.take_token()).await {
        taken.push(token.nonce);
    }
    assert_eq!(taken.iter().copied().collect::<BTreeSet<_>>(), kept);
    assert_eq!(taken.len(), kept.len());
    assert!(!taken.is_sorted(), "of 40 in an order of chance");
}

#[tokio::test]
async fn what_was_asked_for_and_how_a_message_leaves_outlast_a_crash() {
    let folder = TempDir::new().unwrap();
    let client = open(&folder, "alice").await;
    let (keys, key) = (TokenKeys::new([1; 32]), IdempotencyKey([3; 16]));
    let request = TokenRequest::new(&mut crate::Runtime::system().rng(), 9, 2).unwrap();
    let blinded = request.blinded();
    run(&client, move |tx| tx.put_token_request(key, &request)).await;
    let conversation = qpc_wire::GroupId([4; 16]);
    run(&client, move |tx| {
        tx.push_outbox(conversation, None, b"content", key, None)?;
        assert_eq!(tx.first_in_outbox(&[])?.and_then(|outgoing| outgoing.way), None);
        tx.set_way(1, Way::Sealed)?;
        tx.set_permit(1, b"permit")
    })
    .await;
    client.close().await;

    let client = open(&folder, "alice").await;
    let (again, request) = run(&client, |tx| tx.token_request()).await.unwrap();
    assert_eq!((again, request.blinded()), (key, blinded));
    assert_eq!(issue(&keys, &request).len(), 2);
    let waiting = run(&client, |tx| tx.first_in_outbox(&[])).await.unwrap();
    assert_eq!((waiting.n, waiting.way), (1, Some(Way::Sealed)));
    assert_eq!(run(&client, |tx| tx.permit(1)).await, Some(b"permit".to_vec()));
    run(&client, |tx| tx.remove_from_outbox(1)).await;
    assert_eq!(run(&client, |tx| tx.permit(1)).await, None);
    run(&client, |tx| tx.end_token_request(&[])).await;
    assert!(run(&client, |tx| tx.token_request()).await.is_none());
}
