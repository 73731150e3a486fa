//! How often something may happen, as a setting: `60:1/1s` is 60 at once, and one more every second.

use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
    time::Duration,
};

/// See the module. `off` is no limit at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What the bucket holds; 0 of an unlimited one.
    burst: u64,
    /// What comes back...
    refill: u64,
    /// ...in this time.
    period: Duration,
}

/// A text is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no rate: BURST:REFILL/TIME as in 60:1/1s, 6:1/10m, 128M:2K/1s, or off")]
pub struct InvalidRate(String);

/// Units of time, largest first, milliseconds.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// Units of amounts, largest first.
const AMOUNTS: [(&str, u64); 4] = [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10), ("", 1)];

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self { burst: 0, refill: 0, period: Duration::ZERO };

    /// `burst` at once, and `refill` more every `period`.
    pub const fn new(burst: u64, refill: u64, period: Duration) -> Self {
        Self { burst, refill, period }
    }

    /// What the bucket holds, and microseconds until a token is there again; `None` when nothing is limited.
    pub fn bucket(&self) -> Option<(u64, u64)> {
        (self.burst > 0).then(|| (self.burst, (self.period.as_micros() as u64 / self.refill.max(1)).max(1)))
    }

    /// Microseconds until `amount` is there again. Exact where tokens are shorter than a microsecond.
    pub fn cost_us(&self, amount: u64) -> u64 {
        let period_us = self.period.as_micros();
        u64::try_from(u128::from(amount) * period_us / u128::from(self.refill.max(1))).unwrap_or(u64::MAX)
    }

    /// Microseconds in which an empty bucket fills; `None` when nothing is limited.
    pub fn capacity_us(&self) -> Option<u64> {
        (self.burst > 0).then(|| self.cost_us(self.burst))
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if *self == Self::UNLIMITED {
            return f.write_str("off");
        }
        let period_ms = self.period.as_millis() as u64;
        let (burst, refill, time) =
            (in_unit(self.burst, &AMOUNTS), in_unit(self.refill, &AMOUNTS), in_unit(period_ms, &TIMES));
        write!(f, "{burst}:{refill}/{time}")
    }
}

/// In the largest unit that leaves nothing over.
fn in_unit(value: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().find(|(_, size)| value >= *size && value.is_multiple_of(*size));
    fits.map_or_else(
        || format!("{value}{}", units[units.len() - 1].0),
        |(unit, size)| format!("{}{unit}", value / size),
    )
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        if text == "off" {
            return Ok(Self::UNLIMITED);
        }
        parse(text).ok_or_else(|| InvalidRate(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Rate> {
    let (burst, rest) = text.split_once(':')?;
    let (refill, time) = rest.split_once('/')?;
    let (burst, refill, period_ms) =
        (with_unit(burst, &AMOUNTS)?, with_unit(refill, &AMOUNTS)?, with_unit(time, &TIMES)?);
    (burst > 0 && refill > 0 && period_ms > 0).then(|| Rate::new(burst, refill, Duration::from_millis(period_ms)))
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (_, size) = units.iter().find(|(unit, _)| *unit == &text[digits.len()..])?;
    digits.parse::<u64>().ok()?.checked_mul(*size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_reads_as_it_is_written() {
        for text in ["60:1/1s", "6:1/10m", "128M:2K/1s", "100:100/1h", "1:1/1ms", "1001:3/1500ms", "off"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("60:1/60s".parse::<Rate>().unwrap().to_string(), "60:1/1m");
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in
            ["", "60", "60:1", "60/1s", "0:1/1s", "60:0/1s", "60:1/0s", "60:1/1", "60:1/1d", "-1:1/1s", "6T:1/1s"]
        {
            assert_eq!(text.parse::<Rate>(), Err(InvalidRate(text.to_owned())), "{text}");
        }
        assert!("99999999999999999999:1/1s".parse::<Rate>().is_err());
        assert!("18446744073709551615K:1/1s".parse::<Rate>().is_err());
    }

    #[test]
    fn bytes_cost_less_than_a_microsecond_each_without_being_free() {
        let rate: Rate = "128M:2K/1s".parse().unwrap();
        assert_eq!(rate.cost_us(2048), 1_000_000);
        assert_eq!(rate.cost_us(1), 488);
        assert_eq!(rate.capacity_us(), Some(65_536_000_000));
        let fast: Rate = "1G:1G/1s".parse().unwrap();
        assert_eq!((fast.cost_us(1), fast.cost_us(1 << 30)), (0, 1_000_000));
    }
}
