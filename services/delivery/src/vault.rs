//! What lies sealed in the database, under keys that are derived from one that is not in it.

use bytes::Bytes;
use qpc_crypto::{aead, kdf};
use qpc_wire::{DeviceId, GroupId};
use rand::{CryptoRng, RngCore};

use crate::error::Error;

/// The key of everything that this service seals for itself.
pub(crate) struct Vault {
    key: [u8; 32],
}

impl Vault {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Seals the public state of a group with the GroupInfo of its epoch: length of the first (4, big-endian) | state |
    /// GroupInfo.
    pub(crate) fn seal_group(
        &self,
        rng: &mut (impl RngCore + CryptoRng),
        id: GroupId,
        snapshot: &[u8],
        group_info: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let len = u32::try_from(snapshot.len()).map_err(|_| Error::DamagedGroup)?;
        let plain = [&len.to_be_bytes(), snapshot, group_info].concat();
        Ok(aead::seal(rng, &self.key, id.as_ref(), &plain))
    }

    /// State and GroupInfo of a group.
    pub(crate) fn open_group(&self, id: GroupId, sealed: &[u8]) -> Result<(Bytes, Bytes), Error> {
        let plain = Bytes::from(aead::open(&self.key, id.as_ref(), sealed)?);
        let (len, _) = plain.split_first_chunk::<4>().ok_or(Error::DamagedGroup)?;
        let end = usize::try_from(u32::from_be_bytes(*len)).ok().and_then(|len| len.checked_add(4));
        let end = end.filter(|end| *end <= plain.len()).ok_or(Error::DamagedGroup)?;
        Ok((plain.slice(4..end), plain.slice(end..)))
    }

    /// The key of what is shared under `id`. Devices get it with the pointer; it stands nowhere.
    pub(crate) fn shared_key(&self, id: &[u8]) -> [u8; 32] {
        kdf::expand(&self.key, &[b"shared", id].concat())
    }

    /// Seals what is shared under `id`.
    pub(crate) fn seal_shared(&self, rng: &mut (impl RngCore + CryptoRng), id: &[u8], plain: &[u8]) -> Vec<u8> {
        aead::seal(rng, &self.shared_key(id), id, plain)
    }

    /// Seals a part of a staged commit.
    pub(crate) fn seal_part(
        &self,
        rng: &mut (impl RngCore + CryptoRng),
        device: DeviceId,
        staged_id: &[u8; 16],
        part: u64,
        plain: &[u8],
    ) -> Vec<u8> {
        aead::seal(rng, &self.key, &part_name(device, staged_id, part), plain)
    }

    /// A part of a staged commit.
    pub(crate) fn open_part(
        &self,
        device: DeviceId,
        staged_id: &[u8; 16],
        part: u64,
        sealed: &[u8],
    ) -> Result<Vec<u8>, Error> {
        Ok(aead::open(&self.key, &part_name(device, staged_id, part), sealed)?)
    }
}

impl Vault {
    /// Seals where a device is woken.
    pub(crate) fn seal_endpoint(&self, rng: &mut (impl RngCore + CryptoRng), device: DeviceId, url: &str) -> Vec<u8> {
        aead::seal(rng, &self.key, &endpoint_name(device), url.as_bytes())
    }

    /// Where a device is woken.
    pub(crate) fn open_endpoint(&self, device: DeviceId, sealed: &[u8]) -> Result<String, Error> {
        let plain = aead::open(&self.key, &endpoint_name(device), sealed).map_err(Error::SealedEndpoint)?;
        String::from_utf8(plain).map_err(|_| Error::DamagedEndpoint)
    }
}

/// Longer than a group id and shorter than the name of a part.
fn endpoint_name(device: DeviceId) -> Vec<u8> {
    [b"endpoint", device.as_ref()].concat()
}

/// Longer than a group id, so that no part can stand in for a group.
fn part_name(device: DeviceId, staged_id: &[u8; 16], part: u64) -> Vec<u8> {
    [b"staged", device.as_ref(), staged_id, &part.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use rand::rngs::OsRng;

    use super::*;

    #[test]
    fn a_group_comes_back_in_its_two_parts_and_under_its_id_only() {
        let (vault, id) = (Vault::new([1; 32]), GroupId([2; 16]));
        let sealed = vault.seal_group(&mut OsRng, id, b"state", b"info").unwrap();
        let (state, info) = vault.open_group(id, &sealed).unwrap();
        assert_eq!((state.as_ref(), info.as_ref()), (b"state".as_slice(), b"info".as_slice()));
        assert!(matches!(vault.open_group(GroupId([3; 16]), &sealed), Err(Error::SealedGroup(_))));
        let lying = aead::seal(&mut OsRng, &[1; 32], id.as_ref(), &[0, 0, 0, 9, 1]);
        assert!(matches!(vault.open_group(id, &lying), Err(Error::DamagedGroup)));
    }

    #[test]
    fn an_endpoint_is_opened_for_its_device_only() {
        let (vault, device) = (Vault::new([1; 32]), DeviceId([2; 16]));
        let sealed = vault.seal_endpoint(&mut OsRng, device, "https://push.example/x");
        assert_eq!(vault.open_endpoint(device, &sealed).unwrap(), "https://push.example/x");
        assert!(matches!(vault.open_endpoint(DeviceId([3; 16]), &sealed), Err(Error::SealedEndpoint(_))));
    }

    #[test]
    fn what_is_shared_has_a_key_of_its_own() {
        let vault = Vault::new([1; 32]);
        let sealed = vault.seal_shared(&mut OsRng, b"one", b"plain");
        assert_eq!(aead::open(&vault.shared_key(b"one"), b"one", &sealed).unwrap(), b"plain");
        assert_ne!(vault.shared_key(b"one"), vault.shared_key(b"two"));
    }
}
