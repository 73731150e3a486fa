//! What a client keeps of sealed messages: tokens, their keys, how a message leaves; and what it takes of those of others.

use std::collections::BTreeSet;

use qpc_crypto::token::{self, Token, TokenKeys, TokenRequest};
use qpc_wire::{IdempotencyKey, v1};

use qpc_crypto::{Suite, franking};
use qpc_wire::{GroupId, content::Evidence};

use super::{Crafted, Post, Said, TempDir, anonymous, encrypted, open, options, receive, take_outbox, text, written};
use crate::{
    Client, ClientOptions, Error, Event, MessageId, MessageKind, MessageRef,
    content::Content,
    receive::{Delivered, Received},
    sealed::{wanted, way},
    store::{Outgoing, Tx, Way},
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

fn refused(received: &[Received]) -> bool {
    matches!(received, [Received::Event(Event::Undecryptable { error, .. })] if matches!(**error, Error::NotFranked))
}

fn content(body: Said) -> Vec<u8> {
    let id = MessageId([6; 16]);
    Content { id, sent_at_ms: 5, from: "bob".into(), again: None, blind: [4; 16], body }.encode().unwrap()
}

/// What nobody could be held to is not shown: the server does not know who has sent it, so who says it has to sign.
#[tokio::test]
async fn what_people_say_sealed_is_shown_if_the_device_that_says_it_has_signed_it() {
    let folder = TempDir::new().unwrap();
    let (alice, bob) = (open(&folder, "alice").await, open(&folder, "bob").await);
    let mut post = Post::new();
    let (id, welcome) = post.acquaint(&alice, &bob, Suite::Classic).await;
    receive(&bob, welcome).await;
    let said = content(written("you cannot hold me to it"));
    let sign = |by: &Client, group, content: &[u8]| franking::sign(&by.inner.identity.device_key, group, content);
    let signed = |signature| franking::with_signature(&said, &signature);
    let forged = [
        said.clone(),
        signed(sign(&alice, id, &said)),
        signed(sign(&bob, GroupId([9; 16]), &said)),
        signed(sign(&bob, id, &content(written("something else")))),
        // With a field behind the signature.
        [&*signed(sign(&bob, id, &said)), &[0xa0, 0x06, 1]].concat(),
    ];
    let mut seq = 1;
    for plaintext in forged {
        let crafted = encrypted(&bob, id, plaintext).await;
        assert!(refused(&receive(&alice, anonymous(post.entry(seq, id, 1, &crafted))).await), "{seq}");
        seq += 1;
    }
    // Signed, and committed to without the signature: the tag would be of something else.
    let Crafted { payload, .. } = encrypted(&bob, id, signed(sign(&bob, id, &said))).await;
    let half = Crafted { payload, content: said.clone() };
    assert!(refused(&receive(&alice, anonymous(post.entry(seq, id, 1, &half))).await));
    assert_eq!(alice.history(id, 9).await.unwrap(), []);

    let crafted = encrypted(&bob, id, signed(sign(&bob, id, &said))).await;
    let received = receive(&alice, anonymous(post.entry(seq + 1, id, 1, &crafted))).await;
    assert_eq!(text(&received), "you cannot hold me to it");
    let target = MessageRef { author: bob.inner.identity.account(), id: MessageId([6; 16]) };
    let (_, kept) = run(&alice, move |tx| tx.evidence(id, target, 9)).await.remove(0);
    let kept = <Evidence as prost::Message>::decode(&*kept).unwrap();
    assert_eq!(kept.certificate, bob.inner.identity.certificate.to_bytes().to_vec());
    assert!(franking::is_signed(&bob.inner.identity.certificate, id, &kept.content));

    // Something of a later version is somebody's word too.
    let later = qpc_wire::content::Content { version: 3, ..Default::default() };
    let later = prost::Message::encode_to_vec(&later);
    let crafted = encrypted(&bob, id, later.clone()).await;
    assert!(refused(&receive(&alice, anonymous(post.entry(seq + 2, id, 1, &crafted))).await));
    let crafted = encrypted(&bob, id, franking::with_signature(&later, &sign(&bob, id, &later))).await;
    let received = receive(&alice, anonymous(post.entry(seq + 3, id, 1, &crafted))).await;
    assert!(matches!(&received[..], [Received::Message { message, .. }, ..] if message.kind == MessageKind::Unknown));

    // What clients tell each other is nobody's word, and needs no signature.
    let told = encrypted(&bob, id, content(Said::Read(vec![MessageId([1; 16])]))).await;
    assert!(!refused(&receive(&alice, anonymous(post.entry(seq + 4, id, 1, &told))).await));
    assert_eq!(alice.stats().await.unwrap().undecryptable, seq + 1);
}

/// A client that seals signs what it says, whatever it says; and where it is to leave by name nobody needs that.
#[tokio::test]
async fn what_is_written_by_a_client_that_seals_is_signed() {
    let folder = TempDir::new().unwrap();
    let seals = || ClientOptions { sealed: true, ..options(folder.path(), "alice", "correct horse") };
    let alice = Client::open(seals()).await.unwrap();
    let bob = open(&folder, "bob").await;
    let mut post = Post::new();
    let (id, welcome) = post.acquaint(&alice, &bob, Suite::Classic).await;
    receive(&bob, welcome).await;
    let target = MessageRef { author: alice.inner.identity.account(), id: alice.send(id, "sealed").await.unwrap() };
    let first = run(&alice, |tx| tx.first_in_outbox(&[])).await;
    alice.close().await;
    let alice = Client::open(seals()).await.unwrap();
    assert_eq!(run(&alice, |tx| tx.first_in_outbox(&[])).await, first, "same signature after a restart");
    alice.edit(id, target, "edited").await.unwrap();
    alice.react(id, target, "👍").await.unwrap();
    let outgoing = take_outbox(&alice).await;
    assert_eq!(outgoing.len(), 3);
    for (seq, outgoing) in (2..).zip(&outgoing) {
        let received = receive(&bob, anonymous(post.application(seq, outgoing))).await;
        assert!(!refused(&received), "{seq}");
    }
    assert_eq!(bob.history(id, 9).await.unwrap()[0].text, "edited");
    assert_eq!(run(&bob, move |tx| tx.evidence(id, target, 9)).await.len(), 2, "the edit can be shown too");

    // By name it is taken as well, and shown without the signature being needed.
    alice.send(id, "by name").await.unwrap();
    let by_name: Delivered = post.application(5, &take_outbox(&alice).await[0]);
    assert_eq!(text(&receive(&bob, by_name).await), "by name");
    alice.close().await;
    let alice = open(&folder, "alice").await;
    alice.send(id, "not signed").await.unwrap();
    let unsigned: Vec<Outgoing> = take_outbox(&alice).await;
    assert_eq!(unsigned[0].sealed.as_ref().unwrap().signature, None);
    assert_eq!(way(&alice.inner, &unsigned[0]).await.unwrap(), Way::Named);
    assert_eq!(run(&alice, move |tx| wanted(tx, true, id)).await, Way::Sealed);
}
