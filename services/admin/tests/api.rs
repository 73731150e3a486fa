//! The API from outside: gRPC with certificates, against a whole server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use qpc_admin::{Listener, tls::Minted};
use qpc_admin_api::{
    Access,
    admin_client::AdminClient,
    connect,
    tonic::{Code, transport::Channel},
    v1::{self as admin, Who, who},
};
use qpc_chassis::config::Process;
use qpc_sdk::{Client, ClientOptions, KsfParams, transport::Trust};
use qpc_server::{Embedded, Options};
use qpc_testkit::eventually;
use tempfile::TempDir;

struct World {
    folder: TempDir,
    server: Embedded,
}

fn process() -> Process {
    Process { log: "warn".into(), drain_seconds: 10, ..Process::default() }
}

fn options(folder: &TempDir) -> Options {
    let mut options =
        Options { data: folder.path().join("server"), listen: ([127, 0, 0, 1], 0).into(), ..Options::default() };
    options.admin.admin_listen = Some(([127, 0, 0, 1], 0).into());
    options
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = qpc_server::start(options(&folder), &process()).await.unwrap();
        Self { folder, server }
    }

    fn access(&self) -> Access {
        let minted = Minted::in_folder(&self.folder.path().join("server/admin"));
        let [ca, cert, key] = [&minted.ca, &minted.cert, &minted.key].map(|path| std::fs::read(path).unwrap());
        let address = self.server.admin.as_ref().unwrap().local_addr;
        Access { server: address.to_string(), server_name: None, ca, identity: Some((cert, key)) }
    }

    async fn admin(&self) -> AdminClient<Channel> {
        connect(self.access()).await.unwrap()
    }

    fn client_options(&self, name: &str) -> ClientOptions {
        let trust = Trust::PemFile(self.server.certificate.clone());
        let address = self.server.local_addr().to_string();
        ClientOptions {
            server_name: Some("localhost".into()),
            ksf: KsfParams::FLOOR,
            ..ClientOptions::new(self.folder.path().join(name), name, "password", address, trust)
        }
    }

    async fn client(&self, name: &str) -> Client {
        let client = Client::open(self.client_options(name)).await.unwrap();
        client.connect().await.unwrap();
        client
    }
}

fn name(username: &str) -> Option<Who> {
    Some(Who { who: Some(who::Who::Username(username.to_owned())) })
}

#[tokio::test]
async fn nobody_gets_in_without_a_certificate_of_the_authority() {
    let (world, other) = (World::start().await, World::start().await);
    let stats = async |access: Access| match connect(access).await {
        Ok(mut client) => client.stats(admin::StatsRequest {}).await.map(drop).map_err(drop),
        Err(_) => Err(()),
    };
    let access = world.access();
    assert_eq!(stats(access.clone()).await, Ok(()));
    assert_eq!(stats(Access { identity: None, ..access.clone() }).await, Err(()), "no certificate");
    let foreign = other.access().identity;
    assert_eq!(stats(Access { identity: foreign, ..access.clone() }).await, Err(()), "another authority's");
    assert_eq!(stats(Access { ca: other.access().ca, ..access }).await, Err(()), "the server is checked too");
    let mut admin = world.admin().await;
    let log = admin.list_audit(admin::ListAuditRequest::default()).await.unwrap().into_inner().entries;
    assert_eq!(log.len(), 1, "who did not get in has done nothing");
}

#[tokio::test]
async fn certificates_are_changed_without_a_restart() {
    let (world, other) = (World::start().await, World::start().await);
    let stats = async |access: Access| {
        let mut admin = connect(access).await.ok()?;
        admin.stats(admin::StatsRequest {}).await.ok().map(drop)
    };
    let before = world.access();
    stats(before.clone()).await.unwrap();
    let [from, to] = [&other, &world].map(|world| world.folder.path().join("server/admin"));
    for file in std::fs::read_dir(&from).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    eventually("the new ones are shown and taken", || stats(world.access())).await;
    assert_eq!(stats(before).await, None, "those of before are not");
}

#[tokio::test]
async fn a_banned_person_is_thrown_out_within_seconds_and_can_come_back() {
    let world = World::start().await;
    let (mallory, alice) = (world.client("mallory").await, world.client("alice").await);
    let mut admin = world.admin().await;
    let sessions = async |admin: &AdminClient<Channel>| {
        let mut admin = admin.clone();
        let list = admin.list_gateways(admin::ListGatewaysRequest {}).await.unwrap().into_inner();
        list.gateways.iter().map(|gateway| gateway.sessions).sum::<u64>()
    };
    let held = admin.clone();
    eventually("both are attached", || async { (sessions(&held).await == 2).then_some(()) }).await;

    admin.ban_user(admin::BanUserRequest { user: name("mallory"), reason: "spam".into() }).await.unwrap();
    eventually("the session ends", || async { (sessions(&held).await == 1).then_some(()) }).await;
    let refused = alice.dm("mallory").await.unwrap_err();
    assert!(matches!(refused, qpc_sdk::Error::NoKeyPackage { .. }), "{refused}");
    mallory.close().await;
    let shut_out = Client::open(world.client_options("mallory")).await.unwrap();
    let refused = shut_out.connect().await.unwrap_err();
    assert_eq!(refused.code(), Some(qpc_wire::Code::PermissionDenied), "{refused}");
    shut_out.close().await;

    admin.unban_user(admin::UnbanUserRequest { user: name("mallory") }).await.unwrap();
    let _back = world.client("mallory").await;
    alice.dm("mallory").await.unwrap();
    let user = admin.show_user(admin::ShowUserRequest { user: name("mallory") }).await.unwrap().into_inner().user;
    assert_eq!(user.unwrap().banned_at_ms, 0);
}

/// What an admin sets for one account counts in the service that it is about, and for that account only.
#[tokio::test(flavor = "multi_thread")]
async fn quotas_of_an_account_count_where_they_are_about() {
    let world = World::start().await;
    let (alice, bob) = (world.client("alice").await, world.client("bob").await);
    let mut admin = world.admin().await;
    let mut set = async |quota: &str, value| {
        let request = admin::SetQuotaRequest { user: name("alice"), name: quota.to_owned(), value };
        admin.set_quota(request).await.map(|_| ())
    };
    for quota in ["blob-bytes-day", "devices"] {
        set(quota, Some(1)).await.unwrap();
    }
    assert_eq!(set("nonsense", Some(1)).await.unwrap_err().code(), Code::InvalidArgument);
    let file = world.folder.path().join("file");
    std::fs::write(&file, "some bytes").unwrap();
    let refused = alice.upload(&file, |_| {}).await.unwrap_err();
    assert_eq!(refused.code(), Some(qpc_wire::Code::ResourceExhausted), "{refused}");
    bob.upload(&file, |_| {}).await.unwrap();
    set("blob-bytes-day", None).await.unwrap();
    alice.upload(&file, |_| {}).await.unwrap();
}

#[tokio::test]
async fn the_log_names_the_certificate_and_the_end_of_each_call() {
    let world = World::start().await;
    let mut admin = world.admin().await;
    let refused = admin.ban_user(admin::BanUserRequest { user: name("nobody"), reason: String::new() }).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    let refused = admin.set_quota(admin::SetQuotaRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    admin.stats(admin::StatsRequest {}).await.unwrap();
    let log = admin.list_audit(admin::ListAuditRequest::default()).await.unwrap().into_inner().entries;
    let seen: Vec<_> = log.iter().rev().map(|entry| (&*entry.action, Code::from(entry.code as i32))).collect();
    let expected = [("BanUser", Code::NotFound), ("SetQuota", Code::InvalidArgument), ("Stats", Code::Ok)];
    assert_eq!(seen, expected);
    assert!(log.iter().all(|entry| entry.actor.len() == 32 && entry.actor == log[0].actor), "{log:?}");
    let verified = admin.verify_audit(admin::VerifyAuditRequest {}).await.unwrap().into_inner();
    assert_eq!((verified.entries, verified.broken_at), (4, 0));
}

#[tokio::test]
async fn a_gateway_drains_on_the_word_of_an_admin() {
    let world = World::start().await;
    let alice = world.client("alice").await;
    let mut admin = world.admin().await;
    let [gateway] = &admin.list_gateways(admin::ListGatewaysRequest {}).await.unwrap().into_inner().gateways[..] else {
        panic!("one gateway")
    };
    assert_eq!((&gateway.gateway_id, gateway.draining), (&world.server.gateway.id, false));
    let drain = admin::DrainGatewayRequest { gateway_id: gateway.gateway_id.clone() };
    admin.drain_gateway(drain).await.unwrap();
    let held = admin.clone();
    let gone = || async {
        let mut admin = held.clone();
        let list = admin.list_gateways(admin::ListGatewaysRequest {}).await.unwrap().into_inner().gateways;
        (list.iter().all(|gateway| gateway.draining && gateway.connections == 0)).then_some(())
    };
    eventually("its clients have left", gone).await;
    let late = Client::open(world.client_options("bob")).await.unwrap();
    assert!(late.connect().await.is_err(), "it takes nobody new");
    alice.close().await;
    let unknown = admin.drain_gateway(admin::DrainGatewayRequest { gateway_id: "00".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn production_wants_certificates_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let admin = Listener { admin_listen: Some(([127, 0, 0, 1], 0).into()), ..Listener::default() };
    let config = qpc_admin::Config { listener: admin, admin_data: folder.path().join("admin"), production: true };
    let error = config.check().unwrap_err().to_string();
    assert!(error.contains("--admin-client-ca"), "{error}");
    let world = World::start().await;
    let error = qpc_admin::start(world.server.deps.child(), config).await.err().unwrap().to_string();
    assert!(error.contains("--admin-client-ca"), "{error}");
    assert!(!folder.path().join("admin").exists());
}

#[tokio::test]
async fn health_and_reflection_are_served_beside_it() {
    let world = World::start().await;
    let channel = qpc_admin_api::channel(world.access()).await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let request = tonic_health::pb::HealthCheckRequest { service: "qpc.admin.v1.Admin".into() };
    let status = health.check(request).await.unwrap().into_inner().status();
    assert_eq!(status, tonic_health::pb::health_check_response::ServingStatus::Serving);

    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = qpc_admin_api::tonic::codegen::tokio_stream::once(request);
    let mut reflection = ServerReflectionClient::new(channel);
    let mut answers = reflection.server_reflection_info(requests).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list")
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"qpc.admin.v1.Admin".to_owned()), "{names:?}");
}
