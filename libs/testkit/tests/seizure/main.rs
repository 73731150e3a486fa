//! What somebody reads who takes a device, or a copy of it: forward secrecy and post-compromise security on the wire, and the
//! proof on the pages of the store that used keys are gone.
//!
//! The thief has the whole folder of a client and its password, and everything that the server ever stored. The history of
//! the conversations is in the store in plain text, since it is the user's archive: who takes the device has it. What
//! forward secrecy protects is what others have recorded, of messages that are deleted here; so these tests look at keys
//! alone. A thief who goes on with the device's signature key as that device, instead of only listening, is not shut out by
//! new keys but by revoking the device.
//!
//! Out of reach of the store, and of these tests: what a file system and the flash below keep of blocks that were
//! overwritten or cut off, snapshots, swap. What they keep is encrypted with the key of the store.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod pages;
mod secrets;
mod thief;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{all_accepted, in_one_epoch, open};
use qpc_crypto::{MlsError, mls::Incoming};
use qpc_sdk::{
    Client, ClientOptions, ConversationId, Runtime, Suite,
    runtime::{Clock, SystemClock, SystemEntropy},
};
use qpc_testkit::{Backend, Cluster, Shape, eventually};
use secrets::{Secrets, standing};
use thief::{Recorded, Thief, Wire, read_texts};

/// A group of which everything is recorded.
struct Scene {
    cluster: Cluster,
    wire: Wire,
    suite: Suite,
    robberies: AtomicU64,
}

impl Scene {
    async fn new(suite: Suite) -> Self {
        let shape = Shape { gateways: 1, replicas: 1, backend: Backend::Embedded, faults: None };
        let cluster = Cluster::start(shape).await.unwrap();
        let wire = Wire::record(&cluster).await;
        Self { cluster, wire, suite, robberies: AtomicU64::new(0) }
    }

    fn options(&self, name: &str) -> ClientOptions {
        ClientOptions { suite: self.suite, ..self.cluster.client_options(name, 0, 0) }
    }

    async fn client(&self, name: &str) -> Client {
        open(self.options(name)).await
    }

    /// Takes a copy of a client's folder while it runs.
    fn rob(&self, name: &str) -> Thief {
        let options = self.options(name);
        let robbery = self.robberies.fetch_add(1, Ordering::Relaxed);
        let to: PathBuf = self.cluster.folder().join(format!("robbery {robbery}"));
        Thief::rob(&options.data, &options.password, &to)
    }
}

/// Waits until the last message of a client's history is this one, and nothing is left to be told.
async fn has(client: &Client, id: ConversationId, text: &str) {
    eventually(text, || async {
        let history = client.history(id, 1_000).await.ok()?;
        (history.last()?.text == text).then_some(())
    })
    .await;
}

/// What says that a key is not there, rather than that something went wrong.
fn is_keyless(read: &Result<Incoming, MlsError>) -> bool {
    matches!(
        read,
        Err(MlsError::AlreadyProcessed | MlsError::WrongEpoch { .. } | MlsError::OwnMessage | MlsError::NotMember)
    )
}

fn without(all: &Secrets, some: &Secrets) -> Secrets {
    let known: BTreeSet<_> = some.iter().map(|secret| &secret.bytes).collect();
    all.iter().filter(|secret| !known.contains(&secret.bytes)).cloned().collect()
}

fn of_kind(secrets: &Secrets, kind: &str) -> Secrets {
    secrets.iter().filter(|secret| secret.what.contains(kind)).cloned().collect()
}

async fn what_was_read_is_lost_to_a_thief(suite: Suite) {
    let scene = Scene::new(suite).await;
    let (alice, bob, carol) = (scene.client("alice").await, scene.client("bob").await, scene.client("carol").await);
    let id = alice.create_group("Forward", &["bob".to_owned(), "carol".to_owned()]).await.unwrap();
    in_one_epoch(&[&alice, &bob, &carol], id).await;

    let mut early = scene.rob("bob");
    alice.send(id, "the first of alice").await.unwrap();
    has(&bob, id, "the first of alice").await;
    carol.send(id, "the first of carol").await.unwrap();
    has(&bob, id, "the first of carol").await;
    alice.update_keys(id).await.unwrap();
    alice.send(id, "in the next epoch").await.unwrap();
    has(&bob, id, "in the next epoch").await;
    let mut late = scene.rob("bob");

    let recorded = scene.wire.messages(id, &[&early]).await;
    let texts = ["the first of alice", "the first of carol", "in the next epoch"];
    // Two epochs are still open in the late copy, and yet nothing of them can be read again.
    assert_eq!(early.epoch(id) + 1, late.epoch(id));
    let from_early = early.read(id, &recorded);
    assert_eq!(read_texts(&from_early, &texts), [true; 3], "a copy from before reads what was recorded");
    for message in recorded.iter().filter(|message| message.is_application()) {
        let read = [late.take_in(id, &message.message)];
        assert_eq!(read_texts(&read, &texts), [false; 3], "epoch {}", message.epoch);
        // What members tell each other goes on meanwhile, so of that something may be new.
        assert!(read[0].is_ok() || is_keyless(&read[0]), "epoch {}: {read:?}", message.epoch);
    }
    // The archive is another matter.
    let archived: u64 = late.sql.query_row("SELECT count(*) FROM messages", [], |row| row.get(0)).unwrap();
    assert_eq!(archived, 3);
}

async fn a_thief_follows_until_the_victim_renews_its_keys(suite: Suite) {
    let scene = Scene::new(suite).await;
    let (alice, bob, carol) = (scene.client("alice").await, scene.client("bob").await, scene.client("carol").await);
    let id = alice.create_group("Healing", &["bob".to_owned(), "carol".to_owned()]).await.unwrap();
    in_one_epoch(&[&alice, &bob, &carol], id).await;

    let mut thief = scene.rob("bob");
    let epoch = thief.epoch(id);
    alice.send(id, "in the epoch of the theft").await.unwrap();
    has(&carol, id, "in the epoch of the theft").await;
    // New keys of somebody else are sealed to those of bob, which the thief has.
    carol.update_keys(id).await.unwrap();
    carol.send(id, "after somebody else's commit").await.unwrap();
    has(&alice, id, "after somebody else's commit").await;
    has(&bob, id, "after somebody else's commit").await;
    let followed = scene.wire.messages(id, &[&thief]).await;
    let read = thief.read(id, &followed);
    assert_eq!(read_texts(&read, &["in the epoch of the theft", "after somebody else's commit"]), [true; 2]);
    assert_eq!(thief.epoch(id), epoch + 1);
    let shared = |of: &Thief, kind: &str| {
        let (theirs, own) = (of_kind(&of.secrets(), kind), of_kind(&thief.secrets(), kind));
        theirs.len() - without(&theirs, &own).len()
    };
    let victim = scene.rob("bob");
    assert!(shared(&victim, "path") > 0, "the thief has private keys of bob's place in the tree");
    assert!(shared(&victim, "init_secret") > 0, "and the secrets of the epoch");

    bob.update_keys(id).await.unwrap();
    bob.send(id, "healed").await.unwrap();
    has(&alice, id, "healed").await;
    carol.update_keys(id).await.unwrap();
    carol.send(id, "two epochs later").await.unwrap();
    has(&alice, id, "two epochs later").await;
    has(&bob, id, "two epochs later").await;
    // Bob's commit is in the others' mailboxes.
    let (witness, victim) = (scene.rob("alice"), scene.rob("bob"));
    let all = scene.wire.messages(id, &[&witness, &victim]).await;
    assert!(shared(&victim, "path") == 0, "not one private key of the place that the thief knew is left");
    assert!(shared(&victim, "init_secret") == 0, "nor the secret from which the next epochs come");
    let later: Vec<Recorded> = all.into_iter().skip(followed.len()).collect();
    let commits = later.iter().filter(|message| !message.is_application()).count();
    assert_eq!(commits, 2, "bob's, and another one after it");
    let read = thief.read(id, &later);
    assert_eq!(read_texts(&read, &["healed", "two epochs later"]), [false; 2]);
    assert_eq!(thief.epoch(id), epoch + 1, "left behind");
    for (message, read) in later.iter().zip(&read).filter(|(message, _)| message.epoch > epoch + 1) {
        // openmls refuses bob's commit as one of its own that it does not know. Another library would not get further: what it
        // seals, it seals to the keys of the others, and the keys above show that none is left that the thief has.
        let is_own = !message.is_application() && matches!(read, Err(MlsError::Invalid(_)));
        assert!(is_keyless(read) || is_own, "epoch {}: {read:?}", message.epoch);
    }
}

async fn who_goes_reads_nothing_later_and_who_comes_nothing_earlier(suite: Suite) {
    let scene = Scene::new(suite).await;
    let (alice, bob, carol) = (scene.client("alice").await, scene.client("bob").await, scene.client("carol").await);
    let dave = scene.client("dave").await;
    let id = alice.create_group("Doors", &["bob".to_owned(), "carol".to_owned()]).await.unwrap();
    in_one_epoch(&[&alice, &bob, &carol], id).await;
    let mut gone = scene.rob("carol");
    let epoch = gone.epoch(id);
    alice.send(id, "with carol").await.unwrap();
    has(&bob, id, "with carol").await;
    alice.remove(id, "carol").await.unwrap();
    alice.send(id, "without carol").await.unwrap();
    has(&bob, id, "without carol").await;
    bob.update_keys(id).await.unwrap();
    bob.send(id, "without her still").await.unwrap();
    has(&alice, id, "without her still").await;
    alice.add(id, &["dave".to_owned()]).await.unwrap();
    in_one_epoch(&[&alice, &bob, &dave], id).await;
    let mut new = scene.rob("dave");
    alice.send(id, "with dave").await.unwrap();
    has(&dave, id, "with dave").await;

    let (alice, bob) = (scene.rob("alice"), scene.rob("bob"));
    let recorded = scene.wire.messages(id, &[&alice, &bob]).await;
    let texts = ["with carol", "without carol", "without her still", "with dave"];
    let read = gone.read(id, &recorded);
    assert_eq!(read_texts(&read, &texts), [true, false, false, false]);
    let removal = read.iter().position(|one| matches!(one, Ok(Incoming::Commit { self_removed: true, .. }))).unwrap();
    let after = &read[removal + 1..];
    assert!(after.iter().all(is_keyless), "{after:?}");
    assert!(recorded[removal + 1..].iter().any(|message| message.epoch > epoch));

    let joined = new.epoch(id);
    let read = new.read(id, &recorded);
    assert_eq!(read_texts(&read, &texts), [false, false, false, true]);
    let earlier = recorded.iter().zip(&read).filter(|(message, _)| message.epoch < joined);
    assert!(earlier.clone().count() >= 6);
    for (message, read) in earlier {
        assert!(is_keyless(read), "epoch {}: {read:?}", message.epoch);
    }
}

/// A client of which the pages are searched while it runs.
struct Searched<'a> {
    scene: &'a Scene,
    name: &'a str,
}

impl Searched<'_> {
    /// What it holds now. Shows that the search finds all of it.
    fn holds(&self) -> Secrets {
        let thief = self.scene.rob(self.name);
        let (secrets, pages) = (thief.secrets(), thief.pages());
        let found = standing(&secrets, &pages);
        let unseen: Vec<_> = secrets
            .iter()
            // Never written, only what follows from what is.
            .filter(|secret| !secret.what.ends_with("next message key") && !found.contains_key(secret))
            .collect();
        assert!(unseen.is_empty(), "the search overlooks {unseen:?}");
        secrets
    }

    /// Waits until nothing is left on any page of those of the secrets that are no longer held, and gives them.
    async fn forgets(&self, before: &Secrets, what: &str) -> Secrets {
        let look = || {
            let thief = self.scene.rob(self.name);
            let gone = without(before, &thief.secrets());
            let found: Vec<String> =
                standing(&gone, &thief.pages()).iter().map(|(secret, place)| format!("{secret:?}: {place}")).collect();
            (gone, found, thief.log_len())
        };
        let patience = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let (gone, found, log) = look();
            if found.is_empty() {
                return gone;
            }
            let late = tokio::time::Instant::now() > patience;
            assert!(!late, "{what}: {} of {} stand, log {log}: {found:#?}", found.len(), gone.len());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn used_keys_are_on_no_page(suite: Suite) {
    let scene = Scene::new(suite).await;
    let (alice, bob) = (scene.client("alice").await, scene.client("bob").await);
    let carol = scene.client("carol").await;
    let searched = Searched { scene: &scene, name: "bob" };
    eventually("key packages", || async {
        let stock: u64 =
            scene.rob("bob").sql.query_row("SELECT count(*) FROM openmls_key_packages", [], |row| row.get(0)).unwrap();
        (stock >= 42).then_some(())
    })
    .await;

    let unused = searched.holds();
    let id = alice.create_group("Pages", &["bob".to_owned(), "carol".to_owned()]).await.unwrap();
    in_one_epoch(&[&alice, &bob, &carol], id).await;
    let gone = searched.forgets(&unused, "the key package that was used").await;
    assert_eq!(of_kind(&gone, "private_init_key").len(), 1, "{gone:?}");

    alice.send(id, "one").await.unwrap();
    has(&bob, id, "one").await;
    bob.send(id, "two").await.unwrap();
    has(&alice, id, "two").await;
    let before = searched.holds();
    alice.send(id, "three").await.unwrap();
    has(&bob, id, "three").await;
    bob.send(id, "four").await.unwrap();
    has(&alice, id, "four").await;
    let gone = searched.forgets(&before, "ratchets and message keys").await;
    assert!(of_kind(&gone, "application_sender_ratchets EncryptionRatchet").len() >= 2, "{gone:?}");
    assert!(of_kind(&gone, "application_sender_ratchets DecryptionRatchet").len() >= 2, "{gone:?}");

    let before = searched.holds();
    let own = of_kind(&before, "path");
    bob.update_keys(id).await.unwrap();
    in_one_epoch(&[&alice, &bob, &carol], id).await;
    let gone = searched.forgets(&before, "what an update of its own replaces").await;
    assert_eq!(of_kind(&gone, "path").len(), own.len(), "the whole path is new: {gone:?}");
    assert!(!of_kind(&gone, "init_secret").is_empty(), "{gone:?}");

    // Five epochs stay, for what is still on its way.
    let before = searched.holds();
    for _ in 0..3 {
        alice.update_keys(id).await.unwrap();
        in_one_epoch(&[&alice, &bob, &carol], id).await;
        carol.update_keys(id).await.unwrap();
        in_one_epoch(&[&alice, &bob, &carol], id).await;
    }
    let gone = searched.forgets(&before, "epochs").await;
    assert_eq!(of_kind(&gone, "message_secrets"), of_kind(&before, "message_secrets"), "all epochs up to then");
    assert_eq!(of_kind(&gone, "group_epoch_secrets"), of_kind(&before, "group_epoch_secrets"));
}

async fn what_a_crash_leaves_is_wiped_at_the_next_start(suite: Suite) {
    let scene = Scene::new(suite).await;
    let (alice, bob) = (scene.client("alice").await, scene.client("bob").await);
    let id = alice.create_group("Crash", &["bob".to_owned()]).await.unwrap();
    in_one_epoch(&[&alice, &bob], id).await;
    let mut crash = None;
    for round in 0..20 {
        let before = scene.rob("bob").secrets();
        let text = format!("round {round}");
        alice.send(id, &text).await.unwrap();
        has(&bob, id, &text).await;
        let copy = scene.rob("bob");
        let gone = without(&before, &copy.secrets());
        if !standing(&gone, &copy.pages()).is_empty() {
            crash = Some((copy, gone));
            break;
        }
    }
    let (copy, gone) = crash.expect("used keys in the log, for a moment");
    let options = ClientOptions { data: copy.seized.clone(), ..scene.options("bob") };
    let again = Client::open(options.clone()).await.unwrap();
    let rob = |what| Thief::rob(&copy.seized, &options.password, &scene.cluster.folder().join(what));
    let found = rob("after the start").pages();
    assert!(standing(&gone, &found).is_empty(), "{:?}", standing(&gone, &found));
    again.close().await;
    let log = copy.seized.join("store.db-wal");
    eventually("the end of the log", || async { (!log.exists()).then_some(()) }).await;
    assert!(standing(&gone, &rob("after the end").pages()).is_empty());
}

async fn the_key_of_a_lost_message_goes_with_its_epoch(suite: Suite) {
    let scene = Scene::new(suite).await;
    let (alice, bob) = (scene.client("alice").await, scene.client("bob").await);
    let id = alice.create_group("Lost", &["bob".to_owned()]).await.unwrap();
    in_one_epoch(&[&alice, &bob], id).await;
    let device = bob.whoami().await.unwrap().device;
    bob.close().await;
    alice.send(id, "lost on the way").await.unwrap();
    all_accepted(&alice, id).await;
    scene.wire.lose(device).await;
    alice.send(id, "not lost").await.unwrap();
    all_accepted(&alice, id).await;
    let bob = scene.client("bob").await;
    // Written once more, under a new key; the old one might still be wanted.
    eventually("both", || async { (bob.history(id, 10).await.ok()?.len() == 2).then_some(()) }).await;
    let searched = Searched { scene: &scene, name: "bob" };
    let before = searched.holds();
    let skipped = of_kind(&before, "past_secrets");
    assert!(!skipped.is_empty(), "the key of the message that did not come");
    for _ in 0..6 {
        alice.update_keys(id).await.unwrap();
        in_one_epoch(&[&alice, &bob], id).await;
    }
    let gone = searched.forgets(&before, "keys that were never used").await;
    assert!(skipped.is_subset(&gone), "{skipped:?}");
}

/// A clock that can be put forward.
#[derive(Default)]
struct Ahead(AtomicU64);

impl Clock for Ahead {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + self.0.load(Ordering::Relaxed)
    }
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

async fn packages_whose_time_is_over_leave_nothing(suite: Suite) {
    let scene = Scene::new(suite).await;
    let clock = Arc::new(Ahead::default());
    let runtime = Runtime::new(clock.clone(), Arc::new(SystemEntropy));
    let _bob = open(ClientOptions { runtime, ..scene.options("bob") }).await;
    let stock = |secrets: &Secrets| of_kind(secrets, "private_init_key");
    let searched = Searched { scene: &scene, name: "bob" };
    // The stock of each suite is twenty and one of last resort.
    eventually("the stock", || async { (stock(&scene.rob("bob").secrets()).len() == 42).then_some(()) }).await;
    let first = stock(&searched.holds());

    // Others of last resort; the first may be in a Welcome that is on its way. openmls dates packages by the real clock.
    clock.0.store(30 * DAY_MS + 1, Ordering::Relaxed);
    eventually("another package", || async { (stock(&scene.rob("bob").secrets()).len() > 42).then_some(()) }).await;
    assert!(first.is_subset(&stock(&scene.rob("bob").secrets())));

    // Those of the stock expire after 84 days.
    clock.0.store(117 * DAY_MS, Ordering::Relaxed);
    eventually("forgetting", || async { stock(&scene.rob("bob").secrets()).is_disjoint(&first).then_some(()) }).await;
    assert!(first.is_subset(&searched.forgets(&first, "packages whose time is over").await));
}

async fn a_group_that_was_replaced_leaves_nothing(suite: Suite) {
    let scene = Scene::new(suite).await;
    let alice = scene.client("alice").await;
    let clock = Arc::new(Ahead::default());
    let runtime = Runtime::new(clock.clone(), Arc::new(SystemEntropy));
    let bob = open(ClientOptions { runtime, ..scene.options("bob") }).await;
    let id = alice.create_group("Old", &["bob".to_owned()]).await.unwrap();
    in_one_epoch(&[&alice, &bob], id).await;
    alice.send(id, "in the old group").await.unwrap();
    has(&bob, id, "in the old group").await;
    let searched = Searched { scene: &scene, name: "bob" };
    let before = searched.holds();
    let of_group = |secrets: &Secrets| -> Secrets {
        secrets.iter().filter(|secret| !secret.what.starts_with("key package")).cloned().collect()
    };
    alice.reset(id).await.unwrap();
    in_one_epoch(&[&alice, &bob], id).await;
    alice.send(id, "in the new group").await.unwrap();
    has(&bob, id, "in the new group").await;
    assert!(!of_kind(&searched.holds(), "message_secrets").is_disjoint(&of_kind(&before, "message_secrets")));
    // Kept for ten minutes, for what is still on its way.
    clock.0.store(11 * 60 * 1000, Ordering::Relaxed);
    alice.send(id, "later").await.unwrap();
    has(&bob, id, "later").await;
    eventually("forgetting the group", || async {
        of_group(&scene.rob("bob").secrets()).is_disjoint(&of_group(&before)).then_some(())
    })
    .await;
    let gone = searched.forgets(&before, "the group that was replaced").await;
    assert!(of_group(&before).is_subset(&gone));
}

macro_rules! in_both_suites {
    ($($name:ident),+ $(,)?) => {
        mod hybrid {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(qpc_sdk::Suite::Hybrid).await;
            })+
        }
        mod classic {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(qpc_sdk::Suite::Classic).await;
            })+
        }
    };
}

in_both_suites! {
    what_was_read_is_lost_to_a_thief,
    a_thief_follows_until_the_victim_renews_its_keys,
    who_goes_reads_nothing_later_and_who_comes_nothing_earlier,
    used_keys_are_on_no_page,
    what_a_crash_leaves_is_wiped_at_the_next_start,
    the_key_of_a_lost_message_goes_with_its_epoch,
    packages_whose_time_is_over_leave_nothing,
    a_group_that_was_replaced_leaves_nothing,
}
