//! Coming back without any device: 8 codes on paper, each of which brings the account to a new store, once.
//!
//! What a code opens, the [`bundle`], is kept at the server as something that it cannot read, and renewed by the devices of
//! the account whenever its content changes. The restored device has the account key, so that contacts see no other one; it
//! gives the account a new password on the word of that key, and joins its groups from outside. See
//! [`qpc_crypto::recovery`] for the keys.

mod bundle;

use std::sync::Arc;

use bytes::Bytes;
use qpc_crypto::{
    RecoveryCode,
    opaque::RegisterClient,
    recovery::{self, CODES, CodeKeys, RecoveryRoot, SET_LEN},
    sha256,
};
use qpc_wire::{
    Code,
    methods::{
        OpaqueRegisterStart, RecoveryStatus as RecoveryStatusCall, ResetPassword, SetRecovery, UpdateRecovery,
        UseRecoveryCode,
    },
    proofs, v1,
};
use zeroize::Zeroizing;

use self::bundle::Bundle;
use crate::{
    Client, ClientOptions, Error, Runtime,
    client::Inner,
    own, retry,
    store::Tx,
    transport::{Connection, Connector},
};

/// Connections over which a code is shown before it is given up for now. It is the same use of it each time.
const TRIES: usize = 5;

/// What the server has for coming back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryStatus {
    /// Codes that were not used.
    pub codes_left: u32,
    /// When they were made, Unix milliseconds.
    pub created_at_ms: u64,
    /// When what they open was last renewed, Unix milliseconds.
    pub updated_at_ms: u64,
}

/// Brings an account to a new store.
pub struct Recovery;

/// An account that was brought to a new store.
pub struct Restored {
    /// Not connected yet. The first connection gives the server the new password; until it has, every opening of the store
    /// goes on with that.
    pub client: Client,
    /// Codes that are left.
    pub codes_left: u32,
}

/// What the devices of an account know of its codes.
struct Set {
    id: [u8; SET_LEN],
    /// Public half of what opens the bundle.
    public: Vec<u8>,
}

impl Recovery {
    /// Uses a code up and makes a store of its account in the folder of the options, which must not have one. The password is
    /// a new one; the name comes from what the code opens, and must be that of the options unless that is empty.
    pub async fn restore(
        options: ClientOptions,
        code: &RecoveryCode,
        password: impl Into<String>,
    ) -> Result<Restored, Error> {
        crate::store::check_new(&options.data)?;
        let runtime = options.runtime.child();
        let stretching = code.clone();
        let keys = runtime.blocking(move || stretching.keys()).await.ok_or(Error::Interrupted)??;
        let used = show(&options, &runtime, &keys).await?;
        let set: [u8; SET_LEN] = used.set_id.as_ref().try_into().map_err(|_| Error::Incomplete("a recovery set"))?;
        let root = keys.unwrap(&set, &used.wrapped)?;
        let restored = Bundle::decode(&root.open(&set, &used.bundle)?)?;
        if restored.account_key.public() != root.account_key {
            return Err(Error::BadBundle);
        }
        if !options.username.is_empty() && options.username != restored.username {
            return Err(Error::OtherUser { stored: restored.username, asked: options.username });
        }
        let options = ClientOptions {
            username: restored.username.clone(),
            password: Zeroizing::new(password.into()),
            account_key: Some(restored.account_key.to_bytes()),
            ..options
        };
        let public = root.public_bytes();
        let seed = move |tx: &Tx<'_>| {
            restored.plant(tx)?;
            tx.put_synced(&own::recovery_set(tx, &set, &public)?)?;
            tx.set_resetting(true)
        };
        let client = Client::open_seeded(options, seed).await?;
        Ok(Restored { client, codes_left: used.codes_left })
    }
}

/// Shows the code to the server, the same use of it however often the connection is lost.
async fn show(
    options: &ClientOptions,
    runtime: &Runtime,
    keys: &CodeKeys,
) -> Result<v1::UseRecoveryCodeResponse, Error> {
    let connector = Connector::new(&options.server, options.server_name.as_deref(), &options.trust, runtime.clone())?;
    let request = v1::UseRecoveryCodeRequest {
        idempotency_key: Bytes::copy_from_slice(&runtime.random::<16>()),
        token: Bytes::copy_from_slice(keys.token()),
    };
    let mut failed = Error::Offline;
    for _ in 0..TRIES {
        let (connection, _pushes) = connector.connect().await?;
        let used = retry::call::<UseRecoveryCode>(runtime, &connection, &request).await;
        connection.close();
        match used {
            Ok(used) => return Ok(used),
            Err(error) if error.code() == Some(Code::NotFound) => return Err(Error::NoSuchCode),
            // The server says when.
            Err(error) if error.is_transient() && error.code() != Some(Code::ResourceExhausted) => {
                failed = error.into()
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(failed)
}

/// Codes for an account that has none.
pub(crate) async fn setup(inner: &Arc<Inner>) -> Result<Vec<RecoveryCode>, Error> {
    match status(inner).await? {
        Some(status) if status.codes_left > 0 => Err(Error::RecoveryExists),
        _ => rotate(inner).await,
    }
}

/// New codes in the place of those that there are.
pub(crate) async fn rotate(inner: &Arc<Inner>) -> Result<Vec<RecoveryCode>, Error> {
    let connection = inner.connection()?;
    let (runtime, account_key) = (inner.runtime.clone(), inner.identity.account_key.public());
    let set = Set { id: inner.runtime.random(), public: Vec::new() };
    let made = inner.runtime.blocking(move || {
        let mut rng = runtime.rng();
        let root = RecoveryRoot::generate(&mut rng, account_key);
        let codes: Vec<RecoveryCode> = (0..CODES).map(|_| RecoveryCode::generate(&mut rng)).collect();
        let row = |code: &RecoveryCode| {
            let keys = code.keys()?;
            Ok(v1::RecoveryCodeRow {
                lookup: Bytes::copy_from_slice(&keys.lookup()),
                wrapped: keys.wrap(&mut runtime.rng(), &set.id, &root).into(),
            })
        };
        let rows = codes.iter().map(row).collect::<Result<Vec<_>, Error>>()?;
        Ok::<_, Error>((codes, rows, Set { public: root.public_bytes(), ..set }))
    });
    let (codes, rows, set) = made.await.ok_or(Error::Interrupted)??;
    let (sealed, content) = sealed(inner, &set).await?;
    let request = v1::SetRecoveryRequest {
        idempotency_key: inner.idempotency_key().to_bytes(),
        set_id: Bytes::copy_from_slice(&set.id),
        codes: rows,
        bundle: sealed.into(),
    };
    retry::call::<SetRecovery>(&inner.runtime, &connection, &request).await?;
    inner.store.run(move |tx| tx.set_brought(&content)).await?;
    own::share_recovery_set(inner, &set.id, &set.public).await?;
    Ok(codes)
}

/// What there is at the server; none if there are no codes.
pub(crate) async fn status(inner: &Inner) -> Result<Option<RecoveryStatus>, Error> {
    let connection = inner.connection()?;
    let request = v1::RecoveryStatusRequest {};
    let status = retry::call::<RecoveryStatusCall>(&inner.runtime, &connection, &request).await?;
    Ok((!status.set_id.is_empty()).then_some(RecoveryStatus {
        codes_left: status.codes_left,
        created_at_ms: status.created_at_ms,
        updated_at_ms: status.updated_at_ms,
    }))
}

/// Brings another bundle if what is in it has changed.
pub(crate) async fn refresh(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    let known = inner.store.run(|tx| Ok(own::known_recovery_set(tx)?.map(|(id, public)| Set { id, public }))).await?;
    let Some(set) = known else { return Ok(()) };
    let identity = inner.identity.clone();
    let id = set.id;
    let changed = move |tx: &Tx<'_>| Ok(tx.brought()? != Some(digest(&id, &Bundle::gather(tx, &identity)?)));
    if !inner.store.run(changed).await? {
        return Ok(());
    }
    let (sealed, content) = sealed(inner, &set).await?;
    let request = v1::UpdateRecoveryRequest { set_id: Bytes::copy_from_slice(&set.id), bundle: sealed.into() };
    match retry::call::<UpdateRecovery>(&inner.runtime, connection, &request).await {
        // Another device has made new codes, and tells of them.
        Err(error) if error.code() == Some(Code::FailedPrecondition) => tracing::info!("the recovery set was replaced"),
        updated => drop(updated?),
    }
    inner.store.run(move |tx| tx.set_brought(&content)).await
}

/// A bundle of now, and its digest.
async fn sealed(inner: &Inner, set: &Set) -> Result<(Vec<u8>, [u8; 32]), Error> {
    let identity = inner.identity.clone();
    let plain = inner.store.run(move |tx| Bundle::gather(tx, &identity)).await?;
    let sealed = recovery::seal(&mut inner.runtime.rng(), &set.public, &set.id, &plain)?;
    Ok((sealed, digest(&set.id, &plain)))
}

fn digest(set: &[u8; SET_LEN], plain: &[u8]) -> [u8; 32] {
    sha256(&[set, plain])
}

/// Gives the account the password of this store, on the word of its key.
pub(crate) async fn reset_password(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    let username = inner.identity.username.clone();
    let (client, request) = RegisterClient::start(&mut inner.runtime.rng(), inner.password.as_bytes())?;
    let request = v1::OpaqueRegisterStartRequest { username: username.clone(), registration_request: request.into() };
    let started = retry::call::<OpaqueRegisterStart>(&inner.runtime, connection, &request).await?;
    let (ksf, password, mut rng) = (inner.ksf, inner.password.clone(), inner.runtime.rng());
    let response = started.registration_response;
    let (upload, _export_key) = inner
        .runtime
        .blocking(move || client.finish(&mut rng, password.as_bytes(), &response, ksf))
        .await
        .ok_or(Error::Interrupted)??;
    let proof = proofs::reset_password(connection.binding(), &sha256(&[&upload]), &username);
    let request = v1::ResetPasswordRequest {
        idempotency_key: inner.idempotency_key().to_bytes(),
        username,
        registration_upload: upload.into(),
        ksf: Some(v1::KsfParams {
            memory_kib: ksf.memory_kib,
            iterations: ksf.iterations,
            parallelism: ksf.parallelism,
        }),
        account_proof: Bytes::copy_from_slice(&inner.identity.account_key.sign(&proof)),
        registration_state: started.registration_state,
    };
    retry::call::<ResetPassword>(&inner.runtime, connection, &request).await?;
    inner.store.run(|tx| tx.set_resetting(false)).await
}
