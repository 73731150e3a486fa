//! What admins do, on every engine.

use qpc_chassis::db::Tx;
use qpc_wire::{Code, GroupId};

use super::{Person, Store, log_in, register};
use crate::{
    error::Error,
    store::{
        accounts,
        audit::{self, Entry},
        reports::{self, NewReport},
    },
};

const KEY: [u8; 32] = [3; 32];

pub(super) async fn check(store: &Store) {
    a_banned_account_has_no_sessions(store).await;
    reports_are_resolved_once(store).await;
    whatever_is_done_to_the_log_is_found(store).await;
    the_log_is_cut_at_its_old_end(store).await;
}

async fn a_banned_account_has_no_sessions(store: &Store) {
    let person = Person::new();
    let certificate = person.certify();
    register(store, "banned", &certificate).await.unwrap();
    let token = log_in(store, &certificate, 1_000).await.unwrap();
    let head = store.revocation_head().await.unwrap();
    for reason in ["first", "second"] {
        let mut tx = store.db().begin().await.unwrap();
        accounts::ban(&mut tx, person.id(), reason, 30).await.unwrap();
        tx.commit().await.unwrap();
    }
    let feed = store.revoked_since(head).await.unwrap();
    let expected = vec![(head + 1, certificate.device_id()), (head + 2, certificate.device_id())];
    assert_eq!(feed.iter().map(|entry| (entry.seq, entry.device)).collect::<Vec<_>>(), expected);
    assert!(store.untold(head).await.unwrap().is_empty(), "nobody forgets the device");
    assert_eq!(store.session(&token, 40).await.unwrap(), None);
    assert!(matches!(log_in(store, &certificate, 1_000).await, Err(Error::Banned)));
    let mut tx = store.db().begin().await.unwrap();
    let user = accounts::show(&mut tx, person.id()).await.unwrap();
    assert_eq!((user.ban_reason.as_str(), user.banned_at_ms, user.devices), ("second", 30, 1));
    accounts::unban(&mut tx, person.id()).await.unwrap();
    assert!(matches!(accounts::unban(&mut tx, person.id()).await, Err(Error::NotBanned)));
    tx.commit().await.unwrap();
    log_in(store, &certificate, 1_000).await.unwrap();
}

async fn reports_are_resolved_once(store: &Store) {
    let (reporter, accused) = (Person::new().id(), Person::new().id());
    let mut tx = store.db().begin().await.unwrap();
    for (id, at_ms) in [(1, 10), (2, 20), (3, 30)] {
        let (group, evidence) = (GroupId([8; 16]), b"what was said".as_slice());
        let report =
            NewReport { id: [id; 16], reporter, accused, group, evidence, verdict: "sent by the accused", at_ms };
        reports::insert_report(&mut tx, &report).await.unwrap();
    }
    let ids = async |tx: &mut Tx, before_ms, limit, open| {
        let found = reports::list(tx, before_ms, limit, open).await.unwrap();
        found.into_iter().map(|report| report.report_id[0]).collect::<Vec<_>>()
    };
    assert_eq!(ids(&mut tx, u64::MAX, 2, false).await, [3, 2], "newest first");
    assert_eq!(ids(&mut tx, 20, 2, false).await, [1]);
    reports::resolve(&mut tx, &[2; 16], "banned", 40).await.unwrap();
    assert!(matches!(reports::resolve(&mut tx, &[2; 16], "again", 50).await, Err(Error::Resolved)));
    assert!(matches!(reports::resolve(&mut tx, &[9; 16], "none", 50).await, Err(Error::UnknownReport)));
    assert_eq!(ids(&mut tx, u64::MAX, 9, true).await, [3, 1]);
    let (report, evidence) = reports::show(&mut tx, &[2; 16]).await.unwrap();
    assert_eq!((report.resolution.as_str(), report.resolved_at_ms), ("banned", 40));
    assert_eq!((evidence.as_slice(), report.verdict.as_str()), (b"what was said".as_slice(), "sent by the accused"));
    tx.commit().await.unwrap();
}

async fn log(store: &Store, action: &str, at_ms: u64) {
    let mut tx = store.db().begin().await.unwrap();
    let entry = Entry { actor: "actor", action, subject: "subject", code: Code::NotFound, at_ms };
    audit::append(&mut tx, &KEY, &entry).await.unwrap();
    tx.commit().await.unwrap();
}

async fn whatever_is_done_to_the_log_is_found(store: &Store) {
    for (action, at_ms) in [("One", 10), ("Two", 20), ("Three", 30), ("Four", 40)] {
        log(store, action, at_ms).await;
    }
    let mut tx = store.db().begin().await.unwrap();
    assert_eq!(audit::verify(&mut tx, &KEY).await.unwrap(), (4, None));
    assert_eq!(audit::verify(&mut tx, &[4; 32]).await.unwrap(), (1, Some(1)), "the key is part of it");
    drop(tx);
    let tampers: [(&'static str, u64); 11] = [
        ("UPDATE audit SET code = 0 WHERE seq = 2", 2),
        ("UPDATE audit SET actor = 'zz' WHERE seq = 3", 3),
        ("UPDATE audit SET action = 'actionT', subject = 'wo' WHERE seq = 2", 2),
        ("UPDATE audit SET at_ms = at_ms - 1 WHERE seq = 4", 4),
        ("UPDATE audit SET mac = (SELECT mac FROM audit WHERE seq = 3) WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq = 4", 4),
        ("UPDATE audit_head SET seq = 5", 5),
        // Two change places, with all that they say; and one is written twice.
        ("UPDATE audit SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE seq IN (2, 3)", 2),
        ("INSERT INTO audit SELECT 5, at_ms, actor, action, subject, code, mac FROM audit WHERE seq = 4", 5),
    ];
    for (tamper, broken_at) in tampers {
        let mut tx = store.db().begin().await.unwrap();
        assert!(tx.execute(tamper, &[]).await.unwrap() > 0, "{tamper}");
        // By way of numbers that nobody has, since those of others are taken.
        tx.execute("UPDATE audit SET seq = -seq WHERE seq < 0", &[]).await.unwrap();
        assert_eq!(audit::verify(&mut tx, &KEY).await.unwrap().1, Some(broken_at), "{tamper}");
        // Given up with the transaction.
    }
    let mut tx = store.db().begin().await.unwrap();
    let entries = audit::list(&mut tx, 4, 2).await.unwrap();
    assert_eq!(entries.iter().map(|entry| (entry.seq, &*entry.action)).collect::<Vec<_>>(), [(3, "Three"), (2, "Two")]);
}

async fn the_log_is_cut_at_its_old_end(store: &Store) {
    assert_eq!(store.cut_audit(10).await.unwrap(), 0);
    assert_eq!(store.cut_audit(30).await.unwrap(), 2);
    assert_eq!(store.cut_audit(30).await.unwrap(), 0);
    assert_eq!(store.cut_audit(u64::MAX >> 1).await.unwrap(), 1, "the last one stays");
    log(store, "Five", 50).await;
    let mut tx = store.db().begin().await.unwrap();
    assert_eq!(audit::verify(&mut tx, &KEY).await.unwrap(), (2, None));
    for (tamper, broken_at) in [("DELETE FROM audit WHERE seq = 4", 4), ("UPDATE audit SET seq = 2 WHERE seq = 5", 2)] {
        drop(tx);
        tx = store.db().begin().await.unwrap();
        assert_eq!(tx.execute(tamper, &[]).await.unwrap(), 1);
        assert_eq!(audit::verify(&mut tx, &KEY).await.unwrap().1, Some(broken_at), "{tamper}");
    }
}
