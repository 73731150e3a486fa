//! No secret of anybody stands where operators look: logs at their most talkative, traces, figures, the audit log.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod collector;
mod common;

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use collector::traced;
use common::{all_accepted, has, let_in, open};
use prost::Message as _;
use qpc_sdk::{Client, ClientOptions, Recovery};
use qpc_testkit::{Backend, Cluster, Shape, eventually};
use qpc_wire::{
    Method,
    admin::v1::{BanUserRequest, CreateInviteRequest, ListAuditRequest, Who, who::Who as Named},
    bus,
    methods::{Administer, SessionAttach},
    v1::{
        AdministerRequest, AdministerResponse, SessionAttachRequest, administer_request::Call,
        administer_response::Answer,
    },
};

const PASSWORD: &str = "canary-Password-7f3e!";
const TEXT: &str = "canary text that nobody else is to read";
const SEALED_TEXT: &str = "canary text that nobody has signed outside";
const FILE_NAME: &str = "canary-payslip.pdf";
const CONTENT: &[u8] = b"canary content of a file, which is long enough to be looked for";
const GROUP: &str = "canary group of friends";
const NOTE: &str = "canary note of an admin";
/// Bytes of a key that are looked for: a log that shows a part of it shows too much.
const SHOWN: usize = 8;

/// Secrets by what they are.
#[derive(Default)]
struct Planted(BTreeMap<String, Vec<u8>>);

impl Planted {
    fn add(&mut self, what: impl Into<String>, secret: impl AsRef<[u8]>) {
        self.0.insert(what.into(), secret.as_ref().to_vec());
    }

    /// What is found of them in `text`, in any of the usual encodings.
    fn found(&self, text: &str) -> Vec<String> {
        let plain = self.0.iter().flat_map(|(what, secret)| encodings(what, secret));
        plain.filter(|(_, needle)| text.contains(needle.as_str())).map(|(what, _)| what).collect()
    }
}

fn encodings(what: &str, secret: &[u8]) -> Vec<(String, String)> {
    let text = std::str::from_utf8(secret).ok();
    // Words are looked for whole; of keys the beginning gives them away.
    let part = if text.is_some() { secret } else { &secret[..secret.len().min(SHOWN)] };
    let three = &secret[..part.len() / 3 * 3];
    let hex = hex::encode(part);
    let numbers = part.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let mut all = vec![
        ("upper hex", hex.to_uppercase()),
        ("hex", hex),
        ("base64", STANDARD_NO_PAD.encode(three)),
        ("padded base64", STANDARD.encode(three)),
        ("base64 of URLs", URL_SAFE_NO_PAD.encode(three)),
        ("numbers", numbers),
        ("bytes", part.escape_ascii().to_string()),
    ];
    all.extend(text.map(|text| ("text", text.to_owned())));
    all.into_iter().map(|(encoding, needle)| (format!("{what} as {encoding}"), needle)).collect()
}

/// Session tokens as they pass, and bodies of everything that clients send to auth.
async fn tap(cluster: &Cluster) -> Arc<Mutex<Vec<bus::Call>>> {
    let seen = Arc::<Mutex<Vec<bus::Call>>>::default();
    let mut calls = cluster.deps().bus.subscribe("qpc.rpc.auth".to_owned(), None).await.unwrap();
    let tap = seen.clone();
    tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            tap.lock().unwrap().push(bus::Call::decode(call.payload).unwrap());
        }
    });
    seen
}

async fn administer(cluster: &Cluster, call: Call) -> Answer {
    let request = AdministerRequest { actor: "0123456789abcdef".to_owned(), call: Some(call) };
    let response: AdministerResponse = cluster.deps().client().call_unasked::<Administer>(&request).await.unwrap();
    response.answer.unwrap()
}

fn options(cluster: &Cluster, name: &str) -> ClientOptions {
    ClientOptions { password: PASSWORD.to_owned().into(), ..cluster.client_options(name, 0, 0) }
}

/// Registers, logs in, talks, sends a file and makes recovery codes.
async fn talk(cluster: &Cluster, planted: &mut Planted) -> (Client, Client) {
    let alice = open(options(cluster, "alice")).await;
    let bob = open(ClientOptions { sealed: true, ..options(cluster, "bob") }).await;
    let conversation = alice.dm("bob").await.unwrap();
    alice.send(conversation, TEXT).await.unwrap();
    all_accepted(&alice, conversation).await;
    let_in(&bob, conversation).await;
    bob.send(conversation, SEALED_TEXT).await.unwrap();
    has(&alice, conversation, &[TEXT, SEALED_TEXT]).await;
    alice.create_group(GROUP, &["bob".to_owned()]).await.unwrap();

    let file = cluster.folder().join(FILE_NAME);
    fs::write(&file, CONTENT).unwrap();
    let sent = alice.upload(&file, |_| {}).await.unwrap();
    planted.add("key of the file", sent.key.as_slice());
    let taken = bob.download(&sent, &cluster.folder().join("taken"), |_| {}).await.unwrap();
    assert_eq!(fs::read(taken).unwrap(), CONTENT);

    planted.add("account key", alice.export_account_key().as_slice());
    planted.add("epoch authenticator", alice.epoch_authenticator(conversation).await.unwrap());
    for (n, code) in alice.recovery_setup().await.unwrap().into_iter().enumerate() {
        planted.add(format!("recovery code {n}"), code.to_string());
        planted.add(format!("recovery code {n} as typed"), code.to_string().to_lowercase().replace('-', " "));
        if n == 0 {
            let elsewhere = ClientOptions { username: String::new(), ..cluster.client_options("alice", 5, 0) };
            let restored = Recovery::restore(elsewhere, &code.to_string().parse().unwrap(), PASSWORD).await.unwrap();
            restored.client.connect().await.unwrap();
            restored.client.close().await;
        }
    }
    (alice, bob)
}

/// Everything that the installation has said, by where.
async fn said(cluster: &Cluster) -> BTreeMap<&'static str, String> {
    let traced = traced("trace");
    let Answer::ListAudit(audit) = administer(cluster, Call::ListAudit(ListAuditRequest::default())).await else {
        panic!("not the audit log")
    };
    let spans = tokio::task::block_in_place(|| traced.requests());
    BTreeMap::from([
        ("the log", String::from_utf8_lossy(&traced.log.0.lock().unwrap()).into_owned()),
        ("the traces", format!("{spans:?}")),
        ("the figures", cluster.deps().metrics.render()),
        ("the audit log", format!("{audit:?}")),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_said_where_operators_look() {
    traced("trace");
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let seen = tap(&cluster).await;
    let mut planted = Planted::default();
    for (what, secret) in [("password", PASSWORD), ("text", TEXT), ("sealed text", SEALED_TEXT), ("group", GROUP)] {
        planted.add(what, secret);
    }
    planted.add("name of a file", FILE_NAME);
    planted.add("content of a file", CONTENT);
    planted.add("note of an admin", NOTE);
    for name in ["auth/audit", "auth/login-state", "token/keys", "delivery/receipt", "delivery/group-state", "bulk"] {
        planted.add(format!("server key {name}"), cluster.deps().secrets.derive(name));
    }
    let (alice, bob) = talk(&cluster, &mut planted).await;
    let invite = CreateInviteRequest { uses: 1, note: NOTE.to_owned(), ..CreateInviteRequest::default() };
    let Answer::CreateInvite(invite) = administer(&cluster, Call::CreateInvite(invite)).await else { panic!() };
    planted.add("code of an invite", &invite.code);
    let user = Some(Who { who: Some(Named::Username("bob".to_owned())) });
    administer(&cluster, Call::BanUser(BanUserRequest { user, reason: NOTE.to_owned() })).await;
    let attach = u32::from(SessionAttach::INFO.id);
    eventually("session tokens", || async {
        seen.lock().unwrap().iter().any(|call| call.method == attach).then_some(())
    })
    .await;
    for (n, call) in seen.lock().unwrap().iter().enumerate() {
        if call.method == attach {
            let request = SessionAttachRequest::decode(call.body.clone()).unwrap();
            planted.add(format!("session token {n}"), request.session_token);
        }
        if !call.channel_binding.is_empty() {
            planted.add(format!("channel binding {n}"), &call.channel_binding);
        }
    }
    alice.close().await;
    bob.close().await;

    let said = said(&cluster).await;
    for (place, words) in [("the log", "Enqueue"), ("the traces", "SealedEnqueue"), ("the figures", "qpc_call_seconds")]
    {
        assert!(said[place].contains(words), "{place} is what it is meant to be");
    }
    assert!(said["the audit log"].contains("BanUser"));
    for (place, text) in &said {
        assert_eq!(planted.found(text), [""; 0], "in {place}");
    }

    // It would have been found: in every encoding, in the very same log.
    for (what, secret) in &planted.0 {
        for (encoding, needle) in encodings(what, secret) {
            tracing::trace!(planted = %needle, "one line");
            let log = String::from_utf8_lossy(&traced("trace").log.0.lock().unwrap()).into_owned();
            let tail: String = log[log.floor_char_boundary(log.len().saturating_sub(4_000))..].to_owned();
            assert!(planted.found(&tail).contains(&encoding), "{encoding} is not noticed");
        }
    }
    assert!(cluster.stop().await);
}
