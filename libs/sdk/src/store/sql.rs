//! A transaction whose statements are compiled once for each store.

use std::ops::Deref;

use rusqlite::{Connection, Params, Result, Row, Transaction};

/// Statements that stay compiled: more than there are in this crate. Their values are forgotten after each use.
pub(super) const STATEMENTS: usize = 256;

/// See the module.
pub(crate) struct Sql<'a>(pub(super) Transaction<'a>);

impl Sql<'_> {
    /// As [`Connection::execute`].
    pub(crate) fn execute(&self, sql: &str, values: impl Params) -> Result<usize> {
        self.0.prepare_cached(sql)?.execute(values)
    }

    /// As [`Connection::query_row`].
    pub(crate) fn query_row<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.0.prepare_cached(sql)?.query_row(values, read)
    }
}

impl Deref for Sql<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}
