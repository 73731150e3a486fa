//! A group with all its members and the server's view, in step.

use openmls_memory_storage::MemoryStorage;
use qpc_crypto::mls::{Applied, Changes, MlsError, join_welcome, key_package, split_welcome};
use qpc_crypto::{
    AccountKey, Conversation, DeviceCertificate, DeviceKey, GroupView, Incoming, InviteSecret, PendingCommit, Policy,
    Provider, Suite,
};
use qpc_wire::{AccountId, DeviceId, GroupId};
use rand::rngs::OsRng;

pub const GROUP: GroupId = GroupId([7; 16]);

pub struct Device {
    pub seed: [u8; 32],
    pub key: DeviceKey,
    pub certificate: DeviceCertificate,
    pub provider: Provider<MemoryStorage>,
}

impl Device {
    pub fn new() -> Self {
        Self::of(*AccountKey::generate(&mut OsRng).to_bytes())
    }

    /// Another device of the same account.
    pub fn sibling(&self) -> Self {
        Self::of(self.seed)
    }

    fn of(seed: [u8; 32]) -> Self {
        let (account, key) = (AccountKey::from_bytes(&seed), DeviceKey::generate(&mut OsRng));
        let certificate = DeviceCertificate::issue(&account, &key.public(), 1_700_000_000);
        Self { seed, key, certificate, provider: Provider::new(MemoryStorage::default()) }
    }

    pub fn id(&self) -> DeviceId {
        self.certificate.device_id()
    }

    pub fn account(&self) -> AccountId {
        self.certificate.account_id()
    }

    pub fn key_package(&self, suite: Suite) -> Vec<u8> {
        key_package::generate(&self.provider, &self.key, &self.certificate, suite, false).unwrap()
    }

    pub fn create(&self, suite: Suite) -> Conversation {
        self.create_with(suite, &Policy::group(GROUP, self.account())).unwrap()
    }

    pub fn create_with(&self, suite: Suite, policy: &Policy) -> Result<Conversation, MlsError> {
        Conversation::create(&self.provider, &self.key, &self.certificate, suite, GROUP, policy)
    }

    pub fn load(&self) -> Conversation {
        Conversation::load(&self.provider, GROUP).unwrap().unwrap()
    }

    /// Joins from the group as the server would show it.
    pub fn join_external(
        &self,
        group_info: &[u8],
        server: &GroupView,
        invite: Option<&InviteSecret>,
    ) -> Result<(Conversation, PendingCommit), MlsError> {
        let (tree, proposals) = (server.ratchet_tree().unwrap(), server.proposals());
        Conversation::join_external(&self.provider, &self.key, &self.certificate, group_info, &tree, &proposals, invite)
    }
}

pub struct Member {
    pub device: Device,
    pub at: Conversation,
}

impl Member {
    pub fn change(&mut self, changes: Changes<'_>) -> Result<PendingCommit, MlsError> {
        self.at.change(&self.device.provider, &self.device.key, changes)
    }

    pub fn process(&mut self, message: &[u8]) -> Result<Incoming, MlsError> {
        self.at.process(&self.device.provider, message)
    }

    pub fn encrypt(&mut self, text: &[u8]) -> Result<Vec<u8>, MlsError> {
        self.at.encrypt(&self.device.provider, &self.device.key, text)
    }

    pub fn update(&mut self) -> PendingCommit {
        self.at.update(&self.device.provider, &self.device.key).unwrap()
    }

    pub fn merge(&mut self) {
        self.at.merge_pending(&self.device.provider).unwrap();
    }

    pub fn clear(&mut self) {
        self.at.clear_pending(&self.device.provider).unwrap();
    }
}

/// Members in the order in which they came.
pub struct World {
    pub suite: Suite,
    pub server: GroupView,
    pub members: Vec<Member>,
    /// The GroupInfo that came with the last commit.
    pub group_info: Vec<u8>,
}

impl World {
    pub fn new(suite: Suite, founder: Device, policy: &Policy) -> Self {
        let at = founder.create_with(suite, policy).unwrap();
        let server = GroupView::found(&at.group_info(&founder.provider, &founder.key).unwrap()).unwrap();
        let group_info = at.group_info_now(&founder.provider, &founder.key).unwrap();
        server.check_group_info(&group_info).unwrap();
        Self { suite, server, members: vec![Member { device: founder, at }], group_info }
    }

    /// A group with these accounts, one device each, besides its owner.
    pub fn group(suite: Suite, others: usize) -> Self {
        let founder = Device::new();
        let policy = Policy::group(GROUP, founder.account());
        let mut world = Self::new(suite, founder, &policy);
        if others > 0 {
            world.add(0, (0..others).map(|_| Device::new()).collect());
        }
        world
    }

    pub fn device(&self, member: usize) -> &Device {
        &self.members[member].device
    }

    pub fn policy(&self) -> Policy {
        self.server.policy().unwrap()
    }

    pub fn edited(&self, edit: impl FnOnce(&mut Policy)) -> Policy {
        let mut policy = self.policy();
        edit(&mut policy);
        policy
    }

    pub fn add(&mut self, by: usize, devices: Vec<Device>) -> Applied {
        let packages: Vec<_> = devices.iter().map(|device| device.key_package(self.suite)).collect();
        self.commit(by, Changes { add: &packages, ..Changes::default() }, devices)
    }

    pub fn set_policy(&mut self, by: usize, edit: impl FnOnce(&mut Policy)) -> Applied {
        let policy = Some(self.edited(edit));
        self.commit(by, Changes { policy, ..Changes::default() }, Vec::new())
    }

    /// Makes a commit and brings it to everybody; `joiners` are the devices added.
    pub fn commit(&mut self, by: usize, changes: Changes<'_>, joiners: Vec<Device>) -> Applied {
        let pending = self.members[by].change(changes).unwrap();
        self.deliver(Some(by), pending, joiners)
    }

    /// Brings an accepted commit to everybody but its sender, who merges. Who was removed is gone afterwards.
    pub fn deliver(&mut self, by: Option<usize>, pending: PendingCommit, joiners: Vec<Device>) -> Applied {
        let applied = self.server.apply(&pending.commit).unwrap();
        self.server.check_group_info(&pending.group_info).unwrap();
        let mut index = 0;
        self.members.retain_mut(|member| {
            index += 1;
            if Some(index - 1) == by {
                member.merge();
                return true;
            }
            match member.process(&pending.commit).unwrap() {
                Incoming::Commit { self_removed, external, policy_changed, .. } => {
                    assert_eq!((external, policy_changed), (applied.external, applied.policy_changed));
                    !self_removed
                }
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(joiners.len(), applied.added.len());
        if !joiners.is_empty() {
            let split = split_welcome(&pending.welcome).unwrap();
            for (joiner, added) in joiners.into_iter().zip(&applied.added) {
                let secret = split.secrets.iter().find(|secret| secret.key_package_ref == added.key_package_ref);
                let welcome = join_welcome(split.suite, &split.encrypted_group_info, &secret.unwrap().secret).unwrap();
                let tree = self.server.ratchet_tree().unwrap();
                let at = Conversation::join(&joiner.provider, &welcome, &tree).unwrap();
                self.members.push(Member { device: joiner, at });
            }
        }
        self.group_info = pending.group_info;
        self.agree();
        applied
    }

    /// A device joins from outside by a commit that is accepted; what it was before is gone.
    pub fn join_external(&mut self, device: Device, invite: Option<&InviteSecret>) -> Applied {
        let (mut at, pending) = device.join_external(&self.group_info, &self.server, invite).unwrap();
        assert!(pending.welcome.is_empty() && at.has_pending());
        at.merge_pending(&device.provider).unwrap();
        self.members.retain(|member| member.device.id() != device.id());
        let applied = self.server.apply(&pending.commit).unwrap();
        self.server.check_group_info(&pending.group_info).unwrap();
        self.members.retain_mut(|member| match member.process(&pending.commit).unwrap() {
            Incoming::Commit { self_removed, external, sender, added, .. } => {
                assert!(external && sender.as_ref() == Some(&device.certificate));
                assert_eq!(added.contains(&device.certificate), !applied.resync);
                !self_removed
            }
            other => panic!("{other:?}"),
        });
        self.members.push(Member { device, at });
        self.group_info = pending.group_info;
        self.agree();
        applied
    }

    /// A member proposes to leave and everybody hears of it.
    pub fn leave(&mut self, member: usize) -> Vec<u8> {
        let Member { device, at } = &mut self.members[member];
        let proposal = at.leave(&device.provider, &device.key).unwrap();
        let certificate = device.certificate.clone();
        assert_eq!(self.server.propose(&proposal).unwrap().sender, certificate);
        for (index, other) in self.members.iter_mut().enumerate() {
            if index != member {
                assert_eq!(other.process(&proposal).unwrap(), Incoming::Leave { sender: certificate.clone() });
            }
        }
        proposal
    }

    /// All members and the server see the same group.
    pub fn agree(&self) {
        let authenticator = self.members[0].at.epoch_authenticator();
        for Member { device, at } in &self.members {
            assert_eq!((at.epoch(), at.epoch_tag().unwrap()), (self.server.epoch(), self.server.epoch_tag().unwrap()));
            assert_eq!(at.epoch_authenticator(), authenticator);
            assert_eq!(at.member_leaves(), self.server.member_leaves());
            assert_eq!((at.policy().unwrap(), at.is_active()), (self.policy(), true));
            assert!(self.server.member_leaves().contains(&(at.own_leaf(), device.certificate.clone())));
            assert_eq!(at.role_of_self().unwrap(), Some(self.policy().role(device.account())));
            assert_eq!(
                (at.pending_leaves().len(), at.ratchet_tree().unwrap()),
                (0, self.server.ratchet_tree().unwrap())
            );
        }
        assert_eq!(self.server.members().len(), self.members.len());
        assert!(self.server.proposals().is_empty());
    }

    /// Everybody can write to everybody.
    pub fn all_talk(&mut self) {
        for from in 0..self.members.len() {
            let text = format!("from {from}").into_bytes();
            let message = self.members[from].encrypt(&text).unwrap();
            for to in (0..self.members.len()).filter(|to| *to != from) {
                assert_eq!(plaintext(self.members[to].process(&message).unwrap()), text);
            }
        }
    }
}

pub fn plaintext(incoming: Incoming) -> Vec<u8> {
    match incoming {
        Incoming::Message { plaintext, .. } => plaintext,
        other => panic!("not a message: {other:?}"),
    }
}
