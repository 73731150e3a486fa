//! An account as a file: encrypted, without a word in clear about whose it is. It holds what is the account's and nothing
//! that is the device's (`store::rows`): no state of MLS, no device key, no KeyPackage. So who restores it is a new device of
//! the account, which joins the groups again from outside and asks for what was written meanwhile, as a device does that has
//! lost track.

use std::{
    fs,
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use prost::Message as _;
use qpc_crypto::archive::{About, ArchiveError, Kind, Opened, Reader, Writer};
use qpc_wire::{AccountId, content as pb, content::backup_record::Record};
use zeroize::Zeroizing;

use crate::{
    ArchiveProgress, ClientOptions, Error,
    client::Inner,
    opening,
    store::{self, KEPT, Store, Tx},
    transcript::lock,
};

/// Added to the name of a folder while a backup is put there.
const UNFINISHED: &str = ".restoring";

/// What was backed up or restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// Name of the account.
    pub username: String,
    /// The account.
    pub account: AccountId,
    /// When the backup was begun, Unix milliseconds, by the clock of who made it.
    pub made_at_ms: u64,
    /// Messages in it.
    pub messages: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// Writes everything.
pub(crate) async fn write(
    inner: &Inner,
    passphrase: &str,
    out: &mut (impl Write + Send),
    progress: &mut (dyn FnMut(ArchiveProgress) + Send),
) -> Result<BackupReport, Error> {
    let (identity, mut rng, made_at_ms) = (inner.identity.clone(), inner.runtime.rng(), inner.runtime.now_ms());
    let (schema, total) = inner.store.run(|tx| Ok((tx.schema()?, tx.message_count()?))).await?;
    let lock = lock(inner, passphrase).await?;
    let mut writer = Writer::new(out, &mut rng, &lock, &About::Backup, made_at_ms)?;
    push(
        &mut writer,
        Record::Head(pb::BackupHead {
            username: identity.username.clone(),
            account_key: Bytes::copy_from_slice(identity.account_key.to_bytes().as_ref()),
            schema: u32::try_from(schema).map_err(|_| Error::Corrupt("the version of the store"))?,
            messages: total,
        }),
    )?;
    let mut messages = 0;
    for table in KEPT {
        let mut place = store::Place::new();
        while let Some((rows, next)) = inner.store.run(move |tx| tx.rows_after(table, &place)).await? {
            place = next;
            if *table == "messages" {
                messages += rows.rows.len() as u64;
                progress(ArchiveProgress { done: messages, total });
            }
            push(&mut writer, Record::Rows(rows))?;
        }
    }
    let summary = writer.finish(&identity.device_key)?;
    Ok(BackupReport {
        username: identity.username.clone(),
        account: identity.account(),
        made_at_ms,
        messages,
        bytes: summary.bytes,
    })
}

fn push<W: Write>(writer: &mut Writer<W>, record: Record) -> Result<(), ArchiveError> {
    writer.push(&Zeroizing::new(pb::BackupRecord { record: Some(record) }.encode_to_vec()))
}

/// Makes a store from a backup, in the folder of the options, which must not exist or be empty. It is there when this
/// returns `Ok`, whole, and not at all before, whatever happens. Name and password of the options are those of the account at
/// its server; [`crate::Client::open`] with the same options is a new device of it. Takes the time of Argon2id twice.
pub async fn restore_backup(
    input: impl Read + Send + 'static,
    passphrase: &str,
    options: &ClientOptions,
    progress: impl FnMut(ArchiveProgress) + Send + 'static,
) -> Result<BackupReport, Error> {
    let (options, passphrase) = (options.clone(), Zeroizing::new(passphrase.to_owned()));
    let runtime = options.runtime.clone();
    let restored = runtime.blocking(move || restore(input, passphrase.as_bytes(), &options, progress)).await;
    restored.ok_or(Error::Interrupted)?
}

fn restore(
    input: impl Read,
    passphrase: &[u8],
    options: &ClientOptions,
    mut progress: impl FnMut(ArchiveProgress),
) -> Result<BackupReport, Error> {
    let mut opened = Reader::new(BufReader::new(input), Kind::Backup)?.unlock(passphrase)?;
    let head = head(&mut opened)?;
    if head.username != options.username {
        return Err(Error::BackupOfOther { stored: head.username, asked: options.username.clone() });
    }
    let made_at_ms = opened.head().made_at_ms;
    let folder = Unfinished::begin(&options.data)?;
    let (account, messages, bytes) = fill(&folder.path, opened, &head, options, &mut progress)?;
    folder.finish()?;
    Ok(BackupReport { username: head.username, account, made_at_ms, messages, bytes })
}

fn head<R: Read>(opened: &mut Opened<R>) -> Result<pb::BackupHead, Error> {
    match opened.next_record()?.map(pb::BackupRecord::decode).transpose()?.and_then(|record| record.record) {
        Some(Record::Head(head)) => Ok(head),
        _ => Err(MALFORMED),
    }
}

/// Makes the store, in one transaction. Returns the account, how many messages it has, and the length of the file.
fn fill<R: Read>(
    folder: &Path,
    mut opened: Opened<R>,
    head: &pb::BackupHead,
    options: &ClientOptions,
    progress: &mut impl FnMut(ArchiveProgress),
) -> Result<(AccountId, u64, u64), Error> {
    let account_key = head.account_key.as_ref().try_into().map_err(|_| MALFORMED)?;
    let options = ClientOptions { account_key: Some(Zeroizing::new(account_key)), ..options.clone() };
    let runtime = &options.runtime;
    let password = options.password.as_bytes();
    let store = Store::create(folder, password, options.ksf, runtime.clone(), head.schema.into())?;
    store.run_blocking(|tx: &Tx<'_>| {
        let mut messages = 0;
        while let Some(record) = opened.next_record()? {
            let Some(Record::Rows(rows)) = pb::BackupRecord::decode(record)?.record else { return Err(MALFORMED) };
            if rows.table == "messages" {
                messages += rows.rows.len() as u64;
                progress(ArchiveProgress { done: messages, total: head.messages });
            }
            tx.insert_rows(rows)?;
        }
        tx.begin_as_another_device()?;
        let identity = opening::create_identity(tx, &options, runtime)?;
        Ok((identity.account(), messages, opened.finish()?.bytes))
    })
}

const MALFORMED: Error = Error::Corrupt("a record of the backup");

/// The folder in which a store is made that is not there yet. Removed unless it is finished, then or by the next try.
struct Unfinished {
    path: PathBuf,
    target: PathBuf,
}

impl Unfinished {
    fn begin(target: &Path) -> Result<Self, Error> {
        match fs::read_dir(target).map(|mut entries| entries.next().is_some()) {
            Ok(false) => {}
            Ok(true) => return Err(Error::StoreNotEmpty(target.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(store::io_error(target)(error)),
        }
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(UNFINISHED);
        let path = target.with_file_name(name);
        if path.exists() {
            // Of a try that was interrupted, unless another one is at it.
            drop(store::lock(&path)?);
            fs::remove_dir_all(&path).map_err(store::io_error(&path))?;
        }
        Ok(Self { path, target: target.to_owned() })
    }

    /// The store is whole.
    fn finish(self) -> Result<(), Error> {
        let moved = || {
            match fs::remove_dir(&self.target) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::rename(&self.path, &self.target)?;
            // The folder's new name is to survive a loss of power as well.
            match self.target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Some(parent) if cfg!(unix) => fs::File::open(parent)?.sync_all(),
                _ => Ok(()),
            }
        };
        moved().map_err(store::io_error(&self.target))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Gone already when it is finished.
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "what is left of a restoring was not removed");
        }
    }
}

#[cfg(test)]
mod tests;
