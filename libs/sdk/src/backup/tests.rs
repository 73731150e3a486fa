//! Backups without a server: what they hold, and what is refused.

use std::io::{Cursor, ErrorKind};

use qpc_crypto::{Conversation, KsfParams, Policy, Suite, archive::Damage, mls::key_package};
use qpc_wire::GroupId;
use tempfile::TempDir;

use super::*;
use crate::{Client, MessageState, store::ConversationState, transport::Trust};

const PASSPHRASE: &str = "kept elsewhere";
/// The version of the tables of the oldest backups.
const FIRST: u32 = 4;

fn options(folder: &Path, store: &str) -> ClientOptions {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.der().clone();
    ClientOptions {
        ksf: KsfParams::FLOOR,
        ..ClientOptions::new(folder.join(store), "alice", "pw", "localhost:1", Trust::Certificates(vec![certificate]))
    }
}

/// A client with notes, a group, and the account key under its own name, as after a registration.
async fn alice(folder: &TempDir, notes: usize) -> (Client, GroupId) {
    let client = Client::open(options(folder.path(), "alice")).await.unwrap();
    let (identity, group) = (client.inner.identity.clone(), GroupId([7; 16]));
    client
        .inner
        .store
        .run(move |tx| {
            let (key, certificate, mls) = (&identity.device_key, &identity.certificate, tx.mls());
            tx.pin_self("alice", certificate.account_key())?;
            tx.pin_receipt_key(&[5; 32])?;
            key_package::generate(&mls, key, certificate, Suite::default(), false)?;
            let made = Conversation::create(&mls, key, certificate, Suite::default(), group, &Policy::direct(group))?;
            tx.put_group(&made, &identity, ConversationState::Active)
        })
        .await
        .unwrap();
    let id = client.notes().await.unwrap();
    for n in 0..notes {
        client.send(id, &format!("note {n}")).await.unwrap();
    }
    (client, group)
}

async fn backup(client: &Client) -> Vec<u8> {
    let mut file = Vec::new();
    client.backup(PASSPHRASE, &mut file, &mut |_| {}).await.unwrap();
    file
}

async fn restore_file(file: &[u8], options: &ClientOptions) -> Result<BackupReport, Error> {
    restore_backup(Cursor::new(file.to_vec()), PASSPHRASE, options, |_| {}).await
}

/// Everything in a backup, opened.
fn plain(file: &[u8]) -> Vec<u8> {
    let mut opened = Reader::new(file, Kind::Backup).unwrap().unlock(PASSPHRASE.as_bytes()).unwrap();
    let mut all = Vec::new();
    while let Some(record) = opened.next_record().unwrap() {
        all.extend_from_slice(record);
    }
    all
}

#[tokio::test]
async fn a_restored_device_has_what_is_the_accounts_and_other_keys() {
    let folder = TempDir::new().unwrap();
    let (before, group) = alice(&folder, 3).await;
    before.set_petname(group, "The group").await.unwrap();
    // Nobody knows whether it went out before the device was lost.
    let unsent = before.send(group, "on its way").await.unwrap();
    let options = options(folder.path(), "restored");
    let report = restore_file(&backup(&before).await, &options).await.unwrap();
    assert_eq!((report.messages, report.account), (4, before.inner.identity.account()));

    let after = Client::open(options.clone()).await.unwrap();
    let (old, new) = (before.whoami().await.unwrap(), after.whoami().await.unwrap());
    assert_eq!(old.account, new.account);
    assert_ne!(old.device, new.device);
    assert!(new.registered, "the account exists: it logs in");
    let notes = after.notes().await.unwrap();
    let texts: Vec<_> = after.history(notes, 9).await.unwrap().into_iter().map(|note| note.text).collect();
    assert_eq!(texts, ["note 0", "note 1", "note 2"]);
    let info = after.conversation(group).await.unwrap();
    assert_eq!((info.petname.as_deref(), info.active, info.stuck), (Some("The group"), true, true));
    let message = after.history(group, 9).await.unwrap().remove(0);
    assert_eq!((message.id, message.state), (unsent, MessageState::Failed));
    assert_eq!(after.stats().await.unwrap().outbox, 0);
    assert!(after.epoch_authenticator(group).await.is_err(), "no state of the group came along");

    // What is restored is backed up like anything else.
    assert_eq!(restore_file(&backup(&after).await, &self::options(folder.path(), "again")).await.unwrap().messages, 4);
}

#[tokio::test]
async fn a_backup_holds_no_key_but_the_accounts() {
    let folder = TempDir::new().unwrap();
    let (client, _) = alice(&folder, 1).await;
    let all = plain(&backup(&client).await);
    let identity = &client.inner.identity;
    let holds = |secret: &[u8]| all.windows(secret.len()).any(|window| window == secret);
    assert!(holds(identity.account_key.to_bytes().as_ref()));
    assert!(!holds(identity.device_key.to_bytes().as_ref()));
    assert!(!holds(identity.queue_key.to_bytes().as_ref()));
    // Of what openmls keeps, nothing that is longer than an id and is not public.
    let state = client.inner.store.run(|tx| tx.mls_state_for_test()).await.unwrap();
    assert!(state.len() > 4, "{} values", state.len());
    let public = identity.certificate.to_bytes();
    let is_public = |window: &[u8]| public.windows(window.len()).any(|part| part == window);
    let known: std::collections::HashSet<&[u8]> = state.iter().flat_map(|value| value.windows(24)).collect();
    let shared = all.windows(24).filter(|window| known.contains(window) && !is_public(window)).count();
    assert_eq!(shared, 0);
}

#[tokio::test]
async fn what_cannot_be_restored_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let (client, _) = alice(&folder, 300).await;
    let file = backup(&client).await;
    let options = options(folder.path(), "restored");
    let left = || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(left(), ["alice"]);

    let wrong = restore_backup(Cursor::new(file.clone()), "guessed", &options, |_| {}).await.unwrap_err();
    assert!(matches!(wrong, Error::Archive(ArchiveError::WrongPassphrase)), "{wrong}");
    let mut damaged = file.clone();
    damaged[file.len() - 2_000] ^= 1;
    let error = restore_file(&damaged, &options).await.unwrap_err();
    assert!(matches!(error, Error::Archive(ArchiveError::Damaged { what: Damage::Chain, .. })), "{error}");
    for cut in [9, 200, 4_000, file.len() - 1] {
        let error = restore_file(&file[..cut], &options).await.unwrap_err();
        assert!(matches!(error, Error::Archive(ArchiveError::Damaged { what: Damage::Cut, .. })), "{cut}: {error}");
    }
    for version in [0, 2] {
        let mut other = file.clone();
        other[9] = version;
        let error = restore_file(&other, &options).await.unwrap_err();
        assert!(
            matches!(error, Error::Archive(ArchiveError::Version { found, known: 1 }) if found == version),
            "{error}"
        );
    }
    let other = ClientOptions { username: "bob".into(), ..options.clone() };
    let error = restore_file(&file, &other).await.unwrap_err();
    assert!(matches!(&error, Error::BackupOfOther { stored, .. } if stored == "alice"), "{error}");
    assert!(matches!(
        restore_file(b"qpc receipts", &options).await.unwrap_err(),
        Error::Archive(ArchiveError::Unknown)
    ));
    // The disk that the file is on goes away half-way.
    let failing = Cursor::new(file[..file.len() / 2].to_vec()).chain(Failing);
    let error = restore_backup(failing, PASSPHRASE, &options, |_| {}).await.unwrap_err();
    assert!(matches!(&error, Error::Archive(ArchiveError::Io(error)) if error.kind() == ErrorKind::NotConnected));
    assert_eq!(left(), ["alice"]);

    // What a process left that was killed half-way is cleared away, and the one that is at it is not disturbed.
    let half = folder.path().join("restored.restoring");
    Store::create(&half, b"another password", KsfParams::FLOOR, options.runtime.clone(), FIRST.into()).unwrap();
    let at_it = store::lock(&half).unwrap();
    assert!(matches!(restore_file(&file, &options).await.unwrap_err(), Error::StoreInUse(_)));
    drop(at_it);
    assert_eq!(restore_file(&file, &options).await.unwrap().messages, 300);
    assert_eq!(left().len(), 2);
    let error = restore_file(&file, &options).await.unwrap_err();
    assert!(matches!(error, Error::StoreNotEmpty(_)), "{error}");
    assert_eq!(Client::open(options).await.unwrap().stats().await.unwrap().outbox, 0);
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::NotConnected.into())
    }
}

#[tokio::test]
async fn rows_of_a_later_version_are_refused_and_those_of_an_older_one_brought_up_to_date() {
    let folder = TempDir::new().unwrap();
    let options = options(folder.path(), "restored");
    let (mut rng, runtime) = (options.runtime.rng(), options.runtime.clone());
    let lock = qpc_crypto::archive::Lock::new(&mut rng, PASSPHRASE.as_bytes(), KsfParams::FLOOR).unwrap();
    let device = qpc_crypto::DeviceKey::generate(&mut rng);
    let mut made = |schema: u32, rows: Vec<pb::BackupRows>| {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, &mut rng, &lock, &About::Backup, 0).unwrap();
        let head = pb::BackupHead {
            username: "alice".into(),
            account_key: vec![7; 32].into(),
            schema,
            ..pb::BackupHead::default()
        };
        push(&mut writer, Record::Head(head)).unwrap();
        rows.into_iter().for_each(|rows| push(&mut writer, Record::Rows(rows)).unwrap());
        writer.finish(&device).unwrap();
        file
    };
    let error = restore_file(&made(1_000, Vec::new()), &options).await.unwrap_err();
    assert!(matches!(error, Error::StoreVersion { found: 1_000, .. }), "{error}");
    let named = |table: &str, columns: &[&str], values: Vec<pb::backup_rows::Value>| pb::BackupRows {
        table: table.into(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        rows: vec![pb::backup_rows::Row { values }],
    };
    let text = |text: &str| pb::backup_rows::Value { value: Some(pb::backup_rows::value::Value::Text(text.into())) };
    for bad in [
        named("identity", &["username"], vec![text("mallory")]),
        named("synced", &["name) VALUES (1); --"], vec![text("x")]),
        named("synced", &["name", "value"], vec![text("x")]),
    ] {
        let error = restore_file(&made(FIRST, vec![bad]), &options).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
    }
    let number = |n| pb::backup_rows::Value { value: Some(pb::backup_rows::value::Value::Integer(n)) };
    let row = named("synced", &["name", "value", "at_ms"], vec![text("a"), text("b"), number(5)]);
    restore_file(&made(FIRST, vec![row]), &options).await.unwrap();
    let store = Store::open(&options.data, b"pw", KsfParams::FLOOR, runtime).unwrap();
    assert_eq!(store.run_blocking(|tx| tx.synced_at_ms("a")).unwrap(), 5);
    assert!(store.run_blocking(|tx| tx.schema()).unwrap() >= FIRST.into());
}
