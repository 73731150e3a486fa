//! What a binary says about itself: that it needs no loader and no library, and where it was built.

use anyhow::{Context, Result, ensure};

/// Segments with a loader's path, and with names of libraries among other things (ELF-64, section "Program Header").
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
/// Tag of the name of a library in the second.
const DT_NEEDED: u64 = 1;
/// Bytes of an entry of the tables.
const PROGRAM_HEADER: usize = 56;
const DYNAMIC: usize = 16;
/// Longest path that is looked at.
const MAX_PATH: usize = 4096;

/// Fails unless the file runs on a kernel and nothing else. A binary that moves in memory (PIE) may have a dynamic
/// segment, for what it relocates by itself.
pub(super) fn ensure_static(file: &[u8]) -> Result<()> {
    ensure!(file.get(..6) == Some(b"\x7fELF\x02\x01"), "no little-endian ELF of 64 bits");
    let table = usize::try_from(u64_at(file, 32)?)?;
    for index in 0..usize::from(u16_at(file, 56)?) {
        let header = table + index * PROGRAM_HEADER;
        match u32_at(file, header)? {
            PT_INTERP => anyhow::bail!("it asks for a loader"),
            PT_DYNAMIC => {
                let (start, length) = (u64_at(file, header + 8)?, u64_at(file, header + 32)?);
                let entries = usize::try_from(length)? / DYNAMIC;
                for entry in 0..entries {
                    let tag = u64_at(file, usize::try_from(start)? + entry * DYNAMIC)?;
                    ensure!(tag != DT_NEEDED, "it asks for a library");
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Result<[u8; N]> {
    let found = file.get(at..at.saturating_add(N)).context("the file ends too early")?;
    Ok(found.try_into()?)
}

fn u16_at(file: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(bytes(file, at)?))
}

fn u32_at(file: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(bytes(file, at)?))
}

fn u64_at(file: &[u8], at: usize) -> Result<u64> {
    Ok(u64::from_le_bytes(bytes(file, at)?))
}

/// What stands behind `prefix` wherever it occurs, up to the first byte that is none of a path.
pub(super) fn paths_below<'a>(file: &'a [u8], prefix: &str) -> Vec<&'a str> {
    let (mut found, mut at) = (Vec::new(), 0);
    let prefix = prefix.as_bytes();
    while let Some(position) = find(&file[at..], prefix) {
        let start = at + position + prefix.len();
        let in_path = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(byte);
        let length = file[start..].iter().take(MAX_PATH).take_while(|byte| in_path(byte)).count();
        // The bytes are ASCII.
        found.extend(std::str::from_utf8(&file[start..start + length]));
        at = start;
    }
    found
}

fn find(file: &[u8], text: &[u8]) -> Option<usize> {
    let first = *text.first()?;
    let mut at = 0;
    loop {
        let candidate = at + file[at..].iter().position(|byte| *byte == first)?;
        if file[candidate..].starts_with(text) {
            return Some(candidate);
        }
        at = candidate + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{PROGRAM_HEADER, ensure_static, paths_below};

    /// A file with one segment, whose dynamic entries are `tags`.
    fn elf(kind: u32, tags: &[u64]) -> Vec<u8> {
        let mut file = vec![0; 64 + PROGRAM_HEADER];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[56..58].copy_from_slice(&1_u16.to_le_bytes());
        file[64..68].copy_from_slice(&kind.to_le_bytes());
        let start = file.len() as u64;
        file[72..80].copy_from_slice(&start.to_le_bytes());
        file[96..104].copy_from_slice(&(16 * tags.len() as u64).to_le_bytes());
        for tag in tags {
            file.extend(tag.to_le_bytes());
            file.extend([0; 8]);
        }
        file
    }

    #[test]
    fn a_loader_and_libraries_are_seen() {
        assert!(ensure_static(&elf(1, &[])).is_ok());
        assert!(ensure_static(&elf(2, &[5, 6])).is_ok(), "a PIE that relocates itself");
        assert!(ensure_static(&elf(2, &[5, 1])).is_err());
        assert!(ensure_static(&elf(3, &[])).is_err());
        assert!(ensure_static(b"#!/bin/sh").is_err());
        assert!(ensure_static(&elf(1, &[])[..66]).is_err());
        // This one was built for a machine with a C library.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(ensure_static(&own).is_err(), cfg!(target_env = "gnu"));
    }

    #[test]
    fn paths_end_where_they_end() {
        let file = b"\0/src/libs/x.rs:3/src/\0/sr/src/a\xff";
        assert_eq!(paths_below(file, "/src/"), ["libs/x.rs", "", "a"]);
        assert!(paths_below(file, "/root/").is_empty());
    }
}
