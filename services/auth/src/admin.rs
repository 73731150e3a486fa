//! What admins may do, each in the transaction that also writes the audit log.

use bytes::Bytes;
use qpc_chassis::db::Tx;
use qpc_crypto::AccountInvite;
use qpc_wire::{
    AccountId, DeviceId,
    admin::v1::{self, Who, who},
    limits::quotas,
    methods::CountDeliveries,
    v1::{CountDeliveriesRequest, administer_request::Call, administer_response::Answer},
};

use crate::{
    Auth,
    error::Error,
    store::{
        accounts, audit, gateways,
        invites::{self, NewInvite},
        reports,
    },
};

/// Rows of a page: at most, and when no number is named.
const PAGE: (u32, u32) = (500, 100);
/// Accounts that one invite is good for at the most.
pub(crate) const MAX_USES: u32 = 100_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Life of an invite, milliseconds: at most, and when none is named.
const INVITE_MS: (u64, u64) = (366 * DAY_MS, 7 * DAY_MS);

/// What is left to do once a call is committed.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Devices whose sessions are void.
    pub(crate) sessions_ended: Vec<DeviceId>,
    /// Other services have something to forget.
    pub(crate) revoked: bool,
}

/// Name of a call in the audit log.
pub(crate) fn action(call: &Call) -> &'static str {
    match call {
        Call::ListUsers(_) => "ListUsers",
        Call::ShowUser(_) => "ShowUser",
        Call::BanUser(_) => "BanUser",
        Call::UnbanUser(_) => "UnbanUser",
        Call::RequestDeletion(_) => "RequestDeletion",
        Call::SetQuota(_) => "SetQuota",
        Call::ListDevices(_) => "ListDevices",
        Call::RevokeDevice(_) => "RevokeDevice",
        Call::ListReports(_) => "ListReports",
        Call::ShowReport(_) => "ShowReport",
        Call::ResolveReport(_) => "ResolveReport",
        Call::ListGateways(_) => "ListGateways",
        Call::DrainGateway(_) => "DrainGateway",
        Call::Stats(_) => "Stats",
        Call::ListAudit(_) => "ListAudit",
        Call::VerifyAudit(_) => "VerifyAudit",
        Call::CreateInvite(_) => "CreateInvite",
        Call::ListInvites(_) => "ListInvites",
        Call::RevokeInvite(_) => "RevokeInvite",
    }
}

/// Whom or what a call names, as far as it is an id; an account that is named by its name is found out later, and names stay
/// out of the log.
pub(crate) fn subject(call: &Call) -> String {
    let id = |bytes: &[u8]| if bytes.len() == AccountId::LEN { hex::encode(bytes) } else { String::new() };
    let of = |who: &Option<Who>| match who {
        Some(Who { who: Some(who::Who::AccountId(account)) }) => id(account),
        _ => String::new(),
    };
    match call {
        Call::ShowUser(request) => of(&request.user),
        Call::BanUser(request) => of(&request.user),
        Call::UnbanUser(request) => of(&request.user),
        Call::RequestDeletion(request) => of(&request.user),
        Call::SetQuota(request) => of(&request.user),
        Call::ListDevices(request) => of(&request.user),
        Call::RevokeDevice(request) => id(&request.device_id),
        Call::ShowReport(request) => id(&request.report_id),
        Call::ResolveReport(request) => id(&request.report_id),
        Call::RevokeInvite(request) => id(&request.invite_id),
        Call::DrainGateway(request) => {
            let is_id = request.gateway_id.len() <= 32 && request.gateway_id.bytes().all(|c| c.is_ascii_hexdigit());
            if is_id { request.gateway_id.clone() } else { String::new() }
        }
        Call::ListUsers(_)
        | Call::ListReports(_)
        | Call::ListGateways(_)
        | Call::Stats(_)
        | Call::CreateInvite(_)
        | Call::ListInvites(_)
        | Call::ListAudit(_)
        | Call::VerifyAudit(_) => String::new(),
    }
}

/// Does it. `subject` becomes the account that was meant.
pub(crate) async fn run(
    auth: &Auth,
    tx: &mut Tx,
    call: Call,
    now_ms: u64,
    subject: &mut String,
    done: &mut Done,
) -> Result<Answer, Error> {
    match call {
        Call::ListUsers(_)
        | Call::ShowUser(_)
        | Call::BanUser(_)
        | Call::UnbanUser(_)
        | Call::RequestDeletion(_)
        | Call::SetQuota(_) => users(tx, call, now_ms, subject, done).await,
        Call::ListDevices(request) => {
            let account = account(tx, request.user, subject).await?;
            let devices = accounts::devices(tx, account).await?;
            Ok(Answer::ListDevices(v1::ListDevicesResponse { devices }))
        }
        Call::RevokeDevice(request) => {
            let device = DeviceId::try_from(&request.device_id)?;
            accounts::revoke(tx, device, now_ms).await?;
            done.sessions_ended.push(device);
            done.revoked = true;
            Ok(Answer::RevokeDevice(v1::RevokeDeviceResponse {}))
        }
        Call::ListReports(_) | Call::ShowReport(_) | Call::ResolveReport(_) => moderate(tx, call, now_ms).await,
        Call::CreateInvite(_) | Call::ListInvites(_) | Call::RevokeInvite(_) => {
            invite(auth, tx, call, now_ms, subject).await
        }
        Call::ListGateways(_) | Call::DrainGateway(_) | Call::Stats(_) => operate(auth, tx, call, now_ms).await,
        Call::ListAudit(request) => {
            let entries = audit::list(tx, below(request.before), page(request.limit)).await?;
            Ok(Answer::ListAudit(v1::ListAuditResponse { entries }))
        }
        Call::VerifyAudit(_) => {
            let (entries, broken_at) = audit::verify(tx, &auth.audit_key).await?;
            Ok(Answer::VerifyAudit(v1::VerifyAuditResponse { entries, broken_at: broken_at.unwrap_or(0) }))
        }
    }
}

async fn users(tx: &mut Tx, call: Call, now_ms: u64, subject: &mut String, done: &mut Done) -> Result<Answer, Error> {
    match call {
        Call::ListUsers(request) => {
            let users = accounts::list(tx, &request.after, page(request.limit), request.banned_only).await?;
            Ok(Answer::ListUsers(v1::ListUsersResponse { users }))
        }
        Call::ShowUser(request) => {
            let account = account(tx, request.user, subject).await?;
            let user = Some(accounts::show(tx, account).await?);
            Ok(Answer::ShowUser(v1::ShowUserResponse { user, quotas: accounts::quotas(tx, account).await? }))
        }
        Call::BanUser(request) => {
            let account = account(tx, request.user, subject).await?;
            text("a reason", 0, &request.reason)?;
            done.sessions_ended = accounts::ban(tx, account, &request.reason, now_ms).await?;
            Ok(Answer::BanUser(v1::BanUserResponse {}))
        }
        Call::UnbanUser(request) => {
            let account = account(tx, request.user, subject).await?;
            accounts::unban(tx, account).await?;
            Ok(Answer::UnbanUser(v1::UnbanUserResponse {}))
        }
        Call::RequestDeletion(request) => {
            let account = account(tx, request.user, subject).await?;
            done.sessions_ended = accounts::ban(tx, account, "to be deleted", now_ms).await?;
            let requested_at_ms = accounts::request_deletion(tx, account, now_ms).await?;
            Ok(Answer::RequestDeletion(v1::RequestDeletionResponse { requested_at_ms }))
        }
        Call::SetQuota(request) => {
            let account = account(tx, request.user, subject).await?;
            accounts::show(tx, account).await?;
            quota(&request.name, request.value)?;
            accounts::set_quota(tx, account, &request.name, request.value).await?;
            Ok(Answer::SetQuota(v1::SetQuotaResponse {}))
        }
        _ => Err(Error::NoCall),
    }
}

async fn moderate(tx: &mut Tx, call: Call, now_ms: u64) -> Result<Answer, Error> {
    match call {
        Call::ListReports(request) => {
            let reports = reports::list(tx, below(request.before_ms), page(request.limit), request.open_only).await?;
            Ok(Answer::ListReports(v1::ListReportsResponse { reports }))
        }
        Call::ShowReport(request) => {
            let (report, evidence) = reports::show(tx, &request.report_id).await?;
            Ok(Answer::ShowReport(v1::ShowReportResponse { report: Some(report), evidence: evidence.into() }))
        }
        Call::ResolveReport(request) => {
            text("a resolution", 1, &request.resolution)?;
            reports::resolve(tx, &request.report_id, &request.resolution, now_ms).await?;
            Ok(Answer::ResolveReport(v1::ResolveReportResponse {}))
        }
        _ => Err(Error::NoCall),
    }
}

async fn invite(auth: &Auth, tx: &mut Tx, call: Call, now_ms: u64, subject: &mut String) -> Result<Answer, Error> {
    match call {
        Call::CreateInvite(request) => {
            text("a note", 0, &request.note)?;
            let (most_ms, usual_ms) = INVITE_MS;
            let uses = if request.uses == 0 { 1 } else { request.uses };
            let valid_ms = if request.valid_ms == 0 { usual_ms } else { request.valid_ms };
            if uses > MAX_USES || valid_ms > most_ms {
                return Err(Error::Invite);
            }
            let (id, code) = (auth.runtime.random(), AccountInvite::from_random(auth.runtime.random()));
            *subject = hex::encode(id);
            let (lookup, expires_ms, note) = (auth.admission.lookup(&code), now_ms + valid_ms, &request.note);
            invites::create(tx, &NewInvite { id, lookup, uses, note, now_ms, expires_ms }).await?;
            let invite = v1::Invite {
                invite_id: Bytes::copy_from_slice(&id),
                uses: uses.into(),
                used: 0,
                created_at_ms: now_ms,
                expires_at_ms: expires_ms,
                note: request.note,
            };
            Ok(Answer::CreateInvite(v1::CreateInviteResponse { invite: Some(invite), code: code.to_string() }))
        }
        Call::ListInvites(request) => {
            let invites = invites::list(tx, below(request.before_ms), page(request.limit)).await?;
            Ok(Answer::ListInvites(v1::ListInvitesResponse { invites }))
        }
        Call::RevokeInvite(request) => {
            invites::revoke(tx, &request.invite_id).await?;
            Ok(Answer::RevokeInvite(v1::RevokeInviteResponse {}))
        }
        _ => Err(Error::NoCall),
    }
}

async fn operate(auth: &Auth, tx: &mut Tx, call: Call, now_ms: u64) -> Result<Answer, Error> {
    match call {
        Call::ListGateways(_) => {
            let gateways = gateways::list(tx, now_ms).await?;
            Ok(Answer::ListGateways(v1::ListGatewaysResponse { gateways }))
        }
        Call::DrainGateway(request) => {
            gateways::drain(tx, &request.gateway_id, now_ms).await?;
            Ok(Answer::DrainGateway(v1::DrainGatewayResponse {}))
        }
        Call::Stats(_) => {
            let counts = gateways::counts(tx, now_ms).await?;
            let delivery = auth.client.call_unasked::<CountDeliveries>(&CountDeliveriesRequest {}).await?;
            Ok(Answer::Stats(v1::StatsResponse {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                users: counts.users,
                banned: counts.banned,
                devices: counts.devices,
                sessions: counts.sessions,
                open_reports: counts.open_reports,
                groups: delivery.groups,
                messages_waiting: delivery.messages_waiting,
                gateways: gateways::list(tx, now_ms).await?,
            }))
        }
        _ => Err(Error::NoCall),
    }
}

/// The account that is meant, whether it exists or not when it is named by its id.
async fn account(tx: &mut Tx, who: Option<Who>, subject: &mut String) -> Result<AccountId, Error> {
    let account = match who.and_then(|who| who.who).ok_or(Error::NoCall)? {
        who::Who::Username(username) => accounts::account_of(tx, &username).await?,
        who::Who::AccountId(account) => AccountId::try_from(&account)?,
    };
    *subject = account.to_string();
    Ok(account)
}

fn page(limit: u32) -> u64 {
    let (most, usual) = PAGE;
    u64::from(if limit == 0 { usual } else { limit.min(most) })
}

/// 0 stands for no bound.
fn below(bound: u64) -> u64 {
    if bound == 0 { u64::MAX } else { bound }
}

fn text(what: &'static str, least: usize, text: &str) -> Result<(), Error> {
    let (actual, most) = (text.len(), reports::MAX_TEXT);
    if (least..=most).contains(&actual) { Ok(()) } else { Err(Error::Length { what, least, most, actual }) }
}

fn quota(name: &str, value: Option<u64>) -> Result<(), Error> {
    // One that no service asks for would limit nothing; taken back it may be.
    let Some(value) = value else { return Ok(()) };
    if quotas::ALL.contains(&name) && i64::try_from(value).is_ok() { Ok(()) } else { Err(Error::Quota) }
}
