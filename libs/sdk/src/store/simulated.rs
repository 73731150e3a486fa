//! The store on the disk of a simulation: in memory, without a key, there again after a crash with what was committed.

use std::{
    any::Any,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, backup::Backup};

use super::{migrate, sql::STATEMENTS};
use crate::{
    Error,
    runtime::sim::{Disk, Medium},
};

struct Database(Arc<Mutex<Connection>>);

impl Database {
    fn new() -> Result<Self, rusqlite::Error> {
        let sql = Connection::open_in_memory()?;
        sql.execute_batch("PRAGMA foreign_keys = ON")?;
        sql.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(Self(Arc::new(Mutex::new(sql))))
    }

    fn copy(&self) -> Result<Self, rusqlite::Error> {
        let copy = Self::new()?;
        let from = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut to = copy.0.lock().unwrap_or_else(PoisonError::into_inner);
        Backup::new(&from, &mut to)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
        drop(to);
        Ok(copy)
    }
}

impl Medium for Database {
    #[allow(clippy::expect_used, reason = "a simulation that cannot copy its memory has no way to go on")]
    fn fork(&self) -> Arc<dyn Medium> {
        Arc::new(self.copy().expect("a copy of a store in memory"))
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

pub(super) fn open(disk: &Disk, folder: &Path) -> Result<Arc<Mutex<Connection>>, Error> {
    let database = disk.open(&folder.display().to_string(), Database::new)?.ok_or(Error::Corrupt("simulated disk"))?;
    let sql = database.0.clone();
    migrate(&mut sql.lock().unwrap_or_else(PoisonError::into_inner))?;
    Ok(sql)
}
