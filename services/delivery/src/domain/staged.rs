//! Commits that come in parts.

use qpc_wire::limits::{MAX_STAGED, PART};

use crate::error::Error;

const PART_LEN: u64 = PART as u64;

/// The number of the part of `len` bytes at `offset` of `total`: all but the last are full.
pub fn number(offset: u64, total: u64, len: u64) -> Result<u64, Error> {
    let fits = total <= MAX_STAGED as u64 && offset < total && offset.is_multiple_of(PART_LEN);
    if !fits || len != PART_LEN.min(total - offset) {
        return Err(Error::StagedPart);
    }
    Ok(offset / PART_LEN)
}

/// The whole, from the number, total and content of each part in their order.
pub fn assemble(parts: impl Iterator<Item = (u64, u64, Vec<u8>)>) -> Result<Vec<u8>, Error> {
    let mut whole = Vec::new();
    let mut expected = None;
    for (index, (part, total, content)) in (0..).zip(parts) {
        if part != index || *expected.get_or_insert(total) != total {
            return Err(Error::StagedIncomplete);
        }
        whole.extend_from_slice(&content);
    }
    if expected != Some(whole.len() as u64) {
        return Err(Error::StagedIncomplete);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_one_size_but_the_last() {
        let total = 2 * PART_LEN + 10;
        assert_eq!(number(0, total, PART_LEN).unwrap(), 0);
        assert_eq!(number(2 * PART_LEN, total, 10).unwrap(), 2);
        assert_eq!(number(0, 5, 5).unwrap(), 0);
        for (offset, total, len) in [
            (0, total, 10),
            (1, total, PART_LEN),
            (2 * PART_LEN, total, 11),
            (3 * PART_LEN, total, 0),
            (0, 0, 0),
            (0, MAX_STAGED as u64 + 1, PART_LEN),
        ] {
            assert!(matches!(number(offset, total, len), Err(Error::StagedPart)), "{offset} {total} {len}");
        }
    }

    #[test]
    fn a_whole_has_all_its_parts() {
        let made = |parts: &[(u64, u64, &[u8])]| {
            assemble(parts.iter().map(|(part, total, content)| (*part, *total, content.to_vec())))
        };
        assert_eq!(made(&[(0, 3, b"ab"), (1, 3, b"c")]).unwrap(), b"abc");
        for incomplete in [
            vec![],
            vec![(0, 3, b"ab".as_slice())],
            vec![(1, 3, b"abc".as_slice())],
            vec![(0, 3, b"ab".as_slice()), (2, 3, b"c")],
            vec![(0, 3, b"ab".as_slice()), (1, 4, b"c")],
        ] {
            assert!(matches!(made(&incomplete), Err(Error::StagedIncomplete)), "{incomplete:?}");
        }
    }
}
