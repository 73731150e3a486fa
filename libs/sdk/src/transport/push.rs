//! What the server says unasked, on streams it opens.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use qpc_wire::{
    frame::{PUSH_HEADER, PushHeader},
    v1::{self, EventType},
};
use tokio::sync::mpsc;

use super::carrier;

/// Longest time for a push to arrive completely.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A push of the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Push {
    /// The mailbox has grown.
    Mailbox(v1::MailboxEvent),
    /// KeyPackages run low.
    KeyPackageLow(v1::KeyPackageLowEvent),
    /// The gateway goes away within this time.
    Drain(Duration),
    /// Something may have been missed: fetch.
    PullAgain,
    /// The connection is anonymous again.
    SessionEnded,
    /// Another device of a group is there and says so.
    Relayed(v1::RelayedEvent),
}

/// Reads pushes until the connection ends or nobody listens. One after the other: they are small, and a listener that
/// lags must slow the gateway down.
pub(super) async fn read_all(connection: carrier::Connection, listener: mpsc::Sender<Push>) {
    loop {
        let stream = tokio::select! {
            biased;
            () = listener.closed() => return,
            accepted = connection.accept_uni() => accepted,
        };
        let Ok(stream) = stream else { return };
        let push = match tokio::time::timeout(READ_TIMEOUT, read(stream)).await {
            Ok(Some(push)) => push,
            Ok(None) => continue,
            Err(_) => Push::PullAgain,
        };
        if listener.send(push).await.is_err() {
            return;
        }
    }
}

/// `None` for an event that this client does not know. One that does not arrive whole may have been a doorbell.
async fn read(mut stream: carrier::RecvStream) -> Option<Push> {
    let mut header = [0; PUSH_HEADER];
    if stream.read_exact(&mut header).await.is_err() {
        return Some(Push::PullAgain);
    }
    let Ok(header) = PushHeader::decode(&header) else { return Some(Push::PullAgain) };
    let mut payload = vec![0; header.payload_len];
    if stream.read_exact(&mut payload).await.is_err() {
        return Some(Push::PullAgain);
    }
    decode(header.event_type, payload.into())
}

fn decode(event_type: u16, payload: Bytes) -> Option<Push> {
    let Ok(event_type) = EventType::try_from(i32::from(event_type)) else {
        tracing::debug!(event_type, "unknown push");
        return None;
    };
    let decoded = match event_type {
        EventType::Unspecified => return None,
        EventType::Mailbox => v1::MailboxEvent::decode(payload).map(Push::Mailbox),
        EventType::KeyPackageLow => v1::KeyPackageLowEvent::decode(payload).map(Push::KeyPackageLow),
        EventType::Drain => {
            v1::DrainEvent::decode(payload).map(|event| Push::Drain(Duration::from_millis(event.within_ms.into())))
        }
        EventType::PullAgain => Ok(Push::PullAgain),
        EventType::SessionEnded => Ok(Push::SessionEnded),
        // Nothing in the mailbox: if it is broken it is gone.
        EventType::Relayed => return v1::RelayedEvent::decode(payload).ok().map(Push::Relayed),
    };
    Some(decoded.unwrap_or(Push::PullAgain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doorbell_that_is_broken_still_rings() {
        let event = v1::MailboxEvent { head: 7, entries: Vec::new() };
        assert_eq!(decode(1, event.encode_to_vec().into()), Some(Push::Mailbox(event)));
        assert_eq!(decode(1, Bytes::from_static(&[0xff])), Some(Push::PullAgain));
        assert_eq!(decode(999, Bytes::new()), None);
    }
}
