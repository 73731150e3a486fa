//! Periodic work: what has expired loses its row, and some minutes later its bodies. Each step may be taken by several
//! replicas at once, and again after a crash.

use std::time::Duration;

use qpc_chassis::{objects::Objects, run::Deps};
use qpc_wire::{Method as _, methods::BlobPut};

use crate::{domain, error::Error, store::Store};

/// Time between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Rows that one step of a sweep takes at a time, and times that it does.
const BATCH: u64 = 100;
const BATCHES: usize = 50;
/// Bodies are removed this long after their row, milliseconds: when the last BlobPut that found the row has ended.
pub(crate) const GRACE_MS: u64 = BlobPut::INFO.deadline_ms as u64 + 60_000;

/// Starts the periodic work of the service.
pub(crate) fn start(deps: &Deps, store: &Store, objects: &Objects) {
    let (store, objects) = (store.clone(), objects.clone());
    let removed = deps.metrics.counter("blob_removed", "Blobs and unfinished uploads whose bodies were removed");
    deps.every(SWEEP_EVERY, move |now_ms| {
        let (store, objects, removed) = (store.clone(), objects.clone(), removed.clone());
        async move {
            match sweep(&store, &objects, now_ms).await {
                Ok(count) => drop(removed.inc_by(count)),
                Err(error) => tracing::warn!(%error, "blobs not swept"),
            }
        }
    });
}

/// One sweep; tells of how many blobs and uploads the bodies are gone.
async fn sweep(store: &Store, objects: &Objects, now_ms: u64) -> Result<u64, Error> {
    let mut removed = 0;
    for _ in 0..BATCHES {
        if store.expire(now_ms, BATCH).await? < BATCH {
            break;
        }
    }
    for _ in 0..BATCHES {
        let due = store.remains(now_ms, BATCH).await?;
        for (upload, parts) in &due {
            for part in 0..*parts {
                objects.remove(&domain::body(upload, part)).await?;
            }
            store.forget_remains(upload).await?;
            removed += 1;
        }
        if (due.len() as u64) < BATCH {
            break;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use qpc_chassis::{Runtime, db::Db, objects::ObjectsConfig};
    use qpc_wire::{AccountId, DeviceId};

    use super::*;
    use crate::{
        domain::{Cut, DAY_MS},
        store::{MIGRATIONS, Part, Upload},
    };

    struct World {
        store: Store,
        objects: Objects,
        folder: tempfile::TempDir,
    }

    fn part_of(number: u64) -> Part {
        Part { number, before: [1; 32], after: [2; 32] }
    }

    impl World {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let setting = format!("sqlite:{}", folder.path().display());
            let store = Store::new(Db::open(&setting, "blob", 1, MIGRATIONS).await.unwrap());
            let objects = Objects::open(&ObjectsConfig::default(), &folder.path().join("blobs")).unwrap();
            Self { store, objects, folder }
        }

        /// An upload of two parts, which expires at 1,000.
        async fn upload(&self) -> Upload {
            let upload = Upload {
                id: Runtime::system().random(),
                account: AccountId([1; 16]),
                device: DeviceId([2; 16]),
                cut: Cut { size: 15, part_size: 10 },
                expires_ms: 1_000,
            };
            let mut tx = self.store.db().begin().await.unwrap();
            Store::begin(&mut tx, &upload, 1 << 20, 1).await.unwrap();
            tx.commit().await.unwrap();
            for part in 0..2 {
                self.objects.put(&domain::body(&upload.id, part), vec!["0123456789".into()]).await.unwrap();
                assert!(self.store.put_part(&upload.id, &part_of(part), 1_000).await.unwrap());
            }
            upload
        }

        fn bodies(&self) -> usize {
            fn files(folder: &Path) -> usize {
                let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
                entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
            }
            files(&self.folder.path().join("blobs"))
        }

        async fn sweep(&self, now_ms: u64) -> u64 {
            sweep(&self.store, &self.objects, now_ms).await.unwrap()
        }
    }

    #[tokio::test]
    async fn what_nobody_finishes_or_uses_goes_with_its_bodies() {
        let world = World::new().await;
        let (left, kept) = (world.upload().await, world.upload().await);
        let both = 1_000 + GRACE_MS;
        world.store.finish(&kept, &[7; 32], both, 10).await.unwrap();

        assert_eq!((world.sweep(999).await, world.bodies()), (0, 4));
        // The row goes first, so that nobody begins a part any more; who has begun one may end it.
        assert_eq!((world.sweep(1_000).await, world.bodies()), (0, 4));
        assert!(world.store.upload(&left.id).await.unwrap().is_none());
        assert!(!world.store.put_part(&left.id, &part_of(1), 9_999).await.unwrap());
        assert_eq!((world.sweep(both - 1).await, world.bodies()), (0, 4));
        assert_eq!(world.store.blob(&[7; 32], both - 1).await.unwrap().unwrap().upload, kept.id);

        assert_eq!(world.sweep(both).await, 1);
        assert_eq!(world.bodies(), 2, "those of the blob");
        assert!(world.store.blob(&[7; 32], both).await.unwrap().is_none(), "which has expired meanwhile");
        assert_eq!((world.sweep(both + GRACE_MS).await, world.bodies()), (1, 0));
        assert_eq!(world.sweep(both + DAY_MS).await, 0);
    }

    #[tokio::test]
    async fn replicas_that_sweep_at_once_remove_nothing_that_is_used() {
        let world = World::new().await;
        let used = world.upload().await;
        world.store.finish(&used, &[8; 32], 1_000, 10).await.unwrap();
        let sweeps = || futures_util::future::join_all((0..4).map(|_| world.sweep(2_000 + GRACE_MS)));
        world.store.touch(&[8; 32], 9_000_000).await.unwrap();
        for _ in 0..6 {
            world.upload().await;
        }
        sweeps().await;
        let removed = futures_util::future::join_all((0..4).map(|_| world.sweep(2_000 + 2 * GRACE_MS))).await;
        assert!(removed.iter().sum::<u64>() >= 6);
        assert_eq!(world.bodies(), 2);
        assert!(world.store.blob(&[8; 32], 2_000).await.unwrap().is_some());
    }
}
