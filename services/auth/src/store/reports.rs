//! Reports of abuse.

use qpc_chassis::db::{DbError, Row, Tx};
use qpc_wire::{AccountId, GroupId, admin::v1::Report};

use crate::error::Error;

/// Longest verdict and resolution, bytes.
pub(crate) const MAX_TEXT: usize = 256;

/// A report that comes in.
#[derive(Debug)]
pub(crate) struct NewReport<'a> {
    /// Random.
    pub(crate) id: [u8; 16],
    pub(crate) reporter: AccountId,
    pub(crate) accused: AccountId,
    pub(crate) group: GroupId,
    /// What the reporter chose to show.
    pub(crate) evidence: &'a [u8],
    /// What was found when the evidence was checked, at most [`MAX_TEXT`].
    pub(crate) verdict: &'a str,
    pub(crate) at_ms: u64,
}

/// Keeps a report.
pub(crate) async fn insert_report(tx: &mut Tx, report: &NewReport<'_>) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO reports (report_id, reporter, accused, group_id, evidence, verdict, reported_ms, resolved_ms, \
         resolution) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, '')",
        &[
            report.id.as_slice().into(),
            (&report.reporter).into(),
            (&report.accused).into(),
            (&report.group).into(),
            report.evidence.into(),
            report.verdict.into(),
            report.at_ms.into(),
        ],
    )
    .await?;
    Ok(())
}

fn report(row: &Row) -> Result<Report, DbError> {
    Ok(Report {
        report_id: row.bytes(0)?.into(),
        reporter: row.bytes(1)?.into(),
        accused: row.bytes(2)?.into(),
        group_id: row.bytes(3)?.into(),
        verdict: row.text(4)?,
        reported_at_ms: row.uint(5)?,
        resolved_at_ms: row.uint(6)?,
        resolution: row.text(7)?,
    })
}

/// The newest reports from before `before_ms`.
pub(crate) async fn list(tx: &mut Tx, before_ms: u64, limit: u64, open: bool) -> Result<Vec<Report>, DbError> {
    let before_ms = i64::try_from(before_ms).unwrap_or(i64::MAX);
    let sql = if open {
        "SELECT report_id, reporter, accused, group_id, verdict, reported_ms, resolved_ms, resolution FROM reports \
         WHERE resolved_ms = 0 AND reported_ms < $1 ORDER BY reported_ms DESC, report_id LIMIT $2"
    } else {
        "SELECT report_id, reporter, accused, group_id, verdict, reported_ms, resolved_ms, resolution FROM reports \
         WHERE reported_ms < $1 ORDER BY reported_ms DESC, report_id LIMIT $2"
    };
    tx.rows(sql, &[before_ms.into(), limit.into()]).await?.iter().map(report).collect()
}

/// One report with its evidence.
pub(crate) async fn show(tx: &mut Tx, id: &[u8]) -> Result<(Report, Vec<u8>), Error> {
    let row = tx
        .row(
            "SELECT report_id, reporter, accused, group_id, verdict, reported_ms, resolved_ms, resolution, evidence \
             FROM reports WHERE report_id = $1",
            &[id.into()],
        )
        .await?
        .ok_or(Error::UnknownReport)?;
    Ok((report(&row)?, row.bytes(8)?))
}

/// Closes a report, once.
pub(crate) async fn resolve(tx: &mut Tx, id: &[u8], resolution: &str, now_ms: u64) -> Result<(), Error> {
    let resolved = tx
        .execute(
            "UPDATE reports SET resolved_ms = $2, resolution = $3 WHERE report_id = $1 AND resolved_ms = 0",
            &[id.into(), now_ms.into(), resolution.into()],
        )
        .await?;
    if resolved == 1 {
        return Ok(());
    }
    show(tx, id).await?;
    Err(Error::Resolved)
}
