//! What every store of bodies does; run by the tests of each.

use bytes::Bytes;
use futures_util::future::join_all;

use super::Objects;

/// Larger than what a store moves at a time.
const LARGE: usize = 5 << 20;

/// Panics where `objects` departs from the contract. The store is empty before.
#[allow(clippy::unwrap_used, reason = "test code shared between crates")]
pub async fn check(objects: &Objects) {
    objects.ping().await.unwrap();
    assert_eq!(objects.get("ab/abcd/0", 0..1).await.unwrap(), None, "nothing is there yet");
    objects.remove("ab/abcd/0").await.unwrap();

    objects.put("ab/abcd/0", vec!["he".into(), "llo".into(), Bytes::new()]).await.unwrap();
    assert_eq!(objects.get("ab/abcd/0", 0..5).await.unwrap().unwrap(), "hello");
    assert_eq!(objects.get("ab/abcd/0", 1..3).await.unwrap().unwrap(), "el");
    objects.put("ab/abcd/0", vec!["another".into()]).await.unwrap();
    assert_eq!(objects.get("ab/abcd/0", 0..7).await.unwrap().unwrap(), "another", "the last one counts");

    let large: Bytes = (0..LARGE).map(|n| (n * 7 % 251) as u8).collect();
    objects.put("cd/1", vec![large.slice(..LARGE / 2), large.slice(LARGE / 2..)]).await.unwrap();
    let middle = LARGE as u64 / 2 - 10..LARGE as u64 / 2 + 10;
    let wanted = large.slice(middle.start as usize..middle.end as usize);
    assert_eq!(objects.get("cd/1", middle).await.unwrap().unwrap(), wanted);
    assert!(objects.get("cd/1", 0..LARGE as u64).await.unwrap().unwrap() == large);

    // Whoever writes the same name at the same time, one of them is there, whole.
    let rivals = (0..8u8).map(|n| objects.put("ef/2", vec![vec![n; 100_000].into()]));
    join_all(rivals).await.into_iter().for_each(|put| put.unwrap());
    let one = objects.get("ef/2", 0..100_000).await.unwrap().unwrap();
    assert!(one.len() == 100_000 && one.iter().all(|byte| *byte == one[0]), "parts of several");

    for name in ["ab/abcd/0", "cd/1", "ef/2"] {
        objects.remove(name).await.unwrap();
        assert_eq!(objects.get(name, 0..1).await.unwrap(), None, "{name}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Objects, ObjectsConfig, ObjectsError};

    #[tokio::test]
    async fn the_disk_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::open(&ObjectsConfig::default(), &folder.path().join("bodies")).unwrap();
        super::check(&objects).await;
        let left: Vec<_> = std::fs::read_dir(folder.path().join("bodies")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn settings_that_are_none_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = |setting: &str| {
            let config = ObjectsConfig { blob_store: Some(setting.into()), ..Default::default() };
            Objects::open(&config, folder.path()).err()
        };
        assert!(matches!(open("ftp://x"), Some(ObjectsError::Setting(_))));
        assert!(matches!(open("s3://bucket"), Some(ObjectsError::NoCredentials)));
        let config = ObjectsConfig { s3_secret: Some("hush".into()), ..Default::default() };
        assert!(!format!("{config:?}").contains("hush"));
    }
}
