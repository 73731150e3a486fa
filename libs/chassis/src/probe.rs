//! `--probe`: whether the process that was started with the same settings is ready. Images hold no shell and nothing that
//! could ask in its place.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

/// Longest wait for each step; a page of readiness takes 2 s at the most for each of its checks.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of the answer that are shown.
const MAX_ANSWER: u64 = 4096;

/// Asks for `/readyz` at `observe`, shows the answer on standard error, and succeeds if it says so.
pub fn run(observe: Option<SocketAddr>) -> ExitCode {
    let answer = match observe.map(ask) {
        None => Err(io::Error::other("--probe needs the --observe of the process")),
        Some(answer) => answer,
    };
    let (text, code) = match answer {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => (answer, ExitCode::SUCCESS),
        Ok(answer) => (answer, ExitCode::FAILURE),
        Err(error) => (error.to_string(), ExitCode::FAILURE),
    };
    // Whoever asked may have left.
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
    code
}

fn ask(observe: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&reachable(observe), ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Where a process that listens at all addresses answers.
fn reachable(observe: SocketAddr) -> SocketAddr {
    let address = match observe.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, observe.port())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::{
        Runtime,
        health::{self, Health},
    };

    #[tokio::test(flavor = "multi_thread")]
    async fn a_probe_says_what_readiness_says() {
        let (runtime, health) = (Runtime::system(), Arc::<Health>::default());
        let works = Arc::new(AtomicBool::new(true));
        let checked = works.clone();
        health.check("bus", move || {
            let works = checked.load(Ordering::SeqCst);
            Box::pin(async move { works })
        });
        let bound = health::serve("0.0.0.0:0".parse().unwrap(), &runtime, Arc::default(), health).await.unwrap();
        let probe = |observe| async move { tokio::task::spawn_blocking(move || run(observe)).await.unwrap() };
        assert_eq!(probe(Some(bound)).await, ExitCode::SUCCESS);
        works.store(false, Ordering::SeqCst);
        assert_eq!(probe(Some(bound)).await, ExitCode::FAILURE);
        assert!(runtime.drain(Duration::from_secs(5)).await);
        assert_eq!(probe(Some(bound)).await, ExitCode::FAILURE, "nobody is there");
        assert_eq!(probe(None).await, ExitCode::FAILURE);
    }
}
