//! What must hold when the API server fails, or somebody else is faster. It answers as each test says, and what was asked is
//! kept in order.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::{Request, Response};
use kube::{Client, client::Body, runtime::controller::Action};
use qpc_chassis::Runtime;
use serde_json::{Value, json};

use super::Stage;
use crate::{crd::Realm, error::OperatorError, leader::Candidate, metrics::OperatorMetrics, realm};

type Asked = Arc<Mutex<Vec<String>>>;

/// A client of an API server that answers with `answer(METHOD PATH, body)`: a code and an object.
fn scripted(mut answer: impl FnMut(&str, &Value) -> (u16, Value) + Send + 'static) -> (Client, Asked) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let asked = Asked::default();
    let kept = asked.clone();
    Runtime::system().spawn(async move {
        while let Some((request, reply)) = handle.next_request().await {
            let line = format!("{} {}", request.method(), request.uri().path());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let (code, object) = answer(&line, &serde_json::from_slice(&body).unwrap_or_default());
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            let object = if code < 300 { object } else { status(code) };
            let body = Body::from(serde_json::to_vec(&object).unwrap());
            reply.send_response(Response::builder().status(code).body(body).unwrap());
        }
    });
    (Client::new(service, "ns"), asked)
}

fn status(code: u16) -> Value {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code })
}

fn asked(asked: &Asked) -> Vec<String> {
    std::mem::take(&mut *asked.lock().unwrap())
}

/// A Realm that has its finalizer.
fn realm_object() -> Value {
    json!({
        "apiVersion": "quicprochat.org/v1alpha1",
        "kind": "Realm",
        "metadata": {
            "name": "main", "namespace": "ns", "uid": "realm-1", "generation": 1, "resourceVersion": "7",
            "finalizers": ["quicprochat.org/realm"],
        },
        "spec": { "domain": "chat.example" },
    })
}

fn realm(object: Value) -> Arc<Realm> {
    Arc::new(serde_json::from_value(object).unwrap())
}

fn empty_list(kind: &str) -> Value {
    json!({ "kind": format!("{kind}List"), "apiVersion": "v1", "metadata": {}, "items": [] })
}

/// Answers as an empty namespace does.
fn empty(line: &str, body: &Value) -> (u16, Value) {
    match line {
        "GET /apis/apps/v1/namespaces/ns/deployments" => (200, empty_list("Deployment")),
        _ if line.starts_with("GET ") => (404, Value::Null),
        "PATCH /apis/quicprochat.org/v1alpha1/namespaces/ns/realms/main/status" => (200, realm_object()),
        _ if line.starts_with("DELETE ") => (404, Value::Null),
        _ => (200, body.clone()),
    }
}

const SECRET: &str = "/api/v1/namespaces/ns/secrets/main-edge-keys";
const SECRETS: &str = "POST /api/v1/namespaces/ns/secrets";
const STATUS: &str = "PATCH /apis/quicprochat.org/v1alpha1/namespaces/ns/realms/main/status";

fn code(outcome: &Result<Action, OperatorError>) -> Option<u16> {
    let Err(OperatorError::Finalizer(error)) = outcome else { return None };
    match &**error {
        kube::runtime::finalizer::Error::ApplyFailed(OperatorError::Api(kube::Error::Api(status)))
        | kube::runtime::finalizer::Error::CleanupFailed(OperatorError::Api(kube::Error::Api(status))) => {
            Some(status.code)
        }
        _ => None,
    }
}

#[tokio::test]
async fn who_was_slower_writes_over_no_keys_and_tries_again_at_once() {
    let (client, log) = scripted(|line, body| if line == SECRETS { (409, Value::Null) } else { empty(line, body) });
    let stage = Stage::new(client);
    let outcome = realm::reconcile(realm(realm_object()), stage.context.clone()).await;
    assert_eq!(code(&outcome), Some(409));
    let log = asked(&log);
    assert!(log.contains(&SECRETS.to_owned()) && !log.contains(&format!("PATCH {SECRET}")), "{log:?}");
    for _ in 0..20 {
        let delay = stage.context.delay("realm", "main", outcome.as_ref().unwrap_err());
        assert_eq!(delay, Duration::from_secs(1), "it is no failure, and does not add up");
    }
}

#[tokio::test]
async fn a_part_that_fails_hides_nothing_of_the_others_and_is_tried_ever_later() {
    let kept: Arc<Mutex<Value>> = Arc::default();
    let seen = kept.clone();
    let (client, log) = scripted(move |line, body| {
        if line == STATUS {
            *seen.lock().unwrap() = body.clone();
        }
        if line == format!("GET {SECRET}") { (500, Value::Null) } else { empty(line, body) }
    });
    let stage = Stage::new(client);
    let outcome = realm::reconcile(realm(realm_object()), stage.context.clone()).await;
    assert_eq!(code(&outcome), Some(500));
    let log = asked(&log);
    assert!(!log.contains(&SECRETS.to_owned()), "a Secret that cannot be read may be there: {log:?}");
    let conditions = kept.lock().unwrap()["status"]["conditions"].clone();
    let found: Vec<(&str, &str)> = conditions
        .as_array()
        .unwrap()
        .iter()
        .map(|found| (found["type"].as_str().unwrap(), found["status"].as_str().unwrap()))
        .collect();
    assert_eq!(found, [("GatewaysSettled", "True"), ("Ready", "False"), ("SettingsPublished", "True")]);

    let error = outcome.unwrap_err();
    let delays: Vec<u64> = (0..10).map(|_| stage.context.delay("realm", "main", &error).as_secs()).collect();
    assert_eq!(delays, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    stage.context.worked("main");
    assert_eq!(stage.context.delay("realm", "main", &error).as_secs(), 2);
}

#[tokio::test]
async fn what_is_held_is_let_go_before_what_was_made_goes_and_the_finalizer_last() {
    let deployment = json!({
        "metadata": { "name": "main-gateway", "uid": "d", "annotations": { "quicprochat.org/rollout-held": "true" } },
        "spec": { "selector": {}, "template": {} },
    });
    let own = |name: &str| {
        json!({ "metadata": { "name": name, "uid": name, "ownerReferences": [{
            "apiVersion": "quicprochat.org/v1alpha1", "kind": "Realm", "name": "main", "uid": "realm-1", "controller": true,
        }] } })
    };
    let (client, log) = scripted(move |line, body| match line {
        "GET /apis/apps/v1/namespaces/ns/deployments" => {
            let mut list = empty_list("Deployment");
            list["items"] = json!([deployment]);
            (200, list)
        }
        "GET /api/v1/namespaces/ns/configmaps/main-realm" => (200, own("main-realm")),
        _ if line == format!("GET {SECRET}") => (200, own("main-edge-keys")),
        "DELETE /api/v1/namespaces/ns/configmaps/main-realm" => {
            assert_eq!(body["preconditions"]["uid"], "main-realm");
            (200, own("main-realm"))
        }
        // Somebody has put another one there in between.
        _ if line == format!("DELETE {SECRET}") => (409, Value::Null),
        "PATCH /apis/apps/v1/namespaces/ns/deployments/main-gateway" => {
            assert!(body["spec"]["paused"].is_null() && body["metadata"]["uid"] == "d", "{body}");
            (200, deployment.clone())
        }
        "PATCH /apis/quicprochat.org/v1alpha1/namespaces/ns/realms/main" => (200, realm_object()),
        _ => empty(line, body),
    });
    let stage = Stage::new(client);
    let mut object = realm_object();
    object["metadata"]["deletionTimestamp"] = json!("2026-11-27T00:00:00Z");
    realm::reconcile(realm(object), stage.context.clone()).await.unwrap();
    let log = asked(&log);
    let writes: Vec<&str> = log.iter().map(String::as_str).filter(|line| !line.starts_with("GET ")).collect();
    assert_eq!(
        writes,
        [
            "PATCH /apis/apps/v1/namespaces/ns/deployments/main-gateway",
            "DELETE /api/v1/namespaces/ns/configmaps/main-realm",
            "DELETE /api/v1/namespaces/ns/secrets/main-edge-keys",
            "PATCH /apis/quicprochat.org/v1alpha1/namespaces/ns/realms/main",
        ]
    );
}

#[tokio::test]
async fn while_something_is_left_the_finalizer_stays() {
    let (client, log) = scripted(|line, body| {
        if line == "GET /api/v1/namespaces/ns/configmaps/main-realm" { (503, Value::Null) } else { empty(line, body) }
    });
    let mut object = realm_object();
    object["metadata"]["deletionTimestamp"] = json!("2026-11-27T00:00:00Z");
    let outcome = realm::reconcile(realm(object), Stage::new(client).context.clone()).await;
    assert_eq!(code(&outcome), Some(503));
    assert!(asked(&log).iter().all(|line| !line.starts_with("PATCH ")));
}

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/ns/leases/qpc-operator";

/// An API server that holds a Lease and compares versions.
fn with_lease(lease: &Arc<Mutex<Option<Value>>>, works: &Arc<Mutex<bool>>) -> Client {
    let (lease, works) = (lease.clone(), works.clone());
    let answer = move |line: &str, body: &Value| {
        let mut lease = lease.lock().unwrap();
        if !*works.lock().unwrap() {
            return (503, Value::Null);
        }
        if line == format!("GET {LEASE}") {
            return lease.clone().map_or((404, Value::Null), |lease| (200, lease));
        }
        let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        let before = lease.as_ref().and_then(version);
        if before != version(body) {
            return (409, Value::Null);
        }
        let next = before.map_or(1, |before| before.parse::<u64>().unwrap() + 1);
        let mut object = body.clone();
        object["metadata"]["resourceVersion"] = json!(next.to_string());
        *lease = Some(object.clone());
        (200, object)
    };
    scripted(answer).0
}

fn holder(lease: &Mutex<Option<Value>>) -> String {
    let lease = lease.lock().unwrap();
    lease.as_ref().and_then(|lease| lease["spec"]["holderIdentity"].as_str()).unwrap_or_default().to_owned()
}

fn candidate(client: Client, identity: &str, runtime: &Runtime) -> tokio::sync::watch::Receiver<bool> {
    let (elected, watched) = tokio::sync::watch::channel(false);
    let candidate = Candidate::new(client, "ns", "qpc-operator", identity, runtime.clone());
    let metrics = OperatorMetrics::new(&qpc_chassis::metrics::Metrics::default());
    runtime.spawn(async move {
        let work = || async {
            elected.send_replace(true);
            // Tells when it is dropped.
            let _end = End(&elected);
            std::future::pending::<()>().await;
        };
        candidate.run(&metrics, work).await;
    });
    watched
}

struct End<'a>(&'a tokio::sync::watch::Sender<bool>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_renewed_is_taken_after_its_duration_and_not_before() {
    let held = json!({
        "metadata": { "name": "qpc-operator", "resourceVersion": "1" },
        "spec": { "holderIdentity": "dead", "leaseDurationSeconds": 15, "leaseTransitions": 3 },
    });
    let (lease, works) = (Arc::new(Mutex::new(Some(held))), Arc::new(Mutex::new(true)));
    let runtime = Runtime::system();
    let start = tokio::time::Instant::now();
    let mut watched = candidate(with_lease(&lease, &works), "next", &runtime);
    watched.wait_for(|elected| *elected).await.unwrap();
    let waited = start.elapsed();
    assert!((Duration::from_secs(15)..Duration::from_secs(19)).contains(&waited), "{waited:?}");
    assert_eq!(
        (holder(&lease), lease.lock().unwrap().as_ref().unwrap()["spec"]["leaseTransitions"].clone()),
        ("next".to_owned(), json!(4))
    );
    assert!(runtime.drain(Duration::from_secs(60)).await);
    assert_eq!(holder(&lease), "", "given back");
}

#[tokio::test(start_paused = true)]
async fn who_cannot_renew_stops_before_another_may_begin() {
    let (lease, works) = (Arc::<Mutex<Option<Value>>>::default(), Arc::new(Mutex::new(true)));
    let (one, other) = (Runtime::system(), Runtime::system());
    let mut first = candidate(with_lease(&lease, &works), "first", &one);
    first.wait_for(|elected| *elected).await.unwrap();
    // The API server answers the first one no more.
    *works.lock().unwrap() = false;
    let second_works = Arc::new(Mutex::new(true));
    let mut second = candidate(with_lease(&lease, &second_works), "second", &other);
    first.wait_for(|elected| !*elected).await.unwrap();
    assert_eq!(holder(&lease), "first", "it has stepped down by itself");
    assert!(!*second.borrow());
    second.wait_for(|elected| *elected).await.unwrap();
    assert!(!*first.borrow());
    assert!(one.drain(Duration::from_secs(60)).await && other.drain(Duration::from_secs(60)).await);
}
