//! The end of an account, and what its owner is given before.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::{path::Path, time::Duration};

use common::{client, has, link, received, until};
use qpc_sdk::{AccountId, Client, Error, Event, ExportOptions, Role};
use qpc_testkit::{Backend, Cluster, Shape, eventually};
use tokio::time::Instant;

/// Of every client of a cluster.
const PASSWORD: &str = "correct horse battery staple";

async fn exported(client: &Client, keys: bool) -> (String, serde_json::Value) {
    let mut out = Vec::new();
    client.export_account(ExportOptions { keys }, &mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    let parsed = serde_json::from_str(&text).unwrap();
    (text, parsed)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_everything_and_keys_only_when_asked() {
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 1).await;
    let dm = alice.dm("bob").await.unwrap();
    // More than one page.
    let count = 501;
    for number in 0..count {
        alice.send(dm, &format!("number \"{number}\"")).await.unwrap();
    }
    eventually("the messages", || async { (received(&bob, dm).await.len() == count).then_some(()) }).await;
    alice.set_petname(dm, "Bobby").await.unwrap();
    alice.recovery_setup().await.unwrap();
    let file = cluster.folder().join("sand.txt");
    std::fs::write(&file, "sand").unwrap();
    let sent = alice.upload(&file, |_| {}).await.unwrap();

    let (text, export) = exported(&alice, false).await;
    let who = alice.whoami().await.unwrap();
    let (bobs, seed) = (bob.whoami().await.unwrap().account, hex::encode(alice.export_account_key()));
    assert_eq!(export["format"], "qpc account export v1");
    assert_eq!(export["account"]["account_id"], who.account.to_string());
    assert_eq!(export["contacts"].as_array().unwrap().iter().filter(|it| it["username"] == "bob").count(), 1);
    let conversation = &export["conversations"][0];
    assert_eq!((&conversation["petname"], &conversation["peer"]), (&"Bobby".into(), &bobs.to_string().into()));
    let messages = conversation["messages"].as_array().unwrap();
    assert_eq!(messages.len(), count);
    assert_eq!((&messages[0]["text"], &messages[500]["text"]), (&"number \"0\"".into(), &"number \"500\"".into()));
    let device = &export["server"]["devices"][0];
    assert_eq!((&device["device_id"], &device["queue_key"]), (&who.device.to_string().into(), &true.into()));
    assert!(device["sessions"].as_u64().unwrap() > 0 && device["mailbox"]["head"].as_u64().is_some());
    assert_eq!(device["keys"].as_array().unwrap().len(), 2);
    assert_eq!(export["server"]["groups"].as_array().unwrap().len(), 1);
    assert_eq!(export["server"]["recovery"]["codes_left"], 8);
    let files = &export["server"]["files"];
    assert_eq!((&files["blobs"], &files["blob_rows"][0]["blob_id"]), (&1.into(), &hex::encode(sent.blob_id).into()));
    let quotas = export["server"]["quotas"].as_array().unwrap();
    let devices = quotas.iter().find(|quota| quota["name"] == "devices").unwrap();
    assert_eq!((&devices["used"], &devices["limit"]), (&1.into(), &10.into()));
    let bytes = quotas.iter().find(|quota| quota["name"] == "blob-bytes-day").unwrap();
    assert_eq!(bytes["used"], 64 << 10, "what a small one counts");
    assert!(export["server"]["ban"].is_null());
    assert!(export.get("keys").is_none() && !text.contains(&seed));
    let (_, with_keys) = exported(&alice, true).await;
    assert_eq!(with_keys["keys"]["account"], seed);
}

async fn an_account_goes(cluster: &Cluster) -> AccountId {
    let alice = client(cluster, "alice", 0, 0).await;
    let bob = client(cluster, "bob", 0, 1).await;
    let carol = client(cluster, "carol", 0, 1).await;
    let tablet = link(cluster, &alice, 1, 1).await;
    let dm = alice.dm("bob").await.unwrap();
    let group = alice.create_group("Family", &["bob".to_owned(), "carol".to_owned()]).await.unwrap();
    alice.set_role(group, "carol", Role::Admin).await.unwrap();
    for client in [&bob, &carol, &tablet] {
        eventually("the group", || async { client.conversation(group).await.ok().filter(|it| it.active) }).await;
    }
    alice.send(dm, "goodbye").await.unwrap();
    has(&bob, dm, &["goodbye"]).await;
    alice.recovery_setup().await.unwrap();
    let file = cluster.folder().join("holiday.txt");
    std::fs::write(&file, "sand").unwrap();
    let sent = alice.upload(&file, |_| {}).await.unwrap();
    let account = alice.whoami().await.unwrap().account;

    assert!(matches!(alice.delete_account("not the password").await, Err(Error::WrongPassword)));
    let mut events = [alice.events(), tablet.events()];
    alice.delete_account(PASSWORD).await.unwrap();
    let begun = Instant::now();
    for events in &mut events {
        until(events, "the logout", |event| matches!(event, Event::LoginRefused(_))).await;
    }
    // The promise is of the product, so it is the one thing that is timed here.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    for client in [&bob, &carol] {
        eventually("the group without the account", || async {
            let members = client.members(group).await.unwrap();
            members.iter().all(|member| member.account != account).then_some(members)
        })
        .await;
    }
    let owner = carol.members(group).await.unwrap().into_iter().find(|member| member.role == Role::Owner).unwrap();
    assert_eq!(owner.account, carol.whoami().await.unwrap().account, "the admin has taken over");
    carol.send(group, "just us now").await.unwrap();
    has(&bob, group, &["just us now"]).await;
    has(&bob, dm, &["goodbye"]).await;
    eventually("the end of the conversation", || async { (!bob.conversation(dm).await.unwrap().active).then_some(()) })
        .await;

    // Who was sent a file still has it.
    bob.download(&sent, &cluster.folder(), |_| {}).await.unwrap();

    // The name is nobody's any more, and will be.
    assert!(matches!(carol.dm("alice").await, Err(Error::UnknownUser(_))));
    let other = Client::open(cluster.client_options("alice", 9, 0)).await.unwrap();
    assert!(matches!(other.register().await, Err(Error::NameTaken(_))));
    account
}

/// Tables of the databases in a folder that have an account anywhere, in whatever form.
fn mentions(folder: &Path, account: AccountId) -> Vec<String> {
    let mut found = Vec::new();
    let hex = account.to_string();
    for service in ["auth", "keypackage", "delivery", "blob"] {
        let sql = rusqlite::Connection::open(folder.join(format!("{service}.db"))).unwrap();
        sql.busy_timeout(Duration::from_secs(10)).unwrap();
        let names =
            "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'";
        let columns: Vec<(String, String)> = sql
            .prepare(names)
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(columns.len() > 10, "{service} has tables");
        for (table, column) in columns {
            let count = format!(
                "SELECT count(*) FROM {table} WHERE instr(hex({column}), upper(?1)) > 0 \
                 OR instr(lower(CAST({column} AS TEXT)), ?1) > 0"
            );
            if sql.query_row(&count, [&hex], |row| row.get::<_, u64>(0)).unwrap() > 0 {
                found.push(format!("{service}.{table}.{column}"));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_is_gone_everywhere_embedded() {
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let bystander = client(&cluster, "dave", 0, 0).await;
    let account = an_account_goes(&cluster).await;
    let left = eventually("no database to know it", || async {
        let found = mentions(&cluster.folder(), account);
        found.is_empty().then_some(found)
    })
    .await;
    assert_eq!(left, [""; 0]);
    let other = mentions(&cluster.folder(), bystander.whoami().await.unwrap().account);
    assert!(other.iter().any(|place| place == "auth.accounts.account_id"), "the search finds what is there: {other:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS, Redis: cargo xtask test"]
async fn a_deleted_account_is_gone_everywhere_on_the_servers() {
    let cluster = Cluster::start(Shape::pairs(Backend::servers().unwrap())).await.unwrap();
    an_account_goes(&cluster).await;
}
