//! The tables of this service, as business verbs. One SQL body serves both engines; the two hot statements have a form
//! of their own on Postgres. [`contract`] shows that both engines say the same.

mod account;
mod append;
pub mod chain;
pub mod contract;
mod endpoint;
mod group;
mod mailbox;
mod restored;
mod revoked;
mod shared;
mod spent;

use qpc_chassis::db::{Db, DbError, Migration, Migrations};

pub use append::{Fit, append, append_within};
pub use chain::{Head, Mark, Roster};
pub use endpoint::{Due, Endpoint, EndpointState, Times};
pub use group::{Change, GroupRow, Member, NewGroup, Single};
pub use mailbox::{Acked, SHARED_MS};
pub use restored::restored;
pub use shared::StagedPart;

/// Schema steps.
pub const MIGRATIONS: &Migrations = &[
    Migration {
        version: 1,
        name: "mailbox",
        postgres: include_str!("../../migrations/postgres/0001_mailbox.sql"),
        sqlite: include_str!("../../migrations/sqlite/0001_mailbox.sql"),
    },
    Migration::portable(2, "group", include_str!("../../migrations/0002_group.sql")),
    Migration::portable(3, "conversation", include_str!("../../migrations/0003_conversation.sql")),
    Migration::portable(4, "pointed", include_str!("../../migrations/0004_pointed.sql")),
    Migration::portable(5, "franking", include_str!("../../migrations/0005_franking.sql")),
    Migration::portable(6, "inbound", include_str!("../../migrations/0006_inbound.sql")),
    Migration::portable(7, "sealed", include_str!("../../migrations/0007_sealed.sql")),
    Migration::portable(8, "push_endpoint", include_str!("../../migrations/0008_push_endpoint.sql")),
    Migration::portable(9, "joined", include_str!("../../migrations/0009_joined.sql")),
    Migration::portable(10, "base", include_str!("../../migrations/0010_base.sql")),
];

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// The database, for transactions that span verbs.
    pub db: Db,
}

impl Store {
    /// A store over an opened database.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Groups, and entries of mailboxes that were not acknowledged.
    pub async fn counts(&self) -> Result<(u64, u64), DbError> {
        let sql = "SELECT (SELECT COUNT(*) FROM mls_group), (SELECT COUNT(*) FROM mailbox_entry)";
        let row = self.db.row(sql, &[]).await?.ok_or(DbError::Damaged("counts"))?;
        Ok((row.uint(0)?, row.uint(1)?))
    }
}
