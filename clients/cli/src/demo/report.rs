//! What the demonstration has proved, as an object and as a few lines.

use serde::Serialize;

/// The object of `--json`. Fields are only ever added.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Whether everything was as it must be.
    pub(crate) ok: bool,
    /// What was not.
    pub(crate) error: Option<String>,
    /// Messages written.
    pub(crate) sent: usize,
    /// Messages that the server has signed for.
    pub(crate) accepted: usize,
    /// Of those, receipts whose signature, message and recipients were right.
    pub(crate) receipts_verified: usize,
    /// Messages read by the other side, once each and as they were written.
    pub(crate) delivered: usize,
    /// Entries that could not be read.
    pub(crate) undecryptable: u64,
    /// Name of the MLS cipher suite in its RFC or draft.
    pub(crate) suite: &'static str,
    /// MLS epoch at the end.
    pub(crate) epoch: u64,
    /// Whether both sides derive the same epoch authenticator (RFC 9420 section 8.7).
    pub(crate) epoch_authenticators_agree: bool,
    /// The messages, in the order of writing.
    pub(crate) messages: Vec<MessageReport>,
}

/// One message.
#[derive(Debug, Serialize)]
pub(crate) struct MessageReport {
    /// 32 hexadecimal digits.
    pub(crate) id: String,
    /// Who wrote it.
    pub(crate) from: &'static str,
    /// For whom.
    pub(crate) to: &'static str,
    /// The text.
    pub(crate) text: &'static str,
    /// Whether its reader was offline when it was written.
    pub(crate) reader_offline: bool,
    /// Epoch in which it was encrypted, as its reader saw.
    pub(crate) epoch: Option<u64>,
    /// Place in the reader's mailbox.
    pub(crate) seq: Option<u64>,
    /// Unix milliseconds of the receipt.
    pub(crate) accepted_at_ms: Option<u64>,
    /// From sending to a verified receipt, milliseconds.
    pub(crate) receipt_ms: Option<f64>,
    /// From sending to the reader's event, milliseconds; nothing for an offline reader.
    pub(crate) delivery_ms: Option<f64>,
}

impl Report {
    /// The first expectation that was not met.
    pub(crate) fn failure(&self) -> Option<String> {
        let sent = self.messages.len();
        let expectations = [
            (sent > 0 && self.sent == sent, "not every message was written"),
            (self.accepted == sent, "not every message was accepted"),
            (self.receipts_verified == sent, "not every receipt was verified"),
            (self.delivered == sent, "not every message was delivered"),
            (self.undecryptable == 0, "something could not be read"),
            (self.epoch_authenticators_agree, "the two are not in the same group"),
        ];
        expectations.into_iter().find(|(met, _)| !met).map(|(_, complaint)| complaint.to_owned())
    }

    pub(crate) fn finish(&mut self, failure: Option<String>) {
        self.ok = failure.is_none();
        self.error = failure;
    }

    /// The end of the story.
    pub(crate) fn summary(&self) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            format!(
                "{} messages: {} accepted, {} receipts verified, {} delivered, {} unreadable.",
                self.sent, self.accepted, self.receipts_verified, self.delivered, self.undecryptable
            ),
        ];
        if self.ok {
            lines.extend(
                [
                    "",
                    "To chat yourself, in one terminal:",
                    "    cargo run --release --bin qpc-server",
                    "and in another, and once more as bob (then type /dm alice):",
                    "    cargo run --release --bin qpc -- repl -u alice",
                ]
                .map(str::to_owned),
            );
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_done_is_no_success() {
        assert!(Report::default().failure().is_some());
        let json = serde_json::to_value(Report::default()).unwrap();
        for field in ["accepted", "delivered", "receipts_verified", "suite", "messages"] {
            assert!(json.get(field).is_some(), "{field}");
        }
    }
}
