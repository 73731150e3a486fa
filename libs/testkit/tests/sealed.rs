//! Sealed messages from client to client: what the server gets to see of them, and what happens where they cannot be sent.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{all_accepted, client, delivery_tables, numbered, open, receives, until};
use prost::Message as _;
use qpc_chassis::db::Db;
use qpc_crypto::token::{self, KEY_MS, Token, TokenRequest};
use qpc_sdk::{
    Client, ClientOptions, ConversationId, Error, Event, MessageRef, ReceiptFile, Runtime, decoy_cost,
    runtime::{Clock, SystemEntropy},
    verify_receipts,
};
use qpc_testkit::{Backend, Cluster, Faults, Shape, eventually};
use qpc_wire::{
    Code, Method, Status, bus,
    methods::{Enqueue, IssueTokens, SealedEnqueue, TokenKeys},
    v1::{self, sealed_enqueue_request::Permit},
};

/// Whatever comes to a service, as it comes.
#[derive(Clone, Default)]
struct Tap(Arc<Mutex<Vec<bus::Call>>>);

impl Tap {
    async fn on(cluster: &Cluster, service: &str) -> Self {
        let tap = Self::default();
        let mut calls = cluster.deps().bus.subscribe(format!("qpc.rpc.{service}"), None).await.unwrap();
        let seen = tap.clone();
        tokio::spawn(async move {
            while let Some(call) = calls.next().await {
                seen.0.lock().unwrap().push(bus::Call::decode(call.payload).unwrap());
            }
        });
        tap
    }

    fn calls<M: Method>(&self) -> Vec<bus::Call> {
        let id = u32::from(M::INFO.id);
        self.0.lock().unwrap().iter().filter(|call| call.method == id).cloned().collect()
    }
}

async fn sealed(cluster: &Cluster, name: &str, device: usize) -> Client {
    open(ClientOptions { sealed: true, ..cluster.client_options(name, device, 0) }).await
}

async fn send_all(client: &Client, conversation: ConversationId, texts: &[String]) {
    for text in texts {
        client.send(conversation, text.as_str()).await.unwrap();
    }
}

async fn count(tables: &Db, sql: &'static str) -> i64 {
    tables.row(sql, &[]).await.unwrap().unwrap().int(0).unwrap()
}

/// No commit has brought a delivery key, as far as the server remembers.
async fn forget_keys(tables: &Db) {
    let mut tx = tables.begin().await.unwrap();
    tx.execute("UPDATE group_epoch SET key_hash = $1", &[qpc_chassis::db::Arg::Bytes(&[])]).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_messages_arrive_once_and_the_server_is_told_no_sender() {
    common::show_log();
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let tap = Tap::on(&cluster, "delivery").await;
    let (alice, bob) = (sealed(&cluster, "alice", 0).await, sealed(&cluster, "bob", 0).await);
    let carol = client(&cluster, "carol", 0, 1).await;
    let group = alice.create_group("three", &["bob".into(), "carol".into()]).await.unwrap();
    let (from_alice, from_bob) = (numbered("alice", 6), numbered("bob", 6));
    send_all(&alice, group, &from_alice).await;
    receives(&bob, group, &from_alice).await;
    send_all(&bob, group, &from_bob).await;
    receives(&alice, group, &from_bob).await;
    receives(&carol, group, &[from_alice.clone(), from_bob.clone()].concat()).await;
    let pair = alice.dm("bob").await.unwrap();
    alice.send(pair, "between us").await.unwrap();
    receives(&bob, pair, &["between us".into()]).await;
    for client in [&alice, &bob] {
        all_accepted(client, group).await;
        assert!(client.settle(Duration::from_secs(30)).await);
        let history = client.history(group, 100).await.unwrap();
        assert_eq!(history.iter().filter(|message| from_alice.contains(&message.text)).count(), 6, "no echo is shown");
        assert_eq!(client.stats().await.unwrap().undecryptable, 0);
    }

    let calls = tap.calls::<SealedEnqueue>();
    assert!(calls.len() >= 13, "{}", calls.len());
    let named: Vec<_> = tap.0.lock().unwrap().iter().filter(|call| !call.device_id.is_empty()).cloned().collect();
    let of_devices: BTreeSet<_> = named.iter().map(|call| call.channel_binding.clone()).collect();
    let mut groups_of_connections = std::collections::BTreeMap::<_, BTreeSet<_>>::new();
    for call in &calls {
        assert!(call.account_id.is_empty() && call.device_id.is_empty());
        assert!(!of_devices.contains(&call.channel_binding), "a connection of its own");
        let request = v1::SealedEnqueueRequest::decode(call.body.clone()).unwrap();
        groups_of_connections.entry(call.channel_binding.clone()).or_default().insert(request.group_id);
    }
    assert!(groups_of_connections.values().all(|groups| groups.len() == 1), "one conversation for each connection");
    let carols = carol.whoami().await.unwrap().device;
    let senders: BTreeSet<_> = tap.calls::<Enqueue>().into_iter().map(|call| call.device_id).collect();
    assert!(senders.iter().all(|device| *device == carols.to_bytes()), "who seals, seals all: acknowledgements too");

    // Texts and acknowledgements have one size.
    let size = |call: &bus::Call| v1::SealedEnqueueRequest::decode(call.body.clone()).unwrap().payload.len();
    let sizes: BTreeSet<usize> = calls.iter().map(size).collect();
    let (least, most) = (sizes.first().unwrap(), sizes.last().unwrap());
    assert!(*least > 256 && most - least <= 8, "one bucket, but for the length of an epoch or generation: {sizes:?}");

    // All have one chain, in which nothing is missing.
    let mut files = Vec::new();
    for client in [&alice, &bob, &carol] {
        let mut file = Vec::new();
        client.export_receipts(&mut file).await.unwrap();
        files.push(ReceiptFile::read(file.as_slice()).unwrap());
    }
    let report = verify_receipts(&files);
    assert_eq!(report.findings, [], "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_server_knows_no_key_each_message_costs_a_token_however_often_it_is_sent() {
    common::show_log();
    let shape = Shape { faults: Some(Faults::heavy(11)), ..Shape::pairs(Backend::Embedded) };
    let cluster = Cluster::start(shape).await.unwrap();
    let tap = Tap::on(&cluster, "delivery").await;
    let (alice, bob) = (sealed(&cluster, "alice", 0).await, sealed(&cluster, "bob", 0).await);
    let conversation = common::insist("a conversation", || alice.dm("bob")).await;
    common::let_in(&bob, conversation).await;
    let tables = delivery_tables(&cluster).await;
    forget_keys(&tables).await;
    let texts = numbered("alice", 12);
    send_all(&alice, conversation, &texts).await;
    receives(&bob, conversation, &texts).await;
    all_accepted(&alice, conversation).await;
    for client in [&alice, &bob] {
        assert!(client.settle(Duration::from_secs(60)).await);
    }
    let paid: BTreeSet<_> = tap
        .calls::<SealedEnqueue>()
        .into_iter()
        .filter_map(|call| {
            let request = v1::SealedEnqueueRequest::decode(call.body).unwrap();
            match request.permit {
                Some(v1::sealed_enqueue_request::Permit::Token(token)) => Some((request.payload, token.nonce)),
                _ => None,
            }
        })
        .collect();
    let (messages, tokens): (BTreeSet<_>, BTreeSet<_>) = paid.iter().cloned().unzip();
    assert!(messages.len() >= 12);
    assert_eq!((messages.len(), tokens.len()), (paid.len(), paid.len()), "each message keeps its token");
    assert_eq!(count(&tables, "SELECT COUNT(*) FROM spent_token").await, paid.len() as i64);
    assert_eq!(tap.calls::<Enqueue>().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sealed_waits_and_says_so_and_goes_out_under_no_name() {
    common::show_log();
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let (of_delivery, of_auth) = (Tap::on(&cluster, "delivery").await, Tap::on(&cluster, "auth").await);
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let conversation = alice.dm("bob").await.unwrap();
    common::let_in(&bob, conversation).await;
    assert!(alice.settle(Duration::from_secs(30)).await);
    let account = alice.whoami().await.unwrap().account;
    alice.close().await;

    // No key at the server, and no token for today.
    let tables = delivery_tables(&cluster).await;
    let keys = tables.rows("SELECT group_id, epoch, key_hash FROM group_epoch", &[]).await.unwrap();
    forget_keys(&tables).await;
    let auth = rusqlite::Connection::open(cluster.folder().join("auth.db")).unwrap();
    let day = cluster.deps().runtime.now_ms() / 86_400_000;
    let sql = "INSERT INTO tokens_issued (account_id, day, issued) VALUES (?1, ?2, 200), (?1, ?2 + 1, 200)";
    auth.execute(sql, rusqlite::params![account.as_ref(), day]).unwrap();

    let named = of_delivery.calls::<Enqueue>().len();
    let alice = sealed(&cluster, "alice", 0).await;
    let mut events = alice.events();
    alice.send(conversation, "for bob alone").await.unwrap();
    let waits = until(&mut events, "the word that it waits", |event| matches!(event, Event::NotSealed { .. })).await;
    let Event::NotSealed { error, .. } = waits else { unreachable!() };
    assert!(matches!(*error, Error::NoTokens), "{error}");
    assert_eq!(alice.stats().await.unwrap().outbox, 1);
    eventually("a refusal of tokens", || async { (!of_auth.calls::<IssueTokens>().is_empty()).then_some(()) }).await;

    // Not even by a client that would name itself: it was to be sealed.
    alice.close().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let mut events = alice.events();
    until(&mut events, "the word that it still waits", |event| matches!(event, Event::NotSealed { .. })).await;
    let mut tx = tables.begin().await.unwrap();
    for row in &keys {
        let sql = "UPDATE group_epoch SET key_hash = $3 WHERE group_id = $1 AND epoch = $2";
        let (group, epoch, hash) = (row.bytes(0).unwrap(), row.uint(1).unwrap(), row.bytes(2).unwrap());
        tx.execute(sql, &[(&group).into(), epoch.into(), (&hash).into()]).await.unwrap();
    }
    tx.commit().await.unwrap();
    receives(&bob, conversation, &["for bob alone".into()]).await;
    all_accepted(&alice, conversation).await;
    let alices = alice.whoami().await.unwrap().device.to_bytes();
    let by_alice = of_delivery.calls::<Enqueue>().into_iter().skip(named).filter(|call| call.device_id == alices);
    assert_eq!(by_alice.count(), 0);
}

/// What was found of the reports that the server keeps, in their order.
fn verdicts(cluster: &Cluster) -> Vec<String> {
    let auth = rusqlite::Connection::open(cluster.folder().join("auth.db")).unwrap();
    let mut rows = auth.prepare("SELECT verdict FROM reports ORDER BY reported_ms, rowid").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

async fn shows(client: &Client, conversation: ConversationId, text: &str) {
    eventually(&format!("{text:?}"), || async {
        client.history(conversation, 9).await.ok()?.iter().any(|message| message.text == text).then_some(())
    })
    .await;
}

/// What the server cannot say of a sealed message, its signature does: also to members of a group, of edits, and of what was
/// sent by name as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_sealed_can_be_reported_with_its_edits() {
    common::show_log();
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let alice = client(&cluster, "alice", 0, 0).await;
    let (bob, carol) = (sealed(&cluster, "bob", 0).await, client(&cluster, "carol", 0, 1).await);
    let group = alice.create_group("three", &["bob".into(), "carol".into()]).await.unwrap();
    for client in [&bob, &carol] {
        common::let_in(client, group).await;
    }
    let by_name = alice.send(group, "something bad").await.unwrap();
    all_accepted(&alice, group).await;
    let author = alice.whoami().await.unwrap().account;
    alice.close().await;

    let alice = sealed(&cluster, "alice", 0).await;
    let vile = MessageRef { author, id: alice.send(group, "something vile").await.unwrap() };
    for client in [&bob, &carol] {
        shows(client, group, "something vile").await;
        client.report(group, &[vile], "she will not stop").await.unwrap();
    }
    // The edit is shown with it.
    alice.edit(group, vile, "nothing at all").await.unwrap();
    shows(&carol, group, "nothing at all").await;
    carol.report(group, &[vile], "").await.unwrap();
    let by_name = MessageRef { author, id: by_name };
    carol.report(group, &[vile, by_name], "").await.unwrap();
    let verdicts = verdicts(&cluster);
    assert_eq!(verdicts.len(), 4);
    let signed = "signed by a device of the accused and sealed";
    assert!(verdicts[..3].iter().all(|verdict| verdict.starts_with(signed)), "{verdicts:?}");
    assert!(verdicts[3].starts_with("partly sent by the accused"), "{verdicts:?}");
    // Who wrote it has nothing to show.
    assert!(matches!(alice.report(group, &[vile], "").await, Err(Error::NothingToReport)));
}

/// It is signed then, and nothing of what was encrypted before is sent.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_to_leave_by_name_is_encrypted_anew_to_leave_sealed() {
    common::show_log();
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let tap = Tap::on(&cluster, "delivery").await;
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let conversation = alice.dm("bob").await.unwrap();
    common::let_in(&bob, conversation).await;
    assert!(alice.settle(Duration::from_secs(30)).await);
    let me = alice.whoami().await.unwrap();
    alice.close().await;
    let named = tap.calls::<Enqueue>().len();

    let offline = Client::open(cluster.client_options("alice", 0, 0)).await.unwrap();
    let id = offline.send(conversation, "written by name").await.unwrap();
    offline.close().await;
    let alice = sealed(&cluster, "alice", 0).await;
    shows(&bob, conversation, "written by name").await;
    all_accepted(&alice, conversation).await;
    bob.report(conversation, &[MessageRef { author: me.account, id }], "").await.unwrap();
    assert_eq!(verdicts(&cluster).len(), 1);
    let by_alice = tap.calls::<Enqueue>().into_iter().skip(named).filter(|call| call.device_id == me.device.to_bytes());
    assert_eq!(by_alice.count(), 0);
    assert_eq!(bob.stats().await.unwrap().undecryptable, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn decoys_look_like_messages_to_the_server_and_like_nothing_to_people() {
    common::show_log();
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let tap = Tap::on(&cluster, "delivery").await;
    let bob = sealed(&cluster, "bob", 0).await;
    let alice = sealed(&cluster, "alice", 0).await;
    let conversation = alice.dm("bob").await.unwrap();
    common::let_in(&bob, conversation).await;
    let written = [alice.send(conversation, "a text").await.unwrap()];
    receives(&bob, conversation, &["a text".into()]).await;
    for client in [&alice, &bob] {
        assert!(client.settle(Duration::from_secs(30)).await);
    }
    alice.close().await;
    let quiet = tap.calls::<SealedEnqueue>().len();
    assert!(quiet >= 2, "a text and its acknowledgement");

    let (mut at_bob, second) = (bob.events(), Duration::from_secs(1));
    let options = ClientOptions { sealed: true, decoys: Some(second), ..cluster.client_options("alice", 0, 0) };
    let alice = open(options).await;
    let mut at_alice = alice.events();
    assert_eq!(alice.decoy_cost(), decoy_cost(second));
    eventually("decoys and their acknowledgements", || async {
        (tap.calls::<SealedEnqueue>().len() >= quiet + 6).then_some(())
    })
    .await;
    let end = alice.send(conversation, "the end").await.unwrap();
    receives(&bob, conversation, &["a text".into(), "the end".into()]).await;
    until(&mut at_alice, "the delivery of what was written", |event| match event {
        Event::Delivered { messages, .. } => {
            assert!(messages.iter().all(|id| *id == end || written.contains(id)), "nobody hears of decoys");
            messages.contains(&end)
        }
        Event::Accepted { message, .. } => {
            assert_eq!(*message, end);
            false
        }
        _ => false,
    })
    .await;
    until(&mut at_bob, "the only message", |event| match event {
        Event::MessageReceived(message) => {
            assert_eq!(message.text, "the end");
            true
        }
        Event::Undecryptable { .. } => panic!("{event:?}"),
        _ => false,
    })
    .await;
    assert_eq!(bob.conversations().await.unwrap().len(), 1);
    for client in [&alice, &bob] {
        assert_eq!(client.history(conversation, 100).await.unwrap().len(), 2);
        assert_eq!(client.stats().await.unwrap().undecryptable, 0);
    }

    let requests: Vec<_> = tap.calls::<SealedEnqueue>();
    let size = |call: &bus::Call| v1::SealedEnqueueRequest::decode(call.body.clone()).unwrap().payload.len();
    let sizes: BTreeSet<usize> = requests.iter().map(size).collect();
    assert!(sizes.last().unwrap() - sizes.first().unwrap() <= 8, "{sizes:?}");

    // What a decoy is said to cost is what it costs.
    let body = requests.last().unwrap().body.clone();
    let request = v1::SealedEnqueueRequest::decode(body.clone()).unwrap();
    let Event::Accepted { receipt, .. } = accepted_again(&alice, conversation).await else { unreachable!() };
    let entry = v1::Entry {
        seq: 1000,
        body: Some(v1::entry::Body::Envelope(v1::Envelope {
            kind: v1::EnvelopeKind::Application as i32,
            group_id: request.group_id,
            epoch: request.epoch,
            payload: request.payload,
            accepted_at_ms: receipt.accepted_at_ms,
            receipt: Some(receipt.clone()),
            franking: Some(v1::Franking {
                tag: request.commitment.clone(),
                commitment: request.commitment,
                anonymous: true,
            }),
            ..v1::Envelope::default()
        })),
    };
    let answer = v1::SealedEnqueueResponse { receipt: Some(receipt) };
    let measured = [10 + body.len(), 9 + answer.encoded_len(), entry.encoded_len()].map(|len| len as u64);
    let promised = decoy_cost(Duration::from_secs(24 * 60 * 60));
    assert!(promised.bytes_of_others.abs_diff(measured[2]) <= 8, "{measured:?} {promised:?}");
    assert!(promised.bytes.abs_diff(measured.iter().sum()) <= 16, "{measured:?} {promised:?}");
}

async fn accepted_again(client: &Client, conversation: ConversationId) -> Event {
    let mut events = client.events();
    client.send(conversation, "one more").await.unwrap();
    until(&mut events, "a receipt", |event| matches!(event, Event::Accepted { .. })).await
}

/// The clock of the machine, some time ahead.
struct Ahead(AtomicU64);

impl Clock for Ahead {
    fn now_ms(&self) -> u64 {
        Runtime::system().now_ms() + self.0.load(Ordering::SeqCst)
    }
}

/// A sealed message as it came to delivery, paid with a token of this key.
fn paid_with(tap: &Tap, key_epoch: u64) -> Option<v1::SealedEnqueueRequest> {
    let requests = tap.calls::<SealedEnqueue>().into_iter().rev();
    requests
        .map(|call| v1::SealedEnqueueRequest::decode(call.body).unwrap())
        .find(|request| matches!(&request.permit, Some(Permit::Token(token)) if token.key_epoch == key_epoch))
}

/// The same message once more, paid with another token.
async fn pay_again(
    cluster: &Cluster,
    message: &v1::SealedEnqueueRequest,
    token: &Token,
) -> Result<v1::SealedEnqueueResponse, Status> {
    let (idempotency_key, permit) = (common::random_key(cluster), Some(Permit::Token(token.into())));
    common::call::<SealedEnqueue>(
        cluster,
        None,
        &v1::SealedEnqueueRequest { idempotency_key, permit, ..message.clone() },
    )
    .await
}

/// Writes until a message is paid with a token of this key: a renewed leaf brings a delivery key with it, which comes first.
async fn until_paid(
    (cluster, tap): (&Cluster, &Tap),
    (alice, bob): (&Client, &Client),
    conversation: ConversationId,
    written: &mut Vec<String>,
    key_epoch: u64,
) -> v1::SealedEnqueueRequest {
    let tables = delivery_tables(cluster).await;
    for _ in 0..20 {
        forget_keys(&tables).await;
        written.push(format!("text {} in week {key_epoch}", written.len()));
        alice.send(conversation, written.last().unwrap().as_str()).await.unwrap();
        receives(bob, conversation, written).await;
        if let Some(request) = paid_with(tap, key_epoch) {
            return request;
        }
    }
    panic!("nothing was paid with a token of week {key_epoch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_outlive_their_key_by_a_week_and_new_ones_come_by_themselves() {
    common::show_log();
    // A day into a week, so that no test runs over its end.
    let now = Runtime::system().now_ms();
    let week = token::key_epoch(now) + 1;
    let clock = Arc::new(Ahead(AtomicU64::new(week * KEY_MS + KEY_MS / 7 - now)));
    let runtime = || Runtime::new(clock.clone(), Arc::new(SystemEntropy));
    let cluster = Cluster::start_on(runtime(), Shape::pairs(Backend::Embedded), |_| {}).await.unwrap();
    let (tap, of_auth) = (Tap::on(&cluster, "delivery").await, Tap::on(&cluster, "auth").await);
    let sealed = async |name: &str| {
        open(ClientOptions { sealed: true, runtime: runtime(), ..cluster.client_options(name, 0, 0) }).await
    };
    let (alice, bob) = (sealed("alice").await, sealed("bob").await);
    let conversation = alice.dm("bob").await.unwrap();
    common::let_in(&bob, conversation).await;
    let (ends, mut written) = ((&alice, &bob), Vec::new());
    until_paid((&cluster, &tap), ends, conversation, &mut written, week).await;

    // Some that the test keeps, of an account that it plays.
    let request = TokenRequest::new(&mut runtime().rng(), week, 2).unwrap();
    let ask = v1::IssueTokensRequest {
        idempotency_key: common::random_key(&cluster),
        key_epoch: week,
        blinded: request.blinded(),
    };
    let who = common::identity(&alice.whoami().await.unwrap());
    let answer = common::call::<IssueTokens>(&cluster, Some(who), &ask).await.unwrap();
    let keys = common::call::<TokenKeys>(&cluster, None, &v1::TokenKeysRequest {}).await.unwrap().keys;
    let kept = request.finish(&keys[0].public_key, &answer.evaluated, &answer.proof).unwrap();

    clock.0.fetch_add(KEY_MS, Ordering::SeqCst);
    let message = until_paid((&cluster, &tap), ends, conversation, &mut written, week).await;
    pay_again(&cluster, &message, &kept[0]).await.expect("the week after its key");

    // Written while nobody is there, to be sent when all that alice has is over.
    alice.close().await;
    let options = ClientOptions { sealed: true, runtime: runtime(), ..cluster.client_options("alice", 0, 0) };
    let alice = Client::open(options).await.unwrap();
    written.push("over the end".to_owned());
    alice.send(conversation, "over the end").await.unwrap();
    clock.0.fetch_add(KEY_MS, Ordering::SeqCst);
    forget_keys(&delivery_tables(&cluster).await).await;
    alice.connect().await.unwrap();
    receives(&bob, conversation, &written).await;
    let message = until_paid((&cluster, &tap), (&alice, &bob), conversation, &mut written, week + 2).await;
    let refused = pay_again(&cluster, &message, &kept[1]).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied, "{refused}");
    let by_alice = of_auth.calls::<IssueTokens>().into_iter().filter(|call| call.device_id == who.device.to_bytes());
    let weeks: BTreeSet<_> =
        by_alice.map(|call| v1::IssueTokensRequest::decode(call.body).unwrap().key_epoch).collect();
    assert!(weeks.contains(&(week + 2)), "asked for by herself when there are none: {weeks:?}");
    all_accepted(&alice, conversation).await;
    for client in [&alice, &bob] {
        assert!(client.settle(Duration::from_secs(30)).await);
        assert_eq!(client.stats().await.unwrap().undecryptable, 0);
    }
    assert_eq!(tap.calls::<Enqueue>().len(), 0, "never under a name");
}
