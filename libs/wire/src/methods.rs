//! The one table of calls. Gateway routing, client stubs, metrics labels and the documentation are derived from it.

use bytes::Bytes;

use crate::v1;

/// The service that answers a method; the gateway itself answers [`Owner::Gateway`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Answered at the edge, without a bus.
    Gateway,
    /// Accounts, login, sessions, devices.
    Auth,
    /// KeyPackages and queue keys.
    Keypackage,
    /// Mailboxes and groups.
    Delivery,
    /// Encrypted files.
    Blob,
}

impl Owner {
    /// Name of the service, as in its folder, bus subject and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Auth => "auth",
            Self::Keypackage => "keypackage",
            Self::Delivery => "delivery",
            Self::Blob => "blob",
        }
    }
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Any connection.
    Anonymous,
    /// Only one that is attached to a device.
    Device,
    /// Only services, over the bus. To a client, such a method does not exist.
    Service,
}

/// What a repeated call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Changes something; field 1 of the request is the idempotency key.
    Keyed,
    /// Changes something, and doing it again changes nothing more.
    Natural,
}

/// What goes over the stream of a call besides its two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Nothing.
    Frames,
    /// A body ([`crate::pieces`]) after the request.
    Up,
    /// A body after the response.
    Down,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct MethodInfo {
    /// Number in the request frame.
    pub id: u16,
    /// Name in documentation, logs and metrics.
    pub name: &'static str,
    /// Answering service.
    pub owner: Owner,
    /// Who may call.
    pub access: Access,
    /// What a repetition does.
    pub effect: Effect,
    /// Time the server gives itself, milliseconds.
    pub deadline_ms: u32,
}

impl MethodInfo {
    /// Whether a body goes with the call, and which way. Such calls do not go over the bus.
    pub const fn flow(&self) -> Flow {
        if self.id == BlobPut::INFO.id {
            Flow::Up
        } else if self.id == BlobGet::INFO.id {
            Flow::Down
        } else {
            Flow::Frames
        }
    }
}

/// A method as a type, tying number, request and response together.
pub trait Method: Send + Sync + 'static {
    /// Request message.
    type Request: prost::Message + Default + Clone + 'static;
    /// Response message.
    type Response: prost::Message + Default + 'static;
    /// Row of the table.
    const INFO: MethodInfo;

    /// The idempotency key field of a [`Effect::Keyed`] request.
    fn idempotency_key(request: &Self::Request) -> Option<&Bytes>;
}

/// Something that is done with every method as a type.
pub trait Visitor {
    /// One method.
    fn visit<M: Method>(&mut self);
}

macro_rules! key_of {
    (Keyed, $request:ident) => {
        Some(&$request.idempotency_key)
    };
    ($other:ident, $request:ident) => {{
        let _ = $request;
        None
    }};
}

macro_rules! methods {
    ($($id:literal $name:ident $owner:ident $access:ident $effect:ident $deadline:literal $request:ident $response:ident;)*) => {
        $(
            #[doc = concat!("Method ", stringify!($id), ": `", stringify!($request), "` to `", stringify!($response), "`.")]
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            impl Method for $name {
                type Request = v1::$request;
                type Response = v1::$response;
                const INFO: MethodInfo = MethodInfo {
                    id: $id,
                    name: stringify!($name),
                    owner: Owner::$owner,
                    access: Access::$access,
                    effect: Effect::$effect,
                    deadline_ms: $deadline,
                };

                fn idempotency_key(request: &Self::Request) -> Option<&Bytes> {
                    key_of!($effect, request)
                }
            }
        )*

        /// Shows every method to `visitor`, by number.
        pub fn visit_all(visitor: &mut impl Visitor) {
            $(visitor.visit::<$name>();)*
        }

        /// All methods, by number.
        pub const TABLE: &[MethodInfo] = &[$(<$name as Method>::INFO),*];
    };
}

methods! {
//  id  name                  owner      access    effect  ms    request                     response
    100 OpaqueRegisterStart   Auth       Anonymous Read    5000  OpaqueRegisterStartRequest  OpaqueRegisterStartResponse;
    101 OpaqueRegisterFinish  Auth       Anonymous Keyed   5000  OpaqueRegisterFinishRequest OpaqueRegisterFinishResponse;
    102 OpaqueLoginStart      Auth       Anonymous Read    5000  OpaqueLoginStartRequest     OpaqueLoginStartResponse;
    103 OpaqueLoginFinish     Auth       Anonymous Natural 5000  OpaqueLoginFinishRequest    OpaqueLoginFinishResponse;
    110 SessionAttach         Auth       Anonymous Read    5000  SessionAttachRequest        SessionAttachResponse;
    111 SessionEnd            Auth       Device    Keyed   5000  SessionEndRequest           SessionEndResponse;
    120 DeleteAccount         Auth       Device    Keyed   5000  DeleteAccountRequest        DeleteAccountResponse;
    121 AccountReport         Auth       Device    Read    5000  AccountReportRequest        AccountReportResponse;
    122 ForgetAccount         Delivery   Service   Natural 5000  ForgetAccountRequest        ForgetAccountResponse;
    123 ReportMailboxes       Delivery   Service   Read    3000  ReportMailboxesRequest      ReportMailboxesResponse;
    124 ReportKeys            Keypackage Service   Read    3000  ReportKeysRequest           ReportKeysResponse;
    125 ForgetFiles           Blob       Service   Natural 5000  ForgetFilesRequest          ForgetFilesResponse;
    126 ReportFiles           Blob       Service   Read    3000  ReportFilesRequest          ReportFilesResponse;
    200 Enqueue               Delivery   Device    Keyed   10000 EnqueueRequest              EnqueueResponse;
    201 Fetch                 Delivery   Device    Read    5000  FetchRequest                FetchResponse;
    202 FetchWait             Delivery   Device    Read    35000 FetchWaitRequest            FetchResponse;
    203 Peek                  Delivery   Device    Read    5000  PeekRequest                 PeekResponse;
    204 Ack                   Delivery   Device    Natural 5000  AckRequest                  AckResponse;
    205 BatchEnqueue          Delivery   Device    Natural 10000 BatchEnqueueRequest         BatchEnqueueResponse;
    206 Relay                 Delivery   Device    Natural 5000  RelayRequest                RelayResponse;
    207 SetPushEndpoint       Delivery   Device    Natural 5000  SetPushEndpointRequest      SetPushEndpointResponse;
    208 RemovePushEndpoint    Delivery   Device    Natural 5000  RemovePushEndpointRequest   RemovePushEndpointResponse;
    209 FetchPushEndpoint     Delivery   Device    Read    5000  FetchPushEndpointRequest    FetchPushEndpointResponse;
    210 SealedEnqueue         Delivery   Anonymous Keyed   10000 SealedEnqueueRequest        SealedEnqueueResponse;
    211 IssueTokens           Auth       Device    Keyed   5000  IssueTokensRequest          IssueTokensResponse;
    212 TokenKeys             Auth       Anonymous Read    5000  TokenKeysRequest            TokenKeysResponse;
    300 UploadKeyPackage      Keypackage Device    Keyed   10000 UploadKeyPackageRequest     UploadKeyPackageResponse;
    301 FetchKeyPackage       Keypackage Device    Keyed   5000  FetchKeyPackageRequest      FetchKeyPackageResponse;
    302 UploadHybridKey       Keypackage Device    Natural 5000  UploadHybridKeyRequest      UploadHybridKeyResponse;
    303 FetchHybridKey        Keypackage Device    Read    5000  FetchHybridKeyRequest       FetchHybridKeyResponse;
    304 FetchHybridKeys       Keypackage Device    Read    5000  FetchHybridKeysRequest      FetchHybridKeysResponse;
    400 CreateGroup           Delivery   Device    Keyed   10000 CreateGroupRequest          CreateGroupResponse;
    401 CommitGroup           Delivery   Device    Keyed   10000 CommitGroupRequest          CommitGroupResponse;
    402 FetchGroupInfo        Delivery   Device    Read    10000 FetchGroupInfoRequest       FetchGroupInfoResponse;
    403 LeaveGroup            Delivery   Device    Keyed   10000 LeaveGroupRequest           LeaveGroupResponse;
    404 StagePart             Delivery   Device    Natural 10000 StagePartRequest            StagePartResponse;
    405 FetchPart             Delivery   Device    Read    10000 FetchPartRequest            FetchPartResponse;
    500 ResolveUser           Auth       Device    Read    5000  ResolveUserRequest          ResolveUserResponse;
    600 BlobBegin             Blob       Device    Keyed   5000  BlobBeginRequest            BlobBeginResponse;
    601 BlobPut               Blob       Device    Natural 600000 BlobPutRequest             BlobPutResponse;
    602 BlobParts             Blob       Device    Read    5000  BlobPartsRequest            BlobPartsResponse;
    603 BlobFinish            Blob       Device    Natural 60000 BlobFinishRequest           BlobFinishResponse;
    604 BlobGet               Blob       Device    Read    600000 BlobGetRequest             BlobGetResponse;
    605 BlobStat              Blob       Device    Read    5000  BlobStatRequest             BlobStatResponse;
    606 BlobDelete            Blob       Device    Natural 5000  BlobDeleteRequest           BlobDeleteResponse;
    700 ListDevices           Auth       Device    Read    5000  ListDevicesRequest          ListDevicesResponse;
    701 RevokeDevice          Auth       Device    Keyed   5000  RevokeDeviceRequest         RevokeDeviceResponse;
    702 LinkOffer             Auth       Anonymous Natural 5000  LinkOfferRequest            LinkOfferResponse;
    703 FetchLinkOffer        Auth       Device    Read    5000  FetchLinkOfferRequest       FetchLinkOfferResponse;
    704 LinkAnswer            Auth       Device    Natural 5000  LinkAnswerRequest           LinkAnswerResponse;
    705 FetchLinkAnswer       Auth       Anonymous Read    5000  FetchLinkAnswerRequest      FetchLinkAnswerResponse;
    706 RenameDevice          Auth       Device    Keyed   5000  RenameDeviceRequest         RenameDeviceResponse;
    707 RevokedSince          Auth       Service   Read    5000  RevokedSinceRequest         RevokedSinceResponse;
    708 ForgetDeviceKeys      Keypackage Service   Natural 5000  ForgetDeviceKeysRequest     ForgetDeviceKeysResponse;
    709 ForgetDevice          Delivery   Service   Natural 5000  ForgetDeviceRequest         ForgetDeviceResponse;
    750 SetRecovery           Auth       Device    Keyed   5000  SetRecoveryRequest          SetRecoveryResponse;
    751 RecoveryStatus        Auth       Device    Read    5000  RecoveryStatusRequest       RecoveryStatusResponse;
    752 UpdateRecovery        Auth       Device    Natural 5000  UpdateRecoveryRequest       UpdateRecoveryResponse;
    753 UseRecoveryCode       Auth       Anonymous Keyed   5000  UseRecoveryCodeRequest      UseRecoveryCodeResponse;
    754 ResetPassword         Auth       Anonymous Keyed   5000  ResetPasswordRequest        ResetPasswordResponse;
    820 Report                Auth       Device    Keyed   5000  ReportRequest               ReportResponse;
    830 Administer            Auth       Service   Natural 10000 AdministerRequest           AdministerResponse;
    831 ReportGateway         Auth       Service   Natural 5000  ReportGatewayRequest        ReportGatewayResponse;
    832 AccountQuotas         Auth       Service   Read    5000  AccountQuotasRequest        AccountQuotasResponse;
    833 CountDeliveries       Delivery   Service   Read    8000  CountDeliveriesRequest      CountDeliveriesResponse;
    900 Ping                  Gateway    Anonymous Read    5000  PingRequest                 PingResponse;
    901 ServerInfo            Auth       Anonymous Read    5000  ServerInfoRequest           ServerInfoResponse;
}

/// The row of a method number.
pub fn by_id(id: u16) -> Option<&'static MethodInfo> {
    TABLE.binary_search_by_key(&id, |info| info.id).ok().map(|index| &TABLE[index])
}

#[cfg(test)]
mod tests {
    use super::{TABLE, by_id};

    #[test]
    fn numbers_ascend_so_that_lookup_finds_each() {
        assert!(TABLE.is_sorted_by(|a, b| a.id < b.id));
        for info in TABLE {
            assert_eq!(by_id(info.id).map(|found| found.name), Some(info.name));
        }
        assert!(by_id(0).is_none() && by_id(u16::MAX).is_none());
    }

    #[test]
    fn numbers_fixed_by_the_mission_stay() {
        let fixed = [
            (100, "OpaqueRegisterStart"),
            (101, "OpaqueRegisterFinish"),
            (102, "OpaqueLoginStart"),
            (103, "OpaqueLoginFinish"),
            (200, "Enqueue"),
            (201, "Fetch"),
            (202, "FetchWait"),
            (203, "Peek"),
            (204, "Ack"),
            (205, "BatchEnqueue"),
            (300, "UploadKeyPackage"),
            (301, "FetchKeyPackage"),
            (302, "UploadHybridKey"),
            (303, "FetchHybridKey"),
            (304, "FetchHybridKeys"),
        ];
        for (id, name) in fixed {
            assert_eq!(by_id(id).map(|info| info.name), Some(name));
        }
    }
}
