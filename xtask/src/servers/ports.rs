//! Free loopback ports. The kernel hands them out in random order, so one just given back is not soon given to another.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result};

/// Longest wait for a local server's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of an answer that are looked at.
const MAX_ANSWER: usize = 4096;

/// A free TCP port.
pub(crate) fn tcp() -> Result<u16> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free TCP port")?;
    Ok(socket.local_addr()?.port())
}

/// A free UDP port.
pub(crate) fn udp() -> Result<u16> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no free UDP port")?;
    Ok(socket.local_addr()?.port())
}

/// The beginning of what a local server says to `question`, if anything.
pub(crate) fn ask(port: u16, question: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ANSWER_WITHIN).ok()?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
    stream.write_all(question).ok()?;
    let mut answer = vec![0; MAX_ANSWER];
    let length = stream.read(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Whether the process with this observability port says that it is ready.
pub(crate) fn is_ready(observe: u16) -> bool {
    let question = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    ask(observe, question).is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
