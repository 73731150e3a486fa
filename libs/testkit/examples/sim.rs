//! Simulations from the command line: `cargo xtask sim`.
#![allow(unreachable_pub, clippy::print_stdout, clippy::print_stderr, reason = "a terminal program")]
#![allow(clippy::disallowed_methods, reason = "measures real time, outside of the simulations")]

use std::{
    process::ExitCode,
    sync::Mutex,
    time::{Duration, Instant},
};

use clap::Parser;
use qpc_testkit::sim::{self, Counts, Tally};
use serde_json::json;
use tracing_subscriber::EnvFilter;

/// Failures after which no more seeds are tried.
const ENOUGH: usize = 10;
/// Time between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Cli {
    /// How many
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Default)]
struct Sum {
    done: u64,
    operations: Tally,
    faults: Tally,
    counts: Counts,
    virtual_ms: u64,
}

impl Sum {
    fn add(&mut self, report: &sim::Report) {
        for (sums, tally) in [(&mut self.operations, &report.operations), (&mut self.faults, &report.faults)] {
            tally.iter().for_each(|(name, count)| *sums.entry(name).or_default() += count);
        }
        self.counts.written += report.counts.written;
        self.counts.accepted += report.counts.accepted;
        self.counts.shown += report.counts.shown;
        self.counts.epochs += report.counts.epochs;
        self.virtual_ms += report.virtual_ms;
    }
}

fn main() -> ExitCode {
    let Cli { seeds, from, json } = Cli::parse();
    // What the code itself logs, of a single simulation: its times are those of the machine.
    if seeds == 1 {
        let filter = EnvFilter::try_from_env("QPC_LOG").unwrap_or_else(|_| "off".into());
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (began, sum) = (Instant::now(), Mutex::new((Sum::default(), Instant::now())));
    let failures = sim::many(from..from.saturating_add(seeds), threads, ENOUGH, None, |outcome| {
        let Ok(mut held) = sum.lock() else { return };
        let (sum, told) = &mut *held;
        sum.done += 1;
        match outcome {
            Ok(report) if seeds == 1 => {
                eprintln!("{}", report.log.join("\n"));
                sum.add(report);
            }
            Ok(report) => sum.add(report),
            Err(failure) if seeds == 1 => eprintln!("{}\n{failure}", failure.log.join("\n")),
            Err(failure) => eprintln!("{failure}"),
        }
        if told.elapsed() > TELL_EVERY {
            *told = Instant::now();
            eprintln!("{} of {seeds} after {} s", sum.done, began.elapsed().as_secs());
        }
    });
    let Ok((sum, _)) = sum.into_inner() else { return ExitCode::FAILURE };
    let failed: Vec<u64> = failures.iter().map(|failure| failure.seed).collect();
    if json {
        println!("{}", report(&sum, from, &failed, began.elapsed()));
    } else {
        tell(&sum, &failed, began.elapsed());
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(sum: &Sum, from: u64, failed: &[u64], took: Duration) -> serde_json::Value {
    json!({
        "from": from, "seeds": sum.done, "failed": failed,
        "operations": sum.operations, "faults": sum.faults,
        "written": sum.counts.written, "accepted": sum.counts.accepted, "shown": sum.counts.shown,
        "epochs": sum.counts.epochs,
        "virtual_ms": sum.virtual_ms, "took_ms": took.as_millis() as u64,
    })
}

fn tell(sum: &Sum, failed: &[u64], took: Duration) {
    let list = |tally: &Tally| {
        let all: u64 = tally.values().sum();
        let each: Vec<String> = tally.iter().map(|(name, count)| format!("{name} {count}")).collect();
        format!("{all} ({})", each.join(", "))
    };
    let Counts { written, accepted, shown, epochs } = sum.counts;
    println!("operations  {}", list(&sum.operations));
    println!("faults      {}", list(&sum.faults));
    println!("messages    {written} written, {accepted} accepted, {shown} shown; {epochs} states of groups");
    println!("time        {:.1} h virtual in {:.1} s", sum.virtual_ms as f64 / 3.6e6, took.as_secs_f64());
    println!("seeds       {} simulated, {} failed {failed:?}", sum.done, failed.len());
}
