//! Tokens that have paid for a message: each pays for one, whichever replica takes it.

use std::collections::{BTreeMap, BTreeSet};

use qpc_chassis::db::{Arg, DbError, Dialect, Tx};

use super::Store;

/// Rows that one run of [`Store::expire_spent`] removes.
const EXPIRE_ROWS: i64 = 10_000;

impl Store {
    /// Takes tokens, by nonce, with the time until which each is remembered. Returns those that were not taken before. They
    /// are locked in ascending order, so that concurrent batches never wait for each other in a circle.
    pub async fn spend(tx: &mut Tx, tokens: &BTreeMap<[u8; 32], u64>) -> Result<BTreeSet<[u8; 32]>, DbError> {
        if tokens.is_empty() {
            return Ok(BTreeSet::new());
        }
        match tx.dialect() {
            Dialect::Postgres => {
                let nonces: Vec<&[u8]> = tokens.keys().map(<[u8; 32]>::as_slice).collect();
                let expiries: Vec<i64> = tokens.values().map(|expires_ms| *expires_ms as i64).collect();
                let rows = tx
                    .rows(
                        "INSERT INTO spent_token (nonce, expires_ms) \
                         SELECT * FROM UNNEST($1::BYTEA[], $2::BIGINT[]) AS t (n, e) ORDER BY n \
                         ON CONFLICT (nonce) DO NOTHING RETURNING nonce",
                        &[Arg::ByteArrays(&nonces), Arg::Ints(&expiries)],
                    )
                    .await?;
                rows.iter().map(|row| row.array(0)).collect()
            }
            Dialect::Sqlite => {
                let mut fresh = BTreeSet::new();
                for (nonce, expires_ms) in tokens {
                    let sql =
                        "INSERT INTO spent_token (nonce, expires_ms) VALUES ($1, $2) ON CONFLICT (nonce) DO NOTHING";
                    if tx.execute(sql, &[nonce.as_slice().into(), (*expires_ms).into()]).await? == 1 {
                        fresh.insert(*nonce);
                    }
                }
                Ok(fresh)
            }
        }
    }

    /// Forgets tokens that would not be taken any more, up to a bound; returns how many.
    pub async fn expire_spent(&self, now_ms: u64) -> Result<u64, DbError> {
        let mut tx = self.db.begin().await?;
        let removed = tx
            .execute(
                "DELETE FROM spent_token WHERE nonce IN (SELECT nonce FROM spent_token WHERE expires_ms <= $1 LIMIT $2)",
                &[now_ms.into(), Arg::Int(EXPIRE_ROWS)],
            )
            .await?;
        tx.commit().await?;
        Ok(removed)
    }
}
