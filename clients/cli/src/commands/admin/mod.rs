//! `qpc admin`: what operators do, over the admin API.

mod args;
mod show;

use std::{fs, path::Path, process::ExitCode};

use anyhow::Context as _;
use qpc_admin_api::{
    Access,
    admin_client::AdminClient,
    connect,
    tonic::{self, Code, Status, transport::Channel},
    v1::{self, Who, who},
};
use serde_json::{Value, json};

use self::args::{Action, AdminArgs, AuditAction, InvitesAction};
use crate::{
    console,
    engine::{Cli, Item, Row, Run, args as arguments, program},
    exit,
    render::Render,
    settings::Settings,
};

type Client = AdminClient<Channel>;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "admin",
        about: "What operators do, over the admin API",
        after: "Examples:\n  \
            qpc admin stats --json | jq .users\n  \
            qpc admin users --banned\n  \
            qpc admin ban mallory --reason spam\n  \
            qpc admin invites create --uses 5 --expires 7d\n  \
            qpc admin --api admin.example:7001 --folder ~/admin-certs audit verify\n  \
            qpc admin drain 0011223344556677       as qpc admin gateways shows it\n\n\
            USER is a name or an account id. Every call is kept in the audit log of the server.",
        args: arguments::<AdminArgs>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[],
};

/// Does it, and says how it ended.
async fn run(args: AdminArgs, settings: Settings) -> anyhow::Result<ExitCode> {
    let access = access(&args)?;
    let server = access.server.clone();
    let client = match connect(access).await {
        Ok(client) => client,
        Err(error) => {
            let error = anyhow::Error::from(error).context(format!("the admin API at {server}"));
            console::complain(format_args!("qpc: {error:#}"));
            return Ok(ExitCode::from(exit::UNREACHABLE));
        }
    };
    match act(client, args.action).await {
        Ok(answer) => {
            let text = show::lines(&answer).join("\n");
            Render::new(&settings).item(&Item::new("qpc.admin/1", &answer, text));
            let broken = answer.get("broken_at").is_some_and(|seq| !seq.is_null());
            Ok(if broken { ExitCode::from(exit::VERIFICATION) } else { ExitCode::SUCCESS })
        }
        Err(status) => {
            console::complain(format_args!("qpc: {}", status.message()));
            Ok(ExitCode::from(code(&status)))
        }
    }
}

/// As for errors of the SDK.
fn code(status: &Status) -> u8 {
    match status.code() {
        Code::InvalidArgument => 2,
        Code::Unauthenticated => 3,
        Code::Unavailable | Code::DeadlineExceeded => exit::UNREACHABLE,
        Code::NotFound => 5,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => 6,
        Code::PermissionDenied => 7,
        Code::ResourceExhausted => 9,
        _ => 1,
    }
}

fn access(args: &AdminArgs) -> anyhow::Result<Access> {
    let read = |given: &Option<std::path::PathBuf>, name: &str| {
        let path = given.clone().unwrap_or_else(|| args.folder.join(name));
        fs::read(&path).with_context(|| unreadable(&path))
    };
    Ok(Access {
        server: args.api.clone(),
        server_name: args.api_name.clone(),
        ca: read(&args.ca, "ca.pem")?,
        identity: Some((read(&args.cert, "admin.pem")?, read(&args.key, "admin-key.pem")?)),
    })
}

fn unreadable(path: &Path) -> String {
    format!("{} (made by qpc-server --admin-listen, or given by --ca, --cert and --key)", path.display())
}

/// A name, or the 32 digits of an account id.
fn user(text: String) -> Option<Who> {
    let who = match hex(&text) {
        Some(id) => who::Who::AccountId(id.into()),
        None => who::Who::Username(text),
    };
    Some(Who { who: Some(who) })
}

fn id(text: &str) -> Result<Vec<u8>, Status> {
    hex(text).ok_or_else(|| Status::invalid_argument(format!("{text:?} is no id of 32 hexadecimal digits")))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    digits.then(|| (0..32).step_by(2).filter_map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect())
}

/// Makes the call; what it answered, as it is printed with `--json`.
async fn act(mut client: Client, action: Action) -> Result<Value, Status> {
    let done = || json!({ "done": true });
    Ok(match action {
        Action::Users { banned, after, limit } => {
            let request = v1::ListUsersRequest { after: after.unwrap_or_default(), limit, banned_only: banned };
            let users = client.list_users(request).await?.into_inner().users;
            json!({ "users": users.iter().map(show::user).collect::<Vec<_>>() })
        }
        Action::Show { user: who } => {
            let shown = client.show_user(v1::ShowUserRequest { user: user(who) }).await?.into_inner();
            json!({ "user": shown.user.as_ref().map(show::user), "quotas": show::quotas(&shown.quotas) })
        }
        Action::Ban { user: who, reason } => {
            client.ban_user(v1::BanUserRequest { user: user(who), reason }).await?;
            done()
        }
        Action::Unban { user: who } => {
            client.unban_user(v1::UnbanUserRequest { user: user(who) }).await?;
            done()
        }
        Action::Delete { user: who } => {
            let request = v1::RequestDeletionRequest { user: user(who) };
            json!({ "requested_at_ms": client.request_deletion(request).await?.into_inner().requested_at_ms })
        }
        Action::Quota { user: who, name, value } => {
            client.set_quota(v1::SetQuotaRequest { user: user(who), name, value }).await?;
            done()
        }
        Action::Devices { user: who } => {
            let devices = client.list_devices(v1::ListDevicesRequest { user: user(who) }).await?.into_inner().devices;
            json!({ "devices": devices.iter().map(show::device).collect::<Vec<_>>() })
        }
        Action::Revoke { device } => {
            client.revoke_device(v1::RevokeDeviceRequest { device_id: id(&device)?.into() }).await?;
            done()
        }
        Action::Gateways => {
            let gateways = client.list_gateways(v1::ListGatewaysRequest {}).await?.into_inner().gateways;
            json!({ "gateways": gateways.iter().map(show::gateway).collect::<Vec<_>>() })
        }
        Action::Drain { gateway } => {
            client.drain_gateway(v1::DrainGatewayRequest { gateway_id: gateway }).await?;
            done()
        }
        Action::Stats => show::stats(&client.stats(v1::StatsRequest {}).await?.into_inner()),
        Action::Reports { open, before_ms, limit } => {
            let request = v1::ListReportsRequest { before_ms, limit, open_only: open };
            let reports = client.list_reports(request).await?.into_inner().reports;
            json!({ "reports": reports.iter().map(show::report).collect::<Vec<_>>() })
        }
        Action::Report { report } => {
            let shown =
                client.show_report(v1::ShowReportRequest { report_id: id(&report)?.into() }).await?.into_inner();
            json!({ "report": shown.report.as_ref().map(show::report), "evidence": show::hex(&shown.evidence) })
        }
        Action::Resolve { report, resolution } => {
            let request = v1::ResolveReportRequest { report_id: id(&report)?.into(), resolution };
            client.resolve_report(request).await?;
            done()
        }
        Action::Invites { action } => invites(client, action).await?,
        Action::Audit { action } => audit(client, action).await?,
    })
}

async fn invites(mut client: Client, action: InvitesAction) -> Result<Value, tonic::Status> {
    Ok(match action {
        InvitesAction::Create { uses, expires, note } => {
            let request = v1::CreateInviteRequest { uses, valid_ms: expires, note };
            let made = client.create_invite(request).await?.into_inner();
            let invite = made.invite.unwrap_or_default();
            json!({ "code": made.code, "invite": show::hex(&invite.invite_id), "uses": invite.uses, "expires_at_ms": invite.expires_at_ms })
        }
        InvitesAction::List { before_ms, limit } => {
            let invites = client.list_invites(v1::ListInvitesRequest { before_ms, limit }).await?.into_inner().invites;
            json!({ "invites": invites.iter().map(show::invite).collect::<Vec<_>>() })
        }
        InvitesAction::Revoke { invite } => {
            client.revoke_invite(v1::RevokeInviteRequest { invite_id: id(&invite)?.into() }).await?;
            json!({ "done": true })
        }
    })
}

async fn audit(mut client: Client, action: AuditAction) -> Result<Value, tonic::Status> {
    Ok(match action {
        AuditAction::List { before, limit } => {
            let entries = client.list_audit(v1::ListAuditRequest { before, limit }).await?.into_inner().entries;
            json!({ "entries": entries.iter().map(show::entry).collect::<Vec<_>>() })
        }
        AuditAction::Verify => {
            let found = client.verify_audit(v1::VerifyAuditRequest {}).await?.into_inner();
            json!({ "entries": found.entries, "broken_at": (found.broken_at > 0).then_some(found.broken_at) })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_or_an_id() {
        let who = |text: &str| user(text.to_owned()).unwrap().who.unwrap();
        assert_eq!(who("alice"), who::Who::Username("alice".into()));
        assert_eq!(who(&"0a".repeat(16)), who::Who::AccountId(vec![10; 16].into()));
        assert_eq!(who(&"xy".repeat(16)), who::Who::Username("xy".repeat(16)));
    }

    #[test]
    fn refusals_end_with_the_codes_of_all_commands() {
        assert_eq!([Status::not_found(""), Status::unavailable("")].map(|status| code(&status)), [5, 4]);
        assert_eq!([Status::permission_denied(""), Status::internal("")].map(|status| code(&status)), [7, 1]);
    }
}
