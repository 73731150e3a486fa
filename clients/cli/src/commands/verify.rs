//! `qpc verify`, `/verify`: whether somebody's key is theirs.

use clap::Args;
use qpc_sdk::{PeerTrust, SafetyProof};
use serde_json::json;

use crate::{
    engine::{Act, Cli, On, Outcome, Row, Run, Said, Slash, act, args},
    qr,
};

/// Digits that stand together, and such groups in a line.
const GROUP: usize = 5;
const LINE: usize = 4;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "verify",
        aliases: &[],
        about: "Show the safety number of you and somebody, and say that it is the same at theirs",
        after: "Examples:\n  qpc verify bob\n  qpc verify bob --confirm \"12345 67890 …\"\n  qpc verify bob --accept\n\n\
            Compare the 60 digits with what bob sees, by voice or side by side. They change only when one of you has another\n\
            key, as after a loss of everything; then nothing is sent until you --accept the new one, or --keep to the old.\n\n\
            Exit code 8 when the digits are others.",
        args: args::<Verify>,
        run: Run::Act(act::<Verify>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["verify"],
        form: "/verify USER [DIGITS]",
        about: "show the safety number of you and USER, or say that theirs is DIGITS",
        parse: |words| match words {
            [user, digits @ ..] => {
                let confirm = Some(digits.concat()).filter(|digits| !digits.is_empty());
                Said::act(Verify { confirm, ..Verify::of(user) })
            }
            [] => None,
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
            on.client.unverify(user).await?;
        } else if self.accept {
            on.client.accept_identity(user).await?;
        } else if self.keep {
            on.client.keep_identity(user).await?;
        }
        let peer = on.client.peer(user).await?;
        let trust = match peer.trust {
            PeerTrust::Unverified => "unverified",
            PeerTrust::Verified => "verified",
            PeerTrust::Changed => "changed",
            PeerTrust::Former => "former",
        };
        let (digits, scan) = (peer.number.digits(), peer.number.scan());
        let code = qr::draw(&scan).unwrap_or_default();
        let text = format!("{user}: {trust}\n{}\n{code}", grouped(&digits));
        let fields = json!({
            "username": user, "account": peer.account.to_string(), "trust": trust, "digits": digits.replace(' ', ""),
        });
        Ok(Outcome::item("qpc.safety_number/1", &fields, text.trim_end()))
    }
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
