//! How fast a file is written and read, beside what it cannot do without: one pass of SHA-256 and one of the cipher over the
//! same bytes. `cargo run --release -p qpc-crypto --example archive -- 1000000`
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement")]

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter},
    time::{Duration, Instant},
};

use chacha20poly1305::{AeadInPlace as _, ChaCha20Poly1305, KeyInit as _, Nonce};
use qpc_crypto::{
    AccountKey, DeviceCertificate, DeviceKey, KsfParams,
    archive::{About, Kind, Lock, Reader, Writer},
};
use qpc_wire::GroupId;
use rand::rngs::OsRng;
use sha2::{Digest as _, Sha256};

/// Bytes of a record: a short text with what stands around it.
const RECORD: usize = 200;
/// Bytes of it when it is padded.
const PADDED: usize = 256;

fn main() {
    let records: u64 = std::env::args().nth(1).map_or(1_000_000, |count| count.parse().unwrap());
    let path = std::env::temp_dir().join(format!("qpc-archive-{}", std::process::id()));
    let (account, device) = (AccountKey::generate(&mut OsRng), DeviceKey::generate(&mut OsRng));
    let certificate = DeviceCertificate::issue(&account, &device.public(), 0);
    let plain = timed(|| plain(records));
    report("one pass of both", records, plain, plain);

    let lock = Lock::new(&mut OsRng, b"passphrase", KsfParams::FLOOR).unwrap();
    let written = timed(|| {
        let about = About::Transcript { conversation: GroupId::NIL, certificate: &certificate };
        let out = BufWriter::new(File::create(&path).unwrap());
        let mut writer = Writer::new(out, &mut OsRng, &lock, &about, 0).unwrap();
        (0..records).for_each(|_| writer.push(&[b'x'; RECORD]).unwrap());
        writer.finish(&device).unwrap();
    });
    report("written", records, written, plain);
    let open = || Reader::new(BufReader::new(File::open(&path).unwrap()), Kind::Transcript).unwrap();
    let verified = timed(|| assert_eq!(open().verify().unwrap().records, records));
    report("verified", records, verified, plain);
    let mut opened = open().unlock(b"passphrase").unwrap();
    let read = timed(|| while opened.next_record().unwrap().is_some() {});
    report("verified and opened", records, read, plain);
    println!("{} MB, peak memory {} MB", fs::metadata(&path).unwrap().len() >> 20, peak_kib() >> 10);
    fs::remove_file(&path).unwrap();
}

fn plain(records: u64) {
    let cipher = ChaCha20Poly1305::new(&[7; 32].into());
    let mut hash = Sha256::new();
    for n in 0..records {
        let mut nonce = Nonce::default();
        nonce[4..].copy_from_slice(&n.to_be_bytes());
        let mut record = [b'x'; PADDED];
        let tag = cipher.encrypt_in_place_detached(&nonce, &[], &mut record).unwrap();
        hash.update(record);
        hash.update(tag);
    }
    assert_ne!(hash.finalize()[..], [0; 32]);
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn report(what: &str, records: u64, took: Duration, plain: Duration) {
    let rate = records as f64 / took.as_secs_f64();
    println!(
        "{what:20} {:6.2} s {rate:10.0} records/s  {:.2}",
        took.as_secs_f64(),
        took.as_secs_f64() / plain.as_secs_f64()
    );
}

/// Linux alone tells.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
