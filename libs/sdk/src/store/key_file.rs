//! The file beside the database that says how the password becomes its key. Nothing in it is secret.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use qpc_crypto::kdf::{self, KsfParams};
use zeroize::Zeroizing;

use super::io_error;
use crate::{Error, Runtime};

const VERSION: u8 = 1;
/// version (1) | salt (16) | memory, KiB (4) | passes (4) | lanes (4); integers big-endian.
const LEN: usize = 29;

/// The key of the database, from `password` and the file at `path`, which is made on first use with cost `ksf`.
/// Takes the time that Argon2id takes.
pub(super) fn database_key(
    path: &Path,
    password: &[u8],
    ksf: KsfParams,
    runtime: &Runtime,
) -> Result<Zeroizing<[u8; 32]>, Error> {
    let (salt, ksf) = match fs::read(path) {
        Ok(bytes) => parse(&bytes).ok_or(Error::Corrupt("key file"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let salt = runtime.random();
            create(path, &salt, ksf).map_err(io_error(path))?;
            (salt, ksf)
        }
        Err(error) => return Err(io_error(path)(error)),
    };
    Ok(kdf::local_store_key(password, &salt, ksf)?)
}

/// Complete on disk before the database that depends on it exists.
fn create(path: &Path, salt: &[u8; 16], ksf: KsfParams) -> io::Result<()> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(salt);
    for number in [ksf.memory_kib, ksf.iterations, ksf.parallelism] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

fn parse(bytes: &[u8]) -> Option<([u8; 16], KsfParams)> {
    let bytes: &[u8; LEN] = bytes.try_into().ok()?;
    let (version, rest) = bytes.split_first()?;
    let (salt, rest) = rest.split_first_chunk::<16>()?;
    let mut numbers = rest.chunks_exact(4).map(|chunk| chunk.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
    let ksf = KsfParams { memory_kib: numbers.next()?, iterations: numbers.next()?, parallelism: numbers.next()? };
    (*version == VERSION).then_some((*salt, ksf))
}
