//! Files of this machine, for who chooses one to send.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Entries of one folder that are looked at.
const MAX_ENTRIES: usize = 2_000;

/// What stands in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) folder: bool,
    /// Bytes of a file.
    pub(crate) size: u64,
}

/// A folder by its whole path, and what stands in it: folders first, what begins with a dot last. Blocks.
pub(crate) fn list(folder: &Path) -> io::Result<(PathBuf, Vec<Entry>)> {
    let folder = fs::canonicalize(folder)?;
    let mut entries = Vec::new();
    for entry in fs::read_dir(&folder)?.take(MAX_ENTRIES).flatten() {
        // What has no name that can be typed, or has just gone, is left out.
        let (Ok(name), Ok(found)) = (entry.file_name().into_string(), fs::metadata(entry.path())) else { continue };
        if found.is_dir() || found.is_file() {
            entries.push(Entry { name, folder: found.is_dir(), size: found.len() });
        }
    }
    entries.sort_by_key(|entry| (entry.name.starts_with('.'), !entry.folder, entry.name.to_lowercase()));
    Ok((folder, entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_listed_in_the_order_of_a_person() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.txt", "A.txt", ".hidden"] {
            fs::write(folder.path().join(name), "1234").unwrap();
        }
        fs::create_dir(folder.path().join("zoo")).unwrap();
        let (path, entries) = list(&folder.path().join("zoo/..")).unwrap();
        assert_eq!(path, fs::canonicalize(folder.path()).unwrap());
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["zoo", "A.txt", "b.txt", ".hidden"]);
        assert_eq!(entries[1], Entry { name: "A.txt".into(), folder: false, size: 4 });
        assert!(list(Path::new("/does/not/exist")).is_err());
    }
}
