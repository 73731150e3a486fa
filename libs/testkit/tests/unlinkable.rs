//! Whoever has all that the servers see, store and log of tokens cannot tell whose pays for a message. Somebody tries, with
//! everything that two records can have in common; and finds it out where clients make a mistake on purpose.
//!
//! What is left out is what tokens cannot hide: all users are members of one group, and come from one address.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use common::{Log, delivery_tables, open};
use prost::Message as _;
use qpc_sdk::{
    Client, ClientOptions, Event,
    runtime::planted::{Mistake, plant},
};
use qpc_testkit::{Backend, Cluster, Shape, eventually};
use qpc_wire::{
    Method, bus,
    methods::{IssueTokens, SealedEnqueue},
    v1::{self, sealed_enqueue_request::Permit},
};
use rand::seq::SliceRandom;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tracing::{Dispatch, dispatcher};
use tracing_subscriber::filter::LevelFilter;

const USERS: usize = 8;
const MESSAGES: usize = 12;
/// Records that have a value in common with more others than this have it by their kind.
const COMMON: usize = 64;

/// Threads of the servers, all of which log everything.
fn servers(log: &Log) -> Runtime {
    let subscriber =
        tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_ansi(false).with_writer(log.clone());
    let dispatch = Dispatch::new(subscriber.finish());
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || std::mem::forget(dispatcher::set_default(&dispatch)))
        .build()
        .unwrap()
}

/// Threads of the clients, which log nothing: the servers do not see that.
fn clients(mistake: Option<Mistake>) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || plant(mistake))
        .build()
        .unwrap()
}

/// Everything that came to a service, and when.
type Tap = Arc<Mutex<Vec<(Instant, bus::Call)>>>;

async fn tap(cluster: &Cluster, service: &str) -> Tap {
    let mut calls = cluster.deps().bus.subscribe(format!("qpc.rpc.{service}"), None).await.unwrap();
    let tap = Tap::default();
    let seen = tap.clone();
    tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            seen.lock().unwrap().push((Instant::now(), bus::Call::decode(call.payload).unwrap()));
        }
    });
    tap
}

fn calls<M: Method>(tap: &Tap) -> Vec<(Instant, bus::Call)> {
    let id = u32::from(M::INFO.id);
    tap.lock().unwrap().iter().filter(|(_, call)| call.method == id).cloned().collect()
}

fn hash(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Every run of eight bytes.
fn values_of_bytes(bytes: &[u8], out: &mut HashSet<u64>) {
    out.extend(bytes.windows(8).map(hash));
}

/// Every word that may be an id, as it is and as the bytes that it writes down; and lists of bytes.
fn values_of_text(text: &str, out: &mut HashSet<u64>) {
    let is_hex = |word: &str| {
        word.len() >= 16 && word.len().is_multiple_of(2) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    for word in text.split(|at: char| at.is_whitespace() || "=\"'(),;{}[]".contains(at)) {
        if word.len() >= 8 && word.bytes().any(|byte| byte.is_ascii_digit()) {
            out.insert(hash(word.as_bytes()));
        }
        for word in word.split(|at: char| !at.is_ascii_alphanumeric()).filter(|word| is_hex(word)) {
            values_of_bytes(&hex::decode(word).unwrap(), out);
        }
    }
    for list in text.split('[').skip(1).filter_map(|rest| rest.split(']').next()) {
        let bytes: Result<Vec<u8>, _> = list.split(',').map(|byte| byte.trim().parse()).collect();
        values_of_bytes(&bytes.unwrap_or_default(), out);
    }
}

/// Records that something may be found out from: rows of all tables, lines of logs and metrics.
#[derive(Default)]
struct Evidence {
    records: Vec<HashSet<u64>>,
    by_value: HashMap<u64, Vec<usize>>,
}

impl Evidence {
    fn add(&mut self, values: HashSet<u64>) {
        for value in &values {
            self.by_value.entry(*value).or_default().push(self.records.len());
        }
        self.records.push(values);
    }

    fn add_text(&mut self, text: &str) {
        for line in text.lines() {
            // The time of a line is looked at apart.
            let line = line.split_once(' ').map_or(line, |(_, rest)| rest);
            let mut values = HashSet::new();
            values_of_text(line, &mut values);
            self.add(values);
        }
    }

    fn add_database(&mut self, file: &Path) {
        let sql = rusqlite::Connection::open(file).unwrap();
        let tables: Vec<String> = sql
            .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        for table in tables {
            let mut statement = sql.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
            let columns = statement.column_count();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let mut values = HashSet::new();
                for column in 0..columns {
                    match row.get_ref(column).unwrap() {
                        rusqlite::types::ValueRef::Blob(bytes) => values_of_bytes(bytes, &mut values),
                        rusqlite::types::ValueRef::Text(text) => {
                            values_of_text(&String::from_utf8_lossy(text), &mut values);
                        }
                        _ => {}
                    }
                }
                self.add(values);
            }
        }
    }

    /// What a call shows, and whatever stands beside that anywhere.
    fn about(&self, call: &bus::Call) -> HashSet<u64> {
        let mut known = HashSet::new();
        values_of_bytes(&call.encode_to_vec(), &mut known);
        let correlation = hex::encode(&call.correlation_id);
        values_of_text(&format!("{}-{}", &correlation[..16], &correlation[16..]), &mut known);
        let beside: BTreeSet<usize> = known
            .iter()
            .filter_map(|value| self.by_value.get(value).filter(|records| records.len() <= COMMON))
            .flatten()
            .copied()
            .collect();
        for record in beside {
            known.extend(&self.records[record]);
        }
        known
    }
}

/// A message that was paid for with a token, and who wrote it.
struct Redemption {
    at: Instant,
    call: bus::Call,
    writer: usize,
}

/// What came of one run.
struct Seen {
    evidence: Evidence,
    /// Of each user.
    issuances: Vec<Vec<(Instant, bus::Call)>>,
    redemptions: Vec<Redemption>,
}

/// How many writers somebody guesses who has these scores for each user; a draw counts in parts.
fn guessed(redemptions: &[Redemption], score: impl Fn(&Redemption, usize) -> f64) -> f64 {
    let credit = |redemption: &Redemption| {
        let scores: Vec<f64> = (0..USERS).map(|user| score(redemption, user)).collect();
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let drawn = scores.iter().filter(|score| **score == best).count();
        if scores[redemption.writer] == best { 1.0 / drawn as f64 } else { 0.0 }
    };
    redemptions.iter().map(credit).sum()
}

/// By whatever a redemption has in common with what is known of a user's issuances and not of everybody's.
fn guessed_by_values(seen: &Seen) -> f64 {
    let known: Vec<HashSet<u64>> = seen
        .issuances
        .iter()
        .map(|calls| calls.iter().flat_map(|(_, call)| seen.evidence.about(call)).collect())
        .collect();
    let mut users_with: HashMap<u64, usize> = HashMap::new();
    known.iter().flatten().for_each(|value| *users_with.entry(*value).or_default() += 1);
    let about: Vec<HashSet<u64>> =
        seen.redemptions.iter().map(|redemption| seen.evidence.about(&redemption.call)).collect();
    let index: HashMap<*const Redemption, usize> = seen
        .redemptions
        .iter()
        .enumerate()
        .map(|(index, redemption)| (std::ptr::from_ref(redemption), index))
        .collect();
    guessed(&seen.redemptions, |redemption, user| {
        about[index[&std::ptr::from_ref(redemption)]]
            .intersection(&known[user])
            .map(|value| users_with[value])
            .filter(|users| *users < USERS)
            .map(|users| 1.0 / users as f64)
            .sum()
    })
}

/// By whose tokens came last before the message; and by whose came at the same place in the order of all.
fn guessed_by_times(seen: &Seen) -> [f64; 2] {
    let last = |user: usize, at: Instant| {
        let before = seen.issuances[user].iter().map(|(issued, _)| *issued).filter(|issued| *issued < at).max();
        before.map_or(f64::NEG_INFINITY, |issued| -(at - issued).as_secs_f64())
    };
    let first = |user: usize| seen.issuances[user].iter().map(|(at, _)| *at).min().unwrap();
    let place_of_user =
        |user: usize| (0..USERS).filter(|other| first(*other) < first(user)).count() as f64 / USERS as f64;
    let place = |at: Instant| {
        let before = seen.redemptions.iter().filter(|other| other.at < at).count();
        before as f64 / seen.redemptions.len() as f64
    };
    [
        guessed(&seen.redemptions, |redemption, user| last(user, redemption.at)),
        guessed(&seen.redemptions, |redemption, user| {
            -(place(redemption.at) - place_of_user(user) - 0.5 / USERS as f64).abs()
        }),
    ]
}

/// Hashes of what a client has sent and the server has accepted.
async fn accepted(client: &Client, count: usize, write: impl Future<Output = ()>) -> BTreeSet<Vec<u8>> {
    let mut events = client.events();
    write.await;
    let mut hashes = BTreeSet::new();
    while hashes.len() < count {
        let event = tokio::time::timeout(Duration::from_secs(120), events.next()).await.unwrap().unwrap();
        if let Event::Accepted { receipt, .. } = event {
            hashes.insert(receipt.message_hash.to_vec());
        }
    }
    hashes
}

async fn talk(cluster: &Cluster, issued: &Tap, shuffled: &[usize]) -> (Vec<Client>, Vec<BTreeSet<Vec<u8>>>) {
    let mut users = Vec::new();
    for n in 0..USERS {
        let options = ClientOptions { sealed: true, ..cluster.client_options(&format!("user{n}"), 0, 0) };
        users.push(open(options).await);
    }
    let others: Vec<String> = (1..USERS).map(|n| format!("user{n}")).collect();
    let group = users[0].create_group("all", &others).await.unwrap();
    for user in &users {
        common::let_in(user, group).await;
        assert!(user.settle(Duration::from_secs(60)).await);
    }
    eventually("tokens for all", || async {
        let devices: BTreeSet<_> = calls::<IssueTokens>(issued).into_iter().map(|(_, call)| call.device_id).collect();
        (devices.len() == USERS).then_some(())
    })
    .await;
    let tables = delivery_tables(cluster).await;
    let mut tx = tables.begin().await.unwrap();
    tx.execute("UPDATE group_epoch SET key_hash = $1", &[qpc_chassis::db::Arg::Bytes(&[])]).await.unwrap();
    tx.commit().await.unwrap();

    let users_ref = &users;
    let write = async {
        for user in shuffled {
            users_ref[*user].send(group, "anybody could have written this").await.unwrap();
        }
    };
    let mut waiting = Vec::new();
    let (begun, begin) = tokio::sync::watch::channel(false);
    for user in &users {
        let mut begin = begin.clone();
        waiting.push(accepted(user, MESSAGES, async move { drop(begin.wait_for(|begun| *begun).await) }));
    }
    let collect = futures_util::future::join_all(waiting);
    let (hashes, ()) = tokio::join!(collect, async {
        // All listen by now.
        begun.send(true).unwrap();
        write.await;
    });
    (users, hashes)
}

/// Everybody writes to a group that all are in, in an order of chance, and pays with tokens.
fn run(mistake: Option<Mistake>) -> Seen {
    let log = Log::default();
    let (servers, clients) = (servers(&log), clients(mistake));
    let (cluster, of_auth, of_delivery) = servers
        .block_on(servers.spawn(async {
            let cluster = Cluster::start(Shape { gateways: 1, ..Shape::pairs(Backend::Embedded) }).await.unwrap();
            let taps = (tap(&cluster, "auth").await, tap(&cluster, "delivery").await);
            (cluster, taps.0, taps.1)
        }))
        .unwrap();
    let mut shuffled: Vec<usize> = (0..USERS * MESSAGES).map(|n| n % USERS).collect();
    shuffled.shuffle(&mut rand::thread_rng());
    let cluster = Arc::new(cluster);
    let (shared, issued) = (cluster.clone(), of_auth.clone());
    let (users, hashes) =
        clients.block_on(clients.spawn(async move { talk(&shared, &issued, &shuffled).await })).unwrap();

    let devices: Vec<_> = users.iter().map(|user| clients.block_on(user.whoami()).unwrap().device.to_bytes()).collect();
    let mut issuances = vec![Vec::new(); USERS];
    for (at, call) in calls::<IssueTokens>(&of_auth) {
        issuances[devices.iter().position(|device| *device == call.device_id).unwrap()].push((at, call));
    }
    let redemptions = calls::<SealedEnqueue>(&of_delivery).into_iter().filter_map(|(at, call)| {
        let request = v1::SealedEnqueueRequest::decode(call.body.clone()).unwrap();
        let hash = Sha256::digest(&request.payload).to_vec();
        let writer = hashes.iter().position(|hashes| hashes.contains(&hash))?;
        matches!(request.permit, Some(Permit::Token(_))).then_some((hash, Redemption { at, call, writer }))
    });
    let redemptions: BTreeMap<_, _> = redemptions.collect();

    let mut evidence = Evidence::default();
    evidence.add_text(&String::from_utf8_lossy(&log.0.lock().unwrap()));
    evidence.add_text(&cluster.deps().metrics.render());
    for service in ["auth", "keypackage", "delivery"] {
        evidence.add_database(&cluster.folder().join(format!("{service}.db")));
    }
    drop(users);
    clients.shutdown_timeout(Duration::from_secs(10));
    servers.shutdown_timeout(Duration::from_secs(10));
    Seen { evidence, issuances, redemptions: redemptions.into_values().collect() }
}

/// Right guesses of somebody who knows nothing: a binomial distribution. Six times its deviation is passed once in a hundred
/// million runs.
fn chance(count: usize) -> f64 {
    let share = 1.0 / USERS as f64;
    let count = count as f64;
    count * share + 6.0 * (count * share * (1.0 - share)).sqrt()
}

fn is_worth_looking_at(seen: &Seen) {
    let count = seen.redemptions.len();
    assert!(count * 10 >= USERS * MESSAGES * 9, "{count} of the messages were paid for with tokens");
    assert!(seen.issuances.iter().all(|calls| !calls.is_empty()));
    // The logs do say something of both ends.
    for call in seen.issuances.iter().flatten().map(|(_, call)| call).chain(seen.redemptions.iter().map(|it| &it.call))
    {
        let correlation = hex::encode(&call.correlation_id);
        let word = format!("{}-{}", &correlation[..16], &correlation[16..]);
        assert!(seen.evidence.by_value.get(&hash(word.as_bytes())).is_some_and(|lines| lines.len() >= 2), "{word}");
    }
}

#[test]
fn nothing_that_servers_know_links_a_message_to_whose_token_pays_for_it() {
    let seen = run(None);
    is_worth_looking_at(&seen);
    // A nonce stands in the table of spent ones, and nowhere else.
    for redemption in &seen.redemptions {
        let request = v1::SealedEnqueueRequest::decode(redemption.call.body.clone()).unwrap();
        let Some(Permit::Token(token)) = request.permit else { panic!("no token") };
        for part in [&token.nonce[24..], &token.output[..8]] {
            let records = seen.evidence.by_value.get(&hash(part)).map_or(0, Vec::len);
            assert_eq!(records, usize::from(part == &token.nonce[24..]));
        }
    }
    let limit = chance(seen.redemptions.len());
    let by_values = guessed_by_values(&seen);
    assert!(by_values < limit, "{by_values} writers of {} are guessed by what records share", seen.redemptions.len());
    for by_times in guessed_by_times(&seen) {
        assert!(by_times < limit, "{by_times} writers of {} are guessed by times", seen.redemptions.len());
    }
}

#[test]
fn tokens_that_are_numbered_are_linked() {
    let seen = run(Some(Mistake::NumbersTokens));
    is_worth_looking_at(&seen);
    let by_values = guessed_by_values(&seen);
    assert!(by_values > 0.9 * seen.redemptions.len() as f64, "{by_values} of {}", seen.redemptions.len());
}
