//! Every page of a store in the clear, whether SQLite still uses it or not: the database file with its free pages, and each
//! frame of the log beside it, also those that a later one or a checkpoint has made void. Decrypted by hand, since SQLCipher
//! shows only what is in use.
//!
//! Format of SQLCipher 4: a page is AES-256-CBC, then 16 bytes of IV and HMAC-SHA512 of both and of the page's number. The
//! first 16 bytes of the file are a salt, in the clear; the key of the HMAC is PBKDF2 of the page key with that salt XOR
//! 0x3a, 2 rounds. Frames of the log are pages after a header of 24 bytes.

use std::{fs, path::Path};

use aes::{
    Aes256,
    cipher::{Block, BlockDecrypt as _, KeyInit},
};
use hmac::{Hmac, Mac};
use qpc_crypto::{KsfParams, kdf};
use sha2::Sha512;

const PAGE: usize = 4096;
const IV: usize = 16;
const MAC: usize = 64;
const SALT: usize = 16;
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

pub struct Page {
    /// Where it stands.
    pub place: String,
    pub bytes: Vec<u8>,
}

/// The key of the store in `folder`, from its password, as the client makes it.
pub fn database_key(folder: &Path, password: &str) -> [u8; 32] {
    let file = fs::read(folder.join("store.key")).unwrap();
    let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
    let ksf = KsfParams { memory_kib: number(17), iterations: number(21), parallelism: number(25) };
    *kdf::local_store_key(password.as_bytes(), file[1..17].try_into().unwrap(), ksf).unwrap()
}

/// All pages of the store in a folder that nobody writes to.
pub fn pages(folder: &Path, key: &[u8; 32]) -> Vec<Page> {
    let database = fs::read(folder.join("store.db")).unwrap();
    let log = fs::read(folder.join("store.db-wal")).unwrap_or_default();
    // The index of the log, `-shm`, has numbers of pages and nothing of what stands on them.
    assert!(!folder.join("store.db-journal").exists(), "everything is in these two files");
    let codec = Codec::new(key, &database[..SALT]);
    assert_eq!(database.len() % PAGE, 0);
    let mut pages: Vec<_> = (1u32..)
        .zip(database.chunks_exact(PAGE))
        .map(|(number, page)| Page { place: format!("page {number}"), bytes: codec.open(number, page) })
        .collect();
    if log.len() > LOG_HEADER {
        assert_eq!(u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize, PAGE);
        let frames = log[LOG_HEADER..].chunks_exact(FRAME_HEADER + PAGE);
        assert!(frames.remainder().is_empty());
        pages.extend(frames.enumerate().map(|(at, frame)| {
            let number = u32::from_be_bytes(frame[..4].try_into().unwrap());
            let place = format!("frame {at} of the log, page {number}");
            Page { place, bytes: codec.open(number, &frame[FRAME_HEADER..]) }
        }));
    }
    pages
}

struct Codec {
    cipher: Aes256,
    mac: Hmac<Sha512>,
}

impl Codec {
    fn new(key: &[u8; 32], salt: &[u8]) -> Self {
        let salt: Vec<u8> = salt.iter().map(|byte| byte ^ 0x3a).collect();
        let prf = |input: &[&[u8]]| {
            let mut mac = <Hmac<Sha512> as Mac>::new_from_slice(key).unwrap();
            input.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes()
        };
        let first = prf(&[salt.as_slice(), &1u32.to_be_bytes()]);
        let second = prf(&[first.as_slice()]);
        let mac_key: Vec<u8> = first.iter().zip(second).map(|(a, b)| a ^ b).take(32).collect();
        Self {
            cipher: <Aes256 as KeyInit>::new(key.into()),
            mac: <Hmac<Sha512> as Mac>::new_from_slice(&mac_key).unwrap(),
        }
    }

    fn open(&self, number: u32, page: &[u8]) -> Vec<u8> {
        let page = if number == 1 { &page[SALT..] } else { page };
        let (sealed, mac) = page.split_at(page.len() - MAC);
        let mut expected = self.mac.clone();
        expected.update(sealed);
        expected.update(&number.to_le_bytes());
        expected.verify_slice(mac).expect("the page is genuine");
        let (body, iv) = sealed.split_at(sealed.len() - IV);
        let mut before = iv;
        let mut clear = Vec::with_capacity(PAGE);
        for sealed in body.chunks_exact(16) {
            let mut block = *Block::<Aes256>::from_slice(sealed);
            self.cipher.decrypt_block(&mut block);
            clear.extend(block.iter().zip(before).map(|(a, b)| a ^ b));
            before = sealed;
        }
        clear
    }
}
