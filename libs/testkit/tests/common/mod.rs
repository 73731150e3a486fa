//! What the scenarios share.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{fs, future::Future, path::Path, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use qpc_chassis::{
    db::Db,
    rpc::{Identity, forward},
};
use qpc_sdk::{
    Client, ConversationId, Error, Event, EventStream, Identification, Linking, MessageState, Runtime, Settings,
};
use qpc_testkit::{Cluster, eventually};
use qpc_wire::{Method, Status, bus};
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

/// What is logged, in memory.
#[derive(Clone, Default)]
pub struct Log(pub std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Shows what is logged, as far as `QPC_LOG` says.
pub fn show_log() {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("QPC_LOG").unwrap_or_else(|_| "error".into()))
        .with_test_writer()
        .try_init()
        .ok();
}

/// Time a call of a test may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A call as the gateway would forward it for `caller`, over a connection bound to 32 times 1.
pub async fn call<M: Method>(
    cluster: &Cluster,
    caller: Option<Identity>,
    request: &M::Request,
) -> Result<M::Response, Status> {
    let deps = cluster.deps();
    let call = bus::Call {
        method: M::INFO.id.into(),
        correlation_id: Bytes::from_static(&[0; 12]),
        deadline_ms: deps.runtime.now_ms() + DEADLINE.as_millis() as u64,
        account_id: caller.map(|caller| caller.account.to_bytes()).unwrap_or_default(),
        device_id: caller.map(|caller| caller.device.to_bytes()).unwrap_or_default(),
        channel_binding: Bytes::from_static(&[1; 32]),
        address_hash: Bytes::new(),
        body: request.encode_to_vec().into(),
        trace: Bytes::new(),
    };
    let (status, body) = forward(&*deps.bus, M::INFO.owner.name(), call, DEADLINE).await?;
    if status == 0 { Ok(M::Response::decode(body).unwrap()) } else { Err(Status::decode(status, body)) }
}

pub fn identity(of: &Identification) -> Identity {
    Identity { account: of.account, device: of.device }
}

pub fn random_key(cluster: &Cluster) -> Bytes {
    Bytes::copy_from_slice(&cluster.deps().runtime.random::<16>())
}

/// The tables of the embedded delivery service, to be damaged.
pub async fn delivery_tables(cluster: &Cluster) -> Db {
    let setting = format!("sqlite:{}", cluster.folder().display());
    Db::open(&setting, "delivery", 1, qpc_delivery::store::MIGRATIONS).await.unwrap()
}

/// Copies the files of a folder.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Waits for an event.
pub async fn until(events: &mut EventStream, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
    let found = async {
        loop {
            match events.next().await {
                Some(event) if wanted(&event) => return event,
                Some(_) => {}
                None => panic!("closed before {what}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// A further device of an account, linked by its code.
pub async fn link(cluster: &Cluster, existing: &Client, device: usize, gateway: usize) -> Client {
    let name = existing.whoami().await.unwrap().username;
    let options = cluster.client_options(&name, device, gateway);
    let linking = Linking::begin(&options.server, options.server_name.as_deref(), &options.trust, Runtime::system())
        .await
        .unwrap();
    // As a person types it.
    let code = linking.code().to_string().to_lowercase().replace('-', " ");
    existing.link_device(&code.parse().unwrap()).await.unwrap();
    let linked = linking.finish(Duration::from_secs(30)).await.unwrap();
    assert_eq!(linked.username, name);
    open(qpc_sdk::ClientOptions { account_key: Some(linked.account_key), ..options }).await
}

/// Waits until a client has a conversation, and is active in it.
pub async fn let_in(client: &Client, id: ConversationId) {
    eventually("the conversation", || async {
        client.conversation(id).await.ok().filter(|info| info.active).map(drop)
    })
    .await;
}

/// Waits until a history is exactly this.
pub async fn has(client: &Client, id: ConversationId, texts: &[&str]) {
    eventually("the messages", || async {
        let history = client.history(id, 1_000).await.ok()?;
        let shown: Vec<_> = history.iter().map(|message| message.text.as_str()).collect();
        (shown == texts).then_some(())
    })
    .await;
}

/// Waits until all are in the same epoch with the same secrets, whatever they could not read before.
pub async fn in_one_epoch(clients: &[&Client], id: ConversationId) {
    eventually("one epoch", || async {
        let mut authenticators = Vec::new();
        for client in clients {
            authenticators.push(client.epoch_authenticator(id).await.ok()?);
        }
        authenticators.iter().all(|one| *one == authenticators[0]).then_some(())
    })
    .await;
}

/// A client that is connected, however long the bus takes to let it.
pub async fn client(cluster: &Cluster, name: &str, device: usize, gateway: usize) -> Client {
    open(cluster.client_options(name, device, gateway)).await
}

pub async fn open(options: qpc_sdk::ClientOptions) -> Client {
    let client = Client::open(options).await.unwrap();
    client.start();
    eventually("the connection", || async { client.whoami().await.unwrap().connected.then_some(()) }).await;
    // In most tests people know each other.
    client.set_settings(Settings { ask: false, ..client.settings().await.unwrap() }).await.unwrap();
    client
}

/// What a person does who is told that it did not work this time: tries again, for a minute.
pub async fn insist<T, F: Future<Output = Result<T, Error>>>(what: &str, mut action: impl FnMut() -> F) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        match action().await {
            Ok(value) => return value,
            Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{what}: {error}"),
        }
    }
    panic!("{what} never succeeds");
}

/// Texts that others wrote, in the order shown.
pub async fn received(client: &Client, conversation: ConversationId) -> Vec<String> {
    let history = client.history(conversation, 10_000).await.unwrap();
    history.into_iter().filter(|m| m.state == MessageState::Received).map(|m| m.text).collect()
}

/// Waits until exactly `expected` has been received from the one other device, in its order.
pub async fn receives(client: &Client, conversation: ConversationId, expected: &[String]) {
    let texts = eventually("all messages", || async {
        let texts = received(client, conversation).await;
        (texts.len() >= expected.len()).then_some(texts)
    })
    .await;
    assert_eq!(texts, expected, "once each, in order");
}

/// Waits until everything that was written here has a receipt that holds.
pub async fn all_accepted(client: &Client, conversation: ConversationId) {
    eventually("all receipts", || async {
        let history = client.history(conversation, 10_000).await.unwrap();
        let open = history.iter().any(|m| matches!(m.state, MessageState::Queued | MessageState::Sent));
        (!open).then_some(())
    })
    .await;
    let history = client.history(conversation, 10_000).await.unwrap();
    for message in history {
        let fine = matches!(
            message.state,
            MessageState::Accepted | MessageState::Delivered | MessageState::Read | MessageState::Received
        );
        assert!(fine, "{message:?}");
    }
}

/// All clients are in the same epoch with the same secrets, and have read everything.
pub async fn agree(clients: &[&Client], conversation: ConversationId) {
    in_one_epoch(clients, conversation).await;
    for client in clients {
        assert_eq!(client.stats().await.unwrap().undecryptable, 0);
    }
}

pub fn numbered(who: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{who} says {n}")).collect()
}
