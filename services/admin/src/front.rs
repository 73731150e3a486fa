//! From gRPC to the bus and back. What a call does, and its entry in the audit log, is auth's business.

use std::sync::Arc;

use qpc_admin_api::{
    admin_server::Admin,
    tonic::{self, Code, Request, Response, Status},
    v1,
};
use qpc_chassis::rpc::Client;
use qpc_wire::{
    methods::Administer,
    v1::{AdministerRequest, administer_request::Call, administer_response::Answer},
};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// Calls worked on at once; more are RESOURCE_EXHAUSTED.
const CALLS: usize = 32;
/// Bytes of a certificate's hash that name its owner in the audit log.
const ACTOR_BYTES: usize = 16;

/// See the module.
pub(crate) struct Front {
    client: Client,
    calls: Arc<Semaphore>,
}

impl Front {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, calls: Arc::new(Semaphore::new(CALLS)) }
    }

    async fn call(&self, actor: String, call: Call) -> Result<Answer, Status> {
        let busy = |_| Status::resource_exhausted("too many admin calls at once");
        let _slot = self.calls.try_acquire().map_err(busy)?;
        let request = AdministerRequest { actor, call: Some(call) };
        let answer = self.client.call_unasked::<Administer>(&request).await.map_err(status)?;
        answer.answer.ok_or_else(malformed)
    }
}

/// The codes are the same, number by number.
fn status(status: qpc_wire::Status) -> Status {
    Status::new(Code::from(status.code as i32), status.message)
}

fn malformed() -> Status {
    Status::internal("internal error")
}

/// The handshake has let nobody in without one.
fn actor<T>(request: &Request<T>) -> Result<String, Status> {
    let certificates = request.peer_certs().ok_or_else(|| Status::unauthenticated("no client certificate"))?;
    let certificate = certificates.first().ok_or_else(|| Status::unauthenticated("no client certificate"))?;
    Ok(hex::encode(&Sha256::digest(certificate)[..ACTOR_BYTES]))
}

macro_rules! admin {
    ($($method:ident $call:ident $request:ident $response:ident;)*) => {
        #[tonic::async_trait]
        impl Admin for Front {
            $(
                async fn $method(&self, request: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                    match self.call(actor(&request)?, Call::$call(request.into_inner())).await? {
                        Answer::$call(answer) => Ok(Response::new(answer)),
                        _ => Err(malformed()),
                    }
                }
            )*
        }
    };
}

admin! {
    list_users ListUsers ListUsersRequest ListUsersResponse;
    show_user ShowUser ShowUserRequest ShowUserResponse;
    ban_user BanUser BanUserRequest BanUserResponse;
    unban_user UnbanUser UnbanUserRequest UnbanUserResponse;
    request_deletion RequestDeletion RequestDeletionRequest RequestDeletionResponse;
    set_quota SetQuota SetQuotaRequest SetQuotaResponse;
    create_invite CreateInvite CreateInviteRequest CreateInviteResponse;
    list_invites ListInvites ListInvitesRequest ListInvitesResponse;
    revoke_invite RevokeInvite RevokeInviteRequest RevokeInviteResponse;
    list_devices ListDevices ListDevicesRequest ListDevicesResponse;
    revoke_device RevokeDevice RevokeDeviceRequest RevokeDeviceResponse;
    list_reports ListReports ListReportsRequest ListReportsResponse;
    show_report ShowReport ShowReportRequest ShowReportResponse;
    resolve_report ResolveReport ResolveReportRequest ResolveReportResponse;
    list_gateways ListGateways ListGatewaysRequest ListGatewaysResponse;
    drain_gateway DrainGateway DrainGatewayRequest DrainGatewayResponse;
    stats Stats StatsRequest StatsResponse;
    list_audit ListAudit ListAuditRequest ListAuditResponse;
    verify_audit VerifyAudit VerifyAuditRequest VerifyAuditResponse;
}
