//! Where a call stands in its trace.

use std::{cell::Cell, fmt};

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use qpc_wire::CorrelationId;
use sha2::{Digest as _, Sha256};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Before the correlation id, when a trace is derived from it.
const LABEL: &[u8] = b"qpc trace";

/// A span that is being recorded: whoever is told of it records as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    trace: [u8; 16],
    span: [u8; 8],
}

impl Place {
    /// Bytes on the bus: trace (16), span (8).
    pub const LEN: usize = 24;

    /// The span of a client for the call with this id, whether it makes one or not.
    pub(crate) fn of_client(correlation: CorrelationId) -> Self {
        let hash: [u8; 32] = Sha256::new_with_prefix(LABEL).chain_update(correlation.to_array()).finalize().into();
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&hash[..16]);
        span.copy_from_slice(&hash[16..24]);
        Self { trace, span }
    }

    /// Layout on the bus.
    pub fn to_array(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..16].copy_from_slice(&self.trace);
        out[16..].copy_from_slice(&self.span);
        out
    }

    /// Reverse of [`Self::to_array`]. Anything else is no place: a call is served without its trace rather than not at all.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let (trace, span) = bytes.split_first_chunk::<16>()?;
        let place = Self { trace: *trace, span: span.try_into().ok()? };
        (place.trace != [0; 16] && place.span != [0; 8]).then_some(place)
    }

    /// Id of the trace, as tools show it.
    pub fn trace(&self) -> String {
        hex::encode(self.trace)
    }

    /// Begins `span`, if anybody records it, and tells where it stands.
    pub(crate) fn of(span: &Span) -> Option<Self> {
        if span.is_disabled() {
            return None;
        }
        let context = span.context();
        let span = context.span();
        let known = span.span_context();
        (known.is_valid() && known.is_sampled())
            .then(|| Self { trace: known.trace_id().to_bytes(), span: known.span_id().to_bytes() })
    }

    /// Begins `span` as the first one of this trace; `at_place` if it is this very place.
    pub(crate) fn begin(self, span: &Span, at_place: bool) -> Option<Self> {
        NEXT.set(Next { trace: Some(self.trace), span: at_place.then_some(self.span) });
        let begun = Self::of(span);
        NEXT.set(Next::default());
        begun
    }

    pub(crate) fn context(self) -> SpanContext {
        let (trace, span) = (TraceId::from_bytes(self.trace), SpanId::from_bytes(self.span));
        SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default())
    }

    /// As what another span is made below.
    pub(crate) fn parent(self) -> Context {
        Context::new().with_remote_span_context(self.context())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.trace())
    }
}

/// Ids that the next span begun on this thread is given.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Next {
    pub(crate) trace: Option<[u8; 16]>,
    pub(crate) span: Option<[u8; 8]>,
}

thread_local! {
    // The way to the generator of ids, which takes no arguments. Set and cleared around the beginning of one span.
    pub(crate) static NEXT: Cell<Next> = const { Cell::new(Next { trace: None, span: None }) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_derive_the_same_place_and_each_call_has_its_own() {
        let call = |connection, request| Place::of_client(CorrelationId::new([connection; 8], request));
        assert_eq!(call(1, 1), call(1, 1));
        assert_ne!(call(1, 1).trace, call(1, 2).trace, "calls of one connection are not linked");
        assert_ne!(call(1, 1).trace, call(2, 1).trace);
        // Frozen: an older client and a newer server meet in the same trace.
        assert_eq!(call(1, 1).to_string(), FROZEN);
    }

    const FROZEN: &str = "44e32140f8af512972cb0b81133fdf99";

    #[test]
    fn the_bus_carries_a_place_as_it_is_or_none() {
        let place = Place::of_client(CorrelationId::new([7; 8], 9));
        assert_eq!(Place::from_slice(&place.to_array()), Some(place));
        for bytes in [&[][..], &[1; 23], &[1; 25], &[0; 24]] {
            assert_eq!(Place::from_slice(bytes), None);
        }
    }
}
