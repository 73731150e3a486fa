//! Becoming somebody at the server: registration, login, and binding a connection to this device.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use qpc_crypto::{
    KsfParams,
    opaque::{LoginClient, OpaqueError, RegisterClient},
    sha256,
};
use qpc_wire::{
    Code,
    methods::{
        OpaqueLoginFinish, OpaqueLoginStart, OpaqueRegisterFinish, OpaqueRegisterStart, ServerInfo, SessionAttach,
    },
    proofs, v1,
};
use zeroize::Zeroizing;

use crate::{
    Error, NotAdmitted, admission, client::Inner, outbox::is_no_verdict, recovery, retry, transport::Connection,
};

/// Times that a registration is begun before the server's refusal of its work stands.
const BEGINNINGS: u32 = 3;

/// Registers if need be, logs in if need be, binds the connection, and learns the server's receipt key.
pub(crate) async fn authenticate(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    if !inner.store.run(|tx| tx.is_registered()).await? {
        register(inner, connection).await?;
    }
    if inner.store.run(|tx| tx.is_resetting()).await? {
        recovery::reset_password(inner, connection).await.map_err(refused)?;
    }
    attach(inner, connection).await?;
    pin_receipt_key(inner, connection).await
}

/// Registers name, account and this device.
pub(crate) async fn register(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    match begin_registering(inner, connection).await {
        Ok(()) => {}
        // Perhaps it was us, and the answer was lost: then the password and this device's certificate open it, though the
        // name is taken now, the invite used up, or the server closed.
        Err(error @ (Error::NameTaken(_) | Error::NotAdmitted(_))) => match login(inner, connection).await {
            Ok(()) => {}
            Err(Error::LoginRefused(_)) => return Err(error),
            // Who has tried too often is told what was wrong with the first try; but not as a last word while a try of this
            // device may have succeeded, since its keys would be thrown away with it.
            Err(limited)
                if limited.code() == Some(Code::ResourceExhausted) && !inner.unanswered.load(Ordering::Relaxed) =>
            {
                return Err(error);
            }
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error),
    }
    let identity = inner.identity.clone();
    inner
        .store
        .run(move |tx| {
            tx.pin_self(&identity.username, identity.certificate.account_key())?;
            tx.set_registered()
        })
        .await
}

/// Begins anew where work came too late, or the terms have changed meanwhile.
async fn begin_registering(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    for _ in 1..BEGINNINGS {
        match try_register(inner, connection).await {
            Err(Error::NotAdmitted(NotAdmitted::WorkNotTaken)) => {}
            result => return result,
        }
    }
    try_register(inner, connection).await
}

async fn try_register(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    let identity = &inner.identity;
    let username = identity.username.clone();
    let (client, request) = RegisterClient::start(&mut inner.runtime.rng(), inner.password.as_bytes())?;
    let started = retry::call::<OpaqueRegisterStart>(
        &inner.runtime,
        connection,
        &v1::OpaqueRegisterStartRequest { username: username.clone(), registration_request: request.into() },
    )
    .await?;
    let response = started.registration_response;
    let (ksf, password, mut rng) = (inner.ksf, inner.password.clone(), inner.runtime.rng());
    let registration_state = started.registration_state;
    let shown = admission::meet(inner, &started.terms.unwrap_or_default(), &registration_state).await?;
    let (upload, _export_key) = inner
        .runtime
        .blocking(move || client.finish(&mut rng, password.as_bytes(), &response, ksf))
        .await
        .ok_or(Error::Interrupted)??;
    let proof = identity.account_key.sign(&proofs::register(connection.binding(), &username));
    let request = v1::OpaqueRegisterFinishRequest {
        idempotency_key: inner.idempotency_key().to_bytes(),
        username,
        registration_upload: upload.into(),
        ksf: Some(v1::KsfParams {
            memory_kib: ksf.memory_kib,
            iterations: ksf.iterations,
            parallelism: ksf.parallelism,
        }),
        device_certificate: Bytes::copy_from_slice(&identity.certificate.to_bytes()),
        account_proof: Bytes::copy_from_slice(&proof),
        registration_state,
        work: shown.work,
        invite: shown.invite,
    };
    let finished = retry::call::<OpaqueRegisterFinish>(&inner.runtime, connection, &request).await;
    if matches!(&finished, Err(error) if error.code().is_none_or(is_no_verdict) || error.is_transient()) {
        inner.unanswered.store(true, Ordering::Relaxed);
    }
    match finished {
        Err(error) if error.code() == Some(Code::AlreadyExists) => Err(Error::NameTaken(request.username)),
        Err(error) => Err(admission::refused(error)),
        Ok(_) => Ok(()),
    }
}

/// Proves the password and keeps the session token.
pub(crate) async fn login(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    let finished = prove_password(inner, connection).await.map_err(refused)?;
    inner.store.run(move |tx| tx.set_session(&finished.session_token, finished.expires_at_ms)).await
}

async fn prove_password(inner: &Inner, connection: &Connection) -> Result<v1::OpaqueLoginFinishResponse, Error> {
    let identity = &inner.identity;
    let (client, request) = LoginClient::start(&mut inner.runtime.rng(), inner.password.as_bytes())?;
    let started = retry::call::<OpaqueLoginStart>(
        &inner.runtime,
        connection,
        &v1::OpaqueLoginStartRequest { username: identity.username.clone(), credential_request: request.into() },
    )
    .await?;
    let ksf = started.ksf.ok_or(Error::Incomplete("the cost of the password"))?;
    let ksf = KsfParams { memory_kib: ksf.memory_kib, iterations: ksf.iterations, parallelism: ksf.parallelism };
    // A server that lowers the cost wants to guess the password.
    ksf.check_floor()?;
    let context = [b"qpc opaque v1".as_slice(), connection.binding()].concat();
    let (password, mut rng, response) = (inner.password.clone(), inner.runtime.rng(), started.credential_response);
    let finished = inner
        .runtime
        .blocking(move || client.finish(&mut rng, password.as_bytes(), &response, ksf, &context))
        .await
        .ok_or(Error::Interrupted)??;
    let proof = identity.device_key.sign(&proofs::login(connection.binding(), &sha256(&[&started.login_state])));
    let request = v1::OpaqueLoginFinishRequest {
        login_state: started.login_state,
        credential_finalization: finished.finalization.into(),
        device_certificate: Bytes::copy_from_slice(&identity.certificate.to_bytes()),
        device_proof: Bytes::copy_from_slice(&proof),
    };
    Ok(retry::call::<OpaqueLoginFinish>(&inner.runtime, connection, &request).await?)
}

/// Marks what another try with the same password cannot change.
fn refused(error: Error) -> Error {
    let hopeless = match &error {
        Error::Opaque(OpaqueError::WrongPassword) | Error::Kdf(_) => true,
        Error::Call(error) => matches!(error.code(), Some(Code::Unauthenticated | Code::PermissionDenied)),
        _ => false,
    };
    if hopeless { Error::LoginRefused(Box::new(error)) } else { error }
}

async fn attach(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    if let Some(token) = inner.store.run(|tx| tx.session_token()).await? {
        match attach_with(inner, connection, &token).await {
            Err(Error::Call(error)) if error.code() == Some(Code::Unauthenticated) => {}
            result => return result,
        }
        inner.store.run(|tx| tx.forget_session()).await?;
    }
    login(inner, connection).await?;
    let token = inner.store.run(|tx| tx.session_token()).await?.ok_or(Error::Incomplete("a valid session"))?;
    attach_with(inner, connection, &token).await.map_err(refused)
}

async fn attach_with(inner: &Inner, connection: &Connection, token: &Zeroizing<Vec<u8>>) -> Result<(), Error> {
    let proof = proofs::attach(connection.binding(), &sha256(&[token]));
    let request = v1::SessionAttachRequest {
        session_token: Bytes::copy_from_slice(token),
        device_proof: Bytes::copy_from_slice(&inner.identity.device_key.sign(&proof)),
    };
    retry::call::<SessionAttach>(&inner.runtime, connection, &request).await?;
    Ok(())
}

/// Asked for once: a server that changes its key later is not believed.
async fn pin_receipt_key(inner: &Inner, connection: &Connection) -> Result<(), Error> {
    if inner.store.run(|tx| tx.receipt_key()).await?.is_some() {
        return Ok(());
    }
    let info = retry::call::<ServerInfo>(&inner.runtime, connection, &v1::ServerInfoRequest {}).await?;
    let key: [u8; 32] = info.receipt_key.as_ref().try_into().map_err(|_| Error::Incomplete("a receipt key"))?;
    inner.store.run(move |tx| tx.pin_receipt_key(&key)).await
}
