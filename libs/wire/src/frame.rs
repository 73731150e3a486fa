//! Frames of the client protocol, without I/O. Integers are big-endian.
//!
//! | frame    | header                                              | bytes |
//! |----------|-----------------------------------------------------|-------|
//! | request  | `method_id: u16, request_id: u32, payload_len: u32` | 10    |
//! | response | `status: u8, request_id: u32, payload_len: u32`     | 9     |
//! | push     | `event_type: u16, payload_len: u32`                 | 6     |
//!
//! A reader takes the header first, learns the length, and refuses it before anything is allocated.

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::MAX_FRAME_PAYLOAD;

/// Bytes of a request header.
pub const REQUEST_HEADER: usize = 10;
/// Bytes of a response header.
pub const RESPONSE_HEADER: usize = 9;
/// Bytes of a push header.
pub const PUSH_HEADER: usize = 6;

/// Application error codes with which a stream is reset or a connection closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ErrorCode {
    /// Orderly end of a connection.
    Closed = 0,
    /// Announced length above the limit.
    Oversized = 1,
    /// The stream ended inside a frame, or went on after one.
    Malformed = 2,
    /// No such method.
    UnknownMethod = 3,
    /// The frame did not arrive in time.
    TooSlow = 4,
    /// Connection closed after too many bad frames.
    Abuse = 5,
    /// Connection closed since this gateway drains.
    Draining = 6,
    /// Too many connections.
    TooMany = 7,
}

impl ErrorCode {
    /// The code of a reset or close, as far as it is one of ours.
    pub fn from_u64(code: u64) -> Option<Self> {
        Some(match code {
            0 => Self::Closed,
            1 => Self::Oversized,
            2 => Self::Malformed,
            3 => Self::UnknownMethod,
            4 => Self::TooSlow,
            5 => Self::Abuse,
            6 => Self::Draining,
            7 => Self::TooMany,
            _ => return None,
        })
    }
}

/// A payload length above [`MAX_FRAME_PAYLOAD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame payload of {0} bytes is over the limit of {MAX_FRAME_PAYLOAD}")]
pub struct Oversized(pub u32);

/// Header of a request frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader {
    /// Row of the method table.
    pub method: u16,
    /// Chosen by the client, unique on its connection.
    pub request_id: u32,
    /// Bytes that follow.
    pub payload_len: usize,
}

/// Header of a response frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    /// 0 or a [`crate::Code`].
    pub status: u8,
    /// That of the request.
    pub request_id: u32,
    /// Bytes that follow.
    pub payload_len: usize,
}

/// Header of a push frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushHeader {
    /// [`crate::v1::EventType`]; unknown ones are skipped by clients.
    pub event_type: u16,
    /// Bytes that follow.
    pub payload_len: usize,
}

fn length(bytes: [u8; 4]) -> Result<usize, Oversized> {
    let len = u32::from_be_bytes(bytes);
    if len as usize > MAX_FRAME_PAYLOAD { Err(Oversized(len)) } else { Ok(len as usize) }
}

impl RequestHeader {
    /// Parses a header.
    pub fn decode(header: &[u8; REQUEST_HEADER]) -> Result<Self, Oversized> {
        let [m0, m1, r0, r1, r2, r3, l0, l1, l2, l3] = *header;
        Ok(Self {
            method: u16::from_be_bytes([m0, m1]),
            request_id: u32::from_be_bytes([r0, r1, r2, r3]),
            payload_len: length([l0, l1, l2, l3])?,
        })
    }
}

impl ResponseHeader {
    /// Parses a header.
    pub fn decode(header: &[u8; RESPONSE_HEADER]) -> Result<Self, Oversized> {
        let [status, r0, r1, r2, r3, l0, l1, l2, l3] = *header;
        Ok(Self { status, request_id: u32::from_be_bytes([r0, r1, r2, r3]), payload_len: length([l0, l1, l2, l3])? })
    }
}

impl PushHeader {
    /// Parses a header.
    pub fn decode(header: &[u8; PUSH_HEADER]) -> Result<Self, Oversized> {
        let [e0, e1, l0, l1, l2, l3] = *header;
        Ok(Self { event_type: u16::from_be_bytes([e0, e1]), payload_len: length([l0, l1, l2, l3])? })
    }
}

fn payload_len(len: usize) -> Result<u32, Oversized> {
    let wire = u32::try_from(len).unwrap_or(u32::MAX);
    if len > MAX_FRAME_PAYLOAD { Err(Oversized(wire)) } else { Ok(wire) }
}

/// A whole request frame around an encoded message.
pub fn request(method: u16, request_id: u32, message: &impl prost::Message) -> Result<Bytes, Oversized> {
    let len = payload_len(message.encoded_len())?;
    let mut out = BytesMut::with_capacity(REQUEST_HEADER + len as usize);
    out.put_u16(method);
    out.put_u32(request_id);
    out.put_u32(len);
    message.encode_raw(&mut out);
    Ok(out.freeze())
}

/// The header of a response frame; the payload follows it on the stream as it is.
pub fn response_header(status: u8, request_id: u32, payload: &[u8]) -> Result<Bytes, Oversized> {
    let len = payload_len(payload.len())?;
    let mut out = BytesMut::with_capacity(RESPONSE_HEADER);
    out.put_u8(status);
    out.put_u32(request_id);
    out.put_u32(len);
    Ok(out.freeze())
}

/// The header of a push frame; the payload follows it on the stream as it is.
pub fn push_header(event_type: u16, payload: &[u8]) -> Result<Bytes, Oversized> {
    let len = payload_len(payload.len())?;
    let mut out = BytesMut::with_capacity(PUSH_HEADER);
    out.put_u16(event_type);
    out.put_u32(len);
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::v1;

    proptest! {
        #[test]
        fn headers_decode_to_what_was_encoded(method: u16, request_id: u32, payload in prop::collection::vec(any::<u8>(), 0..300)) {
            let message = v1::PingRequest { payload: payload.clone().into() };
            let frame = request(method, request_id, &message).unwrap();
            let (header, body) = frame.split_first_chunk::<REQUEST_HEADER>().unwrap();
            let header = RequestHeader::decode(header).unwrap();
            prop_assert_eq!(header, RequestHeader { method, request_id, payload_len: body.len() });

            let response = response_header(3, request_id, &payload).unwrap();
            let decoded = ResponseHeader::decode(response.as_ref().try_into().unwrap()).unwrap();
            prop_assert_eq!(decoded, ResponseHeader { status: 3, request_id, payload_len: payload.len() });

            let push = push_header(method, &payload).unwrap();
            let decoded = PushHeader::decode(push.as_ref().try_into().unwrap()).unwrap();
            prop_assert_eq!(decoded, PushHeader { event_type: method, payload_len: payload.len() });
        }
    }

    #[test]
    fn the_limit_itself_passes_and_one_more_does_not() {
        let mut header = [0; REQUEST_HEADER];
        header[6..].copy_from_slice(&(MAX_FRAME_PAYLOAD as u32).to_be_bytes());
        assert!(RequestHeader::decode(&header).is_ok());
        header[6..].copy_from_slice(&(MAX_FRAME_PAYLOAD as u32 + 1).to_be_bytes());
        assert_eq!(RequestHeader::decode(&header), Err(Oversized(MAX_FRAME_PAYLOAD as u32 + 1)));
    }
}
