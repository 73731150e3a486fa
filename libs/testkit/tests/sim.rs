//! Whole installations in virtual time, and whether the checker sees what it should.
//!
//! `QPC_SEEDS=FROM..TO cargo test -p qpc-testkit --test sim` tries other seeds; `cargo xtask sim` many, optimised.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, clippy::print_stderr)]

use std::ops::Range;

use qpc_testkit::sim::{self, Mistake};

/// Seeds of every test run.
const SEEDS: Range<u64> = 0..200;
/// Seeds that are simulated twice.
const TWICE: Range<u64> = 1000..1010;
/// Seeds within which each planted mistake is found.
const FOUND_WITHIN: u64 = 300;
/// Failures that are looked at for each.
const ENOUGH: usize = 3;

fn seeds() -> Range<u64> {
    let Ok(range) = std::env::var("QPC_SEEDS") else { return SEEDS };
    let (from, to) = range.split_once("..").unwrap_or_else(|| panic!("QPC_SEEDS=FROM..TO, not {range}"));
    from.parse().unwrap()..to.parse().unwrap()
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[test]
fn nothing_is_lost_doubled_or_forked_whatever_fails() {
    let failures = sim::many(seeds(), threads(), 3, None, |_| {});
    for failure in &failures {
        eprintln!("{failure}");
    }
    assert!(failures.is_empty(), "{} failures", failures.len());
}

#[test]
fn the_same_seed_does_the_same() {
    for seed in TWICE {
        // A mistake that nobody notices would make both the same; so does a trace that sees nothing.
        let traces = [(); 2].map(|()| sim::run(seed, None).map(|report| report.trace).unwrap_or(seed));
        assert_eq!(traces[0], traces[1], "seed {seed}");
        assert_ne!(traces[0], sim::run(seed + 1, None).map(|report| report.trace).unwrap_or_default());
    }
}

/// Every promise has a mistake that breaks it, in the code that keeps it. Found is what fails with it and not without.
#[test]
fn planted_mistakes_are_found() {
    let missed: Vec<Mistake> = Mistake::ALL
        .into_iter()
        .filter(|mistake| {
            let failures = sim::many(0..FOUND_WITHIN, threads(), ENOUGH, Some(*mistake), |_| {});
            let found = failures.iter().find(|failure| sim::run(failure.seed, None).is_ok());
            match found {
                Some(failure) => eprintln!("{mistake:?}: seed {}: {}", failure.seed, failure.broken[0]),
                None => eprintln!("{mistake:?}: not found"),
            }
            found.is_none()
        })
        .collect();
    assert!(missed.is_empty(), "not found within {FOUND_WITHIN} seeds: {missed:?}");
}
