//! After the database was put back from a copy.
//!
//! Clients have read further than the mailboxes go now, and would take what comes next under a number for what they have under
//! it. So each mailbox goes on at a number that it cannot have come to, and says by a gap that it does: at the time in
//! milliseconds, since none has had a message for every millisecond since 1970. By the time and not by a fixed step, because
//! the same copy may be put back again after its mailboxes have moved on from here. Mailboxes that began after
//! the copy was made are not known any more; none begins below the same number therefore.

use qpc_chassis::db::{Arg, Restoring, Tx};
use qpc_wire::v1::GapReason;

/// How far a mailbox moves on by the clock of a machine that is behind its numbers.
const STEP: u64 = 1_000_000;

/// Moves all mailboxes on.
pub fn restored(tx: &mut Tx, now_ms: u64) -> Restoring<'_> {
    Box::pin(async move {
        let to = [now_ms.into(), STEP.into()];
        tx.execute(
            "INSERT INTO mailbox_entry (device, seq, payload_id, sealed_key, size, gap_from, gap_reason, expires_ms) \
             SELECT device, CASE WHEN last_seq < $1 THEN $1 ELSE last_seq + $2 END, $3, $3, 0, last_seq + 1, $4, $5 \
             FROM mailbox_head",
            &[now_ms.into(), STEP.into(), Arg::Bytes(&[]), Arg::Int(GapReason::Restored as i64), Arg::Int(i64::MAX)],
        )
        .await?;
        let sql = "UPDATE mailbox_head SET last_seq = CASE WHEN last_seq < $1 THEN $1 ELSE last_seq + $2 END";
        let moved = tx.execute(sql, &to).await?;
        let sql = "UPDATE mailbox_base SET last_seq = CASE WHEN last_seq < $1 THEN $1 ELSE last_seq + $2 END";
        tx.execute(sql, &to).await?;
        Ok(format!("{moved} mailboxes moved on, with a gap in each"))
    })
}
