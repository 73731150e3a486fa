//! Schema migrations: those of the chassis (idempotency), then those of the service.
//!
//! Releases expand first and contract later, so that a program runs on the schema of the next one as well. Steps that it
//! does not know are none of its business therefore; one that it knows and misses is.

use std::{borrow::Cow, collections::BTreeSet};

use futures_util::future::BoxFuture;
use sqlx::{
    SqlSafeStr,
    migrate::{MigrationType, Migrator},
};

use super::{Arg, Db, DbError, Tx};

/// One step, never edited once released.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// From 1, without holes.
    pub version: i64,
    /// Name of the file without number.
    pub name: &'static str,
    /// For Postgres.
    pub postgres: &'static str,
    /// For SQLite.
    pub sqlite: &'static str,
}

impl Migration {
    /// A step that both engines take as it is.
    pub const fn portable(version: i64, name: &'static str, sql: &'static str) -> Self {
        Self { version, name, postgres: sql, sqlite: sql }
    }
}

/// All steps of a service, in order.
pub type Migrations = [Migration];

/// The tables of a service.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// Name of the service.
    pub service: &'static str,
    /// How they come to be.
    pub migrations: &'static Migrations,
    /// What is done when they were put back from a copy, if anything is.
    pub restored: Option<Restored>,
}

/// Works on tables that were put back from a copy, in one transaction, at a time in Unix milliseconds. Says in a few words what
/// it did. Done again, it does no harm.
pub type Restored = for<'a> fn(&'a mut Tx, u64) -> Restoring<'a>;

/// What a [`Restored`] is about to say.
pub type Restoring<'a> = BoxFuture<'a, Result<String, DbError>>;

impl Schema {
    /// All that a process does which has nothing to do but this: brings the tables up to date, and works on what they hold if
    /// they were put back from a copy. Says what was done.
    pub async fn prepare(&self, migrate: Migrate, setting: &str, now_ms: u64) -> Result<String, DbError> {
        let db = Db::open_as(migrate, setting, self.service, 1, self.migrations).await?;
        let done = match self.restored {
            _ if migrate != Migrate::Restored => "the schema is up to date".to_owned(),
            None => "nothing to do after a restore".to_owned(),
            Some(restored) => {
                let mut tx = db.begin().await?;
                let done = restored(&mut tx, now_ms).await?;
                tx.commit().await?;
                done
            }
        };
        db.close().await;
        Ok(done)
    }
}

/// What a process does about a schema that is older than itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Migrate {
    /// Bring it up to date at the start; replicas take turns
    #[default]
    Apply,
    /// Bring it up to date, and end
    Only,
    /// Refuse to start
    Never,
    /// After the database was put back from a copy: bring it up to date, void what must not be used twice, and end
    Restored,
}

impl Migrate {
    /// Whether the process ends when that is done.
    pub fn ends(self) -> bool {
        matches!(self, Self::Only | Self::Restored)
    }
}

/// Service versions begin after those reserved for the chassis.
const CHASSIS_VERSIONS: i64 = 100;

const CHASSIS: &[Migration] =
    &[Migration::portable(1, "idempotency", include_str!("../../migrations/0001_idempotency.sql"))];

/// Steps of the chassis and of the service, with the versions that they have in the database.
fn all(service_migrations: &Migrations) -> impl Iterator<Item = (i64, &Migration)> {
    let own = service_migrations.iter().map(|step| (CHASSIS_VERSIONS + step.version, step));
    CHASSIS.iter().map(|step| (step.version, step)).chain(own)
}

/// Brings the schema up to date. Replicas that start together take turns: by an advisory lock on Postgres, by the write
/// lock on SQLite.
pub(super) async fn run(db: &Db, service: &str, service_migrations: &Migrations) -> Result<(), DbError> {
    #[cfg(feature = "sim")]
    if let Db::Inline(engine) = db {
        return engine.migrate(all(service_migrations).map(|(version, step)| (version, step.sqlite))).await;
    }
    let postgres = matches!(db, Db::Postgres(_));
    let steps = all(service_migrations)
        .map(|(version, step)| {
            let sql = if postgres { step.postgres } else { step.sqlite };
            sqlx::migrate::Migration::new(
                version,
                Cow::Borrowed(step.name),
                MigrationType::Simple,
                sql.into_sql_str(),
                false,
            )
        })
        .collect();
    let mut migrator = Migrator::with_migrations(steps);
    // A replica of the release before starts beside the new ones, and after going back to it.
    migrator.set_ignore_missing(true);
    match db {
        Db::Postgres(pool) => {
            create_schema(pool, service).await?;
            migrator.run(pool).await?;
        }
        Db::Sqlite { writer, .. } => {
            let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
            // What `run` does, without a bound that no spawned task can meet.
            migrator.run_direct(None, &mut *tx, false).await?;
            tx.commit().await?;
        }
        #[cfg(feature = "sim")]
        Db::Inline(_) => {}
    }
    Ok(())
}

/// Refuses a database without anything of `service`: it is not the one that was put back.
pub(super) async fn require_any(db: &Db, service: &str) -> Result<(), DbError> {
    if applied(db).await?.is_empty() { Err(DbError::Nothing(service.to_owned())) } else { Ok(()) }
}

/// Refuses a schema that lacks a step of this program. Writes nothing.
pub(super) async fn require(db: &Db, service: &str, service_migrations: &Migrations) -> Result<(), DbError> {
    let done = applied(db).await?;
    match all(service_migrations).find(|(version, _)| !done.contains(version)) {
        Some((version, step)) => {
            Err(DbError::Outdated { service: service.to_owned(), missing: format!("{version:04}_{}", step.name) })
        }
        None => Ok(()),
    }
}

/// Versions that the database has.
async fn applied(db: &Db) -> Result<BTreeSet<i64>, DbError> {
    let known = match db {
        Db::Postgres(_) => "SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1",
        Db::Sqlite { .. } => "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = $1",
        // It is made and gone with its process.
        #[cfg(feature = "sim")]
        Db::Inline(_) => return Err(DbError::Setting),
    };
    let table = db.row(known, &[Arg::Text("_sqlx_migrations")]).await?;
    if table.map_or(Ok(0), |row| row.int(0))? == 0 {
        return Ok(BTreeSet::new());
    }
    let rows = db.rows("SELECT version FROM _sqlx_migrations WHERE success", &[]).await?;
    rows.iter().map(|row| row.int(0)).collect()
}

/// `CREATE SCHEMA IF NOT EXISTS` fails when two run at once, hence the lock.
async fn create_schema(pool: &sqlx::PgPool, service: &str) -> Result<(), DbError> {
    let mut tx = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(7000001)").execute(&mut *tx).await?;
    // `service` is the constant name of a service of ours, not input.
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS qpc_{service}"));
    sqlx::query(create).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}
