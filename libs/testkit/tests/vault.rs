//! What leaves the device as a file: transcripts, and backups that are restored on another one.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::{fs, io::Cursor};

use common::{client, has, in_one_epoch, let_in, open, received};
use qpc_sdk::{
    ArchiveError, Client, ClientOptions, ConversationId, Damage, Draft, Error, Event, MessageRef, MessageState,
    TranscriptEntry, TranscriptMessage, prove_transcript, read_transcript, restore_backup, verify_receipts,
    verify_transcript, verify_transcript_proof,
};
use qpc_testkit::{Backend, Cluster, Shape, eventually};

const PASSPHRASE: &str = "written on paper, kept in a drawer";

async fn cluster() -> Cluster {
    Cluster::start(Shape { gateways: 1, replicas: 1, backend: Backend::Embedded, faults: None }).await.unwrap()
}

async fn backup(client: &Client) -> Vec<u8> {
    let (mut file, mut told) = (Vec::new(), Vec::new());
    let report = client.backup(PASSPHRASE, &mut file, &mut |progress| told.push(progress)).await.unwrap();
    assert_eq!(report.bytes, file.len() as u64);
    assert!(told.last().is_none_or(|progress| progress.done == report.messages && progress.total == report.messages));
    file
}

/// Restores and opens a device; the next one of the account after the first.
async fn restore(file: Vec<u8>, options: &ClientOptions) -> Client {
    let report = restore_backup(Cursor::new(file), PASSPHRASE, options, |_| {}).await.unwrap();
    assert_eq!(report.username, options.username);
    open(options.clone()).await
}

async fn transcript(client: &Client, id: ConversationId) -> Vec<u8> {
    let mut file = Vec::new();
    let report = client.export_transcript(id, PASSPHRASE, &mut file, &mut |_| {}).await.unwrap();
    assert_eq!(verify_transcript(file.as_slice()).unwrap(), report);
    file
}

fn read(file: &[u8]) -> Vec<TranscriptEntry> {
    let mut entries = Vec::new();
    let each = |entry| {
        entries.push(entry);
        Ok::<_, ArchiveError>(())
    };
    read_transcript(file, PASSPHRASE, each).unwrap();
    entries
}

fn messages<'a>(entries: &'a [TranscriptEntry]) -> Vec<&'a TranscriptMessage> {
    let message = |entry: &'a TranscriptEntry| match entry {
        TranscriptEntry::Message(message) => Some(&**message),
        _ => None,
    };
    entries.iter().filter_map(message).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcript_shows_others_what_was_said() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let dm = alice.dm("bob").await.unwrap();
    let elsewhere = alice.create_group("Elsewhere", &["bob".to_owned()]).await.unwrap();
    alice.send(elsewhere, "not in it").await.unwrap();
    let first = MessageRef { author: alice.whoami().await.unwrap().account, id: alice.send(dm, "on").await.unwrap() };
    has(&bob, dm, &["on"]).await;
    alice.edit(dm, first, "one").await.unwrap();
    has(&bob, dm, &["one"]).await;
    bob.send(dm, Draft { reply_to: Some(first), ..Draft::from("two") }).await.unwrap();
    bob.react(dm, first, "👍").await.unwrap();
    has(&alice, dm, &["one", "two"]).await;
    eventually("the word of bob", || async {
        let told = alice.history(dm, 9).await.unwrap().remove(0);
        (told.state == MessageState::Delivered && told.reactions.len() == 1).then_some(())
    })
    .await;
    // What is to disappear is not told.
    alice.set_timer(dm, Some(std::time::Duration::from_secs(3_600))).await.unwrap();
    alice.send(dm, "for an hour").await.unwrap();
    has(&alice, dm, &["one", "two", "for an hour"]).await;

    let file = transcript(&alice, dm).await;
    let (own, report) = (alice.whoami().await.unwrap(), verify_transcript(file.as_slice()).unwrap());
    assert_eq!((report.account, report.device), (own.account.to_string(), own.device.to_string()));
    assert_eq!(report.records, 3);
    let entries = read(&file);
    let TranscriptEntry::Conversation { id, kind, name, told_by, messages: count } = &entries[0] else {
        panic!("{entries:?}");
    };
    assert_eq!((id, *kind, &**name, &**told_by, *count), (&dm.to_string(), "direct", "bob", "alice", 2));
    let shown = messages(&entries);
    let texts: Vec<_> = shown.iter().map(|it| (it.name.as_deref().unwrap(), &*it.text, &*it.state)).collect();
    assert_eq!(texts, [("alice", "one", "delivered"), ("bob", "two", "received")]);
    let peer = bob.whoami().await.unwrap();
    assert_eq!((&shown[1].account, &shown[1].device), (&peer.account.to_string(), &peer.device.to_string()));
    assert_eq!(shown[0].reactions, [("👍".to_owned(), vec![peer.account.to_string()])]);
    assert_eq!((shown[0].edited_at_ms.is_some(), shown[1].edited_at_ms.is_some()), (true, false));
    assert_eq!(shown[1].reply_to, Some((own.account.to_string(), first.id.to_string())));
    let places: Vec<u64> = shown.iter().map(|it| it.place.as_ref().unwrap().1).collect();
    assert!(places[0] < places[1] && shown.iter().all(|it| it.accepted_at_ms > 0 && it.epoch > 0));
    let line = serde_json::to_string(&entries[2]).unwrap();
    assert!(line.starts_with(r#"{"record":"message","id":""#) && line.contains(r#""text":"two""#), "{line}");

    // One message is shown without the other, and nothing of it can be changed.
    let mut proof = prove_transcript(file.as_slice(), PASSPHRASE, 2).unwrap();
    let (proven, index, entry) = verify_transcript_proof(&proof).unwrap();
    assert_eq!((proven.account, index, &entry), (own.account.to_string(), 2, &entries[2]));
    let last = proof.len() - 1;
    proof[last] ^= 1;
    assert!(verify_transcript_proof(&proof).is_err());

    let mut bad = file.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    let damaged = verify_transcript(bad.as_slice()).unwrap_err();
    assert!(matches!(damaged, ArchiveError::Damaged { records: 1, what: Damage::Chain, .. }), "{damaged}");
    let wrong = read_transcript(file.as_slice(), "guessed", |_| Ok::<_, ArchiveError>(())).unwrap_err();
    assert!(matches!(wrong, ArchiveError::WrongPassphrase));
    let unknown = alice.export_transcript(ConversationId([9; 16]), PASSPHRASE, &mut Vec::new(), &mut |_| {}).await;
    assert!(matches!(unknown, Err(Error::UnknownConversation(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcript_has_each_message_once_whatever_is_accepted_meanwhile() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let dm = alice.dm("bob").await.unwrap();
    let_in(&bob, dm).await;
    let texts: Vec<String> = (0..1_200).map(|n| format!("line {n}")).collect();
    for text in &texts {
        alice.send(dm, text).await.unwrap();
    }
    // The outbox is being sent while this is written.
    let entries = read(&transcript(&alice, dm).await);
    let mut told: Vec<_> = messages(&entries).iter().map(|it| it.text.clone()).collect();
    told.sort_by_key(|text| text[5..].parse::<u32>().unwrap());
    assert_eq!(told, texts);
    common::all_accepted(&alice, dm).await;
    let entries = read(&transcript(&alice, dm).await);
    assert_eq!(messages(&entries).iter().map(|it| it.text.clone()).collect::<Vec<_>>(), texts);
}

/// A week of alice, bob and carol, as three conversations; returns the direct one, the group and the notes.
async fn a_week(alice: &Client, bob: &Client, carol: &Client) -> [ConversationId; 3] {
    let dm = alice.dm("bob").await.unwrap();
    let group = bob.create_group("Family", &["alice".to_owned(), "carol".to_owned()]).await.unwrap();
    for client in [alice, carol] {
        let_in(client, group).await;
    }
    for day in 0..7 {
        alice.send(dm, &format!("alice on day {day}")).await.unwrap();
        eventually("the message", || async { (received(bob, dm).await.len() == day + 1).then_some(()) }).await;
        bob.send(dm, &format!("bob on day {day}")).await.unwrap();
        carol.send(group, &format!("carol on day {day}")).await.unwrap();
        eventually("the answer", || async {
            let got = (received(alice, dm).await.len(), received(alice, group).await.len());
            (got == (day + 1, day + 1)).then_some(())
        })
        .await;
    }
    let notes = alice.notes().await.unwrap();
    alice.send(notes, "where the key is").await.unwrap();
    alice.set_petname(dm, "Bobby").await.unwrap();
    alice.mark_read(dm).await.unwrap();
    assert!(alice.settle(std::time::Duration::from_secs(30)).await);
    [dm, group, notes]
}

/// What another member would notice of a change of keys, or of a server that contradicts itself.
fn is_trouble(event: &Event) -> bool {
    matches!(
        event,
        Event::MembersChanged { .. } | Event::ReceiptRefused { .. } | Event::Undecryptable { .. } | Event::Stuck(_)
    )
}

async fn texts(client: &Client, id: ConversationId) -> Vec<String> {
    client.history(id, 1_000).await.unwrap().into_iter().map(|message| message.text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_device_comes_back_as_another_one_from_its_backup() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let carol = client(&cluster, "carol", 0, 0).await;
    let [dm, group, notes] = a_week(&alice, &bob, &carol).await;
    let mut before = Vec::new();
    for id in [dm, group, notes] {
        before.push(texts(&alice, id).await);
    }
    let lost = alice.whoami().await.unwrap();
    let file = backup(&alice).await;
    alice.send(dm, "in no backup").await.unwrap();
    assert!(alice.flush(std::time::Duration::from_secs(30)).await);
    alice.close().await;
    fs::remove_dir_all(cluster.client_options("alice", 0, 0).data).unwrap();
    // Written while alice has no device.
    bob.send(dm, "are you there?").await.unwrap();
    carol.send(group, "alice?").await.unwrap();

    let mut seen_by_bob = bob.events();
    let alice = restore(file, &cluster.client_options("alice", 1, 0)).await;
    let own = alice.whoami().await.unwrap();
    assert_eq!(own.account, lost.account);
    assert_ne!(own.device, lost.device);
    let restored: Vec<_> = [texts(&alice, dm).await, texts(&alice, group).await, texts(&alice, notes).await]
        .into_iter()
        .zip(&before)
        .map(|(now, before)| now[..before.len().min(now.len())] == before[..])
        .collect();
    assert_eq!(restored, [true; 3]);
    let info = alice.conversation(dm).await.unwrap();
    assert_eq!((info.petname.as_deref(), info.peer_name.as_deref()), (Some("Bobby"), Some("bob")));
    assert_eq!(alice.conversation(group).await.unwrap().name.as_deref(), Some("Family"));

    // It is in its groups, and what was written meanwhile is asked for and comes.
    for (client, id) in [(&bob, dm), (&bob, group), (&carol, group)] {
        in_one_epoch(&[&alice, client], id).await;
    }
    eventually("what bob wrote meanwhile", || async {
        texts(&alice, dm).await.contains(&"are you there?".to_owned()).then_some(())
    })
    .await;
    eventually("what carol wrote meanwhile", || async {
        texts(&alice, group).await.contains(&"alice?".to_owned()).then_some(())
    })
    .await;
    alice.send(dm, "back again").await.unwrap();
    bob.send(dm, "good").await.unwrap();
    eventually("both directions", || async {
        let (to, from) = (texts(&bob, dm).await, texts(&alice, dm).await);
        (to.contains(&"back again".to_owned()) && from.contains(&"good".to_owned())).then_some(())
    })
    .await;
    alice.send(group, "hello family").await.unwrap();
    eventually("the group", || async { texts(&carol, group).await.contains(&"hello family".to_owned()).then_some(()) })
        .await;

    // The lost one goes; nobody has seen another key, and the server has told everybody the same.
    alice.revoke_device(lost.device).await.unwrap();
    eventually("the removal", || async {
        let members = bob.members(dm).await.unwrap();
        members.iter().all(|member| !member.devices.contains(&lost.device)).then_some(())
    })
    .await;
    in_one_epoch(&[&bob, &alice], dm).await;
    assert_eq!(bob.dm("alice").await.unwrap(), dm, "the pinned key is the same");
    while let Ok(Some(event)) = tokio::time::timeout(std::time::Duration::ZERO, seen_by_bob.next()).await {
        assert!(!is_trouble(&event), "{event:?}");
    }
    let mut files = Vec::new();
    for client in [&alice, &bob] {
        let mut file = Vec::new();
        client.export_receipts(&mut file).await.unwrap();
        files.push(qpc_sdk::ReceiptFile::read(file.as_slice()).unwrap());
    }
    let report = verify_receipts(&files);
    assert_eq!(report.findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_restored_beside_the_device_is_one_more_device() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let dm = alice.dm("bob").await.unwrap();
    alice.send(dm, "one").await.unwrap();
    has(&bob, dm, &["one"]).await;
    let file = backup(&alice).await;
    // After the backup, on the device and by the other.
    alice.send(dm, "two").await.unwrap();
    has(&bob, dm, &["one", "two"]).await;
    bob.send(dm, "three").await.unwrap();
    has(&alice, dm, &["one", "two", "three"]).await;

    let mut seen_by_bob = bob.events();
    let second = restore(file, &cluster.client_options("alice", 1, 0)).await;
    // What is missing comes from where it was written.
    has(&second, dm, &["one", "two", "three"]).await;
    second.send(dm, "four").await.unwrap();
    for client in [&alice, &bob, &second] {
        has(client, dm, &["one", "two", "three", "four"]).await;
    }
    assert_eq!(alice.devices().await.unwrap().len(), 2);
    in_one_epoch(&[&alice, &bob, &second], dm).await;
    assert_eq!(second.conversation(dm).await.unwrap().missing, 0);
    while let Ok(Some(event)) = tokio::time::timeout(std::time::Duration::ZERO, seen_by_bob.next()).await {
        assert!(!is_trouble(&event), "{event:?}");
    }
}
