//! Folders that belong to xtask. One carries a marker, and nothing without it is written to or removed.

use std::{
    env, fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

/// Name of the marker.
const MARKER: &str = ".qpc-xtask";

/// `count` random bytes in hexadecimal digits.
pub(crate) fn random_hex(count: usize) -> Result<String> {
    let mut bytes = vec![0; count];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("/dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// User id of this process.
pub(crate) fn uid() -> Result<u32> {
    Ok(fs::metadata("/proc/self").context("/proc/self")?.uid())
}

/// Makes a new folder of a random name below the system's temporary folder.
pub(crate) fn temporary(name: &str) -> Result<PathBuf> {
    temporary_in(&env::temp_dir(), name)
}

/// The same below `base`.
pub(crate) fn temporary_in(base: &Path, name: &str) -> Result<PathBuf> {
    let path = base.join(format!("qpc-{name}-{}", random_hex(6)?));
    fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
    mark(&path)?;
    Ok(path)
}

/// Makes `path`, or takes it over when it is empty or ours already.
pub(crate) fn own(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(_) if is_own(path) => Ok(()),
        Ok(found) if found.is_dir() && found.uid() == uid()? && fs::read_dir(path)?.next().is_none() => mark(path),
        Ok(_) => bail!("{} exists and was not made by cargo xtask; choose another folder", path.display()),
        Err(_) => {
            fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
            mark(path)
        }
    }
}

fn mark(path: &Path) -> Result<()> {
    fs::write(path.join(MARKER), "Made by cargo xtask, which also removes it.\n")
        .with_context(|| format!("write to {}", path.display()))
}

/// Whether `path` is a folder, no link, of this user, with the marker.
pub(crate) fn is_own(path: &Path) -> bool {
    let Ok(uid) = uid() else { return false };
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == uid)
        && fs::symlink_metadata(path.join(MARKER)).is_ok_and(|found| found.is_file() && found.uid() == uid)
}

/// Removes a folder of ours with everything in it. One that is gone is no error.
pub(crate) fn remove(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    ensure!(is_own(path), "{} is not a folder of cargo xtask; not removed", path.display());
    fs::remove_dir_all(path).with_context(|| format!("remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{is_own, own, remove, temporary};

    #[test]
    fn only_marked_folders_are_taken_over_and_removed() {
        let base = temporary("folder").unwrap();
        let (ours, foreign, link) = (base.join("a/b"), base.join("foreign"), base.join("link"));
        own(&ours).unwrap();
        own(&ours).unwrap();
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("diary"), "dear").unwrap();
        std::os::unix::fs::symlink(&ours, &link).unwrap();
        assert!(own(&foreign).is_err() && remove(&foreign).is_err() && remove(&link).is_err());
        assert!(foreign.join("diary").exists() && is_own(&ours));
        remove(&ours).unwrap();
        remove(&ours).unwrap();
        assert!(!ours.exists());
        remove(&base).unwrap();
    }
}
