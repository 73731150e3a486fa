//! What the store does on every engine.

use futures_util::future::join_all;
use qpc_chassis::{Runtime, db::Db};
use qpc_wire::{AccountId, DeviceId};

use super::{MIGRATIONS, Part, Store, Upload};
use crate::{
    domain::{Cut, DAY_MS},
    error::Error,
    jobs::GRACE_MS,
};

const DAILY: u64 = 1 << 20;
const PART: u64 = 100_000;

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let setting = format!("sqlite:{}", folder.path().display());
    check(&Store::new(Db::open(&setting, "blob", 1, MIGRATIONS).await.unwrap())).await;
}

#[tokio::test]
#[ignore = "needs Postgres: cargo xtask test"]
#[allow(clippy::disallowed_methods, reason = "tests of servers are told where they are")]
async fn postgres_keeps_the_contract() {
    let url = std::env::var("QPC_TEST_POSTGRES").expect("QPC_TEST_POSTGRES is not set; run cargo xtask test");
    let scope = format!("t{}", u64::from_be_bytes(Runtime::system().random()));
    let db = Db::open(&url, &scope, 16, MIGRATIONS).await.unwrap();
    // All connections at once, or the first would have done most of a race before the others are there.
    drop(join_all((0..16).map(|_| db.begin())).await);
    check(&Store::new(db)).await;
}

async fn check(store: &Store) {
    an_upload_becomes_a_blob(store).await;
    a_day_has_its_quota_however_many_begin_at_once(store).await;
    of_two_uploads_of_the_same_bytes_one_stays(store).await;
    parts_and_the_end_of_their_upload_take_turns(store).await;
    blobs_are_deleted_by_their_account_alone(store).await;
    used_blobs_stay(store).await;
    what_an_account_has_is_told_until_it_expires(store).await;
    a_deleted_account_leaves_blobs_of_nobody(store).await;
}

fn random<const N: usize>() -> [u8; N] {
    Runtime::system().random()
}

fn upload_of(account: AccountId, size: u64) -> Upload {
    let cut = Cut { size, part_size: PART };
    Upload { id: random(), account, device: DeviceId([2; 16]), cut, expires_ms: 9 * DAY_MS }
}

fn part_of(number: u64) -> Part {
    Part { number, before: [number as u8; 32], after: [number as u8 + 1; 32] }
}

async fn begin(store: &Store, upload: &Upload, now_ms: u64) -> Result<(), Error> {
    let mut tx = store.db().begin().await?;
    Store::begin(&mut tx, upload, DAILY, now_ms).await?;
    Ok(tx.commit().await?)
}

async fn begun(store: &Store) -> Upload {
    let upload = upload_of(AccountId(random()), 2 * PART + 1);
    begin(store, &upload, 1).await.unwrap();
    upload
}

/// Bodies that are to be removed, of one upload.
async fn remains(store: &Store, upload: &Upload) -> Option<u64> {
    let all = store.remains(u64::MAX >> 1, 10_000).await.unwrap();
    all.into_iter().find_map(|(id, parts)| (id == upload.id).then_some(parts))
}

async fn an_upload_becomes_a_blob(store: &Store) {
    let (upload, id) = (begun(store).await, random());
    assert_eq!(store.upload(&upload.id).await.unwrap().as_ref(), Some(&upload));
    for part in [2, 0, 2, 1] {
        assert!(store.put_part(&upload.id, &part_of(part), 10 * DAY_MS).await.unwrap());
    }
    assert_eq!(store.parts(&upload.id).await.unwrap(), [0, 1, 2].map(part_of));
    let again = Part { after: [9; 32], ..part_of(1) };
    store.put_part(&upload.id, &again, 10 * DAY_MS).await.unwrap();
    assert_eq!(store.parts(&upload.id).await.unwrap()[1], again, "what came last lies there");
    assert_eq!(
        store.upload(&upload.id).await.unwrap().unwrap().expires_ms,
        10 * DAY_MS,
        "whoever goes on has more time"
    );
    assert!(store.blob(&id, 1).await.unwrap().is_none());
    assert!(store.finish(&upload, &id, 500, 1).await.unwrap());
    assert!(!store.finish(&upload, &id, 500, 1).await.unwrap(), "once");
    let blob = store.blob(&id, 499).await.unwrap().unwrap();
    assert_eq!((blob.upload, blob.cut, blob.expires_ms), (upload.id, upload.cut, 500));
    assert!(store.blob(&id, 500).await.unwrap().is_none(), "it has expired then, swept or not");
    assert!(store.upload(&upload.id).await.unwrap().is_none() && store.parts(&upload.id).await.unwrap().is_empty());
    assert_eq!(remains(store, &upload).await, None);
}

async fn a_day_has_its_quota_however_many_begin_at_once(store: &Store) {
    let account = AccountId(random());
    let noon = 100 * DAY_MS + DAY_MS / 2;
    let uploads: Vec<_> = (0..12).map(|_| upload_of(account, DAILY / 8)).collect();
    let begun = join_all(uploads.iter().map(|upload| begin(store, upload, noon))).await;
    assert_eq!(begun.iter().filter(|begun| begun.is_ok()).count(), 8, "{begun:?}");
    for refused in begun.into_iter().filter_map(Result::err) {
        assert!(matches!(refused, Error::Quota { daily: DAILY, retry_after_ms } if retry_after_ms == DAY_MS / 2));
    }
    assert!(begin(store, &upload_of(account, 1), noon).await.is_err(), "the smallest is over it too");
    assert!(begin(store, &upload_of(AccountId(random()), 1), noon).await.is_ok(), "others are not");
    assert!(begin(store, &upload_of(account, DAILY), noon + DAY_MS / 2).await.is_ok(), "tomorrow is another day");
    let never = begin(store, &upload_of(AccountId(random()), DAILY + 1), noon).await;
    assert!(matches!(never, Err(Error::Quota { retry_after_ms: 0, .. })), "{never:?}");
    let tiny = AccountId(random());
    for _ in 0..16 {
        begin(store, &upload_of(tiny, 1), noon).await.unwrap();
    }
    assert!(begin(store, &upload_of(tiny, 1), noon).await.is_err(), "tiny ones count 64 KiB");
}

async fn of_two_uploads_of_the_same_bytes_one_stays(store: &Store) {
    let (one, two, id) = (begun(store).await, begun(store).await, random());
    let finished = join_all([&one, &two].map(|upload| store.finish(upload, &id, 700, 5))).await;
    assert!(finished.into_iter().all(|finished| finished.unwrap()));
    let kept = store.blob(&id, 1).await.unwrap().unwrap().upload;
    for upload in [&one, &two] {
        let wanted = (kept != upload.id).then_some(3);
        assert_eq!(remains(store, upload).await, wanted);
    }
}

async fn parts_and_the_end_of_their_upload_take_turns(store: &Store) {
    for _ in 0..8 {
        let mut upload = begun(store).await;
        upload.expires_ms = DAY_MS;
        let part = part_of(1);
        let late = store.put_part(&upload.id, &part, 10 * DAY_MS);
        let (put, expired) = tokio::join!(late, store.expire(9 * DAY_MS, 10_000));
        expired.unwrap();
        // Either the part came first, and gave the upload more time, or it found no upload.
        let there = store.upload(&upload.id).await.unwrap().is_some();
        assert_eq!(put.unwrap(), there);
        assert_eq!(store.parts(&upload.id).await.unwrap().is_empty(), !there);
        assert_eq!(remains(store, &upload).await.is_none(), there);
    }
}

async fn blobs_are_deleted_by_their_account_alone(store: &Store) {
    let (upload, id) = (begun(store).await, random());
    store.finish(&upload, &id, 700, 1).await.unwrap();
    let refused = store.delete(&id, AccountId(random()), 1).await;
    assert!(matches!(refused, Err(Error::NotYours)), "{refused:?}");
    store.delete(&id, upload.account, 1).await.unwrap();
    store.delete(&id, upload.account, 1).await.expect("once more changes nothing");
    assert!(store.blob(&id, 1).await.unwrap().is_none());
    assert_eq!(remains(store, &upload).await, Some(3));
    store.forget_remains(&upload.id).await.unwrap();
    assert_eq!(remains(store, &upload).await, None);
}

async fn a_deleted_account_leaves_blobs_of_nobody(store: &Store) {
    let account = AccountId(random());
    let (left, sent, others) = (upload_of(account, 3 * PART), upload_of(account, PART), begun(store).await);
    let id = random();
    for upload in [&left, &sent] {
        begin(store, upload, 1).await.unwrap();
        assert!(store.put_part(&upload.id, &part_of(0), 9 * DAY_MS).await.unwrap());
    }
    assert!(store.finish(&sent, &id, 2 * DAY_MS, 1).await.unwrap());
    for _ in 0..2 {
        store.forget_account(account, 1).await.unwrap();
    }
    assert!(store.upload(&left.id).await.unwrap().is_none());
    assert_eq!((store.parts(&left.id).await.unwrap(), remains(store, &left).await), (vec![], Some(3)));
    assert!(store.upload(&others.id).await.unwrap().is_some());
    assert_eq!(store.blob(&id, 1).await.unwrap().unwrap().upload, sent.id, "for whom it was sent to");
    assert_eq!(remains(store, &sent).await, None);
    assert!(matches!(store.delete(&id, account, 1).await, Err(Error::NotYours)), "nothing says whose it was");
    for sql in [
        "SELECT 1 FROM uploads WHERE account_id = $1",
        "SELECT 1 FROM blobs WHERE account_id = $1",
        "SELECT 1 FROM announced WHERE account_id = $1",
    ] {
        assert!(store.db().row(sql, &[(&account).into()]).await.unwrap().is_none(), "{sql}");
    }
    assert!(!store.finish(&left, &random(), 1, 1).await.unwrap());
}

async fn what_an_account_has_is_told_until_it_expires(store: &Store) {
    let account = AccountId(random());
    let ids: Vec<[u8; 32]> = (0..2).map(|_| random()).collect();
    for (id, expires_ms) in ids.iter().zip([20 * DAY_MS, 40 * DAY_MS]) {
        let upload = upload_of(account, PART);
        begin(store, &upload, 1).await.unwrap();
        store.finish(&upload, id, expires_ms, 1).await.unwrap();
    }
    let open = upload_of(account, 2 * PART);
    begin(store, &open, DAY_MS).await.unwrap();
    store.put_part(&open.id, &part_of(1), 9 * DAY_MS).await.unwrap();
    let told = store.report(account, 1).await.unwrap();
    assert_eq!((told.blobs, told.blob_bytes, told.uploads), (2, 2 * PART, 1));
    let order: Vec<_> = told.blob_rows.iter().map(|row| row.blob_id.to_vec()).collect();
    assert_eq!(order, [ids[1].to_vec(), ids[0].to_vec()], "what expires last comes first");
    assert_eq!((told.upload_rows[0].parts, told.upload_rows[0].expires_at_ms), (1, 9 * DAY_MS));
    assert_eq!(store.announced(account, 1).await.unwrap(), 2 * PART);
    assert_eq!(store.announced(account, DAY_MS).await.unwrap(), 2 * PART);
    assert_eq!(store.announced(account, 2 * DAY_MS).await.unwrap(), 0);
    let later = store.report(account, 20 * DAY_MS).await.unwrap();
    assert_eq!((later.blobs, later.blob_bytes, later.uploads), (1, PART, 0));
    assert_eq!((later.blob_rows.len(), later.upload_rows.len()), (1, 0));
}

async fn used_blobs_stay(store: &Store) {
    let ids: Vec<[u8; 32]> = (0..3).map(|_| random()).collect();
    for id in &ids {
        store.finish(&begun(store).await, id, 20 * DAY_MS, 1).await.unwrap();
    }
    store.touch(&ids[0], 40 * DAY_MS).await.unwrap();
    store.touch(&ids[1], 10 * DAY_MS).await.unwrap();
    while store.expire(20 * DAY_MS, 10).await.unwrap() == 10 {}
    let there = |id| async move { store.blob(id, 1).await.unwrap().is_some() };
    assert!(there(&ids[0]).await && !there(&ids[1]).await && !there(&ids[2]).await, "a use never shortens");
    let due: Vec<_> = store.remains(20 * DAY_MS + GRACE_MS - 1, 10_000).await.unwrap();
    let later = store.remains(20 * DAY_MS + GRACE_MS, 10_000).await.unwrap();
    assert!(later.len() >= due.len() + 2, "bodies go later than rows");
}
