//! SQLite on the calling thread and in memory, for simulations: a thread of its own would run in real time, which virtual
//! time does not wait for. The same SQL, one transaction at a time.

use std::{any::Any, borrow::Cow, sync::Arc, time::Duration};

use rand::RngCore;
use rusqlite::{Connection, backup::Backup, params_from_iter, types::Value};
use sqlx::error::{DatabaseError, ErrorKind};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Arg, DbError};
use crate::runtime::{
    Runtime,
    sim::{Disk, Medium},
};

/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 128;
/// Of so many steps of a transaction one takes its time.
const SLOW_ONE_IN: u32 = 4;
/// How much time, microseconds at the most.
const SLOW_MICROS: u32 = 4_000;

/// What the replicas of a service share. One connection: who reads waits for the transaction that is open.
struct Database(Arc<Mutex<Connection>>);

impl Database {
    fn new() -> Result<Self, DbError> {
        let connection = Connection::open_in_memory()?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.execute_batch("PRAGMA foreign_keys = ON")?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    fn copy(&self) -> Result<Self, DbError> {
        let copy = Self::new()?;
        // Both are free: nothing else runs while this does, and a disk is copied while nobody uses it.
        let (Ok(from), Ok(mut to)) = (self.0.try_lock(), copy.0.try_lock()) else {
            return Err(DbError::Damaged("simulated disk in use"));
        };
        Backup::new(&from, &mut to)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
        drop(to);
        Ok(copy)
    }
}

impl Medium for Database {
    #[allow(clippy::expect_used, reason = "a simulation that cannot copy its memory has no way to go on")]
    fn fork(&self) -> Arc<dyn Medium> {
        Arc::new(self.copy().expect("a copy of a database in memory"))
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// The database of one service as one replica sees it.
#[derive(Clone)]
pub struct Engine {
    database: Arc<Database>,
    runtime: Runtime,
}

impl Engine {
    /// The database of `service` on `disk`, empty if it is new. `runtime` decides how long transactions take.
    pub(super) fn open(disk: &Disk, service: &str, runtime: Runtime) -> Result<Self, DbError> {
        let database = disk.open(service, Database::new)?.ok_or(DbError::Damaged("simulated disk"))?;
        Ok(Self { database, runtime })
    }

    pub(super) async fn begin(&self) -> Result<InlineTx, DbError> {
        self.pause().await;
        let connection = self.database.0.clone().lock_owned().await;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        Ok(InlineTx { engine: self.clone(), connection, open: true })
    }

    pub(super) async fn rows(&self, sql: &str, args: &[Arg<'_>]) -> Result<Vec<InlineRow>, DbError> {
        self.pause().await;
        query(&*self.database.0.lock().await, sql, args)
    }

    /// Applies what was not applied before, in order.
    pub(super) async fn migrate(&self, steps: impl Iterator<Item = (i64, &'static str)>) -> Result<(), DbError> {
        let connection = self.database.0.clone().lock_owned().await;
        let done: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        for (version, sql) in steps.filter(|(version, _)| *version > done) {
            connection.execute_batch(&format!("BEGIN; {sql}; PRAGMA user_version = {version}; COMMIT"))?;
        }
        Ok(())
    }

    /// Lets others go on, sometimes for a while.
    async fn pause(&self) {
        let draw = self.runtime.rng().next_u32();
        if draw.is_multiple_of(SLOW_ONE_IN) {
            tokio::time::sleep(Duration::from_micros(u64::from(draw / SLOW_ONE_IN % SLOW_MICROS))).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// A transaction; the next one waits for its end.
pub struct InlineTx {
    engine: Engine,
    connection: OwnedMutexGuard<Connection>,
    open: bool,
}

impl InlineTx {
    pub(super) async fn execute(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<u64, DbError> {
        let values = values(args)?;
        let changed = self.connection.prepare_cached(&numbered(sql))?.execute(params_from_iter(values))?;
        Ok(changed as u64)
    }

    pub(super) async fn rows(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<Vec<InlineRow>, DbError> {
        query(&self.connection, sql, args)
    }

    pub(super) async fn commit(mut self) -> Result<(), DbError> {
        let engine = self.engine.clone();
        engine.pause().await;
        self.connection.execute_batch("COMMIT")?;
        self.open = false;
        drop(self);
        // Committed, and not known yet by whoever waits for it.
        engine.pause().await;
        Ok(())
    }
}

impl Drop for InlineTx {
    fn drop(&mut self) {
        if self.open && !self.connection.is_autocommit() {
            // Fails only when SQLite has rolled back by itself.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}

/// A row, read to the end.
pub struct InlineRow(Vec<Value>);

impl InlineRow {
    pub(super) fn int(&self, column: usize) -> Result<i64, DbError> {
        match self.0.get(column) {
            Some(Value::Integer(value)) => Ok(*value),
            _ => Err(DbError::Damaged("number")),
        }
    }

    pub(super) fn bytes(&self, column: usize) -> Result<Vec<u8>, DbError> {
        self.optional_bytes(column)?.ok_or(DbError::Damaged("value that must be there"))
    }

    pub(super) fn optional_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, DbError> {
        match self.0.get(column) {
            Some(Value::Blob(value)) => Ok(Some(value.clone())),
            Some(Value::Null) => Ok(None),
            _ => Err(DbError::Damaged("bytes")),
        }
    }

    pub(super) fn text(&self, column: usize) -> Result<String, DbError> {
        match self.0.get(column) {
            Some(Value::Text(value)) => Ok(value.clone()),
            _ => Err(DbError::Damaged("text")),
        }
    }
}

fn query(connection: &Connection, sql: &str, args: &[Arg<'_>]) -> Result<Vec<InlineRow>, DbError> {
    let mut statement = connection.prepare_cached(&numbered(sql))?;
    let columns = statement.column_count();
    let mut rows = statement.query(params_from_iter(values(args)?))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(InlineRow((0..columns).map(|column| row.get(column)).collect::<Result<_, _>>()?));
    }
    Ok(found)
}

/// `$1` is a name to SQLite, numbered by first appearance; sqlx takes it for a position, which SQLite writes `?1`.
fn numbered(sql: &str) -> Cow<'_, str> {
    if sql.contains('$') { sql.replace('$', "?").into() } else { sql.into() }
}

fn values(args: &[Arg<'_>]) -> Result<Vec<Value>, DbError> {
    args.iter()
        .map(|arg| {
            Ok(match arg {
                Arg::Int(value) => Value::Integer(*value),
                Arg::Bytes(value) => Value::Blob(value.to_vec()),
                Arg::Text(value) => Value::Text((*value).to_owned()),
                Arg::Ints(_) | Arg::ByteArrays(_) => return Err(DbError::Damaged("array argument for SQLite")),
            })
        })
        .collect()
}

/// The error as sqlx would give it, so that it is judged by the same rules.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Failure(rusqlite::Error);

impl DatabaseError for Failure {
    fn message(&self) -> &str {
        match &self.0 {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message,
            _ => "sqlite",
        }
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        self.0.sqlite_error().map(|error| error.extended_code.to_string().into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        match self.0.sqlite_error().map(|error| error.extended_code) {
            Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => {
                ErrorKind::UniqueViolation
            }
            _ => ErrorKind::Other,
        }
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        sqlx::Error::Database(Box::new(Failure(error))).into()
    }
}
