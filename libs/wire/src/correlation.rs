//! The id that ties every log line of one call together, from the client to the database.

use std::fmt;

/// Eight bytes that both ends derive from the TLS exporter ([`Self::EXPORTER_LABEL`]) and the request id of the frame.
/// Neither end has to send it, and neither can choose it for the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CorrelationId {
    connection: [u8; 8],
    request: u32,
}

impl CorrelationId {
    /// Label for the TLS exporter (RFC 8446 section 7.5), empty context, 8 bytes.
    pub const EXPORTER_LABEL: &'static [u8] = b"EXPORTER-qpc-correlation";

    /// The bit of a request's number by which a client says that it records a span of the call (decision 38).
    const TOLD: u32 = 1 << 31;

    /// The id of request `request` on the connection with this exporter value.
    pub fn new(connection: [u8; 8], request: u32) -> Self {
        Self { connection, request }
    }

    /// The same call, of which the client says that it records it.
    pub fn told(self) -> Self {
        Self { request: self.request | Self::TOLD, ..self }
    }

    /// Whether the client says that it records the call.
    pub fn is_told(&self) -> bool {
        self.request & Self::TOLD != 0
    }

    /// Number of the request in its frame.
    pub fn request(&self) -> u32 {
        self.request
    }

    /// Layout on the bus: connection (8), request (4, big-endian).
    pub fn to_array(self) -> [u8; 12] {
        let mut out = [0; 12];
        out[..8].copy_from_slice(&self.connection);
        out[8..].copy_from_slice(&self.request.to_be_bytes());
        out
    }

    /// Reverse of [`Self::to_array`]; `None` for any other length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let (connection, request) = bytes.split_first_chunk::<8>()?;
        Some(Self { connection: *connection, request: u32::from_be_bytes(request.try_into().ok()?) })
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:08x}", self.request)
    }
}

impl fmt::Debug for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
