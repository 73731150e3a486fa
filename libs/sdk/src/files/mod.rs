//! Files: encrypted here, part by part, and brought to the server or taken from it over several streams at once. Whatever
//! the size, some parts are in memory and no more. The key goes into a message ([`Attachment`]); the server never sees it.

mod download;
mod name;
mod progress;
mod thumbnail;
mod upload;

use std::{
    fmt,
    future::Future,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use qpc_crypto::file::{FileCipher, sealed_size};
use qpc_wire::{Code, Status, content, methods::BlobDelete, v1::BlobDeleteRequest};
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use self::progress::Meter;
pub use self::{progress::Progress, thumbnail::Picture};
use crate::{
    Client, Error,
    client::Inner,
    link::Link,
    retry,
    transport::{CallError, Connection},
};

/// Parts on their way at the same time.
const PARALLEL: usize = 4;
/// Times that a part is tried, as long as the connection or the server may be better the next time.
const TRIES: u32 = 8;
/// First pause between two tries; each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause, also when the server asks for more: then the user is told.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Longest wait for a connection.
const ONLINE_WITHIN: Duration = Duration::from_secs(60);
/// Least time between two words about the progress.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// A file at the server, as a message tells of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// SHA-256 of the ciphertext: its address, and proof that nothing else was given.
    pub blob_id: [u8; 32],
    /// Of this file alone.
    pub key: Zeroizing<[u8; 32]>,
    /// Bytes of the file.
    pub size: u64,
    /// Bytes of the ciphertext.
    pub sealed_size: u64,
    /// Name without folder and control characters, fit for a file here.
    pub name: String,
    /// What its writer says that it is (RFC 6838).
    pub media_type: String,
    /// A small picture of it, PNG or JPEG; empty if there is none.
    pub thumbnail: Bytes,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attachment({}, {} bytes)", hex::encode(self.blob_id), self.size)
    }
}

impl From<&Attachment> for content::Attachment {
    fn from(attachment: &Attachment) -> Self {
        Self {
            blob_id: Bytes::copy_from_slice(&attachment.blob_id),
            key: Bytes::copy_from_slice(attachment.key.as_slice()),
            size: attachment.size,
            sealed_size: attachment.sealed_size,
            name: attachment.name.clone(),
            media_type: attachment.media_type.clone(),
            thumbnail: attachment.thumbnail.clone(),
        }
    }
}

/// What somebody else says: the name is made harmless, a picture that is too large is left out.
impl TryFrom<content::Attachment> for Attachment {
    type Error = Error;

    fn try_from(said: content::Attachment) -> Result<Self, Error> {
        let bad = |what| Error::DamagedFile(what);
        let key = said.key.as_ref().try_into().map_err(|_| bad("its key has another length"))?;
        let attachment = Self {
            blob_id: said.blob_id.as_ref().try_into().map_err(|_| bad("its address has another length"))?,
            key: Zeroizing::new(key),
            size: said.size,
            sealed_size: said.sealed_size,
            name: name::harmless(&said.name),
            media_type: name::media_type_of(&said.media_type),
            thumbnail: if said.thumbnail.len() > thumbnail::MAX_BYTES { Bytes::new() } else { said.thumbnail },
        };
        attachment.cipher()?;
        Ok(attachment)
    }
}

impl Attachment {
    /// What opens the file, if the sizes belong together.
    fn cipher(&self) -> Result<FileCipher, Error> {
        let cipher = FileCipher::new(&self.key, self.size)?;
        if self.sealed_size != sealed_size(self.size) {
            return Err(Error::DamagedFile("its sizes do not belong together"));
        }
        Ok(cipher)
    }
}

impl Client {
    /// Encrypts a file and brings it to the server, for a message that says what it returns. Goes on where an earlier try
    /// with the same file was interrupted, also by the end of the process; a lost connection is waited for, for a minute.
    /// `progress` is called a few times a second.
    pub async fn upload(
        &self,
        path: &Path,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Attachment, Error> {
        upload::upload(&self.inner, path, Box::new(progress)).await
    }

    /// Takes a file from the server and writes it to `path`, or into that folder under its own name; returns where it is.
    /// Nothing stands there before the whole file has been found right, and nothing that stands there is replaced. Goes on
    /// where an earlier try was interrupted.
    pub async fn download(
        &self,
        attachment: &Attachment,
        path: &Path,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<PathBuf, Error> {
        download::download(&self.inner, attachment, path, Box::new(progress)).await
    }

    /// Takes a file from the server that this account has brought there. Needs a connection.
    pub async fn delete_file(&self, attachment: &Attachment) -> Result<(), Error> {
        let request = BlobDeleteRequest { blob_id: Bytes::copy_from_slice(&attachment.blob_id) };
        let connection = self.inner.connection()?;
        retry::call::<BlobDelete>(&self.inner.runtime, &connection, &request).await?;
        Ok(())
    }
}

/// Who hears of the progress.
type Tell = Box<dyn Fn(Progress) + Send + Sync>;

/// Counts, and tells now and then.
struct Teller {
    meter: Mutex<(Meter, Option<Instant>)>,
    began: Instant,
    tell: Tell,
}

impl Teller {
    fn new(total: u64, tell: Tell) -> Self {
        Self { meter: Mutex::new((Meter::new(total), None)), began: Instant::now(), tell }
    }

    /// So much was moved.
    fn moved(&self, bytes: usize) {
        self.note(|meter, at| meter.moved(bytes as u64, at));
    }

    /// So much was there already.
    fn found(&self, bytes: usize) {
        self.note(|meter, _| meter.found(bytes as u64));
    }

    /// So much has to be moved again.
    fn lost(&self, bytes: usize) {
        self.note(|meter, _| meter.lost(bytes as u64));
    }

    fn note(&self, change: impl FnOnce(&mut Meter, Duration)) {
        let now = Instant::now();
        let told = {
            let mut state = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
            let (meter, last) = &mut *state;
            change(meter, now - self.began);
            let progress = meter.progress();
            let due = last.is_none_or(|last| now - last >= TELL_EVERY) || progress.bytes == progress.total;
            due.then(|| {
                *last = Some(now);
                progress
            })
        };
        if let Some(progress) = told {
            (self.tell)(progress);
        }
    }
}

/// Makes a call on whatever connection there is, again as long as the next time may be better.
async fn persist<T, F>(inner: &Inner, mut call: impl FnMut(Connection) -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, CallError>>,
{
    for round in 0.. {
        let connection = online(inner).await?;
        let error = match call(connection).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let asked = Duration::from_millis(error.status().map_or(0, |status| status.retry_after_ms));
        if round + 1 == TRIES || !error.is_transient() || asked > LONGEST_PAUSE {
            return Err(error.into());
        }
        tracing::debug!(%error, round, "once more");
        let pause = inner.runtime.jittered(LONGEST_PAUSE.min(FIRST_PAUSE * 2u32.pow(round)));
        sleep(pause.max(asked)).await;
    }
    Err(Error::Interrupted)
}

/// The connection, or the next one.
async fn online(inner: &Inner) -> Result<Connection, Error> {
    let mut link = inner.link.subscribe();
    let decided = link.wait_for(|link| match link {
        Link::Online(connection) => !connection.is_closed(),
        Link::Offline(_) => false,
        Link::Idle | Link::Refused(_) => true,
    });
    let link = tokio::select! {
        biased;
        decided = timeout(ONLINE_WITHIN, decided) => match decided {
            Ok(Ok(link)) => link.clone(),
            Ok(Err(_)) => return Err(Error::Interrupted),
            Err(_) => return Err(Error::Offline),
        },
        () = inner.runtime.shutdown().cancelled() => return Err(Error::Interrupted),
    };
    match link {
        Link::Online(connection) => Ok(connection),
        Link::Refused(error) => Err(Error::Failed(error)),
        Link::Idle | Link::Offline(_) => Err(Error::Offline),
    }
}

/// Whether the server says so.
fn says(error: &Error, code: Code) -> bool {
    matches!(error, Error::Call(CallError::Status(Status { code: said, .. })) if *said == code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attachment() -> Attachment {
        Attachment {
            blob_id: [1; 32],
            key: Zeroizing::new([2; 32]),
            size: 5,
            sealed_size: sealed_size(5),
            name: "a.txt".into(),
            media_type: "text/plain".into(),
            thumbnail: Bytes::from_static(b"x"),
        }
    }

    #[test]
    fn what_a_message_says_comes_back() {
        let said = content::Attachment::from(&attachment());
        assert_eq!(Attachment::try_from(said).unwrap(), attachment());
        assert!(!format!("{:?}", attachment()).contains("0202"), "keys are not shown");
    }

    #[test]
    fn what_others_say_is_made_harmless_or_refused() {
        let said = content::Attachment::from(&attachment());
        let changed = content::Attachment { name: "../../etc/passwd".into(), ..said.clone() };
        assert_eq!(Attachment::try_from(changed).unwrap().name, "passwd");
        let large = vec![0; thumbnail::MAX_BYTES + 1].into();
        let changed = content::Attachment { thumbnail: large, media_type: "x\u{1b}[2J".into(), ..said.clone() };
        let taken = Attachment::try_from(changed).unwrap();
        assert_eq!((taken.thumbnail.len(), &*taken.media_type), (0, "application/octet-stream"));
        for bad in [
            content::Attachment { key: Bytes::new(), ..said.clone() },
            content::Attachment { blob_id: vec![0; 31].into(), ..said.clone() },
            content::Attachment { sealed_size: 6, ..said.clone() },
            content::Attachment { size: u64::MAX, ..said.clone() },
        ] {
            assert!(Attachment::try_from(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn whatever_others_say_is_taken_in_peace(
            blob_id in prop::collection::vec(any::<u8>(), 0..40), key in prop::collection::vec(any::<u8>(), 32..33),
            size in any::<u64>(), sealed in any::<u64>(), name in ".*", media_type in ".*",
        ) {
            let said = content::Attachment {
                blob_id: blob_id.into(), key: key.into(), size, sealed_size: sealed, name, media_type,
                thumbnail: Bytes::new(),
            };
            let _ = Attachment::try_from(said);
        }
    }
}
