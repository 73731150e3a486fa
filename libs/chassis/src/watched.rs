//! What is made from files, and made again when they change, so that certificates are renewed without a restart.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::run::Deps;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// See the module. Files are looked at by what is in them: a mounted secret is changed by a link above it.
pub struct Watched<T> {
    current: RwLock<Arc<T>>,
    source: Mutex<Source<T>>,
}

struct Source<T> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, Error> + Send>,
    /// What was in the files of which the current one is made.
    seen: Option<[u8; 32]>,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// What `make` makes of `files` now.
    pub fn new<E: std::error::Error + Send + Sync + 'static>(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + 'static,
    ) -> Result<Arc<Self>, E> {
        // Before they are used: what is written in between is a change.
        let seen = digest(&files).ok();
        let current = RwLock::new(Arc::new(make()?));
        let make = Box::new(move || make().map_err(Error::from));
        Ok(Arc::new(Self { current, source: Mutex::new(Source { files, make, seen }) }))
    }

    /// Makes it again when the files change, until shutdown, and tells `show` of it, now and then. What cannot be made is
    /// logged, and the one before stays: certificate and key are two files, and may be looked at between the writing of both.
    pub fn watch(self: &Arc<Self>, deps: &Deps, what: &'static str, show: impl Fn(&T) + Send + 'static) {
        show(&self.current());
        let watched = self.clone();
        deps.every(LOOK_EVERY, move |_| {
            match watched.look() {
                Ok(true) => {
                    show(&watched.current());
                    tracing::info!("{what} was changed");
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(error, "{what} cannot be read again, it stays as it was"),
            }
            std::future::ready(())
        });
    }

    /// The newest one.
    pub fn current(&self) -> Arc<T> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks now; tells whether there is a new one.
    pub fn look(&self) -> Result<bool, Error> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let now = digest(&source.files)?;
        if source.seen == Some(now) {
            return Ok(false);
        }
        let made = Arc::new((source.make)()?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = made;
        source.seen = Some(now);
        Ok(true)
    }
}

fn digest(files: &[PathBuf]) -> io::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    for file in files {
        digest.update(Sha256::digest(fs::read(file)?));
    }
    Ok(digest.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Watched;

    #[test]
    fn what_changes_is_made_again_and_what_breaks_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["one", "two"].map(|name| folder.path().join(name));
        files.iter().for_each(|file| fs::write(file, "1").unwrap());
        let read = files.clone();
        let make = move || {
            let [one, two] = read.each_ref().map(|file| fs::read_to_string(file).unwrap_or_default().parse::<u32>());
            one.and_then(|one| two.map(|two| one + two))
        };
        let watched = Watched::new(files.to_vec(), make).unwrap();
        let after = |file: usize, text: &str| {
            fs::write(&files[file], text).unwrap();
            (watched.look().map_err(drop), *watched.current())
        };
        assert_eq!(after(0, "1"), (Ok(false), 2), "written, and not changed");
        assert_eq!(after(0, "2"), (Ok(true), 3));
        assert_eq!(after(1, "2"), (Ok(true), 4));
        assert_eq!(after(1, "x"), (Err(()), 4));
        assert_eq!(after(1, "2"), (Ok(false), 4));
        fs::remove_file(&files[0]).unwrap();
        assert!(watched.look().is_err());
        assert_eq!(*watched.current(), 4);
    }
}
