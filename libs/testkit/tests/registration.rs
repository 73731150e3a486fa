//! Registering where the server wants something for it, when things go wrong on the way.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use prost::Message as _;
use qpc_sdk::{AccountInvite, Client, ClientOptions, Error, NotAdmitted};
use qpc_server::Registration;
use qpc_testkit::{Backend, Cluster, Shape, eventually};
use qpc_wire::{
    Method as _,
    admin::v1::{CreateInviteRequest, ListInvitesRequest},
    bus,
    methods::{Administer, OpaqueRegisterFinish},
    v1::{AdministerRequest, administer_request::Call, administer_response::Answer},
};

async fn administer(cluster: &Cluster, call: Call) -> Answer {
    let request = AdministerRequest { actor: "test".into(), call: Some(call) };
    cluster.deps().client().call_unasked::<Administer>(&request).await.unwrap().answer.unwrap()
}

async fn used(cluster: &Cluster) -> u64 {
    match administer(cluster, Call::ListInvites(ListInvitesRequest::default())).await {
        Answer::ListInvites(list) => list.invites[0].used,
        other => panic!("{other:?}"),
    }
}

async fn whose_answer_was_lost(backend: Backend) {
    common::show_log();
    let tune = |options: &mut qpc_server::Options| options.auth.registration = Registration::InviteOnly;
    let cluster = Cluster::start_with(Shape::pairs(backend), tune).await.unwrap();
    let Answer::CreateInvite(made) = administer(&cluster, Call::CreateInvite(CreateInviteRequest::default())).await
    else {
        panic!("no invite")
    };
    let invite: AccountInvite = made.code.parse().unwrap();
    let options = |device| ClientOptions { invite: Some(invite.clone()), ..cluster.client_options("alice", device, 0) };
    let mut calls = cluster.deps().bus.subscribe("qpc.rpc.auth".to_owned(), None).await.unwrap();
    let client = Client::open(options(0)).await.unwrap();
    {
        let mut registering = std::pin::pin!(client.register());
        // Nobody waits any more when the last call is on its way.
        loop {
            tokio::select! {
                biased;
                call = calls.next() => {
                    let call = bus::Call::decode(call.unwrap().payload).unwrap();
                    if call.method == u32::from(OpaqueRegisterFinish::INFO.id) { break }
                }
                done = &mut registering => panic!("{done:?}"),
            }
        }
    }
    client.close().await;
    eventually("the account", || async { (used(&cluster).await == 1).then_some(()) }).await;

    let client = Client::open(options(0)).await.unwrap();
    assert!(!client.whoami().await.unwrap().registered, "it does not know");
    client.connect().await.expect("the invite is used up, by this device");
    assert!(client.whoami().await.unwrap().registered);
    let other = Client::open(options(1)).await.unwrap();
    let refused = other.connect().await.unwrap_err();
    assert!(matches!(refused.root(), Error::NotAdmitted(NotAdmitted::UsedInvite)), "{refused}");
    assert_eq!(used(&cluster).await, 1);
    other.close().await;
    client.close().await;
    assert!(cluster.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_answer_was_lost_is_let_in_without_another_invite_embedded() {
    whose_answer_was_lost(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn whose_answer_was_lost_is_let_in_without_another_invite_on_the_servers() {
    whose_answer_was_lost(Backend::servers().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_tries_too_often_is_still_told_what_is_wanted() {
    common::show_log();
    let tune = |options: &mut qpc_server::Options| {
        options.auth.registration = Registration::InviteOnly;
        options.auth.login_failures_per_name = "1:1/1h".parse().unwrap();
    };
    let cluster = Cluster::start_with(Shape::pairs(Backend::Embedded), tune).await.unwrap();
    // Each tries to log in, in case it is there already; the second may not any more.
    for device in 0..2 {
        let client = Client::open(cluster.client_options("alice", device, 0)).await.unwrap();
        let refused = client.connect().await.unwrap_err();
        assert!(matches!(refused.root(), Error::NotAdmitted(NotAdmitted::NoInvite)), "{refused}");
        client.close().await;
    }
    assert!(cluster.stop().await);
}
