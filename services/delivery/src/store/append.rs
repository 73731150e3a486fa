//! Putting payloads into mailboxes: the hot path.

use std::collections::BTreeMap;

use prost::Message;
use qpc_chassis::{
    db::{Arg, DbError, Dialect, Tx},
    runtime::planted::{Mistake, planted},
};
use qpc_wire::DeviceId;

use crate::domain::{
    inbound::{Inbound, Over},
    mailbox::{Payload, Placed, growth, place},
};

/// What became of [`append_within`].
#[derive(Debug)]
pub enum Fit {
    /// Everything has its place.
    Placed(Vec<Placed>),
    /// Some is too much for a mailbox. The transaction must be given up.
    Over(Vec<Over>),
}

/// Stores `payloads` and puts an entry into every recipient's mailbox, in order, without holes. The head rows stay locked
/// until the transaction ends, so that sequences become visible in their order. `expires_ms`: of what has no time of its own,
/// and the latest of what has.
pub async fn append(tx: &mut Tx, payloads: &[Payload], expires_ms: u64) -> Result<Vec<Placed>, DbError> {
    let (heads, _) = grow_heads(tx, payloads, &Inbound::UNLIMITED).await?;
    insert(tx, payloads, &heads, expires_ms).await
}

/// The same where mailboxes take so much and no more.
pub async fn append_within(
    tx: &mut Tx,
    payloads: &[Payload],
    expires_ms: u64,
    inbound: &Inbound,
) -> Result<Fit, DbError> {
    let (heads, full_us) = grow_heads(tx, payloads, inbound).await?;
    let over = inbound.over(payloads, full_us);
    if !over.is_empty() {
        return Ok(Fit::Over(over));
    }
    insert(tx, payloads, &heads, expires_ms).await.map(Fit::Placed)
}

async fn insert(
    tx: &mut Tx,
    payloads: &[Payload],
    heads: &BTreeMap<DeviceId, u64>,
    expires_ms: u64,
) -> Result<Vec<Placed>, DbError> {
    let placed = place(payloads, heads);
    let signed: Vec<Signed> = payloads.iter().map(Signed::of).collect();
    match tx.dialect() {
        Dialect::Postgres => {
            insert_payloads(tx, payloads, &signed).await?;
            insert_entries(tx, payloads, &placed, expires_ms).await?;
        }
        Dialect::Sqlite => insert_each(tx, payloads, &signed, &placed, expires_ms).await?,
    }
    Ok(placed)
}

/// Newest sequence of each mailbox, and when its bucket is full again; see [`Inbound::over`].
type Grown = (BTreeMap<DeviceId, u64>, BTreeMap<DeviceId, u64>);

async fn grow_heads(tx: &mut Tx, payloads: &[Payload], inbound: &Inbound) -> Result<Grown, DbError> {
    let (growth, charges) = (growth(payloads), inbound.charges(payloads));
    let now_us = inbound.now_us();
    let rows = match tx.dialect() {
        Dialect::Postgres => {
            let devices: Vec<&[u8]> = growth.keys().map(AsRef::as_ref).collect();
            let counts: Vec<i64> = growth.values().map(|count| *count as i64).collect();
            // Of the same devices, in the same order.
            let charges: Vec<i64> = charges.values().map(|charge| *charge as i64).collect();
            tx.rows(
                "INSERT INTO mailbox_head AS h (device, last_seq, acked, inbound_us) \
                 SELECT device, (SELECT b.last_seq FROM mailbox_base b) + count, 0, $4 + charge \
                 FROM UNNEST($1::BYTEA[], $2::BIGINT[], $3::BIGINT[]) AS t (device, count, charge) ORDER BY device \
                 ON CONFLICT (device) DO UPDATE SET \
                 last_seq = h.last_seq + EXCLUDED.last_seq - (SELECT b.last_seq FROM mailbox_base b), \
                 inbound_us = EXCLUDED.inbound_us + GREATEST(h.inbound_us - $4, 0) \
                 RETURNING device, last_seq, inbound_us",
                &[Arg::ByteArrays(&devices), Arg::Ints(&counts), Arg::Ints(&charges), now_us.into()],
            )
            .await?
        }
        Dialect::Sqlite => {
            let mut rows = Vec::with_capacity(growth.len());
            for (device, count) in &growth {
                let count = count + u64::from(planted(Mistake::SkipsSequence));
                let charge = charges.get(device).copied().unwrap_or(0);
                let row = tx
                    .row(
                        "INSERT INTO mailbox_head (device, last_seq, acked, inbound_us) \
                         VALUES ($1, (SELECT b.last_seq FROM mailbox_base b) + $2, 0, $3 + $4) \
                         ON CONFLICT (device) DO UPDATE SET last_seq = last_seq + $2, \
                         inbound_us = EXCLUDED.inbound_us + MAX(inbound_us - $4, 0) \
                         RETURNING device, last_seq, inbound_us",
                        &[device.into(), count.into(), charge.into(), now_us.into()],
                    )
                    .await?;
                rows.extend(row);
            }
            rows
        }
    };
    let (mut heads, mut full_us) = Grown::default();
    for row in &rows {
        let device = DeviceId(row.array(0)?);
        heads.insert(device, row.uint(1)?);
        full_us.insert(device, row.uint(2)?);
    }
    Ok((heads, full_us))
}

/// The server's words about a payload, as they are stored; empty where there are none.
struct Signed {
    receipt: Vec<u8>,
    franking: Vec<u8>,
}

impl Signed {
    fn of(payload: &Payload) -> Self {
        Self {
            receipt: payload.receipt.as_ref().map(Message::encode_to_vec).unwrap_or_default(),
            franking: payload.franking.as_ref().map(Message::encode_to_vec).unwrap_or_default(),
        }
    }
}

/// Id and size of what a payload points to; empty and 0 when it does not.
fn pointed(payload: &Payload) -> (&[u8], u64) {
    payload.shared.as_ref().map_or((&[], 0), |pointer| (&pointer.id, pointer.size))
}

async fn insert_payloads(tx: &mut Tx, payloads: &[Payload], signed: &[Signed]) -> Result<(), DbError> {
    let ids: Vec<&[u8]> = payloads.iter().map(|payload| payload.id.as_slice()).collect();
    let groups: Vec<&[u8]> = payloads.iter().map(|payload| payload.group.as_ref()).collect();
    let kinds: Vec<i64> = payloads.iter().map(|payload| payload.kind as i64).collect();
    let epochs: Vec<i64> = payloads.iter().map(|payload| payload.epoch as i64).collect();
    let times: Vec<i64> = payloads.iter().map(|payload| payload.accepted_ms as i64).collect();
    let refs: Vec<i64> = payloads.iter().map(|payload| payload.recipients.len() as i64).collect();
    let bodies: Vec<&[u8]> = payloads.iter().map(|payload| payload.body.as_ref()).collect();
    let (shared, shared_sizes): (Vec<&[u8]>, Vec<i64>) =
        payloads.iter().map(pointed).map(|(id, size)| (id, size as i64)).unzip();
    let receipts: Vec<&[u8]> = signed.iter().map(|signed| signed.receipt.as_slice()).collect();
    let frankings: Vec<&[u8]> = signed.iter().map(|signed| signed.franking.as_slice()).collect();
    tx.execute(
        "INSERT INTO payload (id, group_id, kind, epoch, accepted_ms, refs, body, shared_id, shared_size, receipt, \
         franking) SELECT * FROM UNNEST($1::BYTEA[], $2::BYTEA[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[], $6::BIGINT[], \
         $7::BYTEA[], $8::BYTEA[], $9::BIGINT[], $10::BYTEA[], $11::BYTEA[])",
        &[
            Arg::ByteArrays(&ids),
            Arg::ByteArrays(&groups),
            Arg::Ints(&kinds),
            Arg::Ints(&epochs),
            Arg::Ints(&times),
            Arg::Ints(&refs),
            Arg::ByteArrays(&bodies),
            Arg::ByteArrays(&shared),
            Arg::Ints(&shared_sizes),
            Arg::ByteArrays(&receipts),
            Arg::ByteArrays(&frankings),
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
    let sizes: Vec<i64> = placed.iter().map(|entry| payloads[entry.payload].size(&entry.sealed_key) as i64).collect();
    let expiry: Vec<i64> = placed.iter().map(|entry| payloads[entry.payload].expires_ms(expires_ms) as i64).collect();
    tx.execute(
        "INSERT INTO mailbox_entry (device, seq, payload_id, sealed_key, size, gap_from, gap_reason, expires_ms) \
         SELECT d, s, p, k, z, 0, 0, x FROM UNNEST(\
         $1::BYTEA[], $2::BIGINT[], $3::BYTEA[], $4::BYTEA[], $5::BIGINT[], $6::BIGINT[]) AS t (d, s, p, k, z, x)",
        &[
            Arg::ByteArrays(&devices),
            Arg::Ints(&seqs),
            Arg::ByteArrays(&ids),
            Arg::ByteArrays(&keys),
            Arg::Ints(&sizes),
            Arg::Ints(&expiry),
        ],
    )
    .await?;
    Ok(())
}

async fn insert_each(
    tx: &mut Tx,
    payloads: &[Payload],
    signed: &[Signed],
    placed: &[Placed],
    expires_ms: u64,
) -> Result<(), DbError> {
    for (payload, signed) in payloads.iter().zip(signed) {
        let (shared, shared_size) = pointed(payload);
        tx.execute(
            "INSERT INTO payload (id, group_id, kind, epoch, accepted_ms, refs, body, shared_id, shared_size, receipt, \
             franking) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            &[
                payload.id.as_slice().into(),
                (&payload.group).into(),
                Arg::Int(payload.kind as i64),
                payload.epoch.into(),
                payload.accepted_ms.into(),
                Arg::Int(payload.recipients.len() as i64),
                (&payload.body).into(),
                shared.into(),
                shared_size.into(),
                (&signed.receipt).into(),
                (&signed.franking).into(),
            ],
        )
        .await?;
    }
    for (n, entry) in placed.iter().enumerate() {
        if n > 0 && n + 1 == placed.len() && planted(Mistake::MissesOneRecipient) {
            continue;
        }
        let payload = &payloads[entry.payload];
        tx.execute(
            "INSERT INTO mailbox_entry (device, seq, payload_id, sealed_key, size, gap_from, gap_reason, expires_ms) \
             VALUES ($1, $2, $3, $4, $5, 0, 0, $6)",
            &[
                (&entry.device).into(),
                entry.seq.into(),
                payload.id.as_slice().into(),
                (&entry.sealed_key).into(),
                (payload.size(&entry.sealed_key) as u64).into(),
                payload.expires_ms(expires_ms).into(),
            ],
        )
        .await?;
    }
    Ok(())
}
