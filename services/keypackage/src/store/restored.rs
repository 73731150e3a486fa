//! After the database was put back from a copy.

use qpc_chassis::db::{Restoring, Tx};

/// Removes all packages that may be handed out once: nobody knows which of them were since the copy was made (G6). Devices
/// bring new ones; until then others get those of last resort.
pub(crate) fn restored(tx: &mut Tx, _now_ms: u64) -> Restoring<'_> {
    Box::pin(async move {
        let purged = tx.execute("DELETE FROM key_packages", &[]).await?;
        Ok(format!("{purged} single-use KeyPackages purged, those of last resort stay"))
    })
}
