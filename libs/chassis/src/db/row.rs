//! Columns of a result, by position.

use sqlx::{Row as _, postgres::PgRow, sqlite::SqliteRow};

use super::DbError;

/// One row.
pub enum Row {
    /// From Postgres.
    Postgres(PgRow),
    /// From SQLite.
    Sqlite(SqliteRow),
    /// From SQLite, in a simulation.
    #[cfg(feature = "sim")]
    Inline(super::inline::InlineRow),
}

impl Row {
    /// `BIGINT`
    pub fn int(&self, column: usize) -> Result<i64, DbError> {
        Ok(match self {
            Self::Postgres(row) => row.try_get(column)?,
            Self::Sqlite(row) => row.try_get(column)?,
            #[cfg(feature = "sim")]
            Self::Inline(row) => row.int(column)?,
        })
    }

    /// `BIGINT` that was written from an unsigned number.
    pub fn uint(&self, column: usize) -> Result<u64, DbError> {
        u64::try_from(self.int(column)?).map_err(|_| DbError::Damaged("unsigned number"))
    }

    /// `BYTEA`
    pub fn bytes(&self, column: usize) -> Result<Vec<u8>, DbError> {
        Ok(match self {
            Self::Postgres(row) => row.try_get(column)?,
            Self::Sqlite(row) => row.try_get(column)?,
            #[cfg(feature = "sim")]
            Self::Inline(row) => row.bytes(column)?,
        })
    }

    /// `BYTEA` that may be absent.
    pub fn optional_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, DbError> {
        Ok(match self {
            Self::Postgres(row) => row.try_get(column)?,
            Self::Sqlite(row) => row.try_get(column)?,
            #[cfg(feature = "sim")]
            Self::Inline(row) => row.optional_bytes(column)?,
        })
    }

    /// `BYTEA` of a fixed length.
    pub fn array<const N: usize>(&self, column: usize) -> Result<[u8; N], DbError> {
        self.bytes(column)?.try_into().map_err(|_| DbError::Damaged("fixed-size value"))
    }

    /// `TEXT`
    pub fn text(&self, column: usize) -> Result<String, DbError> {
        Ok(match self {
            Self::Postgres(row) => row.try_get(column)?,
            Self::Sqlite(row) => row.try_get(column)?,
            #[cfg(feature = "sim")]
            Self::Inline(row) => row.text(column)?,
        })
    }
}
