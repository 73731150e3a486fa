//! From a file to the server.
//!
//! One thread reads, encrypts and hashes from the beginning to the end; parts that the server lacks are sent beside it. After
//! an interruption the same thread makes the same ciphertext again, since the key is kept, and the server says which parts it
//! has. That the file is still the same is not believed but checked: what was encrypted of a part is noted before it is sent
//! (`seal`), and a part that comes out differently ends the upload, so that nothing different is ever sent under the same key
//! and nonce.

use std::{
    collections::HashSet,
    fs::{self, File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use qpc_crypto::{
    file::{FileCipher, SEALED_CHUNK, sealed_size},
    sha256_chain::{ChainingValue, Sha256Chain},
};
use qpc_wire::{
    Code,
    limits::BLOB_GRAIN,
    methods::{BlobBegin, BlobFinish, BlobParts, BlobPut},
    v1::{BlobBeginRequest, BlobFinishRequest, BlobPartsRequest, BlobPutRequest},
};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{Attachment, PARALLEL, Tell, Teller, name, persist, says, thumbnail};
use crate::{
    Error,
    client::Inner,
    store::{FileUpload, SourceFile},
    transport::CallError,
};

/// Parts that are encrypted before there is somebody to send them.
const AHEAD: usize = 1;
/// Bytes of a part that a server may ask for: what is in memory several times.
const MAX_PART: u64 = 16 << 20;
/// Bytes of a tag.
const TAG: usize = 16;

const _: () = assert!(SEALED_CHUNK == BLOB_GRAIN);

/// A file to be sent.
#[derive(Clone)]
struct Source {
    path: PathBuf,
    file: SourceFile,
}

/// A part of the ciphertext.
struct Part {
    number: u64,
    /// Chaining value of the hash of the whole before it.
    before: ChainingValue,
    body: Bytes,
    seal: [u8; 32],
}

/// See [`crate::Client::upload`].
pub(super) async fn upload(inner: &Arc<Inner>, path: &Path, tell: Tell) -> Result<Attachment, Error> {
    let asked = path.to_owned();
    let source = inner.runtime.blocking(move || look(&asked)).await.ok_or(Error::Interrupted)??;
    let shown = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let sealed_size = sealed_size(source.file.size);
    let teller = Arc::new(Teller::new(sealed_size, tell));
    let pictured = source.path.clone();
    let picture = inner.runtime.blocking(move || thumbnail::of(&pictured));
    let sending = async {
        match attempt(inner, &source, &teller).await {
            // What was begun before is of no use: the file is another one, or the server has forgotten its parts.
            Err(Attempt::Stale) => attempt(inner, &source, &teller).await,
            outcome => outcome,
        }
    };
    let (picture, sent) = tokio::join!(picture, sending);
    let (blob_id, upload) = sent.map_err(|outcome| match outcome {
        Attempt::Stale => Error::FileChanged(source.path.clone()),
        Attempt::Failed(error) => error,
    })?;
    Ok(Attachment {
        blob_id,
        key: upload.key,
        size: source.file.size,
        sealed_size,
        name: name::harmless(&shown),
        media_type: name::guess_type(path),
        thumbnail: picture.unwrap_or_default(),
    })
}

fn look(path: &Path) -> Result<Source, Error> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let whole = fs::canonicalize(path).map_err(failed)?;
    let metadata = fs::metadata(&whole).map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::NotAFile(path.to_owned()));
    }
    // Also refuses what is too large for any file.
    FileCipher::new(&[0; 32], metadata.len())?;
    let file = SourceFile {
        path: whole.as_os_str().as_encoded_bytes().to_vec(),
        size: metadata.len(),
        modified_ns: modified_ns(&metadata),
    };
    Ok(Source { path: whole, file })
}

/// 0 where the system does not say.
fn modified_ns(metadata: &Metadata) -> i64 {
    let since = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or_default()
}

/// Why an upload did not come to its end.
enum Attempt {
    /// What was begun cannot be gone on with, and is forgotten.
    Stale,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Attempt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

async fn attempt(inner: &Arc<Inner>, source: &Source, teller: &Arc<Teller>) -> Result<([u8; 32], FileUpload), Attempt> {
    let file = source.file.clone();
    let upload = inner.store.run(move |tx| tx.file_upload(&file)).await?;
    let (id, part_size, there) = match agree(inner, source, &upload).await {
        // Begun before, and forgotten by the server meanwhile.
        Err(error) if upload.agreed.is_some() && says(&error, Code::NotFound) => return stale(inner, source).await,
        agreed => agreed?,
    };
    let sent = send(inner, source, &upload, (id, part_size), &there, teller).await;
    let blob_id = match sent {
        Ok(blob_id) => blob_id,
        Err(Attempt::Stale) => return stale(inner, source).await,
        Err(Attempt::Failed(error)) if says(&error, Code::NotFound) => return stale(inner, source).await,
        Err(failed) => return Err(failed),
    };
    let request =
        BlobFinishRequest { upload_id: Bytes::copy_from_slice(&id), blob_id: Bytes::copy_from_slice(&blob_id) };
    let finished = persist(inner, |connection| {
        let request = request.clone();
        async move { connection.call::<BlobFinish>(&request).await }
    });
    match finished.await {
        Ok(_) => {}
        // Parts were lost, or are not what was sent.
        Err(error)
            if [Code::NotFound, Code::InvalidArgument, Code::FailedPrecondition, Code::DataLoss]
                .iter()
                .any(|code| says(&error, *code)) =>
        {
            return stale(inner, source).await;
        }
        Err(error) => return Err(error.into()),
    }
    let path = source.file.path.clone();
    inner.store.run(move |tx| tx.forget_file_upload(&path)).await?;
    Ok((blob_id, upload))
}

async fn stale<T>(inner: &Inner, source: &Source) -> Result<T, Attempt> {
    let path = source.file.path.clone();
    inner.store.run(move |tx| tx.forget_file_upload(&path)).await?;
    Err(Attempt::Stale)
}

/// The server's name for the upload, bytes of a part, and the parts that it has.
async fn agree(inner: &Inner, source: &Source, upload: &FileUpload) -> Result<([u8; 16], u64, HashSet<u64>), Error> {
    if let Some((id, part_size)) = upload.agreed {
        let request = BlobPartsRequest { upload_id: Bytes::copy_from_slice(&id) };
        let answer = persist(inner, |connection| {
            let request = request.clone();
            async move { connection.call::<BlobParts>(&request).await }
        });
        return Ok((id, part_size, answer.await?.parts.into_iter().map(u64::from).collect()));
    }
    let request = BlobBeginRequest {
        idempotency_key: Bytes::copy_from_slice(upload.idempotency_key.as_ref()),
        size: sealed_size(source.file.size),
    };
    let answer = persist(inner, |connection| {
        let request = request.clone();
        async move { connection.call::<BlobBegin>(&request).await }
    });
    let answer = answer.await?;
    let id: [u8; 16] = answer.upload_id.as_ref().try_into().map_err(|_| CallError::Malformed)?;
    let part_size = u64::from(answer.part_size);
    if part_size == 0 || part_size > MAX_PART || !part_size.is_multiple_of(BLOB_GRAIN as u64) {
        return Err(CallError::Malformed.into());
    }
    let path = source.file.path.clone();
    inner.store.run(move |tx| tx.agree_file_upload(&path, &id, part_size)).await?;
    Ok((id, part_size, HashSet::new()))
}

/// Sends the parts that are not there; returns the SHA-256 of all.
async fn send(
    inner: &Arc<Inner>,
    source: &Source,
    upload: &FileUpload,
    (id, part_size): ([u8; 16], u64),
    there: &HashSet<u64>,
    teller: &Arc<Teller>,
) -> Result<[u8; 32], Attempt> {
    let (sender, mut made) = mpsc::channel(AHEAD);
    let (from, key) = (source.clone(), upload.key.clone());
    let making = inner.runtime.blocking(move || encrypt(&from, &key, part_size, &sender));
    let sending = async {
        let mut on_their_way = FuturesUnordered::new();
        // The channel ends with the file, or with what went wrong in reading it.
        while let Some(Part { number, before, body, seal }) = made.recv().await {
            let path = source.file.path.clone();
            if !inner.store.run(move |tx| tx.seal_file_part(&path, number, &seal)).await? {
                return Err(Attempt::Stale);
            }
            if there.contains(&number) {
                teller.found(body.len());
                continue;
            }
            if on_their_way.len() == PARALLEL {
                on_their_way.next().await.transpose()?;
            }
            on_their_way.push(put(inner, id, (number, before), body, teller));
        }
        while let Some(sent) = on_their_way.next().await {
            sent?;
        }
        // Dropped here when it fails, which ends the thread at its next part.
        drop(made);
        Ok(())
    };
    let (made, sent) = tokio::join!(making, sending);
    sent?;
    Ok(made.ok_or(Error::Interrupted)??)
}

async fn put(
    inner: &Inner,
    id: [u8; 16],
    (number, before): (u64, ChainingValue),
    body: Bytes,
    teller: &Teller,
) -> Result<(), Error> {
    let request = BlobPutRequest {
        upload_id: Bytes::copy_from_slice(&id),
        part: u32::try_from(number).map_err(|_| CallError::Malformed)?,
        hash_before: Bytes::copy_from_slice(&before),
    };
    persist(inner, |connection| {
        let (request, body) = (request.clone(), body.clone());
        async move {
            let sent = std::sync::atomic::AtomicUsize::new(0);
            let put = connection.call_up::<BlobPut>(&request, &body, |bytes| {
                sent.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
                teller.moved(bytes);
            });
            let put = put.await;
            if put.is_err() {
                teller.lost(sent.into_inner());
            }
            put
        }
    })
    .await?;
    Ok(())
}

/// Reads the whole file and makes its parts; returns the SHA-256 of the ciphertext. Blocks.
fn encrypt(source: &Source, key: &[u8; 32], part_size: u64, parts: &mpsc::Sender<Part>) -> Result<[u8; 32], Error> {
    let failed = |error| Error::Io { path: source.path.clone(), source: error };
    let cipher = FileCipher::new(key, source.file.size)?;
    let mut file = File::open(&source.path).map_err(failed)?;
    let mut whole = Sha256Chain::default();
    let sealed = sealed_size(source.file.size);
    let chunks_of_part = part_size / SEALED_CHUNK as u64;
    for number in 0..cipher.chunks().div_ceil(chunks_of_part) {
        // Parts are whole blocks of it.
        let Some(before) = whole.value() else { return Err(CallError::Malformed.into()) };
        let mut body = BytesMut::with_capacity((sealed - number * part_size).min(part_size) as usize);
        let mut seal = Sha256::new();
        let first = number * chunks_of_part;
        for index in first..(first + chunks_of_part).min(cipher.chunks()) {
            let from = body.len();
            body.resize(from + cipher.sealed_len(index).unwrap_or_default(), 0);
            let chunk = &mut body[from..];
            match file.read_exact(&mut chunk[..cipher.content_len(index)]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Error::FileChanged(source.path.clone()));
                }
                Err(error) => return Err(failed(error)),
            }
            cipher.seal(index, chunk)?;
            seal.update(&chunk[chunk.len() - TAG..]);
        }
        whole.update(&body);
        let part = Part { number, before, body: body.freeze(), seal: seal.finalize().into() };
        // Nobody wants it any more: who does not knows why.
        if parts.blocking_send(part).is_err() {
            return Err(Error::Interrupted);
        }
    }
    // What was added meanwhile would be missing.
    if file.read(&mut [0]).map_err(failed)? > 0 {
        return Err(Error::FileChanged(source.path.clone()));
    }
    Ok(whole.finish())
}
