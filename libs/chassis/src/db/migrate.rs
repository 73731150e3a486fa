//! Schema migrations: those of the chassis (idempotency), then those of the service.

use std::borrow::Cow;

use sqlx::{
    SqlSafeStr,
    migrate::{MigrationType, Migrator},
};

use super::{Db, DbError};

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

/// Service versions begin after those reserved for the chassis.
const CHASSIS_VERSIONS: i64 = 100;

const CHASSIS: &[Migration] =
    &[Migration::portable(1, "idempotency", include_str!("../../migrations/0001_idempotency.sql"))];

/// Brings the schema up to date. Replicas that start together take turns (advisory lock on Postgres).
pub(super) async fn run(db: &Db, service: &str, service_migrations: &Migrations) -> Result<(), DbError> {
    let postgres = matches!(db, Db::Postgres(_));
    let chassis = CHASSIS.iter().map(|step| (step.version, step));
    let own = service_migrations.iter().map(|step| (CHASSIS_VERSIONS + step.version, step));
    let steps = chassis.chain(own);
    #[cfg(feature = "sim")]
    if let Db::Inline(engine) = db {
        return engine.migrate(steps.map(|(version, step)| (version, step.sqlite))).await;
    }
    let steps = steps
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
        Db::Sqlite { writer, .. } => migrator.run(writer).await?,
        #[cfg(feature = "sim")]
        Db::Inline(_) => {}
    }
    Ok(())
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
