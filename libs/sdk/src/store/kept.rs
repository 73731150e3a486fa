//! What a user interface keeps for itself.

use rusqlite::{OptionalExtension as _, params};

use super::Tx;
use crate::Error;

impl Tx<'_> {
    /// Keeps a value in place of the one of that name; an empty one takes it away.
    pub(crate) fn put_kept(&self, name: &str, value: &[u8]) -> Result<(), Error> {
        if value.is_empty() {
            self.sql.execute("DELETE FROM kept WHERE name = ?1", [name])?;
        } else {
            self.sql.execute("INSERT OR REPLACE INTO kept (name, value) VALUES (?1, ?2)", params![name, value])?;
        }
        Ok(())
    }

    /// The value of a name.
    pub(crate) fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.sql.query_row("SELECT value FROM kept WHERE name = ?1", [name], |row| row.get(0)).optional()?)
    }
}
