//! One file per method, named as in the proto.

mod account_quotas;
mod account_report;
mod administer;
mod delete_account;
mod fetch_link_answer;
mod fetch_link_offer;
mod issue_tokens;
mod link_answer;
mod link_offer;
mod list_devices;
mod opaque_login_finish;
mod opaque_login_start;
mod opaque_register_finish;
mod opaque_register_start;
mod recovery_status;
mod rename_device;
mod report;
mod report_gateway;
mod reset_password;
mod resolve_user;
mod revoke_device;
mod revoked_since;
mod server_info;
mod session_attach;
mod session_end;
mod set_recovery;
mod token_keys;
mod update_recovery;
mod use_recovery_code;

use std::sync::Arc;

use qpc_chassis::{Runtime, rpc::Router};
use qpc_wire::methods;

use crate::Auth;

/// All methods of the service.
pub(crate) fn router(auth: Arc<Auth>, runtime: &Runtime) -> Router<Auth> {
    Router::new(auth, runtime.clone())
        .on::<methods::OpaqueRegisterStart, _, _, _>(opaque_register_start::handle)
        .on::<methods::OpaqueRegisterFinish, _, _, _>(opaque_register_finish::handle)
        .on::<methods::OpaqueLoginStart, _, _, _>(opaque_login_start::handle)
        .on::<methods::OpaqueLoginFinish, _, _, _>(opaque_login_finish::handle)
        .on::<methods::SessionAttach, _, _, _>(session_attach::handle)
        .on::<methods::SessionEnd, _, _, _>(session_end::handle)
        .on::<methods::DeleteAccount, _, _, _>(delete_account::handle)
        .on::<methods::AccountReport, _, _, _>(account_report::handle)
        .on::<methods::ResolveUser, _, _, _>(resolve_user::handle)
        .on::<methods::ListDevices, _, _, _>(list_devices::handle)
        .on::<methods::RevokeDevice, _, _, _>(revoke_device::handle)
        .on::<methods::LinkOffer, _, _, _>(link_offer::handle)
        .on::<methods::FetchLinkOffer, _, _, _>(fetch_link_offer::handle)
        .on::<methods::LinkAnswer, _, _, _>(link_answer::handle)
        .on::<methods::FetchLinkAnswer, _, _, _>(fetch_link_answer::handle)
        .on::<methods::RenameDevice, _, _, _>(rename_device::handle)
        .on::<methods::RevokedSince, _, _, _>(revoked_since::handle)
        .on::<methods::Report, _, _, _>(report::handle)
        .on::<methods::Administer, _, _, _>(administer::handle)
        .on::<methods::ReportGateway, _, _, _>(report_gateway::handle)
        .on::<methods::AccountQuotas, _, _, _>(account_quotas::handle)
        .on::<methods::IssueTokens, _, _, _>(issue_tokens::handle)
        .on::<methods::TokenKeys, _, _, _>(token_keys::handle)
        .on::<methods::SetRecovery, _, _, _>(set_recovery::handle)
        .on::<methods::RecoveryStatus, _, _, _>(recovery_status::handle)
        .on::<methods::UpdateRecovery, _, _, _>(update_recovery::handle)
        .on::<methods::UseRecoveryCode, _, _, _>(use_recovery_code::handle)
        .on::<methods::ResetPassword, _, _, _>(reset_password::handle)
        .on::<methods::ServerInfo, _, _, _>(server_info::handle)
}
