//! Simulations from the command line; see `cargo xtask sim`.
fn main() {
    let mut args = std::env::args().skip(1);
    let from: u64 = args.next().unwrap().parse().unwrap();
    let n: u64 = args.next().unwrap().parse().unwrap();
    let started = std::time::Instant::now();
    let failures = qpc_testkit::sim::many(from..from + n, 2, |outcome| match outcome {
        Ok(report) if n == 1 => eprintln!("{}\n{report:?}", report.log.join("\n")),
        Ok(report) => eprintln!("{report:?}"),
        Err(failure) => eprintln!("{failure}\n{}", failure.log.join("\n")),
    });
    eprintln!("{} failures in {:?}", failures.len(), started.elapsed());
}
