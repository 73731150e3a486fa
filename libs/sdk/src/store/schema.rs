//! Tables of the client, each step a migration; `user_version` says how many have been done. The tables of openmls are
//! its own business.

use rusqlite::Connection;

use crate::Error;

/// Never change one that was released: append.
const MIGRATIONS: &[&str] =
    &[include_str!("0001_client.sql"), include_str!("0002_groups.sql"), include_str!("0003_healing.sql")];

pub(super) fn migrate(sql: &mut Connection) -> Result<(), Error> {
    let done: i64 = sql.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if done > known {
        return Err(Error::StoreVersion { found: done, known });
    }
    for (version, step) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > done) {
        let tx = sql.transaction()?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}
