//! What is made from files, and made again when they change, so that certificates are renewed without a restart.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::run::Deps;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// See the module. Files are looked at by what is in them: a mounted secret is changed by a link above it.
pub struct Watched<T>(RwLock<Arc<T>>);

impl<T: Send + Sync + 'static> Watched<T> {
    /// What `make` makes of `files` now, and from now on until shutdown when they change. What cannot be made later is logged,
    /// and the one before stays: certificate and key are two files, and may be looked at between the writing of both.
    pub fn new<E: std::error::Error>(
        deps: &Deps,
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + 'static,
    ) -> Result<Arc<Self>, E> {
        let (watched, mut watch) = Self::made(files, make)?;
        deps.every(LOOK_EVERY, move |_| {
            match watch.look() {
                Ok(true) => tracing::info!("{what} was changed"),
                Ok(false) => {}
                Err(error) => tracing::warn!(error, "{what} cannot be read again, it stays as it was"),
            }
            std::future::ready(())
        });
        Ok(watched)
    }

    fn made<E, F: Fn() -> Result<T, E>>(files: Vec<PathBuf>, make: F) -> Result<(Arc<Self>, Watch<T, F>), E> {
        // Before they are used: what is written in between is a change.
        let seen = digest(&files).ok();
        let watched = Arc::new(Self(RwLock::new(Arc::new(make()?))));
        let watch = Watch { files, make, seen, made: watched.clone() };
        Ok((watched, watch))
    }

    /// The newest one.
    pub fn current(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Watch<T, F> {
    files: Vec<PathBuf>,
    make: F,
    /// What was in the files of which the current one is made.
    seen: Option<[u8; 32]>,
    made: Arc<Watched<T>>,
}

impl<T, E: std::error::Error, F: Fn() -> Result<T, E>> Watch<T, F> {
    /// Tells whether there is a new one, or why none could be made.
    fn look(&mut self) -> Result<bool, String> {
        let now = digest(&self.files).map_err(|error| error.to_string())?;
        if self.seen == Some(now) {
            return Ok(false);
        }
        let made = (self.make)().map_err(|error| error.to_string())?;
        *self.made.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made);
        self.seen = Some(now);
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
        let (watched, mut watch) = Watched::made(files.to_vec(), make).unwrap();
        let mut after = |file: usize, text: &str| {
            fs::write(&files[file], text).unwrap();
            (watch.look(), *watched.current())
        };
        assert_eq!(after(0, "1"), (Ok(false), 2), "written, and not changed");
        assert_eq!(after(0, "2"), (Ok(true), 3));
        assert_eq!(after(1, "2"), (Ok(true), 4));
        let (broken, stays) = after(1, "x");
        assert!(broken.is_err() && stays == 4);
        assert_eq!(after(1, "2"), (Ok(false), 4));
        fs::remove_file(&files[0]).unwrap();
        assert!(watch.look().is_err());
        assert_eq!(*watched.current(), 4);
    }
}
