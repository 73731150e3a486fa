//! Used keys have to go from the disk and not only from the tables, or whoever takes the disk and learns the password reads
//! what was recorded of the past.
//!
//! In the database itself they do: `secure_delete` overwrites what is deleted, replaced or moved. But each page first goes to
//! the log, which SQLite copies back once it has a thousand pages and then overwrites from its beginning, so that a quiet
//! client would keep there, for days, every key that it has used. Cutting the log after each message would let a client
//! receive a tenth to a third of what it can; for all that was written within [`WIPE_AFTER`] at once it costs a few percent.
//!
//! What file system and flash keep of blocks that were overwritten or cut off is out of reach. It is ciphertext under the
//! key of the store.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;

use super::{Shared, Store};
use crate::Error;

/// Longest time for which what was overwritten stays in the log. Short for who takes the device, long for who receives
/// hundreds of messages a second.
const WIPE_AFTER: Duration = Duration::from_millis(500);

/// What there is to wipe.
#[derive(Default)]
pub(super) struct Wiping {
    /// Something was written since the log was cut.
    pub(super) due: AtomicBool,
    /// Somebody waits to cut it.
    begun: AtomicBool,
}

impl Store {
    /// Has the log cut in a while, if there is anything in it. Must be called on a runtime of tokio.
    pub(super) fn wipe_soon(&self) {
        #[cfg(feature = "sim")]
        if self.runtime.host().is_some() {
            // In memory.
            return;
        }
        let wiping = &self.shared.wiping;
        if !wiping.due.load(Ordering::SeqCst) || wiping.begun.swap(true, Ordering::SeqCst) {
            return;
        }
        // Does not keep the store open: closing it removes the log.
        let (shared, runtime) = (Arc::downgrade(&self.shared), self.runtime.clone());
        self.runtime.spawn(async move {
            tokio::select! {
                biased;
                () = runtime.shutdown().cancelled() => return,
                () = tokio::time::sleep(WIPE_AFTER) => {}
            }
            let wiped = runtime.blocking(move || shared.upgrade().map_or(Ok(()), |shared| shared.wipe())).await;
            if let Some(Err(error)) = wiped {
                // As good as nothing lost: the next transaction has it tried again.
                tracing::warn!(%error, "the log of the store is not wiped");
            }
        });
    }
}

impl Shared {
    fn wipe(&self) -> Result<(), Error> {
        let sql = self.sql.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the work: whoever writes after this has it done again.
        self.wiping.begun.store(false, Ordering::SeqCst);
        cut_log(&sql)?;
        self.wiping.due.store(false, Ordering::SeqCst);
        Ok(())
    }
}

/// Copies the log into the database and cuts it to nothing.
pub(super) fn cut_log(sql: &Connection) -> Result<(), Error> {
    let busy: bool = sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    // Nobody else has the database open, so nobody can be in the way.
    debug_assert!(!busy);
    Ok(())
}
