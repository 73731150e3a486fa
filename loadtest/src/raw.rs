//! The ceiling of an accepted message: one statement that writes the same rows (idempotency key, payload, mailbox head,
//! mailbox entry), committed by itself, with nothing around it.

use anyhow::Result;
use futures_util::future::try_join_all;
use qpc_chassis::{
    Runtime,
    db::{Arg, Db, Migration, contract::fresh_database},
};
use rand::RngCore;
use tokio::time::Instant;

use crate::{SENDERS, Scale, user};

/// Bytes of a 1 KiB text as an MLS message.
const BODY: usize = 1180;
/// Bytes of a stored response.
const RESPONSE: usize = 210;

const TABLES: &[Migration] = &[Migration {
    version: 1,
    name: "mailbox",
    postgres: include_str!("../../services/delivery/migrations/postgres/0001_mailbox.sql"),
    sqlite: include_str!("../../services/delivery/migrations/sqlite/0001_mailbox.sql"),
}];

/// Messages a second from 64 clients with a connection each.
pub(crate) async fn postgres(url: &str, scale: Scale) -> Result<f64> {
    let name = format!("raw_{:016x}", Runtime::system().rng().next_u64());
    let url = fresh_database(url, &name).await;
    let db = Db::open(&url, "raw", SENDERS as u32, TABLES).await?;
    rate(&db, SENDERS, scale).await
}

/// Messages a second of the one writer that SQLite has.
pub(crate) async fn sqlite(scale: Scale) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let db = Db::open(&format!("sqlite:{}", folder.path().display()), "raw", 1, TABLES).await?;
    rate(&db, 1, scale).await
}

async fn rate(db: &Db, clients: usize, scale: Scale) -> Result<f64> {
    let started = Instant::now();
    let until = started + scale.phase;
    let counts = try_join_all((0..clients).map(|n| user::task(insert(db.clone(), n as u8, until)))).await?;
    let elapsed = started.elapsed().as_secs_f64();
    let mut total = 0;
    for count in counts {
        total += count?;
    }
    Ok(f64::from(total) / elapsed)
}

async fn insert(db: Db, client: u8, until: Instant) -> Result<u32> {
    let mut rng = Runtime::system().rng();
    let (body, response, device) = (vec![client; BODY], vec![client; RESPONSE], [client; 16]);
    let mut count = 0;
    while Instant::now() < until {
        let (mut key, mut id) = ([0; 32], [0; 16]);
        rng.fill_bytes(&mut key);
        rng.fill_bytes(&mut id);
        // In the order of time, as the service makes them.
        id[..4].copy_from_slice(&u32::to_be_bytes(count));
        let args = [
            Arg::Bytes(&key),
            Arg::Bytes(&response[..32]),
            Arg::Bytes(&response),
            Arg::Int(i64::MAX),
            Arg::Bytes(&id),
            Arg::Bytes(&device),
            Arg::Bytes(&body),
        ];
        if let Db::Postgres(_) = &db {
            db.rows(ONE_STATEMENT, &args).await?;
        } else {
            let mut tx = db.begin().await?;
            tx.execute(KEY, &args[..4]).await?;
            tx.execute(PAYLOAD, &args[4..]).await?;
            let head = tx.row(HEAD, &args[5..6]).await?.map_or(Ok(0), |row| row.int(0))?;
            tx.execute(ENTRY, &[args[5], Arg::Int(head), args[4], Arg::Int(BODY as i64), args[3]]).await?;
            tx.commit().await?;
        }
        count += 1;
    }
    Ok(count)
}

const ONE_STATEMENT: &str = "\
    WITH k AS (INSERT INTO idempotency (id, request_hash, response, expires_ms) VALUES ($1, $2, $3, $4)), \
    p AS (INSERT INTO payload (id, group_id, kind, epoch, accepted_ms, refs, body) VALUES ($5, $6, 1, 1, 1, 1, $7)), \
    h AS (INSERT INTO mailbox_head AS m (device, last_seq, acked) VALUES ($6, 1, 0) \
    ON CONFLICT (device) DO UPDATE SET last_seq = m.last_seq + 1 RETURNING last_seq) \
    INSERT INTO mailbox_entry (device, seq, payload_id, sealed_key, size, gap_from, gap_reason, expires_ms) \
    SELECT $6, last_seq, $5, ''::BYTEA, 1180, 0, 0, $4 FROM h";
const KEY: &str = "INSERT INTO idempotency (id, request_hash, response, expires_ms) VALUES ($1, $2, $3, $4)";
const PAYLOAD: &str =
    "INSERT INTO payload (id, group_id, kind, epoch, accepted_ms, refs, body) VALUES ($1, $2, 1, 1, 1, 1, $3)";
const HEAD: &str = "INSERT INTO mailbox_head (device, last_seq, acked) VALUES ($1, 1, 0) \
    ON CONFLICT (device) DO UPDATE SET last_seq = last_seq + 1 RETURNING last_seq";
const ENTRY: &str = "INSERT INTO mailbox_entry (device, seq, payload_id, sealed_key, size, gap_from, gap_reason, expires_ms) \
    VALUES ($1, $2, $3, X'', $4, 0, 0, $5)";
