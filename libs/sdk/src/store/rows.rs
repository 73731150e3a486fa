//! Tables row by row, for backups. A backup has the tables as they are, so that whatever a later version keeps beside a
//! message is in it without another word; which tables that are is said here, and a test holds every table to one of the
//! two lists.

use qpc_wire::content::{
    BackupRows,
    backup_rows::{Row, Value, value},
};
use rusqlite::types::{Value as Sql, ValueRef};

use super::{ChoreKind, Tx};
use crate::Error;

/// What is the account's: put back on another device it is as true as it was here. The groups are their ids and numbers.
pub(crate) const KEPT: &[&str] = &[
    "server",
    "peers",
    "former_peers",
    "conversations",
    "groups",
    "epochs",
    "holes",
    "synced",
    "invites",
    "revoked",
    "receipts",
    "lost_receipts",
    "deliveries",
    "messages",
    "changes",
    "token_keys",
];
/// What is this device's: its keys and sessions, what is on its way from it, what it has to do and how far it has read, what
/// its user interface keeps. And all tables of openmls: a ratchet that is put back uses keys twice.
#[cfg(test)]
const LEFT: &[&str] = &[
    "identity",
    "session",
    "uploads",
    "file_uploads",
    "file_parts",
    "published",
    "mailbox",
    "undecryptable",
    "outbox",
    "pending",
    "acks",
    "chores",
    "admissions",
    "tokens",
    "token_request",
    "kept",
    "drafts",
    "recovery",
];
/// Where a page of rows ends, bytes, about: one row may make it longer.
const PAGE: usize = 48 << 10;

/// How far a table was read: the primary key of the last row.
pub(crate) type Place = Vec<Sql>;

impl Tx<'_> {
    /// The version of the tables.
    pub(crate) fn schema(&self) -> Result<i64, Error> {
        Ok(self.sql.query_row("PRAGMA user_version", [], |row| row.get(0))?)
    }

    /// The next rows of a table, and the place after them; none at the end.
    pub(crate) fn rows_after(&self, table: &'static str, after: &Place) -> Result<Option<(BackupRows, Place)>, Error> {
        let (columns, key) = self.columns(table)?;
        let names = |indexes: &[usize]| indexes.iter().map(|at| &*columns[*at]).collect::<Vec<_>>().join(", ");
        let (all, key_names) = (columns.join(", "), names(&key));
        let places = (1..=after.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
        let condition = if after.is_empty() { String::new() } else { format!("WHERE ({key_names}) > ({places})") };
        let sql = format!("SELECT {all} FROM {table} {condition} ORDER BY {key_names}");
        let mut statement = self.sql.prepare_cached(&sql)?;
        let mut found = statement.query(rusqlite::params_from_iter(after))?;
        let (mut rows, mut size, mut place) = (Vec::new(), 0, Place::new());
        while let Some(row) = found.next()? {
            let values = (0..columns.len()).map(|at| read(row.get_ref(at)?)).collect::<Result<Vec<_>, Error>>()?;
            place = key.iter().map(|at| row.get(*at)).collect::<Result<_, _>>()?;
            size += values.iter().map(prost::Message::encoded_len).sum::<usize>();
            rows.push(Row { values });
            if size >= PAGE {
                break;
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some((BackupRows { table: table.to_owned(), columns, rows }, place)))
    }

    /// Puts rows back.
    pub(crate) fn insert_rows(&self, rows: BackupRows) -> Result<(), Error> {
        let malformed = || Error::Corrupt("a record of the backup");
        let table = *KEPT.iter().find(|table| **table == rows.table).ok_or_else(malformed)?;
        let (known, _) = self.columns(table)?;
        if !rows.columns.iter().all(|column| known.contains(column)) {
            return Err(malformed());
        }
        let places = (1..=rows.columns.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
        let sql = format!("INSERT INTO {table} ({}) VALUES ({places})", rows.columns.join(", "));
        let mut statement = self.sql.prepare_cached(&sql)?;
        for row in rows.rows {
            if row.values.len() != rows.columns.len() {
                return Err(malformed());
            }
            statement.execute(rusqlite::params_from_iter(row.values.into_iter().map(written)))?;
        }
        Ok(())
    }

    /// What was put back is now another device's: it is in no group yet, and joins each one as a device that has lost track
    /// of it does. What the device before had not sent is not sent by this one, which cannot know whether that one did.
    pub(crate) fn begin_as_another_device(&self) -> Result<(), Error> {
        self.sql.execute_batch(
            "DELETE FROM groups WHERE id IN (SELECT group_id FROM conversations WHERE state = 0);
             DELETE FROM conversations WHERE state = 0;
             DELETE FROM messages WHERE conversation NOT IN (SELECT id FROM conversations);
             DELETE FROM changes WHERE conversation NOT IN (SELECT id FROM conversations) OR at_ms = 0;
             UPDATE messages SET state = 2 WHERE state IN (0, 5);
             UPDATE messages SET seq = 0 WHERE seq IS NULL AND state <> 8;
             UPDATE receipts SET own = 2 WHERE own = 1;
             UPDATE lost_receipts SET own = 2 WHERE own = 1;
             UPDATE groups SET tag_told = 0, interrupted = 1,
                 stuck = EXISTS (SELECT 1 FROM conversations c WHERE c.group_id = groups.id AND c.state = 1);",
        )?;
        for conversation in self.active_conversations()? {
            self.put_chore(conversation, ChoreKind::Heal, 0)?;
        }
        Ok(())
    }

    /// The columns of a table, and which of them are its primary key.
    fn columns(&self, table: &'static str) -> Result<(Vec<String>, Vec<usize>), Error> {
        let mut statement = self.sql.prepare_cached("SELECT name, pk FROM pragma_table_info(?1) ORDER BY cid")?;
        let rows = statement.query_map([table], |row| Ok((row.get(0)?, row.get::<_, usize>(1)?)))?;
        let (names, ranks): (Vec<String>, Vec<usize>) = rows.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let mut key: Vec<usize> = (0..names.len()).filter(|at| ranks[*at] > 0).collect();
        key.sort_by_key(|at| ranks[*at]);
        Ok((names, key))
    }
}

fn read(value: ValueRef<'_>) -> Result<Value, Error> {
    let value = match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(value::Value::Integer(number)),
        ValueRef::Text(text) => {
            let text = std::str::from_utf8(text).map_err(|_| Error::Corrupt("a text of the store"))?;
            Some(value::Value::Text(text.to_owned()))
        }
        ValueRef::Blob(blob) => Some(value::Value::Blob(blob.to_vec().into())),
        // No table has such a column.
        ValueRef::Real(_) => return Err(Error::Corrupt("a number of the store")),
    };
    Ok(Value { value })
}

fn written(value: Value) -> Sql {
    match value.value {
        None => Sql::Null,
        Some(value::Value::Integer(number)) => Sql::Integer(number),
        Some(value::Value::Text(text)) => Sql::Text(text),
        Some(value::Value::Blob(blob)) => Sql::Blob(blob.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rusqlite::Connection;

    use super::*;

    #[test]
    fn every_table_is_backed_up_or_left_out_on_purpose() {
        let mut sql = Connection::open_in_memory().unwrap();
        super::super::schema::migrate(&mut sql).unwrap();
        let tables: BTreeSet<String> = sql
            .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let said: BTreeSet<String> = KEPT.iter().chain(LEFT).map(|table| (*table).to_owned()).collect();
        assert_eq!(said, tables);
        assert_eq!(KEPT.len() + LEFT.len(), tables.len());
    }
}
