//! What the facade does on every engine; run by the tests of each.

use bytes::Bytes;

use super::{
    BatchClaim, Claim, Db, DbError, IdempotentCall, Migrate, Migration, Migrations, Restoring, Schema, Tx, claim,
    claim_all, once, replay, sweep,
};
use qpc_wire::{DeviceId, IdempotencyKey, v1};

/// Makes an empty database called `name` on the Postgres server of `url` and returns its URL; for tests that need the
/// schemas of whole services.
pub async fn fresh_database(url: &str, name: &str) -> String {
    create_database(url, name, "").await
}

/// The same with all that the database of the URL `from` holds, which nobody may have open.
pub async fn copied_database(url: &str, from: &str, name: &str) -> String {
    let address = from.split_once('?').map_or(from, |(address, _)| address);
    let template = address.rsplit_once('/').map_or(address, |(_, database)| database);
    create_database(url, name, &format!(" TEMPLATE {template}")).await
}

#[allow(clippy::unwrap_used, reason = "test code shared between crates")]
async fn create_database(url: &str, name: &str, how: &str) -> String {
    let server = Db::open(url, "contract", 1, &[]).await.unwrap();
    let Db::Postgres(pool) = &server else { panic!("{url} is not Postgres") };
    // `name` is a test's own.
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}{how}"))).execute(pool).await.unwrap();
    // The options may hold slashes of their own, in the folder of a socket.
    let (address, options) =
        url.split_once('?').map_or((url, String::new()), |(url, options)| (url, format!("?{options}")));
    let (server, _) = address.rsplit_once('/').unwrap();
    format!("{server}/{name}{options}")
}

/// Panics where `db` departs from the contract. Expects a schema made by [`Db::open`], without other users.
#[allow(clippy::unwrap_used, reason = "test code shared between crates")]
pub async fn check(db: &Db) {
    let call = |key: u8, hash: u8, now| {
        IdempotentCall::new(Some(DeviceId([1; 16])), IdempotencyKey([key; 16]), [hash; 32], now)
    };

    let first = run(db, &call(1, 1, 0), "first").await.unwrap();
    let again = run(db, &call(1, 1, 0), "second").await.unwrap();
    assert_eq!((first.as_ref(), again.as_ref()), ("first", "first"), "a repetition gets the first answer");
    assert!(matches!(run(db, &call(1, 2, 0), "x").await, Err(DbError::KeyReused)));

    let mut abandoned = db.begin().await.unwrap();
    assert_eq!(claim(&mut abandoned, &call(2, 1, 0)).await.unwrap(), Claim::Fresh);
    drop(abandoned);
    assert_eq!(run(db, &call(2, 1, 0), "third").await.unwrap(), "third", "a rolled back call leaves no claim");

    batches(db).await;

    let racing = call(3, 1, 0);
    let answers = futures_util::future::join_all((0..16).map(|n| {
        let db = db.clone();
        async move { run(&db, &racing, &n.to_string()).await.unwrap() }
    }))
    .await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "one of the concurrent calls took effect: {answers:?}");

    assert_eq!(sweep(db, 24 * 60 * 60 * 1000 - 1).await.unwrap(), 0);
    assert_eq!(sweep(db, 24 * 60 * 60 * 1000).await.unwrap(), 5);
    assert_eq!(run(db, &call(1, 1, 0), "later").await.unwrap(), "later");
}

/// Panics where a schema is not brought up to date, or not refused, as a process was told. `setting` has none for `service`.
#[allow(clippy::unwrap_used, reason = "test code shared between crates")]
pub async fn check_migrations(setting: &str, service: &str) {
    const OLD: &[Migration] = &[Migration::portable(1, "first", "CREATE TABLE first (id BIGINT PRIMARY KEY)")];
    const NEW: &[Migration] =
        &[OLD[0], Migration::portable(2, "second", "CREATE TABLE second (id BIGINT PRIMARY KEY)")];
    let open = |migrate, steps: &'static Migrations| Db::open_as(migrate, setting, service, 2, steps);

    let error = open(Migrate::Never, OLD).await.err().unwrap().to_string();
    assert!(error.contains("0001_idempotency") && error.contains("--migrate only"), "{error}");
    let (one, two) = tokio::join!(open(Migrate::Only, OLD), open(Migrate::Only, OLD));
    assert!(one.is_ok() && two.is_ok(), "{:?} {:?}", one.err(), two.err());
    assert!(open(Migrate::Never, OLD).await.is_ok());

    let error = open(Migrate::Never, NEW).await.err().unwrap().to_string();
    assert!(error.contains("0102_second"), "{error}");
    assert!(open(Migrate::Apply, NEW).await.is_ok());
    // The program of before, on the schema of the next release.
    for migrate in [Migrate::Never, Migrate::Apply] {
        let db = open(migrate, OLD).await.unwrap();
        db.rows("SELECT id FROM second", &[]).await.unwrap();
    }
}

/// Panics where something else is done after a restore than what a schema says, once for each time. `setting` has none for
/// `service`.
#[allow(clippy::unwrap_used, reason = "test code shared between crates")]
pub async fn check_restored(setting: &str, service: &'static str) {
    const STEPS: &[Migration] =
        &[Migration::portable(1, "restores", "CREATE TABLE restores (at_ms BIGINT PRIMARY KEY)")];
    fn restored(tx: &mut Tx, now_ms: u64) -> Restoring<'_> {
        Box::pin(async move {
            tx.execute("INSERT INTO restores (at_ms) VALUES ($1)", &[now_ms.into()]).await?;
            // What fails in the end was never done.
            if now_ms == 13 { Err(DbError::Damaged("clock")) } else { Ok(format!("noted at {now_ms}")) }
        })
    }
    let schema = Schema { service, migrations: STEPS, restored: Some(restored) };
    let prepare = |schema: Schema, migrate, now_ms| async move { schema.prepare(migrate, setting, now_ms).await };

    let error = prepare(schema, Migrate::Restored, 1).await.unwrap_err().to_string();
    assert!(error.contains("put the copy back first"), "{error}");
    assert_eq!(prepare(schema, Migrate::Only, 2).await.unwrap(), "the schema is up to date");
    assert_eq!(prepare(schema, Migrate::Restored, 3).await.unwrap(), "noted at 3");
    assert!(prepare(schema, Migrate::Restored, 13).await.is_err());
    assert_eq!(prepare(schema, Migrate::Restored, 14).await.unwrap(), "noted at 14");
    let none = Schema { restored: None, ..schema };
    assert_eq!(prepare(none, Migrate::Restored, 15).await.unwrap(), "nothing to do after a restore");
    let db = Db::open(setting, service, 1, STEPS).await.unwrap();
    let rows = db.rows("SELECT at_ms FROM restores ORDER BY at_ms", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.uint(0).unwrap()).collect::<Vec<_>>(), [3, 14]);
}

/// Keys 11 and 12 are new, the second 11 repeats in the batch, and 1 was taken before, once with another request.
#[allow(clippy::unwrap_used, reason = "test code shared between crates")]
async fn batches(db: &Db) {
    let call =
        |key: u8, hash: u8| IdempotentCall::new(Some(DeviceId([1; 16])), IdempotencyKey([key; 16]), [hash; 32], 0);
    let batch = [(12, 1, "a"), (11, 1, "b"), (11, 1, "c"), (1, 9, "d"), (11, 2, "e")]
        .map(|(key, hash, response)| (call(key, hash), Bytes::from_static(response.as_bytes())));
    let mut tx = db.begin().await.unwrap();
    let claims = claim_all(&mut tx, &batch).await.unwrap();
    tx.commit().await.unwrap();
    let done = BatchClaim::Done(b"b".to_vec());
    assert_eq!(claims, [BatchClaim::Fresh, BatchClaim::Fresh, done, BatchClaim::Reused, BatchClaim::Reused]);
    // Many of one key: what sorts them must not decide which one counts.
    let many: Vec<_> = (0..64).map(|n| (call(13, n), Bytes::from(vec![n]))).collect();
    let mut tx = db.begin().await.unwrap();
    let claims = claim_all(&mut tx, &many).await.unwrap();
    drop(tx);
    assert_eq!(claims[0], BatchClaim::Fresh);
    assert!(claims[1..].iter().all(|claim| *claim == BatchClaim::Reused));
    let replayed: Option<v1::PingResponse> = replay(db, &call(1, 1)).await.unwrap();
    assert_eq!(replayed.unwrap().payload, "first");
    assert_eq!(replay::<v1::PingResponse>(db, &call(77, 1)).await.unwrap(), None);
}

async fn run(db: &Db, call: &IdempotentCall, answer: &str) -> Result<String, DbError> {
    let answer = answer.to_owned();
    let response: v1::PingResponse =
        once(db, call, |_tx| Box::pin(async move { Ok::<_, DbError>(v1::PingResponse { payload: answer.into() }) }))
            .await?;
    Ok(String::from_utf8_lossy(&response.payload).into_owned())
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn sqlite_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let setting = format!("sqlite:{}", folder.path().display());
        let db = super::Db::open(&setting, "contract", 1, &[]).await.unwrap();
        super::check(&db).await;
    }

    #[tokio::test]
    async fn an_error_does_not_tell_the_password() {
        for setting in
            ["mysql://qpc:sesame@db/qpc", "postgres://qpc:sesame@127.0.0.1:1/qpc", "postgres://qpc:sesame@[/qpc"]
        {
            let error = super::Db::open(setting, "contract", 1, &[]).await.err().unwrap();
            assert!(!format!("{error} {error:?}").contains("sesame"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_schema_is_migrated_or_refused_on_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        super::check_migrations(&format!("sqlite:{}", folder.path().display()), "grown").await;
    }

    #[tokio::test]
    async fn a_restore_is_followed_by_what_the_schema_says_on_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        super::check_restored(&format!("sqlite:{}", folder.path().display()), "restored").await;
        let mistyped = format!("sqlite:{}", folder.path().join("mistyped").display());
        let schema = super::Schema { service: "restored", migrations: &[], restored: None };
        assert!(schema.prepare(super::Migrate::Restored, &mistyped, 1).await.is_err());
        assert!(!folder.path().join("mistyped").exists(), "nothing is made");
    }

    #[cfg(feature = "sim")]
    #[tokio::test(start_paused = true)]
    async fn the_simulated_engine_keeps_the_contract() {
        let (disk, runtime) = (Default::default(), crate::Runtime::system());
        let db = super::Db::open_inline(&disk, &runtime, "contract", &[]).await.unwrap();
        super::check(&db).await;

        let count = async |db: &super::Db| {
            db.row("SELECT COUNT(*) FROM idempotency", &[]).await.unwrap().unwrap().int(0).unwrap()
        };
        let before = count(&db).await;
        let mut tx = db.begin().await.unwrap();
        assert!(tx.execute("DELETE FROM idempotency", &[]).await.unwrap() > 0);
        drop(tx);
        let copy = super::Db::open_inline(&disk.fork(), &runtime, "contract", &[]).await.unwrap();
        assert_eq!(count(&copy).await, before, "rolled back, and copied");
        let mut tx = db.begin().await.unwrap();
        tx.execute("DELETE FROM idempotency", &[]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!((count(&db).await, count(&copy).await), (0, before));
    }
}
