//! What an answer of a push service means, and when to try again.

use std::time::Duration;

/// Refusals in a row after which an endpoint is given up.
pub const MAX_REFUSALS: u64 = 5;
/// Longest pause of our own after failures.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What an answer means (RFC 8030 sections 5 and 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is on its way.
    Taken,
    /// There is no such subscription, or not any more.
    Gone,
    /// Not now.
    Later,
    /// Not like this. A redirect is one: it is not followed.
    Refused,
}

/// The meaning of a status of HTTP.
pub fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Taken,
        404 | 410 => Verdict::Gone,
        408 | 429 | 500..=599 => Verdict::Later,
        _ => Verdict::Refused,
    }
}

/// The pause after `failures` in a row, of which the first has one of `first`; not less than the other side asks for.
pub fn pause(first: Duration, failures: u64, asked: Option<Duration>) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let own = first.saturating_mul(1 << doublings).min(MAX_PAUSE.max(first));
    own.max(asked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        for (status, expected) in [
            (200, Verdict::Taken),
            (201, Verdict::Taken),
            (202, Verdict::Taken),
            (301, Verdict::Refused),
            (307, Verdict::Refused),
            (400, Verdict::Refused),
            (401, Verdict::Refused),
            (403, Verdict::Refused),
            (404, Verdict::Gone),
            (410, Verdict::Gone),
            (413, Verdict::Refused),
            (429, Verdict::Later),
            (500, Verdict::Later),
            (503, Verdict::Later),
        ] {
            assert_eq!(verdict(status), expected, "{status}");
        }
    }

    #[test]
    fn pauses_double_up_to_an_hour_and_are_not_shorter_than_asked() {
        let first = Duration::from_secs(30);
        let pauses = [1, 2, 3, 7, 8, 1000].map(|failures| pause(first, failures, None).as_secs());
        assert_eq!(pauses, [30, 60, 120, 1920, 3600, 3600]);
        assert_eq!(pause(first, 1, Some(Duration::from_secs(7200))).as_secs(), 7200);
        assert_eq!(pause(first, 3, Some(Duration::from_secs(1))).as_secs(), 120);
    }
}
