//! The databases of a process, so that its end can close them.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::Db;

/// Connections that were given back close within this time.
const GRACE: Duration = Duration::from_secs(5);

/// Databases that are open. Cheap to clone.
#[derive(Clone, Default)]
pub struct Databases(Arc<Mutex<Vec<Db>>>);

impl Databases {
    pub(crate) fn add(&self, db: Db) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(db);
    }

    /// Closes them, after what used them has ended. Tells whether that was done in time.
    pub async fn close(&self) -> bool {
        let open = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let closing = async {
            for db in open {
                db.close().await;
            }
        };
        tokio::time::timeout(GRACE, closing).await.is_ok()
    }
}
