//! Login by OPAQUE (RFC 9807): ristretto255-SHA512, 3DH, Argon2id as key stretching function. The server never sees the
//! password, and its record is useless for guessing without the server setup.
//!
//! The cost of Argon2id is a value of each call, because it is chosen per account; [`KsfParams::check_floor`] is enforced
//! on the client, so that a server cannot lower it. `context` binds a login to a connection: both sides pass the channel
//! binding.

use opaque_ke::errors::ProtocolError;
use opaque_ke::generic_array::GenericArray;
use opaque_ke::{
    ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters,
    CredentialFinalization, CredentialRequest, CredentialResponse, Identifiers, RegistrationRequest,
    RegistrationResponse, RegistrationUpload, ServerLogin, ServerLoginParameters, ServerRegistration,
};
use rand::{CryptoRng, RngCore};
use zeroize::Zeroizing;

pub use crate::kdf::{KdfError, KsfParams};

/// A secret of OPAQUE, 64 bytes.
pub type Secret = Zeroizing<[u8; 64]>;

/// Why a step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpaqueError {
    /// The client: wrong password, or no such account. The server: the client did not know the password.
    #[error("wrong password")]
    WrongPassword,
    /// A message, record, state or setup that does not parse.
    #[error("malformed OPAQUE message: {0}")]
    Malformed(#[source] ProtocolError),
    /// The cost of the password is not acceptable.
    #[error(transparent)]
    Ksf(#[from] KdfError),
    /// Anything else that the protocol forbids, such as a server that echoes the request.
    #[error("OPAQUE: {0}")]
    Protocol(#[source] ProtocolError),
}

impl From<ProtocolError> for OpaqueError {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::InvalidLoginError => Self::WrongPassword,
            ProtocolError::SerializationError | ProtocolError::SizeError { .. } => Self::Malformed(error),
            _ => Self::Protocol(error),
        }
    }
}

struct Suite;

impl opaque_ke::CipherSuite for Suite {
    type OprfCs = opaque_ke::Ristretto255;
    type KeyExchange = opaque_ke::TripleDh<opaque_ke::Ristretto255, sha2::Sha512>;
    type Ksf = argon2::Argon2<'static>;
}

/// The server's long-lived secrets, 128 bytes. Every replica has the same; replacing them invalidates every record.
pub struct ServerSetup(opaque_ke::ServerSetup<Suite>);

impl ServerSetup {
    /// A new setup.
    pub fn generate(rng: &mut (impl RngCore + CryptoRng)) -> Self {
        Self(opaque_ke::ServerSetup::new(rng))
    }

    /// The setup as bytes, to be kept as a secret.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.serialize().to_vec())
    }

    /// Reads a setup.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OpaqueError> {
        Ok(Self(opaque_ke::ServerSetup::deserialize(bytes)?))
    }
}

/// Server, first step of a registration: answers a request (32 bytes) with a response (64 bytes). `credential_id` must be
/// the same at login, and of this registration alone: whoever may choose it gets answers to guesses at its password.
pub fn register_start(setup: &ServerSetup, credential_id: &[u8], request: &[u8]) -> Result<Vec<u8>, OpaqueError> {
    let request = RegistrationRequest::deserialize(request)?;
    let started = ServerRegistration::<Suite>::start(&setup.0, request, credential_id)?;
    Ok(started.message.serialize().to_vec())
}

/// Server, last step of a registration: the record (192 bytes) to keep, from the upload (192 bytes).
pub fn register_finish(upload: &[u8]) -> Result<Vec<u8>, OpaqueError> {
    let upload = RegistrationUpload::<Suite>::deserialize(upload)?;
    Ok(ServerRegistration::finish(upload).serialize().to_vec())
}

/// Server, first step of a login: the response (320 bytes) to a request (96 bytes), and the state (128 bytes, secret) for
/// [`login_finish`]. Without a record the answer has the same shape and cost, and no password fits it.
pub fn login_start(
    rng: &mut (impl RngCore + CryptoRng),
    setup: &ServerSetup,
    record: Option<&[u8]>,
    credential_id: &[u8],
    request: &[u8],
    context: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), OpaqueError> {
    let record = record.map(ServerRegistration::<Suite>::deserialize).transpose()?;
    let request = CredentialRequest::deserialize(request)?;
    let parameters = server_parameters(context);
    let started = ServerLogin::start(rng, &setup.0, record, request, credential_id, parameters)?;
    Ok((started.message.serialize().to_vec(), started.state.serialize().to_vec()))
}

/// Server, last step of a login: checks the finalization (64 bytes) and returns the session key, which equals the
/// client's. `context` must be that of [`login_start`].
pub fn login_finish(state: &[u8], finalization: &[u8], context: &[u8]) -> Result<Secret, OpaqueError> {
    let state = ServerLogin::<Suite>::deserialize(state)?;
    let finalization = CredentialFinalization::deserialize(finalization)?;
    let finished = state.finish(finalization, server_parameters(context))?;
    Ok(secret(finished.session_key))
}

fn server_parameters(context: &[u8]) -> ServerLoginParameters<'_, '_> {
    ServerLoginParameters { context: Some(context), identifiers: Identifiers::default() }
}

/// A client between the steps of a registration.
pub struct RegisterClient(ClientRegistration<Suite>);

impl RegisterClient {
    /// Starts: the request (32 bytes) for the server.
    pub fn start(rng: &mut (impl RngCore + CryptoRng), password: &[u8]) -> Result<(Self, Vec<u8>), OpaqueError> {
        let started = ClientRegistration::start(rng, password)?;
        Ok((Self(started.state), started.message.serialize().to_vec()))
    }

    /// Finishes: the upload (192 bytes) for the server and the export key, a secret only this password gives and the
    /// server never learns.
    pub fn finish(
        self,
        rng: &mut (impl RngCore + CryptoRng),
        password: &[u8],
        response: &[u8],
        ksf: KsfParams,
    ) -> Result<(Vec<u8>, Secret), OpaqueError> {
        let argon2 = ksf.argon2()?;
        let response = RegistrationResponse::deserialize(response)?;
        let parameters = ClientRegistrationFinishParameters::new(Identifiers::default(), Some(&argon2));
        let finished = self.0.finish(rng, password, response, parameters)?;
        Ok((finished.message.serialize().to_vec(), secret(finished.export_key)))
    }
}

/// A client between the steps of a login.
pub struct LoginClient(ClientLogin<Suite>);

/// What a finished login gives the client.
pub struct LoginFinish {
    /// For the server, 64 bytes.
    pub finalization: Vec<u8>,
    /// The same as at registration.
    pub export_key: Secret,
    /// Equals the server's if both mean the same login.
    pub session_key: Secret,
}

impl LoginClient {
    /// Starts: the request (96 bytes) for the server.
    pub fn start(rng: &mut (impl RngCore + CryptoRng), password: &[u8]) -> Result<(Self, Vec<u8>), OpaqueError> {
        let started = ClientLogin::start(rng, password)?;
        Ok((Self(started.state), started.message.serialize().to_vec()))
    }

    /// Finishes. `ksf` must be that of the registration and `context` that of the server, or it looks like a wrong
    /// password.
    pub fn finish(
        self,
        rng: &mut (impl RngCore + CryptoRng),
        password: &[u8],
        response: &[u8],
        ksf: KsfParams,
        context: &[u8],
    ) -> Result<LoginFinish, OpaqueError> {
        let argon2 = ksf.argon2()?;
        let response = CredentialResponse::deserialize(response)?;
        let parameters = ClientLoginFinishParameters::new(Some(context), Identifiers::default(), Some(&argon2));
        let finished = self.0.finish(rng, password, response, parameters)?;
        Ok(LoginFinish {
            finalization: finished.message.serialize().to_vec(),
            export_key: secret(finished.export_key),
            session_key: secret(finished.session_key),
        })
    }
}

fn secret(output: GenericArray<u8, opaque_ke::generic_array::typenum::U64>) -> Secret {
    Zeroizing::new(output.into())
}

#[cfg(test)]
mod tests {
    use rand::rngs::OsRng;

    use super::*;

    const PASSWORD: &[u8] = b"correct horse";
    const CONTEXT: &[u8] = b"channel binding";

    fn register(setup: &ServerSetup) -> (Vec<u8>, Secret) {
        let (client, request) = RegisterClient::start(&mut OsRng, PASSWORD).unwrap();
        assert_eq!(request.len(), 32);
        let response = register_start(setup, b"alice", &request).unwrap();
        assert_eq!(response.len(), 64);
        let (upload, export_key) = client.finish(&mut OsRng, PASSWORD, &response, KsfParams::FLOOR).unwrap();
        let record = register_finish(&upload).unwrap();
        assert_eq!((upload.len(), record.len()), (192, 192));
        (record, export_key)
    }

    struct Login {
        client: Result<LoginFinish, OpaqueError>,
        response_len: usize,
        state: Vec<u8>,
    }

    fn login(setup: &ServerSetup, record: Option<&[u8]>, password: &[u8], ksf: KsfParams, context: &[u8]) -> Login {
        let (client, request) = LoginClient::start(&mut OsRng, password).unwrap();
        let (response, state) = login_start(&mut OsRng, setup, record, b"alice", &request, CONTEXT).unwrap();
        let client = client.finish(&mut OsRng, password, &response, ksf, context);
        Login { client, response_len: response.len(), state }
    }

    #[test]
    fn right_password_gives_both_sides_the_same_keys() {
        let setup = ServerSetup::generate(&mut OsRng);
        let (record, export_key) = register(&setup);
        let setup = ServerSetup::from_bytes(&setup.to_bytes()).unwrap();
        let login = login(&setup, Some(&record), PASSWORD, KsfParams::FLOOR, CONTEXT);
        let finish = login.client.ok().unwrap();
        assert_eq!(finish.export_key, export_key);
        assert_eq!(login_finish(&login.state, &finish.finalization, CONTEXT).unwrap(), finish.session_key);
        let mut forged = finish.finalization.clone();
        forged[5] ^= 1;
        assert_eq!(login_finish(&login.state, &forged, CONTEXT), Err(OpaqueError::WrongPassword));
    }

    #[test]
    fn wrong_inputs_look_like_a_wrong_password() {
        let setup = ServerSetup::generate(&mut OsRng);
        let (record, _) = register(&setup);
        let other_ksf = KsfParams { iterations: 3, ..KsfParams::FLOOR };
        for (password, ksf, context) in [
            (b"wrong".as_slice(), KsfParams::FLOOR, CONTEXT),
            (PASSWORD, other_ksf, CONTEXT),
            (PASSWORD, KsfParams::FLOOR, b"another connection".as_slice()),
        ] {
            let login = login(&setup, Some(&record), password, ksf, context);
            assert_eq!(login.client.err(), Some(OpaqueError::WrongPassword));
        }
    }

    #[test]
    fn unknown_name_cannot_be_told_from_a_wrong_password() {
        let setup = ServerSetup::generate(&mut OsRng);
        let (record, _) = register(&setup);
        let known = login(&setup, Some(&record), b"wrong", KsfParams::FLOOR, CONTEXT);
        let unknown = login(&setup, None, b"wrong", KsfParams::FLOOR, CONTEXT);
        assert_eq!(unknown.client.err(), known.client.err());
        assert_eq!(unknown.response_len, known.response_len);
        assert_eq!(unknown.state.len(), known.state.len());
    }

    #[test]
    fn client_refuses_a_lowered_cost_before_it_uses_the_password() {
        let setup = ServerSetup::generate(&mut OsRng);
        let (record, _) = register(&setup);
        let cheap = KsfParams { memory_kib: 8, iterations: 1, parallelism: 1 };
        let login = login(&setup, Some(&record), PASSWORD, cheap, CONTEXT);
        assert_eq!(login.client.err(), Some(OpaqueError::Ksf(KdfError::BelowFloor(cheap))));
    }

    #[test]
    fn garbage_is_malformed() {
        let setup = ServerSetup::generate(&mut OsRng);
        assert!(matches!(register_finish(&[1; 10]), Err(OpaqueError::Malformed(_))));
        assert!(matches!(ServerSetup::from_bytes(&[1; 10]), Err(OpaqueError::Malformed(_))));
        assert!(register_start(&setup, b"alice", &[0xff; 32]).is_err());
    }
}
