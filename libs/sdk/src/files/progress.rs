//! How far a file is, how fast it goes and how long it will take. Times are arguments.

use std::{collections::VecDeque, time::Duration};

/// The rate is that of so much time.
const WINDOW: Duration = Duration::from_secs(5);
/// Time between two points that are remembered, so that there are not many.
const POINT_EVERY: Duration = Duration::from_millis(100);

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Bytes of the ciphertext that are there.
    pub bytes: u64,
    /// All of them.
    pub total: u64,
    /// Bytes a second in the last seconds; 0 while it is not known.
    pub rate: u64,
    /// Time that the rest takes at that rate.
    pub left: Option<Duration>,
}

/// See the module.
pub(super) struct Meter {
    total: u64,
    bytes: u64,
    /// Bytes that were moved, and when: the rate is not of what was found.
    moved: u64,
    points: VecDeque<(Duration, u64)>,
    latest: Duration,
}

impl Meter {
    pub(super) fn new(total: u64) -> Self {
        Self { total, bytes: 0, moved: 0, points: VecDeque::new(), latest: Duration::ZERO }
    }

    /// `bytes` were moved until `at`, counted from the beginning.
    pub(super) fn moved(&mut self, bytes: u64, at: Duration) {
        if self.points.is_empty() {
            self.points.push_back((Duration::ZERO, 0));
        }
        self.latest = self.latest.max(at);
        self.moved += bytes;
        self.found(bytes);
        if self.points.back().is_none_or(|(last, _)| at.saturating_sub(*last) >= POINT_EVERY) {
            self.points.push_back((at, self.moved));
        }
        // The oldest point that stays is the one just outside.
        while self.points.get(1).is_some_and(|(next, _)| at.saturating_sub(*next) >= WINDOW) {
            self.points.pop_front();
        }
    }

    /// `bytes` were there already.
    pub(super) fn found(&mut self, bytes: u64) {
        self.bytes = (self.bytes + bytes).min(self.total);
    }

    /// `bytes` of what was moved have to be moved again.
    pub(super) fn lost(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(super) fn progress(&self) -> Progress {
        let rate = match self.points.front() {
            Some((since, before)) if self.latest > *since => {
                ((self.moved - before) as f64 / (self.latest - *since).as_secs_f64()) as u64
            }
            _ => 0,
        };
        let rest = (self.total - self.bytes) as f64;
        let left = (rate > 0).then(|| Duration::from_secs_f64(rest / rate as f64));
        Progress { bytes: self.bytes, total: self.total, rate, left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn rate_and_rest_are_those_of_the_last_seconds() {
        let mut meter = Meter::new(100_000);
        assert_eq!(meter.progress(), Progress { bytes: 0, total: 100_000, rate: 0, left: None });
        for n in 1..=10 {
            meter.moved(1_000, SECOND * n);
        }
        let progress = meter.progress();
        assert_eq!((progress.bytes, progress.rate, progress.left), (10_000, 1_000, Some(SECOND * 90)));
        // Four times as fast: soon that is what counts.
        for n in 11..=17 {
            meter.moved(4_000, SECOND * n);
        }
        assert_eq!(meter.progress().rate, 4_000);
        assert_eq!(meter.progress().left, Some(SECOND * 62 / 4));
    }

    #[test]
    fn what_was_found_is_no_speed() {
        let mut meter = Meter::new(1_000);
        meter.found(500);
        assert_eq!(meter.progress().rate, 0);
        meter.moved(100, SECOND);
        assert_eq!(meter.progress(), Progress { bytes: 600, total: 1_000, rate: 100, left: Some(SECOND * 4) });
        meter.lost(100);
        assert_eq!(meter.progress().bytes, 500);
        meter.found(10_000);
        assert_eq!(meter.progress().left, Some(Duration::ZERO), "never more than all");
    }

    #[test]
    fn many_small_steps_are_remembered_as_few() {
        let mut meter = Meter::new(u64::MAX);
        for n in 0..100_000 {
            meter.moved(1, Duration::from_millis(n));
        }
        assert!(meter.points.len() <= 52, "{}", meter.points.len());
        assert!(meter.progress().rate.abs_diff(1_000) < 30, "{}", meter.progress().rate);
    }
}
