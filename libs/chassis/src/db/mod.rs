//! One SQL facade over Postgres and SQLite.
//!
//! Statements are written once, in the subset both engines share: `$1` placeholders, `ON CONFLICT … RETURNING`, columns
//! of `BIGINT`, `BYTEA` and `TEXT`, no clock of the database. Where a hot path gains from an engine's own means, the store
//! asks [`Tx::dialect`] and its contract suite shows that both say the same.

mod args;
pub mod contract;
mod databases;
mod idempotency;
#[cfg(feature = "sim")]
mod inline;
mod migrate;
mod row;

use std::{path::Path, str::FromStr, time::Duration};

use sqlx::{
    Postgres, Sqlite, Transaction,
    pool::PoolOptions,
    postgres::{PgConnectOptions, PgPool},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous},
};

use tracing::{Instrument as _, Span};

pub use args::Arg;
pub use databases::Databases;
pub use idempotency::{
    BatchClaim, Claim, IdempotentCall, SWEEP, claim, claim_all, once, release, remember, replay, sweep,
};
pub use migrate::{Migrate, Migration, Migrations, Restored, Restoring, Schema};
pub use row::Row;

use crate::trace;

/// A statement failed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A unique key is taken.
    #[error("the row exists")]
    Conflict(#[source] sqlx::Error),
    /// Not now: no connection, or the engine gave up this transaction. The same call may succeed later.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// A defect, here or in the data.
    #[error("database: {0}")]
    Sql(#[source] sqlx::Error),
    /// Schema migration failed.
    #[error("migration: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The schema is older than this program, which was not to change it.
    #[error(
        "the schema of {service} lacks {missing}, which this version needs: run it with --migrate only first, or start it \
         with --migrate apply"
    )]
    Outdated {
        /// Whose schema.
        service: String,
        /// The first step that is not there.
        missing: String,
    },
    /// There is nothing that could have been put back.
    #[error("there is nothing of {0} in this database: put the copy back first")]
    Nothing(String),
    /// A stored value does not have the form it was written with.
    #[error("stored {0} is damaged")]
    Damaged(&'static str),
    /// The idempotency key was used before, for another request.
    #[error("the idempotency key belongs to another request")]
    KeyReused,
    /// Neither `sqlite:FOLDER` nor `postgres://…`. What it is instead is not told: there may be a password in it.
    #[error("the database setting must be sqlite:FOLDER or postgres://…")]
    Setting,
    /// The folder of the database cannot be made.
    #[error("data folder: {0}")]
    Folder(#[source] std::io::Error),
}

/// Codes of failures that pass: SQLSTATE of Postgres, result codes of SQLite (busy, locked, full and their variants).
const UNAVAILABLE: &[&str] = &[
    "40001", "40P01", "57P01", "57P02", "57P03", "57014", "53100", "53200", "53300", "25006", "5", "6", "13", "261",
    "517",
];

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(cause) if cause.is_unique_violation() => Self::Conflict(error),
            // Serialisation failure, deadlock, shutdown, no room, a standby that was promoted or demoted; and their SQLite kin.
            sqlx::Error::Database(cause) if cause.code().is_some_and(|code| UNAVAILABLE.contains(&&*code)) => {
                Self::Unavailable(error)
            }
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Unavailable(error)
            }
            _ => Self::Sql(error),
        }
    }
}

impl From<DbError> for qpc_wire::Status {
    fn from(error: DbError) -> Self {
        match error {
            DbError::KeyReused => Self::invalid(error.to_string()),
            DbError::Unavailable(_) => Self::unavailable("the store is busy", 200),
            _ => Self::internal(),
        }
    }
}

/// Connections of a [`Db`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// Open ones.
    pub connections: u32,
    /// Those of them that nobody uses.
    pub idle: usize,
    /// As many may be open.
    pub max: u32,
}

/// Which engine runs a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL 15 or newer.
    Postgres,
    /// SQLite 3.46 or newer.
    Sqlite,
}

impl Dialect {
    /// A span of a trace. It holds the text of the statement, never what the placeholders stand for.
    fn span(self, sql: &'static str) -> Span {
        trace::statement(sql, if self == Self::Postgres { "postgresql" } else { "sqlite" })
    }
}

/// The database of one service: a schema of its own in Postgres, a file of its own in SQLite. Cheap to clone.
#[derive(Clone)]
pub enum Db {
    /// A pool whose connections see the service's schema only.
    Postgres(PgPool),
    /// One writer, several readers.
    Sqlite {
        /// Transactions, one at a time.
        writer: SqlitePool,
        /// Reads outside transactions.
        reader: SqlitePool,
    },
    /// SQLite in a simulation.
    #[cfg(feature = "sim")]
    Inline(inline::Engine),
}

impl Db {
    /// Opens the database of `service` and brings its schema up to date.
    ///
    /// `setting` is `sqlite:FOLDER` (the file is `FOLDER/<service>.db`) or `postgres://…` (the schema is
    /// `qpc_<service>`). `pool` bounds the Postgres connections.
    pub async fn open(setting: &str, service: &str, pool: u32, migrations: &Migrations) -> Result<Self, DbError> {
        Self::open_as(Migrate::Apply, setting, service, pool, migrations).await
    }

    /// The same, or with a look alone at whether the schema is up to date.
    pub async fn open_as(
        migrate: Migrate,
        setting: &str,
        service: &str,
        pool: u32,
        migrations: &Migrations,
    ) -> Result<Self, DbError> {
        let db = if let Some(folder) = setting.strip_prefix("sqlite:") {
            // Else a mistyped folder would be made, and all seem well.
            if migrate == Migrate::Restored && !Path::new(folder).join(format!("{service}.db")).exists() {
                return Err(DbError::Nothing(service.to_owned()));
            }
            Self::open_sqlite(folder, service).await?
        } else if setting.starts_with("postgres") {
            Self::open_postgres(setting, service, pool).await?
        } else {
            return Err(DbError::Setting);
        };
        match migrate {
            Migrate::Apply | Migrate::Only => migrate::run(&db, service, migrations).await?,
            Migrate::Never => migrate::require(&db, service, migrations).await?,
            Migrate::Restored => {
                migrate::require_any(&db, service).await?;
                migrate::run(&db, service, migrations).await?;
            }
        }
        Ok(db)
    }

    /// The database of `service` on the disk of a simulation, with its schema brought up to date.
    #[cfg(feature = "sim")]
    pub async fn open_inline(
        disk: &crate::runtime::sim::Disk,
        runtime: &crate::Runtime,
        service: &str,
        migrations: &Migrations,
    ) -> Result<Self, DbError> {
        let db = Self::Inline(inline::Engine::open(disk, service, runtime.clone())?);
        migrate::run(&db, service, migrations).await?;
        Ok(db)
    }

    async fn open_sqlite(folder: &str, service: &str) -> Result<Self, DbError> {
        std::fs::create_dir_all(folder).map_err(DbError::Folder)?;
        let options = SqliteConnectOptions::new()
            .filename(format!("{folder}/{service}.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An accepted message survives a power cut (G1).
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let writer = PoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        let reader = PoolOptions::new().max_connections(4).connect_with(options).await?;
        Ok(Self::Sqlite { writer, reader })
    }

    async fn open_postgres(url: &str, service: &str, pool: u32) -> Result<Self, DbError> {
        let options = PgConnectOptions::from_str(url)?
            .application_name(&format!("qpc-{service}"))
            .options([("search_path", format!("qpc_{service}"))]);
        let pool = PoolOptions::new()
            .max_connections(pool)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options)
            .await?;
        Ok(Self::Postgres(pool))
    }

    /// The engine.
    pub fn dialect(&self) -> Dialect {
        if matches!(self, Self::Postgres(_)) { Dialect::Postgres } else { Dialect::Sqlite }
    }

    /// Begins a transaction that takes its write lock at once.
    pub async fn begin(&self) -> Result<Tx, DbError> {
        let begun = async {
            Ok(match self {
                Self::Postgres(pool) => Tx::Postgres(pool.begin().await?),
                Self::Sqlite { writer, .. } => Tx::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
                #[cfg(feature = "sim")]
                Self::Inline(engine) => Tx::Inline(engine.begin().await?),
            })
        };
        // With the wait for a connection.
        begun.instrument(self.dialect().span("BEGIN")).await
    }

    /// Rows of a statement outside a transaction.
    pub async fn rows(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, DbError> {
        self.query(sql, args).instrument(self.dialect().span(sql)).await
    }

    async fn query(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, DbError> {
        Ok(match self {
            Self::Postgres(pool) => {
                let rows = args::postgres(sql, args).fetch_all(pool).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
            Self::Sqlite { reader, .. } => {
                let rows = args::sqlite(sql, args)?.fetch_all(reader).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            #[cfg(feature = "sim")]
            Self::Inline(engine) => engine.rows(sql, args).await?.into_iter().map(Row::Inline).collect(),
        })
    }

    /// First row of a statement outside a transaction.
    pub async fn row(&self, sql: &'static str, args: &[Arg<'_>]) -> Result<Option<Row>, DbError> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// How its connections are used, those of readers and of the writer together.
    pub fn pool(&self) -> PoolUse {
        match self {
            Self::Postgres(pool) => {
                let max = pool.options().get_max_connections();
                PoolUse { connections: pool.size(), idle: pool.num_idle(), max }
            }
            Self::Sqlite { writer, reader } => PoolUse {
                connections: writer.size() + reader.size(),
                idle: writer.num_idle() + reader.num_idle(),
                max: writer.options().get_max_connections() + reader.options().get_max_connections(),
            },
            #[cfg(feature = "sim")]
            Self::Inline(_) => PoolUse { connections: 1, idle: 1, max: 1 },
        }
    }

    /// Closes all connections once they are given back. A SQLite file is whole then, with no log beside it.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
            Self::Sqlite { writer, reader } => {
                // Who closes last puts the log away. Of several at once each would take another for the last.
                reader.close().await;
                writer.close().await;
            }
            #[cfg(feature = "sim")]
            Self::Inline(_) => {}
        }
    }

    /// Answers when the database does.
    pub async fn ping(&self) -> Result<(), DbError> {
        self.rows("SELECT 1", &[]).await.map(|_| ())
    }
}

/// A transaction; rolled back when dropped.
pub enum Tx {
    /// On Postgres.
    Postgres(Transaction<'static, Postgres>),
    /// On SQLite.
    Sqlite(Transaction<'static, Sqlite>),
    /// On SQLite, in a simulation.
    #[cfg(feature = "sim")]
    Inline(inline::InlineTx),
}

impl Tx {
    /// The engine.
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Dialect::Postgres,
            Self::Sqlite(_) => Dialect::Sqlite,
            #[cfg(feature = "sim")]
            Self::Inline(_) => Dialect::Sqlite,
        }
    }

    /// Runs a statement; returns the number of rows it changed.
    pub async fn execute(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64, DbError> {
        let span = self.dialect().span(sql);
        self.change(sql, args).instrument(span).await
    }

    async fn change(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64, DbError> {
        Ok(match self {
            Self::Postgres(tx) => args::postgres(sql, args).execute(&mut **tx).await?.rows_affected(),
            Self::Sqlite(tx) => args::sqlite(sql, args)?.execute(&mut **tx).await?.rows_affected(),
            #[cfg(feature = "sim")]
            Self::Inline(tx) => tx.execute(sql, args).await?,
        })
    }

    /// Rows of a statement.
    pub async fn rows(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, DbError> {
        let span = self.dialect().span(sql);
        self.query(sql, args).instrument(span).await
    }

    async fn query(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, DbError> {
        Ok(match self {
            Self::Postgres(tx) => {
                let rows = args::postgres(sql, args).fetch_all(&mut **tx).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
            Self::Sqlite(tx) => {
                let rows = args::sqlite(sql, args)?.fetch_all(&mut **tx).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            #[cfg(feature = "sim")]
            Self::Inline(tx) => tx.rows(sql, args).await?.into_iter().map(Row::Inline).collect(),
        })
    }

    /// First row of a statement.
    pub async fn row(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Option<Row>, DbError> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// Makes everything durable.
    pub async fn commit(self) -> Result<(), DbError> {
        let span = self.dialect().span("COMMIT");
        let committed = async {
            match self {
                Self::Postgres(tx) => tx.commit().await?,
                Self::Sqlite(tx) => tx.commit().await?,
                #[cfg(feature = "sim")]
                Self::Inline(tx) => tx.commit().await?,
            }
            Ok::<_, DbError>(())
        };
        committed.instrument(span).await?;
        tracing::debug!("committed");
        Ok(())
    }
}
