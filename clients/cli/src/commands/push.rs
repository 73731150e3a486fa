//! `qpc devices push`: how this device is woken while it is away.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Subcommand;
use qpc_sdk::{PushEndpoint, PushState};
use serde::Serialize;
use serde_json::json;

use crate::{
    engine::{On, Outcome},
    text,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What to do about it.
#[derive(Subcommand, Debug)]
pub(super) enum PushAction {
    /// Say how; what happens without a command
    Show,
    /// Call there: the endpoint of a Web Push subscription, as a UnifiedPush distributor gives one
    Set {
        /// https://…
        url: String,
    },
    /// Call nowhere
    Off,
}

#[derive(Serialize)]
struct PushRecord<'a> {
    state: &'static str,
    url: Option<&'a str>,
    since_ms: Option<u64>,
    server_key: Option<String>,
}

/// The words of the chat.
pub(super) fn parse(words: &[&str]) -> Option<Option<PushAction>> {
    match words {
        [] => Some(None),
        ["show"] => Some(Some(PushAction::Show)),
        ["off"] => Some(Some(PushAction::Off)),
        ["set", url] => Some(Some(PushAction::Set { url: (*url).to_owned() })),
        _ => None,
    }
}

pub(super) async fn act(on: &On, action: Option<&PushAction>) -> anyhow::Result<Outcome> {
    match action {
        None | Some(PushAction::Show) => Ok(shown(&on.client.push_endpoint().await?)),
        Some(PushAction::Set { url }) => {
            on.client.set_push_endpoint(url).await?;
            let line = format!("woken by {} from now on", text::safe(host(url)));
            Ok(Outcome::item("qpc.push_set/1", &json!({"set": true}), line))
        }
        Some(PushAction::Off) => {
            on.client.remove_push_endpoint().await?;
            Ok(Outcome::item("qpc.push_set/1", &json!({"set": false}), "not woken any more"))
        }
    }
}

/// The rest of a URL is a secret: whoever has it can call.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn shown(endpoint: &PushEndpoint) -> Outcome {
    let (state, line) = match endpoint.state {
        PushState::Off => ("off", "not woken".to_owned()),
        PushState::Set => {
            ("set", format!("woken by {}", text::safe(host(endpoint.url.as_deref().unwrap_or_default()))))
        }
        PushState::Gone => ("gone", "not woken: the push service says that the subscription is over".to_owned()),
        PushState::Refused => ("refused", "not woken: the push service refused again and again".to_owned()),
    };
    let server_key = endpoint.server_key.as_ref().map(|key| BASE64_URL_SAFE_NO_PAD.encode(key));
    let lines = match &server_key {
        Some(key) => format!("{line}\nserver key {key}"),
        None => format!("{line}\nthis server wakes nobody"),
    };
    let record = PushRecord {
        state,
        url: endpoint.url.as_deref(),
        since_ms: (endpoint.state != PushState::Off).then_some(endpoint.since_day * DAY_MS),
        server_key,
    };
    Outcome::item("qpc.push/1", &record, lines)
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn of_a_url_the_host_is_shown() {
        assert_eq!(host("https://ntfy.example.org/up1234?up=1"), "ntfy.example.org");
        assert_eq!(host("https://127.0.0.1:8443"), "127.0.0.1:8443");
        assert_eq!(host("https://h?secret"), "h");
        assert_eq!(host("nonsense"), "nonsense");
    }
}
