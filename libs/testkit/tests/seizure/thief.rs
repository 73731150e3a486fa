//! Who took a copy of a client's folder and knows the password, and who recorded what the server stored.

use std::{
    fs,
    path::{Path, PathBuf},
};

use openmls_sqlite_storage::SqliteStorageProvider;
use qpc_chassis::db::{Arg, Db};
use qpc_crypto::{Conversation, DeviceCertificate, MlsError, Provider, QueueKey, mls::Incoming};
use qpc_sdk::{ConversationId, bench::MessagePack};
use qpc_testkit::Cluster;
use qpc_wire::{DeviceId, GroupId};
use rusqlite::Connection;

use crate::{
    common::copy,
    pages::{Page, database_key, pages},
    secrets::{Secrets, secrets},
};

/// A copy of a client's whole state on disk, opened.
pub struct Thief {
    /// As it was taken; never opened, so that it stays as it was.
    pub seized: PathBuf,
    key: [u8; 32],
    pub sql: Connection,
    pub queue: (DeviceId, QueueKey),
}

impl Thief {
    /// Copies `folder`, while its client runs, to `to`.
    pub fn rob(folder: &Path, password: &str, to: &Path) -> Self {
        let seized = to.join("seized");
        seize(folder, &seized);
        let opened = to.join("opened");
        copy(&seized, &opened);
        let key = database_key(&seized, password);
        let sql = Connection::open(opened.join("store.db")).unwrap();
        sql.execute_batch(&format!("PRAGMA key = \"x'{}'\"", hex::encode(key))).unwrap();
        let (queue, certificate): ([u8; 32], Vec<u8>) = sql
            .query_row("SELECT queue_key, certificate FROM identity", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        let device = DeviceCertificate::parse(&certificate).unwrap().device_id();
        Self { seized, key, sql, queue: (device, QueueKey::from_bytes(&queue)) }
    }

    /// Does with a message what the client would do, in the copy: one step of MLS, kept if it went well.
    pub fn take_in(&mut self, group: ConversationId, message: &[u8]) -> Result<Incoming, MlsError> {
        let tx = self.sql.transaction().unwrap();
        let provider = Provider::new(SqliteStorageProvider::<MessagePack, &Connection>::new(&*tx));
        let taken = Conversation::load(&provider, group)?.expect("a group").process(&provider, message)?;
        tx.commit().unwrap();
        Ok(taken)
    }

    /// What each of these messages gives.
    pub fn read(&mut self, group: ConversationId, messages: &[Recorded]) -> Vec<Result<Incoming, MlsError>> {
        messages.iter().map(|message| self.take_in(group, &message.message)).collect()
    }

    /// The epoch of a group in the copy.
    pub fn epoch(&self, group: ConversationId) -> u64 {
        let provider = Provider::new(SqliteStorageProvider::<MessagePack, &Connection>::new(&self.sql));
        Conversation::load(&provider, group).unwrap().unwrap().epoch()
    }

    /// Secrets that the copy holds by now.
    pub fn secrets(&self) -> Secrets {
        secrets(&self.sql)
    }

    /// All pages of the copy, as it was taken.
    pub fn pages(&self) -> Vec<Page> {
        pages(&self.seized, &self.key)
    }

    /// Bytes of the log of the copy, as it was taken.
    pub fn log_len(&self) -> u64 {
        fs::metadata(self.seized.join("store.db-wal")).map_or(0, |file| file.len())
    }
}

/// The texts among what was read.
pub fn read_texts(read: &[Result<Incoming, MlsError>], texts: &[&str]) -> Vec<bool> {
    let holds = |text: &str| {
        read.iter().any(|one| match one {
            Ok(Incoming::Message { plaintext, .. }) => {
                plaintext.windows(text.len()).any(|window| window == text.as_bytes())
            }
            _ => false,
        })
    };
    texts.iter().map(|text| holds(text)).collect()
}

/// Copies a folder in use: again until nothing has changed meanwhile.
fn seize(from: &Path, to: &Path) {
    let read = || -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(from)
            .unwrap()
            .filter_map(|file| {
                let path = file.unwrap().path();
                // The log may go between the two.
                fs::read(&path).ok().map(|bytes| (path, bytes))
            })
            .collect();
        files.sort();
        files
    };
    let mut before = read();
    loop {
        let after = read();
        if before == after {
            break;
        }
        before = after;
    }
    fs::create_dir_all(to).unwrap();
    for (path, bytes) in before {
        fs::write(to.join(path.file_name().unwrap()), bytes).unwrap();
    }
}

/// A message as the members' MLS sees it.
pub struct Recorded {
    pub kind: i64,
    pub epoch: u64,
    pub message: Vec<u8>,
}

impl Recorded {
    pub fn is_application(&self) -> bool {
        self.kind == qpc_wire::v1::EnvelopeKind::Application as i64
    }
}

/// A server that keeps everything, for ever.
pub struct Wire(Db);

impl Wire {
    pub async fn record(cluster: &Cluster) -> Self {
        let setting = format!("sqlite:{}", cluster.folder().display());
        let db = Db::open(&setting, "delivery", 1, qpc_delivery::store::MIGRATIONS).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        for sql in [
            "CREATE TABLE wire_payload
                (n INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB, group_id BLOB, kind INTEGER, epoch INTEGER, body BLOB)",
            "CREATE TABLE wire_entry (payload_id BLOB, device BLOB, sealed_key BLOB)",
            "CREATE TRIGGER wire_payload_kept AFTER INSERT ON payload BEGIN
                INSERT INTO wire_payload (id, group_id, kind, epoch, body)
                VALUES (new.id, new.group_id, new.kind, new.epoch, new.body); END",
            "CREATE TRIGGER wire_entry_kept AFTER INSERT ON mailbox_entry BEGIN
                INSERT INTO wire_entry (payload_id, device, sealed_key)
                VALUES (new.payload_id, new.device, new.sealed_key); END",
        ] {
            tx.execute(sql, &[]).await.unwrap();
        }
        tx.commit().await.unwrap();
        Self(db)
    }

    /// Loses what is in a mailbox, after it was recorded.
    pub async fn lose(&self, device: DeviceId) {
        let mut tx = self.0.begin().await.unwrap();
        let lost = tx.execute("DELETE FROM mailbox_entry WHERE device = $1", &[Arg::from(&device)]).await.unwrap();
        assert!(lost > 0);
        tx.commit().await.unwrap();
    }

    /// Commits and messages of a group, in the order in which they were accepted. Commits are sealed to the queue keys of
    /// their recipients; the server has seen them before that, so each that one of `openers` was given is opened.
    pub async fn messages(&self, group: ConversationId, openers: &[&Thief]) -> Vec<Recorded> {
        let sql = "SELECT p.kind, p.epoch, p.body, e.device, e.sealed_key, p.n FROM wire_payload p
                   JOIN wire_entry e ON e.payload_id = p.id WHERE p.group_id = $1 AND p.kind IN (1, 2) ORDER BY p.n";
        let rows = self.0.rows(sql, &[Arg::Bytes(group.as_ref())]).await.unwrap();
        let (mut messages, mut last) = (Vec::new(), 0);
        for row in rows {
            let (kind, epoch, n) = (row.int(0).unwrap(), row.uint(1).unwrap(), row.uint(5).unwrap());
            let (body, device, sealed_key) =
                (row.bytes(2).unwrap(), DeviceId(row.array(3).unwrap()), row.bytes(4).unwrap());
            let opener = openers.iter().map(|thief| &thief.queue).find(|(owner, _)| *owner == device);
            let message = match opener {
                _ if n == last => continue,
                _ if kind == 1 => body,
                Some((_, key)) => key.open_for(device, GroupId(group.0), &sealed_key, &body).unwrap(),
                None => continue,
            };
            last = n;
            messages.push(Recorded { kind, epoch, message });
        }
        messages
    }
}
