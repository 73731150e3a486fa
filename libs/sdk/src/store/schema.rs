//! Tables of the client, each step a migration; `user_version` says how many have been done. The tables of openmls are
//! its own business.

use rusqlite::{Connection, Transaction, params};

use crate::{
    Error, MessageId,
    content::{Body, Content, Saying},
};

/// Never change one that was released: append.
const MIGRATIONS: &[&str] = &[
    include_str!("0001_client.sql"),
    include_str!("0002_groups.sql"),
    include_str!("0003_healing.sql"),
    include_str!("0004_rich.sql"),
    include_str!("0005_files.sql"),
    include_str!("0006_sealed.sql"),
    include_str!("0007_kept.sql"),
    include_str!("0008_drafts.sql"),
    include_str!("0009_account.sql"),
    include_str!("0010_signed.sql"),
];

/// The version since which MLS state is MessagePack.
const MESSAGE_PACK: i64 = 3;
/// The version since which the content of messages is protobuf.
const PROTOBUF: i64 = 4;

/// Brings the tables up to date.
pub(super) fn migrate(sql: &mut Connection) -> Result<(), Error> {
    migrate_to(sql, MIGRATIONS.len() as i64)
}

/// Brings the tables to a version that is not before their own.
pub(super) fn migrate_to(sql: &mut Connection, wanted: i64) -> Result<(), Error> {
    let done: i64 = sql.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let (found, known) = (done.max(wanted), MIGRATIONS.len() as i64);
    if found > known {
        return Err(Error::StoreVersion { found, known });
    }
    for (version, step) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > done && *version <= wanted) {
        let tx = sql.transaction()?;
        tx.execute_batch(step)?;
        if version == MESSAGE_PACK && done > 0 {
            forget_mls(&tx)?;
        }
        if version == PROTOBUF {
            rewrite_outbox(&tx)?;
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

/// What people wrote before [`PROTOBUF`] and the server has not accepted is made anew, to be encrypted when it is sent; should it
/// have been accepted, its id says so to who gets it twice. What clients tell each other they tell again, or need not.
fn rewrite_outbox(tx: &Transaction<'_>) -> Result<(), Error> {
    tx.execute("DELETE FROM outbox WHERE message IS NULL", [])?;
    let waiting = "SELECT o.n, o.message, m.text, m.sent_at_ms, COALESCE((SELECT username FROM identity), '')
         FROM outbox o JOIN messages m ON m.conversation = o.conversation AND m.id = o.message AND m.seq IS NULL";
    let waiting: Vec<(i64, [u8; 16], String, u64, String)> = tx
        .prepare(waiting)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
        .collect::<Result<_, _>>()?;
    for (n, id, text, sent_at_ms, from) in waiting {
        let body = Body::Say(Saying::Text(text.as_str().into()));
        let content = Content { id: MessageId(id), sent_at_ms, from, again: None, blind: id, body }.encode()?;
        tx.execute("UPDATE outbox SET content = ?2, payload = x'' WHERE n = ?1", params![n, content])?;
    }
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

    #[test]
    fn what_waited_before_protobuf_is_made_anew() {
        let mut sql = Connection::open_in_memory().unwrap();
        for step in &MIGRATIONS[..PROTOBUF as usize - 1] {
            sql.execute_batch(step).unwrap();
        }
        sql.pragma_update(None, "user_version", PROTOBUF - 1).unwrap();
        sql.execute_batch(
            "INSERT INTO messages (conversation, id, sender_account, sender_device, text, sent_at_ms, epoch, state)
                 VALUES (x'01', x'0707070707070707070707070707070707', x'', x'', 'wait for me', 5, 1, 0);
             UPDATE messages SET id = substr(id, 1, 16);
             INSERT INTO outbox (conversation, message, content, idempotency_key, payload)
                 SELECT conversation, id, x'a0', x'', x'ff' FROM messages;
             INSERT INTO outbox (conversation, content, idempotency_key) VALUES (x'01', x'a0', x'');",
        )
        .unwrap();
        migrate(&mut sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?));
        let waiting: Vec<_> =
            sql.prepare("SELECT content, payload FROM outbox").unwrap().query_map([], row).unwrap().collect();
        let [Ok((content, payload))] = waiting.as_slice() else { panic!("{waiting:?}") };
        let content = Content::decode(content).unwrap();
        assert_eq!((content.id, content.sent_at_ms, payload.len()), (MessageId([7; 16]), 5, 0));
        assert_eq!(content.body, Body::Say(Saying::Text("wait for me".into())));
    }
}
