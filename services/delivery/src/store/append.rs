//! Putting payloads into mailboxes: the hot path.

use std::collections::BTreeMap;

use qpc_chassis::db::{Arg, DbError, Dialect, Row, Tx};
use qpc_wire::DeviceId;

use crate::domain::mailbox::{Payload, Placed, growth, place};

/// Stores `payloads` and puts an entry into every recipient's mailbox, in order, without holes. The head rows stay locked
/// until the transaction ends, so that sequences become visible in their order.
pub async fn append(tx: &mut Tx, payloads: &[Payload], expires_ms: u64) -> Result<Vec<Placed>, DbError> {
    let heads = grow_heads(tx, &growth(payloads)).await?;
    let placed = place(payloads, &heads);
    match tx.dialect() {
        Dialect::Postgres => {
            insert_payloads(tx, payloads).await?;
            insert_entries(tx, payloads, &placed, expires_ms).await?;
        }
        Dialect::Sqlite => insert_each(tx, payloads, &placed, expires_ms).await?,
    }
    Ok(placed)
}

async fn grow_heads(tx: &mut Tx, growth: &BTreeMap<DeviceId, u64>) -> Result<BTreeMap<DeviceId, u64>, DbError> {
    let rows = match tx.dialect() {
        Dialect::Postgres => {
            let devices: Vec<&[u8]> = growth.keys().map(AsRef::as_ref).collect();
            let counts: Vec<i64> = growth.values().map(|count| *count as i64).collect();
            tx.rows(
                "INSERT INTO mailbox_head AS h (device, last_seq, acked) \
                 SELECT device, count, 0 FROM UNNEST($1::BYTEA[], $2::BIGINT[]) AS t (device, count) ORDER BY device \
                 ON CONFLICT (device) DO UPDATE SET last_seq = h.last_seq + EXCLUDED.last_seq \
                 RETURNING device, last_seq",
                &[Arg::ByteArrays(&devices), Arg::Ints(&counts)],
            )
            .await?
        }
        Dialect::Sqlite => {
            let mut rows = Vec::with_capacity(growth.len());
            for (device, count) in growth {
                let row = tx
                    .row(
                        "INSERT INTO mailbox_head (device, last_seq, acked) VALUES ($1, $2, 0) \
                         ON CONFLICT (device) DO UPDATE SET last_seq = last_seq + EXCLUDED.last_seq \
                         RETURNING device, last_seq",
                        &[device.into(), (*count).into()],
                    )
                    .await?;
                rows.extend(row);
            }
            rows
        }
    };
    rows.iter().map(|row: &Row| Ok((DeviceId(row.array(0)?), row.uint(1)?))).collect()
}

async fn insert_payloads(tx: &mut Tx, payloads: &[Payload]) -> Result<(), DbError> {
    let ids: Vec<&[u8]> = payloads.iter().map(|payload| payload.id.as_slice()).collect();
    let groups: Vec<&[u8]> = payloads.iter().map(|payload| payload.group.as_ref()).collect();
    let kinds: Vec<i64> = payloads.iter().map(|payload| payload.kind as i64).collect();
    let epochs: Vec<i64> = payloads.iter().map(|payload| payload.epoch as i64).collect();
    let times: Vec<i64> = payloads.iter().map(|payload| payload.accepted_ms as i64).collect();
    let refs: Vec<i64> = payloads.iter().map(|payload| payload.recipients.len() as i64).collect();
    let bodies: Vec<&[u8]> = payloads.iter().map(|payload| payload.body.as_ref()).collect();
    tx.execute(
        "INSERT INTO payload (id, group_id, kind, epoch, accepted_ms, refs, body) SELECT * FROM UNNEST(\
         $1::BYTEA[], $2::BYTEA[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[], $6::BIGINT[], $7::BYTEA[])",
        &[
            Arg::ByteArrays(&ids),
            Arg::ByteArrays(&groups),
            Arg::Ints(&kinds),
            Arg::Ints(&epochs),
            Arg::Ints(&times),
            Arg::Ints(&refs),
            Arg::ByteArrays(&bodies),
        ],
    )
    .await?;
    Ok(())
}

async fn insert_entries(tx: &mut Tx, payloads: &[Payload], placed: &[Placed], expires_ms: u64) -> Result<(), DbError> {
    let devices: Vec<&[u8]> = placed.iter().map(|entry| entry.device.as_ref()).collect();
    let seqs: Vec<i64> = placed.iter().map(|entry| entry.seq as i64).collect();
    let ids: Vec<&[u8]> = placed.iter().map(|entry| payloads[entry.payload].id.as_slice()).collect();
    let keys: Vec<&[u8]> = placed.iter().map(|entry| entry.sealed_key.as_ref()).collect();
    let sizes: Vec<i64> = placed.iter().map(|entry| size(&payloads[entry.payload], entry) as i64).collect();
    tx.execute(
        "INSERT INTO mailbox_entry (device, seq, payload_id, sealed_key, size, gap_from, gap_reason, expires_ms) \
         SELECT d, s, p, k, z, 0, 0, $6 FROM UNNEST(\
         $1::BYTEA[], $2::BIGINT[], $3::BYTEA[], $4::BYTEA[], $5::BIGINT[]) AS t (d, s, p, k, z)",
        &[
            Arg::ByteArrays(&devices),
            Arg::Ints(&seqs),
            Arg::ByteArrays(&ids),
            Arg::ByteArrays(&keys),
            Arg::Ints(&sizes),
            expires_ms.into(),
        ],
    )
    .await?;
    Ok(())
}

async fn insert_each(tx: &mut Tx, payloads: &[Payload], placed: &[Placed], expires_ms: u64) -> Result<(), DbError> {
    for payload in payloads {
        tx.execute(
            "INSERT INTO payload (id, group_id, kind, epoch, accepted_ms, refs, body) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                payload.id.as_slice().into(),
                (&payload.group).into(),
                Arg::Int(payload.kind as i64),
                payload.epoch.into(),
                payload.accepted_ms.into(),
                Arg::Int(payload.recipients.len() as i64),
                (&payload.body).into(),
            ],
        )
        .await?;
    }
    for entry in placed {
        let payload = &payloads[entry.payload];
        tx.execute(
            "INSERT INTO mailbox_entry (device, seq, payload_id, sealed_key, size, gap_from, gap_reason, expires_ms) \
             VALUES ($1, $2, $3, $4, $5, 0, 0, $6)",
            &[
                (&entry.device).into(),
                entry.seq.into(),
                payload.id.as_slice().into(),
                (&entry.sealed_key).into(),
                size(payload, entry).into(),
                expires_ms.into(),
            ],
        )
        .await?;
    }
    Ok(())
}

/// Bytes of an entry in a fetch response, with room for the small fields.
fn size(payload: &Payload, entry: &Placed) -> u64 {
    (payload.body.len() + entry.sealed_key.len() + 96) as u64
}
