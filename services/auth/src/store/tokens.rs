//! How many tokens each account was given today.

use qpc_chassis::db::{DbError, Tx};
use qpc_wire::AccountId;

use super::Store;
use crate::error::Error;

/// Accounts whose past days one sweep forgets.
const SWEEP: u64 = 10_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Store {
    /// Counts `count` more tokens for an account, of which it may have `most` in a day of the server's clock.
    pub(crate) async fn count_tokens(
        tx: &mut Tx,
        account: AccountId,
        count: u64,
        most: u64,
        now_ms: u64,
    ) -> Result<(), Error> {
        let row = tx
            .row(
                "INSERT INTO tokens_issued AS t (account_id, day, issued) VALUES ($1, $2, $3) \
                 ON CONFLICT (account_id, day) DO UPDATE SET issued = t.issued + EXCLUDED.issued RETURNING issued",
                &[(&account).into(), (now_ms / DAY_MS).into(), count.into()],
            )
            .await?
            .ok_or(DbError::Damaged("token count"))?;
        // What is refused is rolled back, and so is not counted.
        if row.uint(0)? > most {
            return Err(Error::TooManyTokens { most, retry_after_ms: DAY_MS - now_ms % DAY_MS });
        }
        Ok(())
    }

    /// Tokens that an account was given today.
    pub(crate) async fn tokens_issued(&self, account: AccountId, now_ms: u64) -> Result<u64, Error> {
        let sql = "SELECT issued FROM tokens_issued WHERE account_id = $1 AND day = $2";
        let row = self.db().row(sql, &[(&account).into(), (now_ms / DAY_MS).into()]).await?;
        Ok(row.map_or(Ok(0), |row| row.uint(0))?)
    }

    /// Forgets some of the counts of past days; tells how many.
    pub(crate) async fn sweep_tokens(&self, now_ms: u64) -> Result<u64, Error> {
        let mut tx = self.db().begin().await?;
        let removed = tx
            .execute(
                "DELETE FROM tokens_issued WHERE (account_id, day) IN \
                 (SELECT account_id, day FROM tokens_issued WHERE day < $1 LIMIT $2)",
                &[(now_ms / DAY_MS).into(), SWEEP.into()],
            )
            .await?;
        tx.commit().await?;
        Ok(removed)
    }
}
