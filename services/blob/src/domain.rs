//! How blobs are cut and what they count. No clock, no I/O.

/// Milliseconds of a day.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Bytes of a part; the last may have less. A service holds a part in memory until it is stored.
pub(crate) const PART_SIZE: u64 = 4 << 20;
/// What a small blob counts, so that nobody fills the tables with tiny ones.
const LEAST_COUNTED: u64 = 64 << 10;

const _: () = assert!(PART_SIZE.is_multiple_of(qpc_wire::limits::BLOB_GRAIN as u64));

/// How something is cut into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Bytes of the whole, more than none.
    pub(crate) size: u64,
    /// Bytes of a part but the last, more than none.
    pub(crate) part_size: u64,
}

impl Cut {
    /// Number of parts.
    pub(crate) fn parts(&self) -> u64 {
        self.size.div_ceil(self.part_size)
    }

    /// Bytes of a part; `None` if there is no such part.
    pub(crate) fn part_len(&self, part: u64) -> Option<u64> {
        let left = self.size.checked_sub(part.checked_mul(self.part_size)?)?;
        Some(left.min(self.part_size)).filter(|len| *len > 0)
    }

    /// Where the bytes from `offset` on are, `len` of them, in steps of at most `step`: part, and range within it.
    pub(crate) fn steps(self, offset: u64, len: u64, step: u64) -> impl Iterator<Item = (u64, std::ops::Range<u64>)> {
        let end = offset.saturating_add(len).min(self.size);
        let mut at = offset;
        std::iter::from_fn(move || {
            let (part, from) = (at / self.part_size, at % self.part_size);
            let taken = end.saturating_sub(at).min(step).min(self.part_size - from);
            at += taken;
            (taken > 0).then_some((part, from..from + taken))
        })
    }
}

/// What a blob of `size` counts of an account's day.
pub(crate) fn counted(size: u64) -> u64 {
    size.max(LEAST_COUNTED)
}

/// The day of a time.
pub(crate) fn day(now_ms: u64) -> u64 {
    now_ms / DAY_MS
}

/// Milliseconds until the next day.
pub(crate) fn until_tomorrow(now_ms: u64) -> u64 {
    DAY_MS - now_ms % DAY_MS
}

/// Name of the body of a part. Folders of the store stay small.
pub(crate) fn body(upload: &[u8; 16], part: u64) -> String {
    let id = upload.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{}/{id}/{part}", &id[..2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        for (size, parts) in [(1, 1), (10, 1), (11, 2), (20, 2), (21, 3)] {
            let cut = Cut { size, part_size: 10 };
            assert_eq!(cut.parts(), parts);
            assert_eq!((0..parts).map(|part| cut.part_len(part).unwrap()).sum::<u64>(), size);
            assert_eq!(cut.part_len(parts), None);
        }
        assert_eq!(Cut { size: 1, part_size: 10 }.part_len(u64::MAX), None);
    }

    #[test]
    fn steps_cover_what_was_asked_for_and_no_more() {
        let cut = Cut { size: 25, part_size: 10 };
        let steps = |offset, len| cut.steps(offset, len, 4).collect::<Vec<_>>();
        assert_eq!(steps(8, 7), [(0, 8..10), (1, 0..4), (1, 4..5)]);
        assert_eq!(steps(22, 100), [(2, 2..5)]);
        assert_eq!(steps(25, 1), []);
        assert_eq!(steps(0, u64::MAX).iter().map(|(_, range)| range.end - range.start).sum::<u64>(), 25);
    }

    #[test]
    fn a_day_ends_at_midnight() {
        assert_eq!((day(DAY_MS - 1), day(DAY_MS)), (0, 1));
        assert_eq!((until_tomorrow(DAY_MS - 1), until_tomorrow(DAY_MS)), (1, DAY_MS));
        assert_eq!(body(&[0xab; 16], 3), format!("ab/{}/3", "ab".repeat(16)));
    }
}
