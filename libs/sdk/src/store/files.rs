//! Files on their way to the server.

use qpc_wire::IdempotencyKey;
use rusqlite::{OptionalExtension as _, params};
use zeroize::Zeroizing;

use super::Tx;
use crate::Error;

/// An upload that nobody has gone on with for so long is forgotten, milliseconds; the server forgets it sooner.
const FORGET_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// A file as it was when its upload began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// In the encoding of the system.
    pub(crate) path: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) modified_ns: i64,
}

/// An upload under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileUpload {
    pub(crate) key: Zeroizing<[u8; 32]>,
    pub(crate) idempotency_key: IdempotencyKey,
    /// The server's name for it, once it has agreed, and bytes of a part.
    pub(crate) agreed: Option<([u8; 16], u64)>,
}

impl Tx<'_> {
    /// The upload of a file that has not changed since it began, or a new one.
    pub(crate) fn file_upload(&self, source: &SourceFile) -> Result<FileUpload, Error> {
        self.sql.execute("DELETE FROM file_uploads WHERE at_ms < ?1", [self.now_ms().saturating_sub(FORGET_MS)])?;
        let sql = "SELECT key, idempotency_key, upload_id, part_size FROM file_uploads
             WHERE path = ?1 AND size = ?2 AND modified_ns = ?3";
        let known = self.sql.query_row(sql, params![source.path, source.size, source.modified_ns], |row| {
            let (upload_id, part_size): (Option<[u8; 16]>, u64) = (row.get(2)?, row.get(3)?);
            Ok(FileUpload {
                key: Zeroizing::new(row.get(0)?),
                idempotency_key: IdempotencyKey(row.get(1)?),
                agreed: upload_id.map(|id| (id, part_size)),
            })
        });
        if let Some(known) = known.optional()? {
            return Ok(known);
        }
        self.forget_file_upload(&source.path)?;
        let key = Zeroizing::new(self.random());
        let new = FileUpload { key, idempotency_key: IdempotencyKey(self.random()), agreed: None };
        self.sql.execute(
            "INSERT INTO file_uploads (path, size, modified_ns, key, idempotency_key, upload_id, part_size, at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, NULL, 0, ?6)",
            params![
                source.path,
                source.size,
                source.modified_ns,
                new.key.as_slice(),
                new.idempotency_key.as_ref(),
                self.now_ms()
            ],
        )?;
        Ok(new)
    }

    /// The server has agreed to an upload.
    pub(crate) fn agree_file_upload(&self, path: &[u8], upload_id: &[u8; 16], part_size: u64) -> Result<(), Error> {
        self.sql.execute(
            "UPDATE file_uploads SET upload_id = ?2, part_size = ?3, at_ms = ?4 WHERE path = ?1",
            params![path, upload_id.as_slice(), part_size, self.now_ms()],
        )?;
        Ok(())
    }

    /// Notes what stands at a part. False when something else stood there before.
    pub(crate) fn seal_file_part(&self, path: &[u8], part: u64, seal: &[u8; 32]) -> Result<bool, Error> {
        self.sql.execute(
            "INSERT OR IGNORE INTO file_parts (path, part, seal) SELECT path, ?2, ?3 FROM file_uploads WHERE path = ?1",
            params![path, part, seal.as_slice()],
        )?;
        let sql = "SELECT seal FROM file_parts WHERE path = ?1 AND part = ?2";
        let stands: Option<[u8; 32]> = self.sql.query_row(sql, params![path, part], |row| row.get(0)).optional()?;
        Ok(stands.as_ref() == Some(seal))
    }

    /// An upload has ended, or cannot be gone on with.
    pub(crate) fn forget_file_upload(&self, path: &[u8]) -> Result<(), Error> {
        self.sql.execute("DELETE FROM file_uploads WHERE path = ?1", [path])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use qpc_crypto::KsfParams;

    use super::*;
    use crate::{Runtime, store::Store};

    fn rows(tx: &Tx<'_>) -> i64 {
        let sql = "SELECT (SELECT count(*) FROM file_uploads) + (SELECT count(*) FROM file_parts)";
        tx.sql.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_key_is_of_one_content_and_goes_with_its_upload() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), b"password", KsfParams::FLOOR, Runtime::system()).unwrap();
        let file = SourceFile { path: b"/a/file".to_vec(), size: 5, modified_ns: 7 };
        let steps = |tx: &Tx<'_>| {
            let begun = tx.file_upload(&file)?;
            assert_eq!(begun.agreed, None);
            tx.agree_file_upload(&file.path, &[3; 16], 65_536)?;
            let again = tx.file_upload(&file)?;
            assert_eq!((&again.key, again.idempotency_key), (&begun.key, begun.idempotency_key));
            assert_eq!(again.agreed, Some(([3; 16], 65_536)));

            assert!(tx.seal_file_part(&file.path, 0, &[1; 32])? && tx.seal_file_part(&file.path, 0, &[1; 32])?);
            assert!(!tx.seal_file_part(&file.path, 0, &[2; 32])?, "other bytes under the same key");
            assert!(tx.seal_file_part(&file.path, 1, &[2; 32])?);
            let other = SourceFile { path: b"/another".to_vec(), ..file.clone() };
            assert!(!tx.seal_file_part(&other.path, 0, &[1; 32])?, "there is no such upload");

            // Written to since: another content, so another key, and nothing that was noted counts.
            let changed = SourceFile { modified_ns: 8, ..file.clone() };
            let anew = tx.file_upload(&changed)?;
            assert!(anew.key != begun.key && anew.agreed.is_none());
            assert!(tx.seal_file_part(&file.path, 0, &[2; 32])?);
            tx.forget_file_upload(&file.path)?;
            assert_eq!(rows(tx), 0);
            Ok(())
        };
        store.run_blocking(steps).unwrap();
    }
}
