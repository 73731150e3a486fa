//! Arguments of a statement.

use bytes::Bytes;
use qpc_wire::{AccountId, DeviceId, GroupId};
use sqlx::{Postgres, Sqlite, postgres::PgArguments, query::Query, sqlite::SqliteArguments};

use super::DbError;

/// A value bound to a placeholder.
#[derive(Debug, Clone, Copy)]
pub enum Arg<'a> {
    /// `BIGINT`
    Int(i64),
    /// `BYTEA`
    Bytes(&'a [u8]),
    /// `TEXT`
    Text(&'a str),
    /// `BIGINT[]`, Postgres only
    Ints(&'a [i64]),
    /// `BYTEA[]`, Postgres only
    ByteArrays(&'a [&'a [u8]]),
}

impl From<i64> for Arg<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

/// Sequences, epochs and times stay far below 2^63.
impl From<u64> for Arg<'_> {
    fn from(value: u64) -> Self {
        Self::Int(value as i64)
    }
}

impl From<u32> for Arg<'_> {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

impl<'a> From<&'a Vec<u8>> for Arg<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl<'a> From<&'a Bytes> for Arg<'a> {
    fn from(value: &'a Bytes) -> Self {
        Self::Bytes(value)
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

macro_rules! from_id {
    ($($id:ident)*) => {
        $(impl<'a> From<&'a $id> for Arg<'a> {
            fn from(value: &'a $id) -> Self {
                Self::Bytes(&value.0)
            }
        })*
    };
}

from_id!(AccountId DeviceId GroupId);

pub(super) fn postgres<'q>(sql: &'static str, args: &[Arg<'_>]) -> Query<'q, Postgres, PgArguments> {
    args.iter().fold(sqlx::query(sql), |query, arg| match arg {
        Arg::Int(value) => query.bind(*value),
        Arg::Bytes(value) => query.bind(*value),
        Arg::Text(value) => query.bind(*value),
        Arg::Ints(values) => query.bind(*values),
        Arg::ByteArrays(values) => query.bind(*values),
    })
}

pub(super) fn sqlite<'q>(sql: &'static str, args: &[Arg<'_>]) -> Result<Query<'q, Sqlite, SqliteArguments>, DbError> {
    args.iter().try_fold(sqlx::query(sql), |query, arg| {
        Ok(match arg {
            Arg::Int(value) => query.bind(*value),
            Arg::Bytes(value) => query.bind(value.to_vec()),
            Arg::Text(value) => query.bind((*value).to_owned()),
            Arg::Ints(_) | Arg::ByteArrays(_) => return Err(DbError::Damaged("array argument for SQLite")),
        })
    })
}
