//! From the server to a file.
//!
//! Several ranges are on their way at once; they are opened and written in their order, to a hidden file beside the target,
//! which is found again by a later try: what it holds is encrypted once more and so takes part in the hash of the whole. Only
//! when that hash is the address of the file, and its last chunk has opened, the file gets its name.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use qpc_crypto::file::{CHUNK, FileCipher, SEALED_CHUNK};
use qpc_wire::{Code, methods::BlobGet, v1::BlobGetRequest};
use sha2::{Digest as _, Sha256};

use super::{Attachment, PARALLEL, Tell, Teller, name, persist, says};
use crate::{Error, client::Inner, transport::CallError};

/// Bytes of a range; whole chunks.
const RANGE: u64 = 4 << 20;

/// Times that a half-taken file is opened which somebody is at, and the pause in between.
const OPEN_TRIES: u32 = 20;
const OPEN_PAUSE: Duration = Duration::from_millis(100);

const _: () = assert!(RANGE.is_multiple_of(SEALED_CHUNK as u64));

/// See [`crate::Client::download`].
pub(super) async fn download(
    inner: &Arc<Inner>,
    attachment: &Attachment,
    path: &Path,
    tell: Tell,
) -> Result<PathBuf, Error> {
    attachment.cipher()?;
    let teller = Teller::new(attachment.sealed_size, tell);
    let found = attempt(inner, attachment, path, &teller).await?;
    match found {
        Outcome::Whole(target) => Ok(target),
        // What an earlier try has left was not of this file. It is gone now.
        Outcome::Spoilt { resumed: true } => {
            teller.lost(usize::MAX);
            match attempt(inner, attachment, path, &teller).await? {
                Outcome::Whole(target) => Ok(target),
                Outcome::Spoilt { .. } => Err(Error::DamagedFile(ANOTHER)),
            }
        }
        Outcome::Spoilt { resumed: false } => Err(Error::DamagedFile(ANOTHER)),
    }
}

/// What is wrong with a file whose hash is not its address.
const ANOTHER: &str = "its SHA-256 is another one";

enum Outcome {
    Whole(PathBuf),
    /// The hash is another one; whether a part of it was found here.
    Spoilt {
        resumed: bool,
    },
}

async fn attempt(inner: &Arc<Inner>, attachment: &Attachment, path: &Path, teller: &Teller) -> Result<Outcome, Error> {
    let mut assembly = open(inner, attachment, path).await?;
    let begin = assembly.done * SEALED_CHUNK as u64;
    teller.found(begin.min(attachment.sealed_size) as usize);
    let ranges = (begin..attachment.sealed_size).step_by(RANGE as usize);
    let mut bodies = stream::iter(ranges).map(|offset| fetch(inner, attachment, offset, teller)).buffered(PARALLEL);
    loop {
        let body = match bodies.try_next().await {
            Ok(Some(body)) => body,
            Ok(None) => break,
            Err(error) if says(&error, Code::NotFound) => {
                inner.runtime.blocking(move || assembly.discard()).await;
                return Err(Error::Expired("the file"));
            }
            Err(error) => return Err(error),
        };
        let taken = inner.runtime.blocking(move || assembly.take(body).map(|()| assembly)).await;
        assembly = taken.ok_or(Error::Interrupted)??;
    }
    inner.runtime.blocking(move || assembly.finish()).await.ok_or(Error::Interrupted)?
}

/// An earlier try that was just given up may still be writing what it had taken.
async fn open(inner: &Inner, attachment: &Attachment, path: &Path) -> Result<Assembly, Error> {
    for round in 1.. {
        let (wanted, at) = (attachment.clone(), path.to_owned());
        let opened = inner.runtime.blocking(move || Assembly::open(&wanted, &at)).await.ok_or(Error::Interrupted)?;
        match opened {
            Err(Error::FileInUse(_)) if round < OPEN_TRIES => tokio::time::sleep(OPEN_PAUSE).await,
            opened => return opened,
        }
    }
    Err(Error::Interrupted)
}

async fn fetch(inner: &Inner, attachment: &Attachment, offset: u64, teller: &Teller) -> Result<Vec<u8>, Error> {
    let length = RANGE.min(attachment.sealed_size - offset);
    let request = BlobGetRequest { blob_id: Bytes::copy_from_slice(&attachment.blob_id), offset, length };
    persist(inner, |connection| {
        let request = request.clone();
        async move {
            let (answer, mut body) = connection.call_down::<BlobGet>(&request).await?;
            if answer.size != attachment.sealed_size || answer.length != length {
                return Err(CallError::Malformed);
            }
            let mut bytes = Vec::with_capacity(length as usize);
            let ended = loop {
                match body.next(&mut bytes, length as usize).await {
                    Ok(0) => break Ok(()),
                    Ok(len) => teller.moved(len),
                    Err(error) => break Err(error),
                }
            };
            match ended {
                Ok(()) if bytes.len() as u64 == length => Ok(bytes),
                Ok(()) => Err(CallError::Malformed),
                Err(error) => {
                    teller.lost(bytes.len());
                    Err(error)
                }
            }
        }
    })
    .await
}

/// The file that is being put together. Its methods block.
struct Assembly {
    target: PathBuf,
    part: PathBuf,
    file: File,
    cipher: FileCipher,
    whole: Sha256,
    blob_id: [u8; 32],
    /// Chunks that are in the file.
    done: u64,
    resumed: bool,
}

impl Assembly {
    fn open(attachment: &Attachment, path: &Path) -> Result<Self, Error> {
        let target = if path.is_dir() { name::free(path, &attachment.name)? } else { path.to_owned() };
        if target.symlink_metadata().is_ok() {
            return Err(Error::FileExists(target));
        }
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let part = folder.join(format!(".{}.part", hex::encode(&attachment.blob_id[..16])));
        let failed = |source| Error::Io { path: part.clone(), source };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&part).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::FileInUse(part)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut assembly = Self {
            target,
            part: part.clone(),
            file,
            cipher: attachment.cipher()?,
            whole: Sha256::new(),
            blob_id: attachment.blob_id,
            done: 0,
            resumed: false,
        };
        assembly.resume().map_err(failed)?;
        Ok(assembly)
    }

    /// Takes over the whole chunks of an earlier try, but for the last one of the file.
    fn resume(&mut self) -> io::Result<()> {
        let kept = (self.file.metadata()?.len() / CHUNK as u64).min(self.cipher.chunks() - 1);
        let mut chunk = vec![0; SEALED_CHUNK];
        for index in 0..kept {
            self.file.read_exact(&mut chunk[..CHUNK])?;
            if self.cipher.seal(index, &mut chunk).is_err() {
                break;
            }
            self.whole.update(&chunk);
            self.done += 1;
        }
        self.resumed = self.done > 0;
        let end = self.done * CHUNK as u64;
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end)).map(drop)
    }

    /// The next bytes of the ciphertext: whole chunks.
    fn take(&mut self, mut sealed: Vec<u8>) -> Result<(), Error> {
        self.whole.update(&sealed);
        for chunk in sealed.chunks_mut(SEALED_CHUNK) {
            let opened = self.cipher.open(self.done, chunk);
            let Ok(content) = opened else {
                self.remove();
                return Err(Error::DamagedFile("a part of it does not open"));
            };
            self.file.write_all(content).map_err(|source| Error::Io { path: self.part.clone(), source })?;
            self.done += 1;
        }
        Ok(())
    }

    fn finish(self) -> Result<Outcome, Error> {
        let hash: [u8; 32] = self.whole.clone().finalize().into();
        if self.done != self.cipher.chunks() || hash != self.blob_id {
            self.remove();
            return Ok(Outcome::Spoilt { resumed: self.resumed });
        }
        let failed = |source| Error::Io { path: self.target.clone(), source };
        self.file.sync_all().map_err(failed)?;
        if self.target.symlink_metadata().is_ok() {
            return Err(Error::FileExists(self.target));
        }
        fs::rename(&self.part, &self.target).map_err(failed)?;
        Ok(Outcome::Whole(self.target))
    }

    fn discard(self) {
        self.remove();
    }

    fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.part) {
            tracing::debug!(%error, "no part to remove");
        }
    }
}
