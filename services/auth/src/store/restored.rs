//! After the database was put back from a copy.

use qpc_chassis::db::{Restoring, Tx};

/// Ends all sessions: among them are those that had ended since the copy was made. What else was taken away since is not known
/// here; devices that are still good log in again by themselves.
pub(crate) fn restored(tx: &mut Tx, _now_ms: u64) -> Restoring<'_> {
    Box::pin(async move {
        let ended = tx.execute("DELETE FROM sessions", &[]).await?;
        Ok(format!("{ended} sessions ended, devices log in again"))
    })
}
