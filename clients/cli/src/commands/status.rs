//! `qpc status`, `/status`: how things stand.

use clap::Args;
use qpc_sdk::Error;
use qpc_wire::{methods, v1};
use serde_json::json;

use super::ping::{answer, millis, reach};
use crate::engine::{Act, Cli, Needs, On, Outcome, Row, Run, Said, Slash, act, args};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "status",
        about: "Say how things stand: connection, server, mailbox, outbox",
        after: "Example:\n  qpc status --json\n\nExit code 4 if the server cannot be reached; the rest is said all the same.",
        args: args::<Status>,
        run: Run::Act(act::<Status>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["status"],
        form: "/status",
        about: "how things stand: connection, server, mailbox, outbox",
        parse: |words| words.is_empty().then(|| Said::act(Status {})).flatten(),
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Status {}

/// What the server says of itself.
struct Server {
    version: String,
    ms: f64,
    line: String,
}

impl Act for Status {
    // What is wrong with the connection is what is asked for.
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let login = on.client.connect().await;
        let server = match &login {
            Ok(()) => ask(on).await,
            Err(_) => Err(Error::Offline.into()),
        };
        let (stats, conversations) = (on.client.stats().await?, on.client.conversations().await?);
        let unread: u64 = conversations.iter().map(|info| info.unread).sum();
        let ill = conversations.iter().filter(|info| info.stuck || info.missing > 0).count();
        let link = match &login {
            Ok(()) => "connected, logged in".to_owned(),
            Err(error) => format!("not connected: {error}"),
        };
        let mut lines = vec![format!("link      {link}"), format!("server    {}", on.place.server)];
        lines.extend(server.as_ref().ok().map(|server| server.line.clone()));
        lines.push(format!("mailbox   read up to {} · {} unreadable", stats.cursor, stats.undecryptable));
        lines.push(format!("outbox    {} waiting", stats.outbox));
        lines.push(format!(
            "here      {} conversations · {unread} unread · {ill} being repaired or with holes",
            conversations.len()
        ));
        let server = server.ok();
        let fields = json!({
            "connected": login.is_ok(),
            "error": login.as_ref().err().map(ToString::to_string),
            "server": on.place.server,
            "server_version": server.as_ref().map(|server| &server.version),
            "latency_ms": server.as_ref().map(|server| server.ms),
            "client_version": env!("CARGO_PKG_VERSION"),
            "cursor": stats.cursor,
            "undecryptable": stats.undecryptable,
            "outbox": stats.outbox,
            "conversations": conversations.len(),
            "unread": unread,
            "ill": ill,
        });
        let outcome = Outcome::item("qpc.status/1", &fields, lines.join("\n"));
        let code = login.err().map_or(0, |error| crate::exit::of_sdk(&error));
        Ok(Outcome { code, ..outcome })
    }
}

async fn ask(on: &On) -> anyhow::Result<Server> {
    let connection = reach(&on.place).await?;
    let took = answer(&connection).await?;
    let info = connection.call::<methods::ServerInfo>(&v1::ServerInfoRequest {}).await.map_err(Error::from)?;
    connection.close();
    let version = crate::text::label(&info.version);
    let line =
        format!("          version {version} · this is {} · answers in {}", env!("CARGO_PKG_VERSION"), millis(took));
    Ok(Server { version, ms: took.as_secs_f64() * 1000.0, line })
}
