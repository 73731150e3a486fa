//! A new device of an account, made known by one that is there: a code that is read off, or shown as a QR code, and two
//! sealed messages through the server, which can neither read nor replace them.
//!
//! The new device makes a queue key (X-Wing) and offers its public half. The code is the id of the offer, which is a hash of
//! it, and a secret that the server never sees; so the answer, the account key under both, can come only from whoever was
//! told the code, and can be read only by who made it.

use std::{fmt, str::FromStr, time::Duration};

use bytes::Bytes;
use ciborium::Value;
use qpc_crypto::{QueueKey, aead, base32, kdf, queue, sha256};
use qpc_wire::{
    Code, DeviceId, GroupId,
    methods::{FetchLinkAnswer, FetchLinkOffer, LinkAnswer, LinkOffer},
    v1,
};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    Error, Runtime,
    client::Inner,
    devices::ACCOUNT,
    retry,
    store::ChoreKind,
    transport::{Connection, Connector, Trust},
};

const SECRET: usize = 9;
const CODE: usize = 16 + SECRET;
/// Characters that are shown together.
const GROUP: usize = 5;
const KEY_LABEL: &[u8] = b"qpc link v1";
const VERSION: u64 = 1;
/// Time between two looks for the answer.
const LOOK_EVERY: Duration = Duration::from_millis(700);

/// What one device shows and the other is told.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkCode {
    offer: [u8; 16],
    secret: [u8; SECRET],
}

/// Not a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no link code: it has 8 groups of 5 letters and digits")]
pub struct BadLinkCode;

impl fmt::Display for LinkCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32::encode(&[self.offer.as_slice(), &self.secret].concat(), GROUP))
    }
}

impl fmt::Debug for LinkCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkCode(..)")
    }
}

impl FromStr for LinkCode {
    type Err = BadLinkCode;

    fn from_str(code: &str) -> Result<Self, BadLinkCode> {
        let bytes = base32::decode::<CODE>(code).ok_or(BadLinkCode)?;
        let (offer, secret) = bytes.split_at(16);
        Ok(Self {
            offer: offer.try_into().map_err(|_| BadLinkCode)?,
            secret: secret.try_into().map_err(|_| BadLinkCode)?,
        })
    }
}

/// What the new device learns. Whoever has it is the account.
pub struct Linked {
    /// Name of the account.
    pub username: String,
    /// For [`crate::ClientOptions::account_key`].
    pub account_key: Zeroizing<[u8; 32]>,
}

/// A new device, waiting to be made known.
pub struct Linking {
    runtime: Runtime,
    connection: Connection,
    key: QueueKey,
    code: LinkCode,
}

impl Linking {
    /// Makes an offer at a server, without an account.
    pub async fn begin(
        server: &str,
        server_name: Option<&str>,
        trust: &Trust,
        runtime: Runtime,
    ) -> Result<Self, Error> {
        let connector = Connector::new(server, server_name, trust, runtime.clone())?;
        let (connection, _pushes) = connector.connect().await?;
        let key = QueueKey::generate(&mut runtime.rng());
        let mut offer = Vec::new();
        let fields = Value::Array(vec![VERSION.into(), Value::Bytes(key.public_bytes())]);
        ciborium::into_writer(&fields, &mut offer).map_err(|_| Error::Incomplete("an offer"))?;
        let code = LinkCode { offer: link_id(&offer), secret: runtime.random() };
        let request = v1::LinkOfferRequest { link_id: Bytes::copy_from_slice(&code.offer), offer: offer.into() };
        retry::call::<LinkOffer>(&runtime, &connection, &request).await?;
        Ok(Self { runtime, connection, key, code })
    }

    /// To be typed, or scanned, at a device of the account.
    pub fn code(&self) -> &LinkCode {
        &self.code
    }

    /// Waits until that has happened.
    pub async fn finish(self, within: Duration) -> Result<Linked, Error> {
        let until = Instant::now() + within;
        let request = v1::FetchLinkAnswerRequest { link_id: Bytes::copy_from_slice(&self.code.offer) };
        while Instant::now() < until {
            let answer = match retry::call::<FetchLinkAnswer>(&self.runtime, &self.connection, &request).await {
                Err(error) if error.code() == Some(Code::NotFound) => return Err(Error::Expired("the link code")),
                answer => answer?.answer,
            };
            if !answer.is_empty() {
                self.connection.close();
                return open(&self.key, &self.code, &answer);
            }
            tokio::time::sleep(self.runtime.jittered(LOOK_EVERY)).await;
        }
        Err(Error::Expired("the link code"))
    }
}

/// Makes a new device known: gives it the account. It is in every group soon after it has logged in.
pub(crate) async fn answer(inner: &Inner, code: &LinkCode) -> Result<(), Error> {
    let connection = inner.connection()?;
    let id = Bytes::copy_from_slice(&code.offer);
    let request = v1::FetchLinkOfferRequest { link_id: id.clone() };
    let offer = match retry::call::<FetchLinkOffer>(&inner.runtime, &connection, &request).await {
        Err(error) if error.code() == Some(Code::NotFound) => return Err(Error::Expired("the link code")),
        offer => offer?.offer,
    };
    // The server could give another offer, and would then be given the account.
    if link_id(&offer) != code.offer {
        return Err(Error::WrongOffer);
    }
    let identity = &inner.identity;
    let answer = seal(inner, code, &offer, &identity.username, &identity.account_key.to_bytes())?;
    // Before it is sent: whoever has been given the account is waited for.
    inner.store.run(|tx| tx.put_chore(ACCOUNT, ChoreKind::Linked, 0)).await?;
    retry::call::<LinkAnswer>(
        &inner.runtime,
        &connection,
        &v1::LinkAnswerRequest { link_id: id, answer: answer.into() },
    )
    .await?;
    inner.chore_wake.notify_one();
    Ok(())
}

fn link_id(offer: &[u8]) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&sha256(&[offer])[..16]);
    id
}

/// The key that only who knows the code has.
fn code_key(code: &LinkCode) -> [u8; 32] {
    kdf::expand(&sha256(&[&code.offer, &code.secret]), KEY_LABEL)
}

fn seal(
    inner: &Inner,
    code: &LinkCode,
    offer: &[u8],
    username: &str,
    account_key: &[u8; 32],
) -> Result<Vec<u8>, Error> {
    let Ok(Value::Array(fields)) = ciborium::from_reader::<Value, _>(offer) else { return Err(Error::WrongOffer) };
    let [version, public] = fields.as_slice() else { return Err(Error::WrongOffer) };
    let public = public.as_bytes().filter(|_| *version == Value::from(VERSION)).ok_or(Error::WrongOffer)?;
    let bundle =
        Value::Array(vec![VERSION.into(), Value::Text(username.to_owned()), Value::Bytes(account_key.to_vec())]);
    let mut plain = Zeroizing::new(Vec::new());
    ciborium::into_writer(&bundle, &mut *plain).map_err(|_| Error::Incomplete("an answer"))?;
    let mut rng = inner.runtime.rng();
    let inner_box = aead::seal(&mut rng, &code_key(code), &code.offer, &plain);
    let recipient = (DeviceId(code.offer), public.as_slice());
    let sealed = queue::seal_for(&mut rng, &inner_box, GroupId(code.offer), &[recipient])?;
    let sealed_key = sealed.keys.into_iter().next().map(|(_, key)| key).ok_or(Error::WrongOffer)?;
    let mut answer = Vec::new();
    let fields = Value::Array(vec![Value::Bytes(sealed_key), Value::Bytes(sealed.payload)]);
    ciborium::into_writer(&fields, &mut answer).map_err(|_| Error::Incomplete("an answer"))?;
    Ok(answer)
}

fn open(key: &QueueKey, code: &LinkCode, answer: &[u8]) -> Result<Linked, Error> {
    let Ok(Value::Array(fields)) = ciborium::from_reader::<Value, _>(answer) else { return Err(Error::WrongOffer) };
    let [Value::Bytes(sealed_key), Value::Bytes(payload)] = fields.as_slice() else { return Err(Error::WrongOffer) };
    let inner_box = key.open_for(DeviceId(code.offer), GroupId(code.offer), sealed_key, payload)?;
    let plain = Zeroizing::new(aead::open(&code_key(code), &code.offer, &inner_box)?);
    let Ok(Value::Array(fields)) = ciborium::from_reader::<Value, _>(plain.as_slice()) else {
        return Err(Error::WrongOffer);
    };
    let [_, Value::Text(username), Value::Bytes(account_key)] = fields.as_slice() else {
        return Err(Error::WrongOffer);
    };
    let account_key = account_key.as_slice().try_into().map_err(|_| Error::WrongOffer)?;
    Ok(Linked { username: username.clone(), account_key: Zeroizing::new(account_key) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_survives_being_read_aloud() {
        let code = LinkCode { offer: [0x5a; 16], secret: [0xff, 0, 1, 2, 3, 4, 5, 6, 7] };
        let written = code.to_string();
        assert_eq!(written.split('-').map(str::len).collect::<Vec<_>>(), [5; 8]);
        assert_eq!(written.parse(), Ok(code.clone()));
        let sloppy = written.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        assert_eq!(sloppy.parse(), Ok(code));
        for bad in ["", &written[1..], &format!("{written}0"), &written.replacen(&written[..1], "U", 1)] {
            assert_eq!(bad.parse::<LinkCode>(), Err(BadLinkCode), "{bad}");
        }
    }
}
