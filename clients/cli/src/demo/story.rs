//! What happens, in its order, and what each step proves.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use qpc_sdk::{ConversationId, MessageState};
use tokio::time::Instant;

use super::{
    person::Person,
    report::{MessageReport, Report},
};
use crate::console::say;

const FROM_ALICE: [&str; 2] = ["Hi Bob! Can anybody read this on the way?", "Not even the server?"];
const FROM_BOB: [&str; 2] =
    ["Only you and I. The keys never leave our devices.", "It knows when and to whom, not what."];
const WHILE_AWAY: [&str; 3] =
    ["You just went offline, so this waits for you.", "So does this.", "In this order, and each of them once."];
const AT_LAST: &str = "All there. Talk to you later!";

/// The stage.
pub(crate) struct Story {
    folder: PathBuf,
    server: String,
    certificate: PathBuf,
    aloud: bool,
}

impl Story {
    pub(crate) fn new(folder: &Path, server: &qpc_server::Embedded, aloud: bool) -> Self {
        let address = server.local_addr().to_string();
        Self { folder: folder.join("clients"), server: address, certificate: server.certificate.clone(), aloud }
    }

    /// From the first hello to the last; `report` grows on the way.
    pub(crate) async fn tell(&self, report: &mut Report) -> anyhow::Result<()> {
        self.say(format!("A server listens on {} (QUIC, TLS 1.3, X25519MLKEM768 preferred).", self.server));
        let mut alice = self.arrive("alice").await?;
        let mut bob = self.arrive("bob").await?;
        self.say("Both registered and logged in with OPAQUE: the server has never seen a password.");

        let conversation = alice.client.dm("bob").await?;
        let info = alice.client.conversation(conversation).await?;
        report.suite = info.suite.name();
        self.say(format!("alice opens a conversation with bob: MLS group of two devices, epoch {}.", info.epoch));
        self.say(format!("  suite {}", report.suite));
        self.say("  bob's certificate was checked against his account key, which is pinned from now on.");

        self.heading("Both are online");
        for text in FROM_ALICE {
            self.exchange(report, &mut alice, &mut bob, conversation, text).await?;
        }
        for text in FROM_BOB {
            self.exchange(report, &mut bob, &mut alice, conversation, text).await?;
        }

        self.heading("bob renews his keys");
        let epoch = bob.client.update_keys(conversation).await?;
        alice.follows_to(conversation, epoch).await?;
        self.say(format!("  epoch {epoch}: whoever had copied bob's keys before is shut out."));

        self.heading("bob goes offline");
        bob.leave().await;
        let first = report.messages.len();
        for text in WHILE_AWAY {
            self.leave_behind(report, &mut alice, conversation, text).await?;
        }

        self.heading("bob comes back");
        let mut bob = self.arrive("bob").await?;
        for index in first..report.messages.len() {
            self.collect(report, &mut bob, index).await?;
        }
        self.exchange(report, &mut bob, &mut alice, conversation, AT_LAST).await?;
        self.compare(report, &alice, &bob, conversation).await?;
        alice.leave().await;
        bob.leave().await;
        Ok(())
    }

    async fn arrive(&self, name: &'static str) -> anyhow::Result<Person> {
        Person::arrive(name, &self.folder, &self.server, &self.certificate).await
    }

    /// A message between two who are online.
    async fn exchange(
        &self,
        report: &mut Report,
        from: &mut Person,
        to: &mut Person,
        conversation: ConversationId,
        text: &'static str,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let index = self.write(report, from, to.name, false, conversation, text, begun).await?;
        self.read(report, to, index).await?;
        let message = &mut report.messages[index];
        message.delivery_ms = Some(millis(begun));
        self.say(format!(
            "  {:>5}: {text}\n         ✓ receipt verified   ✓✓ read by {} (mailbox {}, epoch {})",
            message.from,
            message.to,
            message.seq.unwrap_or_default(),
            message.epoch.unwrap_or_default(),
        ));
        Ok(())
    }

    /// A message to bob, who is not there.
    async fn leave_behind(
        &self,
        report: &mut Report,
        alice: &mut Person,
        conversation: ConversationId,
        text: &'static str,
    ) -> anyhow::Result<()> {
        self.write(report, alice, "bob", true, conversation, text, Instant::now()).await?;
        self.say(format!("  alice: {text}\n         ✓ receipt verified: durable until bob has it"));
        Ok(())
    }

    async fn collect(&self, report: &mut Report, bob: &mut Person, index: usize) -> anyhow::Result<()> {
        self.read(report, bob, index).await?;
        let message = &report.messages[index];
        self.say(format!("  ✓✓ read by bob: {} (mailbox {})", message.text, message.seq.unwrap_or_default()));
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "one line of a protocol")]
    async fn write(
        &self,
        report: &mut Report,
        from: &mut Person,
        to: &'static str,
        reader_offline: bool,
        conversation: ConversationId,
        text: &'static str,
        begun: Instant,
    ) -> anyhow::Result<usize> {
        let id = from.client.send(conversation, text).await?;
        report.sent += 1;
        report.messages.push(MessageReport {
            id: id.to_string(),
            from: from.name,
            to,
            text,
            reader_offline,
            epoch: None,
            seq: None,
            accepted_at_ms: None,
            receipt_ms: None,
            delivery_ms: None,
        });
        let accepted = from.accepted(id).await?;
        report.accepted += 1;
        ensure!(accepted.recipients == 1, "the receipt is for {} devices", accepted.recipients);
        report.receipts_verified += 1;
        let index = report.messages.len() - 1;
        report.messages[index].accepted_at_ms = Some(accepted.at_ms);
        report.messages[index].receipt_ms = Some(millis(begun));
        Ok(index)
    }

    async fn read(&self, report: &mut Report, reader: &mut Person, index: usize) -> anyhow::Result<()> {
        let received = reader.received().await?;
        let message = &mut report.messages[index];
        ensure!(received.text == message.text, "{} read something else than was written", reader.name);
        ensure!(received.id.to_string() == message.id, "{} read another message", reader.name);
        ensure!(
            received.sender_name.as_deref() == Some(message.from),
            "{} does not know who wrote: {:?}",
            reader.name,
            received.sender_name
        );
        (message.epoch, message.seq) = (Some(received.epoch), received.seq);
        report.delivered += 1;
        Ok(())
    }

    /// Both must be in the same group, and remember the same conversation.
    async fn compare(
        &self,
        report: &mut Report,
        alice: &Person,
        bob: &Person,
        conversation: ConversationId,
    ) -> anyhow::Result<()> {
        report.epoch = alice.client.conversation(conversation).await?.epoch;
        let secrets = (
            alice.client.epoch_authenticator(conversation).await?,
            bob.client.epoch_authenticator(conversation).await?,
        );
        report.epoch_authenticators_agree = secrets.0 == secrets.1;
        report.undecryptable = alice.client.stats().await?.undecryptable + bob.client.stats().await?.undecryptable;
        let written: Vec<&str> = report.messages.iter().map(|message| message.text).collect();
        for person in [alice, bob] {
            let history = person.client.history(conversation, 1_000).await?;
            let texts: Vec<&str> = history.iter().map(|message| message.text.as_str()).collect();
            ensure!(texts == written, "{} remembers another conversation", person.name);
            // Each tells the other in its own time what has arrived.
            let settled =
                |state| matches!(state, MessageState::Accepted | MessageState::Delivered | MessageState::Received);
            ensure!(history.iter().all(|message| settled(message.state)), "{} has loose ends", person.name);
        }
        Ok(())
    }

    fn heading(&self, text: &str) {
        self.say(format!("\n{text}"));
    }

    fn say(&self, line: impl std::fmt::Display) {
        if self.aloud {
            say(line);
        }
    }
}

fn millis(begun: Instant) -> f64 {
    (begun.elapsed().as_secs_f64() * 10_000.0).round() / 10.0
}
