//! `qpc verify`, `/verify`: whether somebody's key is theirs.

use clap::Args;
use qpc_sdk::{PeerIdentity, PeerTrust, SafetyProof};
use serde_json::json;

use crate::{
    engine::{Act, Cli, On, Outcome, Row, Run, Said, Slash, act, args},
    exit::VERIFICATION,
    qr, records,
};

/// Digits that stand together, and such groups in a line.
const GROUP: usize = 5;
const LINE: usize = 4;
/// Of what is shown.
const SCHEMA: &str = "qpc.safety_number/1";

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "verify",
        aliases: &[],
        about: "Show the safety number of you and somebody, and say that it is the same at theirs",
        after: "Examples:\n  qpc verify bob\n  qpc verify bob --confirm \"12345 67890 …\"\n  qpc verify bob --accept\n\n\
            Compare the 60 digits with what bob sees, by voice or side by side. They change only when one of you has another\n\
            key, as after a loss of everything; then both numbers are shown, and nothing is sent until you --accept the new\n\
            one, or --keep to the old.\n\n\
            Exit code 8 when the digits are others, and while another key waits for your decision.",
        args: args::<Verify>,
        run: Run::Act(act::<Verify>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["verify"],
        form: "/verify USER [DIGITS|off|accept|keep]",
        about: "show the safety number of you and USER; say that theirs is DIGITS, or which of two keys is theirs",
        parse: |words| match words {
            [] => None,
            [user] => Said::act(Verify::of(user)),
            [user, "off"] => Said::act(Verify { unverify: true, ..Verify::of(user) }),
            [user, "accept"] => Said::act(Verify { accept: true, ..Verify::of(user) }),
            [user, "keep"] => Said::act(Verify { keep: true, ..Verify::of(user) }),
            [user, digits @ ..] => Said::act(Verify { confirm: Some(digits.concat()), ..Verify::of(user) }),
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Verify {
    /// Whom
    user: String,
    /// The digits that the other sees
    #[arg(long, value_name = "DIGITS")]
    confirm: Option<String>,
    /// Take the mark away
    #[arg(long, conflicts_with = "confirm")]
    unverify: bool,
    /// Believe the new key that is shown under the name
    #[arg(long, conflicts_with_all = ["confirm", "unverify"])]
    accept: bool,
    /// Go on with the key under which the name was met
    #[arg(long, conflicts_with_all = ["confirm", "unverify", "accept"])]
    keep: bool,
}

impl Verify {
    fn of(user: &str) -> Self {
        Self { user: user.to_owned(), confirm: None, unverify: false, accept: false, keep: false }
    }
}

impl Act for Verify {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let user = self.user.strip_prefix('@').unwrap_or(&self.user);
        if let Some(digits) = &self.confirm {
            on.client.verify_peer(user, &SafetyProof::Digits(digits.clone())).await?;
        } else if self.unverify {
            // A slip in the name is told, and marks nobody.
            on.client.peer(user).await?;
            on.client.unverify(user).await?;
        } else if self.accept {
            on.client.accept_identity(user).await?;
        } else if self.keep {
            on.client.keep_identity(user).await?;
        }
        Ok(shown(&on.client.peer(user).await?))
    }
}

/// What is known of somebody, and both numbers while there are two keys to decide between.
fn shown(peer: &PeerIdentity) -> Outcome {
    let user = &peer.username;
    let undecided = peer.other.as_ref().filter(|_| peer.trust == PeerTrust::Changed);
    let digits = peer.number.digits();
    let code = qr::draw(peer.number.scan()).unwrap_or_default();
    let trust = records::trust(peer.trust);
    let mut text = format!("{user}: {trust}\n{}\n{}", grouped(&digits), code.trim_end());
    let mut fields = json!({
        "username": user, "account": peer.account.to_string(), "trust": trust, "digits": digits,
        "other_account": null, "other_digits": null,
    });
    let Some((account, number)) = undecided else { return Outcome::item(SCHEMA, &fields, text) };
    text.push_str(&format!("\n⚠ the server shows another key under this name:\n{}", grouped(&number.digits())));
    fields["other_account"] = account.to_string().into();
    fields["other_digits"] = number.digits().into();
    let outcome = Outcome::item(SCHEMA, &fields, text).note(format!(
        "nothing is sent to {user} before you decide: qpc verify {user} --accept believes the new key, --keep stays with the \
         old one (/verify {user} accept|keep)"
    ));
    Outcome { code: VERIFICATION, ..outcome }
}

/// Twelve groups of five digits, four in a line.
fn grouped(digits: &str) -> String {
    let digits: Vec<char> = digits.chars().filter(char::is_ascii_digit).collect();
    let groups: Vec<String> = digits.chunks(GROUP).map(|group| group.iter().collect()).collect();
    groups.chunks(LINE).map(|line| format!("  {}", line.join(" "))).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn digits_stand_in_groups() {
        let lines = super::grouped(&"12345".repeat(12));
        assert_eq!(lines.lines().collect::<Vec<_>>(), ["  12345 12345 12345 12345"; 3]);
    }
}
