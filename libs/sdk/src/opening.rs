//! Opening the store of a client, or making it with the keys of an account.

use qpc_crypto::{AccountKey, DeviceCertificate, DeviceKey, QueueKey};

use crate::{
    ClientOptions, Error, Runtime, devices,
    store::{ChoreKind, Identity, Store, Tx},
};

/// Time in which another device lets in one that was given the account.
const LET_IN_WITHIN_MS: u64 = 30_000;

/// Blocks for the time of Argon2id.
pub(crate) fn open_store(
    options: &ClientOptions,
    runtime: Runtime,
    seed: impl FnOnce(&Tx<'_>) -> Result<(), Error>,
) -> Result<(Store, Identity), Error> {
    let store = Store::open(&options.data, options.password.as_bytes(), options.ksf, runtime.clone())?;
    let identity = store.run_blocking(|tx| match tx.identity()? {
        Some(identity) => Ok(identity),
        None => {
            let identity = create_identity(tx, options, &runtime)?;
            seed(tx)?;
            Ok(identity)
        }
    })?;
    if identity.username != options.username {
        return Err(Error::OtherUser { stored: identity.username, asked: options.username.clone() });
    }
    Ok((store, identity))
}

/// Makes the keys of this device, and of the account unless the options bring it along.
pub(crate) fn create_identity(tx: &Tx<'_>, options: &ClientOptions, runtime: &Runtime) -> Result<Identity, Error> {
    let mut rng = runtime.rng();
    let account_key = match &options.account_key {
        Some(seed) => AccountKey::from_bytes(seed),
        None => AccountKey::generate(&mut rng),
    };
    let device_key = DeviceKey::generate(&mut rng);
    let certificate = DeviceCertificate::issue(&account_key, &device_key.public(), runtime.now_ms() / 1000);
    let queue_key = QueueKey::generate(&mut rng);
    let identity = Identity { username: options.username.clone(), account_key, device_key, queue_key, certificate };
    tx.insert_identity(&identity)?;
    // An account whose key was brought along exists: its first login introduces this device.
    if options.account_key.is_some() {
        tx.pin_self(&identity.username, identity.certificate.account_key())?;
        tx.set_registered()?;
        // Should nobody let it in, it comes by itself.
        tx.put_chore(devices::ACCOUNT, ChoreKind::Devices, LET_IN_WITHIN_MS)?;
    }
    Ok(identity)
}
