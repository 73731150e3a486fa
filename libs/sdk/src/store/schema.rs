//! Tables of the client, each step a migration; `user_version` says how many have been done. The tables of openmls are
//! its own business.

use rusqlite::Connection;

use crate::Error;

/// Never change one that was released: append.
const MIGRATIONS: &[&str] =
    &[include_str!("0001_client.sql"), include_str!("0002_groups.sql"), include_str!("0003_healing.sql")];

/// The version since which MLS state is MessagePack.
pub(super) const MESSAGE_PACK: i64 = 3;

/// Returns the version that was there; 0 for a new database.
pub(super) fn migrate(sql: &mut Connection) -> Result<i64, Error> {
    let done: i64 = sql.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if done > known {
        return Err(Error::StoreVersion { found: done, known });
    }
    for (version, step) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > done) {
        let tx = sql.transaction()?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(done)
}

/// MLS state of before [`MESSAGE_PACK`] cannot be read any more. Groups are joined again as if they could not be followed,
/// and new KeyPackages are published; names, messages and receipts stay.
pub(super) fn forget_mls(sql: &mut Connection) -> Result<(), Error> {
    let tx = sql.transaction()?;
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'openmls\\_%' ESCAPE '\\'";
    let tables: Vec<String> = tx.prepare(tables)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    // What it has done stands in a table of its own.
    for table in tables.iter().filter(|table| !table.ends_with("migrations")) {
        tx.execute(&format!("DELETE FROM {table}"), [])?;
    }
    tx.execute_batch(
        "DELETE FROM pending; DELETE FROM uploads; DELETE FROM published WHERE what <> 'queue key';
         UPDATE outbox SET payload = x'';
         UPDATE groups SET stuck = 1 WHERE id IN (SELECT group_id FROM conversations WHERE state = 1);
         INSERT OR IGNORE INTO chores (conversation, kind, due_ms) SELECT id, 1, 0 FROM conversations WHERE state = 1;",
    )?;
    Ok(tx.commit()?)
}
