//! The part of the surface that is about accounts: who others are, and what becomes of this one.

use qpc_wire::{AccountId, DeviceId, GroupId};

use super::Client;
use crate::{
    Device, Error, ExportOptions, LinkCode, PeerIdentity, PushEndpoint, RecoveryCode, RecoveryStatus, SafetyNumber,
    SafetyProof, deletion, devices, export, linking, recovery, strangers, trust, wake,
};

impl Client {
    /// This account takes part in a conversation that a stranger has begun, and the others are told what arrives and is
    /// read. Writing there does the same.
    pub async fn accept(&self, conversation: GroupId) -> Result<(), Error> {
        strangers::accept(&self.inner, conversation).await
    }

    /// It does not: the conversation is left and no longer shown.
    pub async fn decline(&self, conversation: GroupId) -> Result<(), Error> {
        strangers::decline(&self.inner, conversation).await
    }

    /// Blocks somebody: of what they write from now on nothing is kept on any device of this account, and they are told
    /// nothing, not even that.
    pub async fn block(&self, account: AccountId) -> Result<(), Error> {
        strangers::block(&self.inner, account, true).await
    }

    /// Takes that back.
    pub async fn unblock(&self, account: AccountId) -> Result<(), Error> {
        strangers::block(&self.inner, account, false).await
    }

    /// Whom this account has blocked.
    pub async fn blocked(&self) -> Result<Vec<AccountId>, Error> {
        self.inner.store.run(|tx| tx.blocked()).await
    }

    /// The name that the directory has confirmed for an account.
    pub async fn name_of(&self, account: AccountId) -> Result<Option<String>, Error> {
        self.inner.store.run(move |tx| tx.peer_name(account)).await
    }

    /// Whose key stands under a name, and what to compare with that person. Needs a connection unless the name is known
    /// here; with one it asks the directory whether it still says the same.
    pub async fn peer(&self, username: &str) -> Result<PeerIdentity, Error> {
        trust::peer(&self.inner, username).await
    }

    /// The safety number of this account and another one; see [`Self::peer`].
    pub async fn safety_number(&self, username: &str) -> Result<SafetyNumber, Error> {
        Ok(self.peer(username).await?.number)
    }

    /// Marks a person as verified, on all devices of this account, if what was read off the person's screen proves it.
    pub async fn verify_peer(&self, username: &str, proof: &SafetyProof) -> Result<(), Error> {
        trust::verify(&self.inner, username, proof).await
    }

    /// Takes that mark away.
    pub async fn unverify(&self, username: &str) -> Result<(), Error> {
        trust::unverify(&self.inner, username).await
    }

    /// Believes the other key that is shown under a name ([`Event::IdentityChanged`](crate::Event::IdentityChanged)), on all
    /// devices of this account. The mark of being verified is lost; what was written before goes to the account that it was
    /// written to.
    pub async fn accept_identity(&self, username: &str) -> Result<(), Error> {
        trust::accept(&self.inner, username).await
    }

    /// Goes on with the key under which the name was met, and lets through what waits for its owner.
    pub async fn keep_identity(&self, username: &str) -> Result<(), Error> {
        trust::keep(&self.inner, username).await
    }

    /// The devices of this account. Needs a connection.
    pub async fn devices(&self) -> Result<Vec<Device>, Error> {
        devices::list(&self.inner).await
    }

    /// Gives a device of this account a name that the server cannot read. Needs a connection.
    pub async fn rename_device(&self, device: DeviceId, name: &str) -> Result<(), Error> {
        devices::rename(&self.inner, device, name).await
    }

    /// Revokes another device of this account: it is logged out everywhere at once, and goes from every group. Needs a
    /// connection.
    pub async fn revoke_device(&self, device: DeviceId) -> Result<(), Error> {
        devices::revoke(&self.inner, device).await
    }

    /// Makes a new device one of this account: gives it the account key, sealed so that only who showed the code can open
    /// it ([`crate::Linking`]). Needs a connection.
    pub async fn link_device(&self, code: &LinkCode) -> Result<(), Error> {
        linking::answer(&self.inner, code).await
    }

    /// Revokes all other devices of this account, as after a loss. Returns which. Needs a connection.
    pub async fn revoke_others(&self) -> Result<Vec<DeviceId>, Error> {
        devices::revoke_others(&self.inner).await
    }

    /// Has this device woken by a push service while it is away: by a request without content to `url`, the endpoint of a Web
    /// Push subscription (RFC 8030) made with [`PushEndpoint::server_key`]. It takes the place of the one before. Needs a
    /// connection.
    pub async fn set_push_endpoint(&self, url: &str) -> Result<(), Error> {
        wake::set(&self.inner, url).await
    }

    /// Has this device woken no more. Needs a connection.
    pub async fn remove_push_endpoint(&self) -> Result<(), Error> {
        wake::remove(&self.inner).await
    }

    /// How this device is woken. Needs a connection.
    pub async fn push_endpoint(&self) -> Result<PushEndpoint, Error> {
        wake::read(&self.inner).await
    }

    /// Makes 8 codes, each of which brings this account to a new device, once ([`crate::Recovery::restore`]). Show them to the
    /// person now: they are nowhere else. Fails when there are some; see [`Self::recovery_rotate`]. Needs a connection.
    pub async fn recovery_setup(&self) -> Result<Vec<RecoveryCode>, Error> {
        recovery::setup(&self.inner).await
    }

    /// [`Self::recovery_setup`], in the place of the codes that there are, which are void then.
    pub async fn recovery_rotate(&self) -> Result<Vec<RecoveryCode>, Error> {
        recovery::rotate(&self.inner).await
    }

    /// What there is for coming back; none before [`Self::recovery_setup`]. Needs a connection.
    pub async fn recovery_status(&self) -> Result<Option<RecoveryStatus>, Error> {
        recovery::status(&self.inner).await
    }

    /// Writes everything that is kept of this account, here and at the server, as JSON (the fields are described in
    /// `libs/sdk/src/export.rs`). Needs a connection.
    pub async fn export_account(
        &self,
        options: ExportOptions,
        out: &mut (impl std::io::Write + Send),
    ) -> Result<(), Error> {
        export::export(&self.inner, options, out).await
    }

    /// Deletes this account for good, by the password of this store: it leaves its conversations, all its devices are logged
    /// out within seconds, and its name is given to nobody again. The store stays: delete its folder. Needs a connection.
    pub async fn delete_account(&self, password: &str) -> Result<(), Error> {
        deletion::delete(&self.inner, password).await
    }
}
