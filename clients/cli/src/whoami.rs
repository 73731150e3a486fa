//! `qpc whoami`

use std::process::ExitCode;

use qpc_sdk::{Client, Identification, Stats};

use crate::{args::AccountArgs, console::say};

pub(crate) async fn run(args: AccountArgs) -> anyhow::Result<ExitCode> {
    let client = Client::open(args.existing()?).await?;
    let (who, stats) = (client.whoami().await?, client.stats().await?);
    describe(&who, &stats).iter().for_each(say);
    client.close().await;
    Ok(ExitCode::SUCCESS)
}

/// What there is to say, a line each.
pub(crate) fn describe(who: &Identification, stats: &Stats) -> Vec<String> {
    let registered = if who.registered { "registered" } else { "not registered yet" };
    vec![
        format!("user      {} ({registered})", who.username),
        format!("account   {}", who.account),
        format!("device    {}", who.device),
        format!("mailbox   read up to {}, {} unreadable", stats.cursor, stats.undecryptable),
        format!("receipts  {} verified", stats.receipts_verified),
        format!("outbox    {} waiting", stats.outbox),
    ]
}
