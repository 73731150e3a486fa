//! Everything a client remembers: one SQLCipher database, keyed by the password.
//!
//! All work is a transaction ([`Store::run`]), and openmls writes through the same one ([`Tx::mls`]): a message and the
//! step of the ratchet that it took are there together or not at all. Groups stay loaded from one transaction to the next
//! as long as nothing is rolled back ([`loaded`]).

mod admissions;
mod changes;
mod chores;
mod conversations;
mod drafts;
mod export;
mod files;
mod identity;
mod kept;
mod key_file;
mod loaded;
mod mailbox;
mod messages;
mod outbox;
mod packages;
mod peers;
mod pending;
mod people;
mod receipts;
mod rows;
mod schema;
mod shared;
#[cfg(feature = "sim")]
mod simulated;
mod sql;
mod timers;
mod tokens;
mod transcripts;
mod wipe;

use std::{
    cell::RefCell,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use openmls_sqlite_storage::{Codec, SqliteStorageProvider};
use qpc_crypto::{
    Provider, aead,
    kdf::{self, KsfParams},
};
use rmp_serde::config::BytesMode;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use self::{
    loaded::Loaded,
    sql::{STATEMENTS, Sql},
    wipe::Wiping,
};
use crate::{Error, Runtime};

pub(crate) use chores::{Chore, ChoreKind};
pub use conversations::{ConversationInfo, ConversationKind};
pub(crate) use conversations::{ConversationState, NOTES, RENEW_EVERY_MS};
pub(crate) use files::{FileUpload, SourceFile};
pub(crate) use identity::Identity;
pub(crate) use loaded::Group;
pub(crate) use messages::New;
pub use messages::{Message, MessageKind, MessageState, Reaction};
pub(crate) use outbox::{MAX_OUTBOX, Outgoing, Sealed, Way};
pub(crate) use peers::Shown;
pub(crate) use pending::{Pending, PendingKind};
pub use people::Standing;
pub use receipts::ChainError;
pub(crate) use receipts::{Break, Kept};
pub(crate) use rows::{KEPT, Place};
pub(crate) use transcripts::{Telling, Told};

const DATABASE: &str = "store.db";
const KEY_FILE: &str = "store.key";
const LOCK_FILE: &str = "store.lock";

/// The database of one account on one device. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Store {
    shared: Arc<Shared>,
    runtime: Runtime,
}

struct Shared {
    sql: Arc<Mutex<Connection>>,
    token_key: Zeroizing<[u8; 32]>,
    /// Locked while `sql` is.
    loaded: Mutex<Loaded>,
    wiping: Wiping,
    /// Held, not read: the operating system frees the lock when the process ends, however it ends.
    _lock: Option<File>,
}

/// A transaction. Committed when the work that it was given to succeeds.
pub(crate) struct Tx<'a> {
    sql: Sql<'a>,
    token_key: &'a [u8; 32],
    runtime: &'a Runtime,
    loaded: RefCell<Loaded>,
}

/// Values of openmls as MessagePack, with the names of fields: they describe themselves, so more compact formats do not
/// work. openmls hands its byte strings over as lists of numbers; written as such, as in CBOR, they would take twice the
/// room, and a group of thousands ten times as long.
#[derive(Default)]
#[allow(unreachable_pub, reason = "for the benches")]
pub struct MessagePack;

/// Why a value of openmls could not be written or read.
#[derive(Debug, thiserror::Error)]
#[allow(unreachable_pub, reason = "for the benches")]
pub enum MessagePackError {
    #[error("encoding MLS state: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    #[error("decoding MLS state: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
}

impl Codec for MessagePack {
    type Error = MessagePackError;

    fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, MessagePackError> {
        let mut bytes = Vec::new();
        let serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
        value.serialize(&mut serializer.with_bytes(BytesMode::ForceIterables))?;
        Ok(bytes)
    }

    fn from_slice<T: DeserializeOwned>(slice: &[u8]) -> Result<T, MessagePackError> {
        Ok(rmp_serde::from_slice(slice)?)
    }
}

/// What openmls works with inside a transaction.
pub(crate) type Mls<'a> = Provider<SqliteStorageProvider<MessagePack, &'a Connection>>;

impl Store {
    /// Opens the database in `folder`, making both where they are missing. `ksf` is the cost of the password for a new
    /// database. A second opening is refused, by this process or another. Blocks for the time of Argon2id.
    pub(crate) fn open(folder: &Path, password: &[u8], ksf: KsfParams, runtime: Runtime) -> Result<Self, Error> {
        #[cfg(feature = "sim")]
        if let Some(host) = runtime.host() {
            let sql = simulated::open(&host.disk, folder)?;
            return Ok(Self {
                shared: Arc::new(Shared {
                    sql,
                    token_key: Zeroizing::new([0; 32]),
                    loaded: Mutex::default(),
                    wiping: Wiping::default(),
                    _lock: None,
                }),
                runtime,
            });
        }
        Self::open_with(folder, password, ksf, runtime, migrate)
    }

    /// Makes the database with the tables of a version, to be brought up to date when it is opened for the first time. Blocks
    /// for the time of Argon2id.
    pub(crate) fn create(
        folder: &Path,
        password: &[u8],
        ksf: KsfParams,
        runtime: Runtime,
        version: i64,
    ) -> Result<Self, Error> {
        Self::open_with(folder, password, ksf, runtime, |sql| schema::migrate_to(sql, version))
    }

    fn open_with(
        folder: &Path,
        password: &[u8],
        ksf: KsfParams,
        runtime: Runtime,
        migrate: impl FnOnce(&mut Connection) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        create_folder(folder).map_err(io_error(folder))?;
        let lock = lock(folder)?;
        let key = key_file::database_key(&folder.join(KEY_FILE), password, ksf, &runtime)?;
        let mut sql = open_encrypted(&folder.join(DATABASE), &key)?;
        migrate(&mut sql)?;
        let token_key = Zeroizing::new(kdf::expand(key.as_ref(), b"qpc session token v1"));
        let shared = Shared {
            sql: Arc::new(Mutex::new(sql)),
            token_key,
            loaded: Mutex::default(),
            wiping: Wiping::default(),
            _lock: Some(lock),
        };
        Ok(Self { shared: Arc::new(shared), runtime })
    }

    /// Runs `work` in a transaction, beside the event loop. It is committed if the result is `Ok`. Once begun it runs to
    /// its end, also when the future is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        let run = move || {
            let result = store.run_blocking(work);
            store.wipe_soon();
            result
        };
        self.runtime.blocking(run).await.ok_or(Error::Interrupted)?
    }

    /// [`Self::run`] on this thread.
    pub(crate) fn run_blocking<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T, Error>) -> Result<T, Error> {
        // A panic in a transaction has rolled it back.
        let mut sql = self.shared.sql.lock().unwrap_or_else(PoisonError::into_inner);
        let before = sql.total_changes();
        let result = self.transact(&mut sql, work);
        // A large transaction that was rolled back is in the log too.
        if sql.total_changes() != before {
            self.shared.wiping.due.store(true, Ordering::SeqCst);
        }
        result
    }

    fn transact<T>(&self, sql: &mut Connection, work: impl FnOnce(&Tx<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut kept = self.shared.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let tx = Tx {
            sql: Sql(sql.transaction_with_behavior(TransactionBehavior::Immediate)?),
            token_key: &self.shared.token_key,
            runtime: &self.runtime,
            // What is not brought back is gone: so it is with everything after a failure or a panic.
            loaded: RefCell::new(std::mem::take(&mut *kept)),
        };
        let result = work(&tx)?;
        tx.sql.0.commit()?;
        *kept = tx.loaded.into_inner();
        Ok(result)
    }
}

impl Tx<'_> {
    /// The storage of openmls within this transaction.
    pub(crate) fn mls(&self) -> Mls<'_> {
        Provider::new(SqliteStorageProvider::new(&*self.sql))
    }

    /// Unix milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.runtime.now_ms()
    }

    /// A statement about a group that only a test would make.
    #[cfg(test)]
    pub(crate) fn execute_for_test(&self, sql: &str, group: qpc_wire::GroupId) -> Result<usize, Error> {
        Ok(self.sql.execute(sql, [group.as_ref()])?)
    }

    /// Seals something that stays no longer than its key.
    pub(crate) fn seal(&self, key: &[u8; 32], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        aead::seal(&mut self.runtime.rng(), key, aad, plaintext)
    }

    /// All that openmls keeps.
    #[cfg(test)]
    pub(crate) fn mls_state_for_test(&self) -> Result<Vec<Vec<u8>>, Error> {
        let tables = "SELECT name FROM sqlite_master WHERE name LIKE 'openmls\\_%' ESCAPE '\\' AND type = 'table'
                          AND name NOT LIKE '%migrations'";
        let tables: Vec<String> =
            self.sql.prepare(tables)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut values = Vec::new();
        for table in tables {
            let mut statement = self.sql.prepare(&format!("SELECT * FROM {table}"))?;
            let width = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                for at in 0..width {
                    values.extend(row.get_ref(at)?.as_blob_or_null().ok().flatten().map(<[u8]>::to_vec));
                }
            }
        }
        Ok(values)
    }

    /// Random bytes.
    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        self.runtime.random()
    }

    /// Runs `work` so that an error undoes what it wrote, and nothing else of the transaction. openmls leaves its storage
    /// undefined when it fails half-way.
    pub(crate) fn attempt<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<Result<T, Error>, Error> {
        self.sql.execute_batch("SAVEPOINT attempt")?;
        let result = work();
        if result.is_err() {
            self.sql.execute_batch("ROLLBACK TO attempt")?;
            self.loaded.borrow_mut().forget_all();
        }
        self.sql.execute_batch("RELEASE attempt")?;
        Ok(result)
    }
}

/// Refuses a folder that has a store.
pub(crate) fn check_new(folder: &Path) -> Result<(), Error> {
    match folder.join(DATABASE).try_exists().map_err(io_error(folder))? {
        true => Err(Error::StoreExists(folder.to_owned())),
        false => Ok(()),
    }
}

/// Brings the tables of the client and of openmls up to date.
fn migrate(sql: &mut Connection) -> Result<(), Error> {
    schema::migrate(sql)?;
    SqliteStorageProvider::<MessagePack, &mut Connection>::new(sql)
        .run_migrations()
        .map_err(|error| Error::Migration(Box::new(error)))
}

fn open_encrypted(path: &Path, key: &[u8; 32]) -> Result<Connection, Error> {
    let sql = Connection::open(path)?;
    sql.set_prepared_statement_cache_capacity(STATEMENTS);
    // The quotes make SQLCipher take the 32 bytes as they are, without a key derivation of its own.
    let pragma = Zeroizing::new(format!("PRAGMA key = \"x'{}'\"", Zeroizing::new(hex::encode(key)).as_str()));
    sql.execute_batch(&pragma)?;
    // A wrong password is told by an error, not on standard error. The key turns the log on, so this follows it.
    sql.execute_batch("PRAGMA cipher_log_level = NONE")?;
    // An SQLite without encryption ignores the key, silently.
    let version = sql.query_row("PRAGMA cipher_version", [], |row| row.get::<_, String>(0));
    match version {
        Ok(version) if !version.is_empty() => {}
        Ok(_) | Err(rusqlite::Error::QueryReturnedNoRows) => return Err(Error::NoCipher),
        Err(error) => return Err(error.into()),
    }
    sql.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(())).map_err(|error| match error {
        rusqlite::Error::SqliteFailure(failure, _) if failure.code == ErrorCode::NotADatabase => Error::WrongPassword,
        error => error.into(),
    })?;
    // FULL: what was promised to the user survives a loss of power. Temporary tables never reach the disk.
    sql.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON;",
    )?;
    // After a crash it is still there.
    wipe::cut_log(&sql)?;
    Ok(sql)
}

/// Keeps everybody else from the database in a folder.
pub(crate) fn lock(folder: &Path) -> Result<File, Error> {
    let path = &folder.join(LOCK_FILE);
    let file =
        File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(io_error(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::StoreInUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_error(path)(error)),
    }
}

/// Readable for its owner alone.
fn create_folder(folder: &Path) -> io::Result<()> {
    if fs::metadata(folder).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

pub(crate) fn io_error(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path: PathBuf = path.to_owned();
    move |source| Error::Io { path: path.clone(), source }
}
