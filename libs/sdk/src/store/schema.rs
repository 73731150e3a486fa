//! Tables of the client, each step a migration; `user_version` says how many have been done. The tables of openmls are
//! its own business.

use rusqlite::{Connection, Transaction};

use crate::Error;

/// Never change one that was released: append.
const MIGRATIONS: &[&str] =
    &[include_str!("0001_client.sql"), include_str!("0002_groups.sql"), include_str!("0003_healing.sql")];

/// The version since which MLS state is MessagePack.
const MESSAGE_PACK: i64 = 3;

/// Brings the tables up to date.
pub(super) fn migrate(sql: &mut Connection) -> Result<(), Error> {
    let done: i64 = sql.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if done > known {
        return Err(Error::StoreVersion { found: done, known });
    }
    for (version, step) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > done) {
        let tx = sql.transaction()?;
        tx.execute_batch(step)?;
        if version == MESSAGE_PACK && done > 0 {
            forget_mls(&tx)?;
        }
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}

/// MLS state of before [`MESSAGE_PACK`] cannot be read any more. Groups are joined again as if they could not be followed,
/// and new KeyPackages are published; names, messages and receipts stay. Of the changes that wait for an answer, a group that
/// was being founded is as if it never was, a joining is begun again, and so is a leaving.
fn forget_mls(tx: &Transaction<'_>) -> Result<(), Error> {
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'openmls\\_%' ESCAPE '\\'";
    let tables: Vec<String> = tx.prepare(tables)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    // What it has done stands in a table of its own.
    for table in tables.iter().filter(|table| !table.ends_with("migrations")) {
        tx.execute(&format!("DELETE FROM {table}"), [])?;
    }
    tx.execute_batch(
        "DELETE FROM groups WHERE id IN (SELECT group_id FROM conversations WHERE state = 0);
         DELETE FROM conversations WHERE state = 0;
         INSERT OR IGNORE INTO chores (conversation, kind, due_ms) SELECT group_id, 13, 0 FROM pending WHERE kind = 2;
         INSERT OR IGNORE INTO chores (conversation, kind, due_ms) SELECT conversation, 12, 0 FROM pending WHERE kind = 3;
         DELETE FROM pending; DELETE FROM uploads; DELETE FROM published WHERE what <> 'queue key';
         UPDATE outbox SET payload = x'';
         UPDATE groups SET stuck = 1 WHERE id IN (SELECT group_id FROM conversations WHERE state = 1);
         INSERT OR IGNORE INTO chores (conversation, kind, due_ms) SELECT id, 1, 0 FROM conversations WHERE state = 1;",
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(sql: &Connection, what: &str) -> i64 {
        sql.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_store_of_before_message_pack_begins_its_groups_anew() {
        let mut sql = Connection::open_in_memory().unwrap();
        for step in &MIGRATIONS[..MESSAGE_PACK as usize - 1] {
            sql.execute_batch(step).unwrap();
        }
        sql.pragma_update(None, "user_version", MESSAGE_PACK - 1).unwrap();
        // Conversations: one that was being founded, one that is active, one that is being left.
        sql.execute_batch(
            "CREATE TABLE openmls_group_data (x); INSERT INTO openmls_group_data VALUES (1);
             CREATE TABLE openmls_sqlite_storage_migrations (x); INSERT INTO openmls_sqlite_storage_migrations VALUES (1);
             INSERT INTO conversations (id, kind, group_id, state, created_at_ms)
                 VALUES (x'00', 2, x'00', 0, 1), (x'01', 2, x'01', 1, 1), (x'02', 2, x'02', 1, 1);
             INSERT INTO groups (id, conversation, suite, epoch, since_epoch, first_epoch)
                 VALUES (x'00', x'00', 1, 0, 0, 0), (x'01', x'01', 1, 5, 0, 0), (x'02', x'02', 1, 5, 0, 0);
             INSERT INTO pending (group_id, conversation, kind, request)
                 VALUES (x'00', x'00', 0, x''), (x'01', x'01', 1, x''), (x'02', x'02', 3, x''), (x'03', x'03', 2, x'');",
        )
        .unwrap();
        migrate(&mut sql).unwrap();
        assert_eq!((count(&sql, "openmls_group_data"), count(&sql, "openmls_sqlite_storage_migrations")), (0, 1));
        assert_eq!(
            (count(&sql, "pending"), count(&sql, "conversations"), count(&sql, "groups WHERE stuck = 1")),
            (0, 2, 2)
        );
        let chores: Vec<(Vec<u8>, i64)> = sql
            .prepare("SELECT conversation, kind FROM chores ORDER BY conversation, kind")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(chores, [(vec![1], 1), (vec![2], 1), (vec![2], 12), (vec![3], 13)]);
        // A new one has nothing to forget, and it happens once.
        sql.execute("INSERT INTO openmls_group_data VALUES (2)", []).unwrap();
        migrate(&mut sql).unwrap();
        assert_eq!(count(&sql, "openmls_group_data"), 1);
    }
}
