//! KeyPackages of others, to add them to a group.

use qpc_crypto::{DeviceCertificate, Suite, mls::key_package};
use qpc_wire::{DeviceId, limits::MAX_FETCH_DEVICES, methods::FetchKeyPackage, v1};

use crate::{Error, client::Inner, directory::Person, retry, transport::Connection};

/// One package for each device that has any that can be used. Of each of `people` there must be one at least.
pub(crate) async fn fetch(
    inner: &Inner,
    connection: &Connection,
    devices: &[DeviceCertificate],
    people: &[(String, Person)],
    suite: Suite,
) -> Result<Vec<(DeviceId, Vec<u8>)>, Error> {
    let mut packages: Vec<(DeviceId, Vec<u8>)> = Vec::with_capacity(devices.len());
    for wanted in devices.chunks(MAX_FETCH_DEVICES) {
        let request = v1::FetchKeyPackageRequest {
            idempotency_key: inner.idempotency_key().to_bytes(),
            suite: suite.id().into(),
            device_ids: wanted.iter().map(|certificate| certificate.device_id().to_bytes()).collect(),
        };
        let fetched = retry::call::<FetchKeyPackage>(&inner.runtime, connection, &request).await?;
        for package in fetched.key_packages {
            let valid = match key_package::validate(&package.key_package) {
                Ok(valid) => valid,
                // Of a device that has been away for months, for example: its others must not suffer for it.
                Err(error) => {
                    let device = hex::encode(&package.device_id);
                    tracing::warn!(%error, device, "a key package cannot be used");
                    continue;
                }
            };
            let device = valid.certificate.device_id();
            // The certificate in the package may be a later one of the same device; the keys are what counts.
            let asked_for = wanted.iter().any(|certificate| {
                certificate.device_key() == valid.certificate.device_key()
                    && certificate.account_key() == valid.certificate.account_key()
            });
            let again = packages.iter().any(|(other, _)| *other == device);
            if !asked_for || valid.suite != suite || package.device_id != device.as_ref() || again {
                return Err(Error::WrongKeyPackage(device));
            }
            packages.push((device, package.key_package.to_vec()));
        }
    }
    let reached = |person: &Person| {
        person.devices.iter().any(|device| packages.iter().any(|(reached, _)| *reached == device.device_id()))
    };
    match people.iter().find(|(_, person)| !reached(person)) {
        Some((username, _)) => Err(Error::NoKeyPackage { username: username.clone(), suite }),
        None => Ok(packages),
    }
}
