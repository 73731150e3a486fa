//! Which calls are traced. Each end decides for itself: a client cannot make a server record, and does not learn whether it
//! does.

use std::{
    hash::{DefaultHasher, Hasher as _},
    sync::OnceLock,
};

use qpc_wire::CorrelationId;

/// One for the process, as the subscriber of spans is; without an export there is none, and nothing is recorded.
static SAMPLING: OnceLock<Sampling> = OnceLock::new();

/// Takes one call in so many.
#[derive(Debug)]
pub(crate) struct Sampling {
    /// Unknown to clients, who could else look for request ids that are sampled.
    key: [u8; 16],
    ratio: f64,
}

impl Sampling {
    /// `ratio` from 0 to 1.
    #[cfg_attr(not(feature = "export"), allow(dead_code, reason = "made by the export"))]
    pub(crate) fn new(key: [u8; 16], ratio: f64) -> Self {
        Self { key, ratio }
    }

    /// From now on for this process; the first one stays.
    #[cfg_attr(not(feature = "export"), allow(dead_code, reason = "made by the export"))]
    pub(crate) fn install(self) {
        SAMPLING.get_or_init(|| self);
    }

    fn takes(&self, correlation: CorrelationId) -> bool {
        let mut hash = DefaultHasher::new();
        hash.write(&self.key);
        hash.write(&correlation.to_array());
        // A hash of 64 bits as a number from 0 to 1.
        self.ratio >= 1.0 || (hash.finish() as f64) < self.ratio * 18_446_744_073_709_551_616.0
    }
}

/// Whether anything is recorded at all.
pub(crate) fn is_on() -> bool {
    SAMPLING.get().is_some()
}

/// Whether this end records the call.
pub(crate) fn takes(correlation: CorrelationId) -> bool {
    SAMPLING.get().is_some_and(|sampling| sampling.takes(correlation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(key: u8, ratio: f64) -> Vec<u32> {
        let sampling = Sampling::new([key; 16], ratio);
        (0..100_000).filter(|request| sampling.takes(CorrelationId::new([5; 8], *request))).collect()
    }

    #[test]
    fn the_ratio_is_kept_and_the_key_decides_which() {
        assert!(taken(1, 0.0).is_empty());
        let told = CorrelationId::new([5; 8], 7).told();
        assert!(!Sampling::new([1; 16], 0.0).takes(told), "a client cannot make a server record");
        assert_eq!(taken(1, 1.0).len(), 100_000);
        let (one, other) = (taken(1, 0.01), taken(2, 0.01));
        for sample in [&one, &other] {
            assert!((800..1_200).contains(&sample.len()), "{}", sample.len());
        }
        let both = one.iter().filter(|request| other.contains(request)).count();
        assert!(both < 50, "{both}: whoever knows one server's choice knows the other's");
    }
}
