//! Users that the load consists of: registered and logged in as any other, with MLS state in memory.

use std::{
    future::Future,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use openmls_memory_storage::MemoryStorage;
use qpc_crypto::{
    AccountKey, Conversation, DeviceCertificate, DeviceKey, KsfParams, Policy, Provider, QueueKey, Suite,
    mls::key_package,
    opaque::{LoginClient, RegisterClient},
    sha256,
    token::TokenRequest,
};
use qpc_sdk::{
    Runtime,
    transport::{Connection, Connector, Push},
};
use qpc_wire::{
    GroupId,
    limits::MAX_TOKENS,
    methods::{
        CreateGroup, IssueTokens, OpaqueLoginFinish, OpaqueLoginStart, OpaqueRegisterFinish, OpaqueRegisterStart,
        SessionAttach, TokenKeys, UploadHybridKey,
    },
    proofs, v1,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
    task::JoinHandle,
};

/// A task that the measurement waits for itself.
#[allow(clippy::disallowed_methods, reason = "every handle is awaited where it is made")]
pub(crate) fn task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work)
}

/// Makes users on the gateways in turn.
pub(crate) struct World {
    connectors: Vec<Connector>,
    runtime: Runtime,
    run: [u8; 4],
    made: usize,
}

/// A device that is attached.
pub(crate) struct User {
    pub(crate) connection: Connection,
    pub(crate) pushes: mpsc::Receiver<Push>,
    pub(crate) key: DeviceKey,
    pub(crate) provider: Provider<MemoryStorage>,
    pub(crate) runtime: Runtime,
    certificate: DeviceCertificate,
}

impl World {
    pub(crate) fn new(connectors: Vec<Connector>) -> Self {
        let runtime = Runtime::system();
        let run = runtime.random();
        Self { connectors, runtime, run, made: 0 }
    }

    /// A sender and a recipient, on different gateways where there are two, and the sender's side of their conversation.
    pub(crate) async fn pair(&mut self) -> Result<(User, User, Conversation, Conversation)> {
        let (sender, recipient) = (self.user().await?, self.user().await?);
        let id = GroupId(self.runtime.random());
        let (provider, policy) = (&sender.provider, Policy::direct(id));
        let mut ours = Conversation::create(provider, &sender.key, &sender.certificate, Suite::Classic, id, &policy)?;
        let group_info = ours.group_info(&sender.provider, &sender.key)?;
        let package =
            key_package::generate(&recipient.provider, &recipient.key, &recipient.certificate, Suite::Classic, false)?;
        let pending = ours.add(&sender.provider, &sender.key, &[package])?;
        let request = v1::CreateGroupRequest {
            idempotency_key: sender.random_key(),
            kind: v1::GroupKind::Direct as i32,
            group_info: group_info.into(),
            first_commit: Some(v1::CommitBundle {
                commit: pending.commit.into(),
                welcome: pending.welcome.clone().into(),
                group_info: pending.group_info.into(),
                staged: Bytes::new(),
                delivery_key_hash: Bytes::copy_from_slice(&pending.delivery_key_hash),
            }),
        };
        sender.connection.call::<CreateGroup>(&request).await?;
        ours.merge_pending(&sender.provider)?;
        let theirs = Conversation::join(&recipient.provider, &pending.welcome, &ours.ratchet_tree()?)?;
        Ok((sender, recipient, ours, theirs))
    }

    /// A connection on which nobody says who it is.
    pub(crate) async fn unnamed(&self) -> Result<Connection> {
        let (connection, _) = self.connectors[0].connect().await?;
        Ok(connection)
    }

    async fn user(&mut self) -> Result<User> {
        let connector = &self.connectors[self.made % self.connectors.len()];
        let username = format!("load-{:08x}-{}", u32::from_be_bytes(self.run), self.made);
        self.made += 1;
        let (connection, pushes) = connector.connect().await?;
        let mut rng = self.runtime.rng();
        let (account, key, queue) =
            (AccountKey::generate(&mut rng), DeviceKey::generate(&mut rng), QueueKey::generate(&mut rng));
        let certificate = DeviceCertificate::issue(&account, &key.public(), self.runtime.now_ms() / 1000);
        let user =
            User { connection, pushes, key, provider: Provider::default(), runtime: self.runtime.clone(), certificate };
        user.register(&account, &username).await?;
        let token = user.login(&username).await?;
        user.attach(token).await?;
        let public_key = queue.public_bytes();
        let signature = user.key.sign(&proofs::queue_key(&public_key)).to_vec().into();
        let request = v1::UploadHybridKeyRequest { public_key: public_key.into(), signature };
        user.connection.call::<UploadHybridKey>(&request).await?;
        Ok(user)
    }
}

const PASSWORD: &[u8] = b"a password of the load test";
/// The cheapest that clients allow: thousands of users log in here from one machine.
const KSF: KsfParams = KsfParams::FLOOR;

impl User {
    pub(crate) fn random_key(&self) -> Bytes {
        Bytes::copy_from_slice(&self.runtime.random::<16>())
    }

    /// So many tokens, of a server that gives them.
    pub(crate) async fn tokens(&self, count: usize) -> Result<Vec<v1::Token>> {
        let keys = self.connection.call::<TokenKeys>(&v1::TokenKeysRequest {}).await?.keys;
        let key = keys.first().context("no key of tokens")?;
        let mut tokens = Vec::with_capacity(count);
        while tokens.len() < count {
            let request = TokenRequest::new(&mut self.runtime.rng(), key.key_epoch, MAX_TOKENS)?;
            let asked = v1::IssueTokensRequest {
                idempotency_key: self.random_key(),
                key_epoch: key.key_epoch,
                blinded: request.blinded(),
            };
            let answer = self.connection.call::<IssueTokens>(&asked).await?;
            let issued = request.finish(&key.public_key, &answer.evaluated, &answer.proof)?;
            tokens.extend(issued.iter().map(v1::Token::from));
        }
        Ok(tokens)
    }

    async fn register(&self, account: &AccountKey, username: &str) -> Result<()> {
        let mut rng = self.runtime.rng();
        let (client, request) = RegisterClient::start(&mut rng, PASSWORD)?;
        let start = v1::OpaqueRegisterStartRequest { username: username.into(), registration_request: request.into() };
        let answer = self.connection.call::<OpaqueRegisterStart>(&start).await?;
        let (upload, _) = client.finish(&mut rng, PASSWORD, &answer.registration_response, KSF)?;
        let finish = v1::OpaqueRegisterFinishRequest {
            idempotency_key: self.random_key(),
            username: username.into(),
            registration_upload: upload.into(),
            ksf: Some(v1::KsfParams {
                memory_kib: KSF.memory_kib,
                iterations: KSF.iterations,
                parallelism: KSF.parallelism,
            }),
            device_certificate: Bytes::copy_from_slice(&self.certificate.to_bytes()),
            account_proof: account.sign(&proofs::register(self.connection.binding(), username)).to_vec().into(),
            registration_state: answer.registration_state,
            ..Default::default()
        };
        self.connection.call::<OpaqueRegisterFinish>(&finish).await?;
        Ok(())
    }

    async fn login(&self, username: &str) -> Result<Bytes> {
        let mut rng = self.runtime.rng();
        let (client, request) = LoginClient::start(&mut rng, PASSWORD)?;
        let start = v1::OpaqueLoginStartRequest { username: username.into(), credential_request: request.into() };
        let answer = self.connection.call::<OpaqueLoginStart>(&start).await?;
        let binding = self.connection.binding();
        let context = [b"qpc opaque v1", binding.as_slice()].concat();
        let finished = client.finish(&mut rng, PASSWORD, &answer.credential_response, KSF, &context)?;
        let finish = v1::OpaqueLoginFinishRequest {
            device_proof: self.key.sign(&proofs::login(binding, &sha256(&[&answer.login_state]))).to_vec().into(),
            login_state: answer.login_state,
            credential_finalization: finished.finalization.into(),
            device_certificate: Bytes::copy_from_slice(&self.certificate.to_bytes()),
        };
        Ok(self.connection.call::<OpaqueLoginFinish>(&finish).await?.session_token)
    }

    async fn attach(&self, session_token: Bytes) -> Result<()> {
        let proof = proofs::attach(self.connection.binding(), &sha256(&[&session_token]));
        let device_proof = self.key.sign(&proof).to_vec().into();
        self.connection.call::<SessionAttach>(&v1::SessionAttachRequest { session_token, device_proof }).await?;
        Ok(())
    }
}

/// A `qpc-server` process.
pub(crate) struct EmbeddedServer {
    process: Child,
    pub(crate) address: String,
    pub(crate) cert: PathBuf,
}

impl EmbeddedServer {
    /// Starts it with its data in `folder`, and more flags.
    pub(crate) async fn start(binary: &Path, folder: &Path, flags: &[&str]) -> Result<Self> {
        let data = folder.join("data");
        let mut process = Command::new(binary)
            .args(["--listen", "127.0.0.1:0", "--log", "warn", "--max-connections-per-address", "10000"])
            .args(["--registrations-per-address", "off", "--login-failures-per-address", "off"])
            // Never reached, and counted as anywhere.
            .args(["--sends", "64:1000000/1s", "--inbound-bytes", "1G:1G/1s", "--groups-founded", "off"])
            .args(["--key-package-fetches", "off", "--tokens-per-day", "1000000", "--data"])
            .arg(&data)
            .args(flags)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("no output")?).lines();
        let mut address = None;
        while let Some(line) = lines.next_line().await? {
            address = line.split_whitespace().find_map(|word| word.starts_with("127.0.0.1:").then(|| word.to_owned()));
            if address.is_some() {
                break;
            }
        }
        let address = address.context("qpc-server did not say where it listens")?;
        Ok(Self { process, address: address.trim_end_matches([',', '.']).to_owned(), cert: data.join("cert.pem") })
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = self.process.id().context("qpc-server is gone")?;
        let status = Command::new("kill").arg(pid.to_string()).status().await?;
        ensure!(status.success(), "qpc-server cannot be stopped");
        self.process.wait().await?;
        Ok(())
    }
}
