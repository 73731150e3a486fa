//! The spans, one for each stop of a call.

use std::future::Future;

use qpc_wire::{Code, CorrelationId};
use tracing::{
    Instrument as _, Span,
    field::{Empty, display},
    info_span,
    instrument::Instrumented,
};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{
    Place, TARGET,
    sampling::{is_on, takes},
};

/// Name of a span that is made because the call is sampled. All others are made below one, or not at all.
pub(crate) const ENTRY: &str = "entry";
/// Bytes of a name that is made of a statement.
const MAX_NAME: usize = 64;

/// A span, and where it stands if it is recorded.
#[derive(Debug, Clone)]
pub struct Stop {
    span: Span,
    /// None of a call that is not sampled.
    pub place: Option<Place>,
}

impl Stop {
    fn none() -> Self {
        Self { span: Span::none(), place: None }
    }

    /// Runs `work` in this span and in `log`, the span of log lines, whose field `trace` is filled.
    pub fn around<F: Future>(&self, log: Span, work: F) -> Instrumented<Instrumented<F>> {
        if let Some(place) = &self.place {
            log.record("trace", display(place));
        }
        work.instrument(self.span.clone()).instrument(log)
    }

    /// The span alone.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// How the call has ended.
    pub fn ended(&self, code: Code) {
        if self.place.is_some() {
            self.span.record("code", code.as_str_name());
            // What a client did wrong is no error of the server's.
            if matches!(
                code,
                Code::Unknown | Code::Internal | Code::DataLoss | Code::Unavailable | Code::DeadlineExceeded
            ) {
                self.span.record("otel.status_code", "ERROR");
            }
        }
    }
}

macro_rules! entry {
    ($kind:literal, $service:expr, $name:expr) => {
        info_span!(
            target: TARGET,
            parent: None,
            ENTRY,
            otel.name = $name,
            otel.kind = $kind,
            otel.status_code = Empty,
            service = $service,
            code = Empty,
        )
    };
}

/// A client's call number `request` on the connection with this exporter value. A call that is recorded says so in its
/// number if the connection `tells`, so that the server's spans stand below this one.
pub fn outgoing(connection: [u8; 8], request: u32, tells: bool, method: &'static str) -> (CorrelationId, Stop) {
    let correlation = CorrelationId::new(connection, request);
    if !takes(correlation) {
        return (correlation, Stop::none());
    }
    let correlation = if tells { correlation.told() } else { correlation };
    let span = entry!("client", "client", method);
    let place = Place::of_client(correlation).begin(&span, true);
    (correlation, Stop { span, place })
}

/// A client's call as it comes in at the edge, where it is decided whether the server records it.
pub fn incoming(correlation: CorrelationId, service: &'static str, method: &'static str) -> Stop {
    if !takes(correlation) {
        return Stop::none();
    }
    let (span, client) = (entry!("server", service, method), Place::of_client(correlation));
    let place = if correlation.is_told() { below(&span, client) } else { client.begin(&span, false) };
    Stop { span, place }
}

/// A call that has come over the bus, recorded if its caller records.
pub fn serving(caller: Option<Place>, service: &'static str, method: &'static str) -> Stop {
    let Some(caller) = caller.filter(|_| is_on()) else { return Stop::none() };
    let span = entry!("server", service, method);
    let place = below(&span, caller);
    Stop { span, place }
}

/// Work that several calls share: below the first of them, with links to the others.
pub fn joined(callers: impl IntoIterator<Item = Place>, service: &'static str, name: &'static str) -> Span {
    let mut callers = callers.into_iter();
    let Some(first) = callers.next().filter(|_| is_on()) else { return Span::none() };
    let span = entry!("internal", service, name);
    let begun = below(&span, first);
    if begun.is_some() {
        callers.for_each(|other| span.add_link(other.context()));
    }
    span
}

fn below(span: &Span, parent: Place) -> Option<Place> {
    // Fails only if nobody records the span, which the next line finds out.
    let _ = span.set_parent(parent.parent());
    Place::of(span)
}

/// A question to `subject` of the bus, or over another way to a service, while the current call waits.
pub fn onward(subject: &str) -> Stop {
    if !is_on() {
        return Stop::none();
    }
    let span = info_span!(target: TARGET, "onward", otel.name = subject, otel.kind = "client");
    let place = Place::of(&span);
    Stop { span, place }
}

/// A statement of the current call. `sql` is a text of the source, in which values are placeholders.
pub fn statement(sql: &'static str, system: &'static str) -> Span {
    if !is_on() {
        return Span::none();
    }
    info_span!(
        target: TARGET,
        "statement",
        otel.name = name_of(sql),
        otel.kind = "client",
        db.system.name = system,
        db.query.text = sql,
    )
}

/// Verb and table.
fn name_of(sql: &str) -> String {
    let mut words =
        sql.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | ';')).filter(|w| !w.is_empty());
    let verb = words.next().unwrap_or_default();
    let mut name = verb.to_owned();
    let table = match verb {
        "UPDATE" => words.next(),
        "INSERT" => words.nth(1),
        _ => words.skip_while(|word| *word != "FROM").nth(1),
    };
    if let Some(table) = table {
        name.push(' ');
        name.push_str(table);
    }
    name.chars().take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_by_verb_and_table() {
        for (sql, name) in [
            ("SELECT h.last_seq, h.acked FROM mailbox_head h WHERE h.device = $1", "SELECT mailbox_head"),
            ("INSERT INTO payload (id, body) VALUES ($1, $2)", "INSERT payload"),
            ("UPDATE audit_head SET seq = seq + 1 RETURNING seq", "UPDATE audit_head"),
            ("DELETE FROM mailbox_entry WHERE device = $1", "DELETE mailbox_entry"),
            ("WITH locked AS (SELECT id FROM payload) SELECT 1", "WITH payload"),
            ("SELECT 1", "SELECT"),
            ("COMMIT", "COMMIT"),
            ("", ""),
        ] {
            assert_eq!(name_of(sql), name, "{sql}");
        }
    }

    #[test]
    fn nothing_is_recorded_where_nothing_is_exported() {
        let (correlation, stop) = outgoing([1; 8], 7, true, "Enqueue");
        assert_eq!((correlation, stop.place), (CorrelationId::new([1; 8], 7), None));
        assert_eq!(incoming(correlation, "gateway", "Enqueue").place, None);
        assert_eq!(serving(Some(Place::of_client(correlation)), "delivery", "Enqueue").place, None);
        assert!(statement("SELECT 1", "sqlite").is_disabled());
    }
}
