//! Codes by which an account comes back, and its password.

use qpc_chassis::db::Tx;
use qpc_wire::{AccountId, DeviceId};

use super::{NewPassword, RecoverySet, RecoveryStatus, Store, UsedCode, sql};
use crate::error::Error;

impl Store {
    /// Puts a set in the place of the one that `account` had, on the word of its device `caller`.
    pub(crate) async fn set_recovery(
        tx: &mut Tx,
        account: AccountId,
        caller: DeviceId,
        set: &RecoverySet,
        now_ms: u64,
    ) -> Result<(), Error> {
        sql::lock_caller(tx, account, caller).await?;
        tx.execute("DELETE FROM recovery_codes WHERE account_id = $1", &[(&account).into()]).await?;
        tx.execute(
            "INSERT INTO recovery_sets (account_id, set_id, bundle, created_ms, updated_ms) VALUES ($1, $2, $3, $4, $4) \
             ON CONFLICT (account_id) DO UPDATE SET set_id = $2, bundle = $3, created_ms = $4, updated_ms = $4",
            &[(&account).into(), set.id.as_slice().into(), (&set.bundle).into(), now_ms.into()],
        )
        .await?;
        for (lookup, wrapped) in &set.codes {
            let added = tx
                .execute(
                    "INSERT INTO recovery_codes (lookup, account_id, wrapped) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                    &[lookup.as_slice().into(), (&account).into(), wrapped.into()],
                )
                .await?;
            if added == 0 {
                return Err(Error::RecoveryCodes);
            }
        }
        Ok(())
    }

    /// What an account has.
    pub(crate) async fn recovery(&self, account: AccountId) -> Result<Option<RecoveryStatus>, Error> {
        let row = self
            .db()
            .row(
                "SELECT set_id, created_ms, updated_ms, \
                 (SELECT COUNT(*) FROM recovery_codes c WHERE c.account_id = s.account_id) \
                 FROM recovery_sets s WHERE account_id = $1",
                &[(&account).into()],
            )
            .await?;
        row.map(|row| {
            Ok(RecoveryStatus {
                set: row.array(0)?,
                created_ms: row.uint(1)?,
                updated_ms: row.uint(2)?,
                codes_left: row.uint(3)?,
            })
        })
        .transpose()
    }

    /// Takes another bundle for the set that `account` has.
    pub(crate) async fn update_recovery(
        &self,
        account: AccountId,
        caller: DeviceId,
        set: &[u8; 16],
        bundle: &[u8],
        now_ms: u64,
    ) -> Result<(), Error> {
        let mut tx = self.db().begin().await?;
        sql::lock_caller(&mut tx, account, caller).await?;
        let updated = tx
            .execute(
                "UPDATE recovery_sets SET bundle = $3, updated_ms = $4 WHERE account_id = $1 AND set_id = $2",
                &[(&account).into(), set.as_slice().into(), bundle.into(), now_ms.into()],
            )
            .await?;
        if updated == 0 {
            return Err(Error::RecoverySet);
        }
        Ok(tx.commit().await?)
    }

    /// Uses a code up. Of two who show it at the same time, one gets what it stands for.
    pub(crate) async fn use_code(tx: &mut Tx, lookup: &[u8; 32]) -> Result<UsedCode, Error> {
        let sql = "DELETE FROM recovery_codes WHERE lookup = $1 RETURNING account_id, wrapped";
        let row = tx.row(sql, &[lookup.as_slice().into()]).await?.ok_or(Error::UnknownCode)?;
        let (account, wrapped) = (AccountId(row.array(0)?), row.bytes(1)?);
        let sql = "SELECT set_id, bundle, (SELECT COUNT(*) FROM recovery_codes c WHERE c.account_id = s.account_id) \
             FROM recovery_sets s WHERE account_id = $1";
        let row = tx.row(sql, &[(&account).into()]).await?.ok_or(Error::UnknownCode)?;
        Ok(UsedCode { set: row.array(0)?, wrapped, bundle: row.bytes(1)?, codes_left: row.uint(2)? })
    }

    /// Gives an account another password, if it still has this name and key.
    pub(crate) async fn reset_password(
        tx: &mut Tx,
        username: &str,
        account_key: &[u8; 32],
        password: &NewPassword,
    ) -> Result<(), Error> {
        let updated = tx
            .execute(
                "UPDATE accounts SET setup_id = $3, credential_id = $4, opaque_record = $5, ksf_memory_kib = $6, \
                 ksf_iterations = $7, ksf_parallelism = $8 WHERE username = $1 AND account_key = $2",
                &[
                    username.into(),
                    account_key.as_slice().into(),
                    password.setup_id.into(),
                    password.credential_id.as_slice().into(),
                    (&password.record).into(),
                    password.ksf.memory_kib.into(),
                    password.ksf.iterations.into(),
                    password.ksf.parallelism.into(),
                ],
            )
            .await?;
        if updated == 0 { Err(Error::ResetRefused) } else { Ok(()) }
    }
}
