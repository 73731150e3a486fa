//! What a group says about itself: kind, roles, invites, and which conversation it continues. It stands in the group
//! context, so that every member and the server have the same one and MLS authenticates it.

use std::collections::BTreeMap;

use qpc_wire::{AccountId, GroupId};

/// The extension of the group context that holds the policy; from the range for private use (RFC 9420 section 17.3).
pub const POLICY_EXTENSION: u16 = 0xF0A1;
/// Accounts whose role is written down. All others have the default role.
pub const MAX_ROLES: usize = 1_000;
/// Invites that are open at the same time.
pub const MAX_INVITES: usize = 32;

const VERSION: u8 = 1;
const HAS_PREDECESSOR: u8 = 1;
const HAS_SUCCESSOR: u8 = 2;
const INVITE_KEY_LEN: usize = 32;

/// Why a policy is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A version this code does not know.
    #[error("unknown version {0} of a group's policy")]
    Version(u8),
    /// Bytes that do not follow the layout, or not in the one way in which each policy is written.
    #[error("group's policy is malformed")]
    Malformed,
    /// Roles or invites in a conversation of two or of one account, or a default role above member.
    #[error("group's policy does not fit its kind")]
    Kind,
    /// The conversation of id 0, which is no group's: clients keep there what is of one device alone.
    #[error("no group carries the conversation 0")]
    Conversation,
    /// More than [`MAX_ROLES`].
    #[error("a group's policy holds at most {MAX_ROLES} roles")]
    TooManyRoles,
    /// More than [`MAX_INVITES`].
    #[error("a group's policy holds at most {MAX_INVITES} invites")]
    TooManyInvites,
}

/// What a group is for. It never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Two accounts with all their devices; nobody else, ever.
    Direct = 1,
    /// Any number of accounts with roles.
    Group = 2,
    /// All devices of one account.
    Own = 3,
}

/// What an account may do in a group; in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// Reads. Its messages are to be ignored, as only members see who sent what.
    ReadOnly = 1,
    /// Reads and writes.
    Member = 2,
    /// Also adds accounts, removes those below it, opens and closes invites.
    Admin = 3,
    /// Also removes admins and gives every role.
    Owner = 4,
}

impl Role {
    fn parse(byte: u8) -> Result<Self, PolicyError> {
        let all = [Self::ReadOnly, Self::Member, Self::Admin, Self::Owner];
        all.into_iter().find(|role| *role as u8 == byte).ok_or(PolicyError::Malformed)
    }
}

/// How long and how often an invite can be used. The server enforces both; members have no common clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InviteTerms {
    /// Unix milliseconds.
    pub expires_ms: u64,
    /// How many devices may join by it; 0 for any number.
    pub max_uses: u32,
}

/// The policy of a group.
///
/// Bytes, integers big-endian: version 1 (1) | kind (1) | conversation (16) | flags (1): 1 predecessor, 2 successor |
/// predecessor (16, if flagged) | successor (16, if flagged) | default role (1) | number of roles (2) | each: account
/// (16), role (1) | number of invites (1) | each: public key (32), expires_ms (8), max_uses (4). Roles ascend by account,
/// invites by key, both strictly; a role that is the default is not written. So each policy has one encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What the group is for.
    pub kind: Kind,
    /// The id of the first group of this conversation: the group's own, unless it continues another.
    pub conversation: GroupId,
    /// The group that this one continues.
    pub predecessor: Option<GroupId>,
    /// The group that continues this one. Once it is set, this one is closed.
    pub successor: Option<GroupId>,
    /// Role of accounts that have none written down: [`Role::ReadOnly`] or [`Role::Member`].
    pub default_role: Role,
    roles: BTreeMap<AccountId, Role>,
    invites: BTreeMap<[u8; INVITE_KEY_LEN], InviteTerms>,
}

impl Policy {
    /// A conversation of two accounts.
    pub fn direct(conversation: GroupId) -> Self {
        Self::new(Kind::Direct, conversation)
    }

    /// All devices of one account.
    pub fn own(conversation: GroupId) -> Self {
        Self::new(Kind::Own, conversation)
    }

    /// A group owned by its founder.
    pub fn group(conversation: GroupId, founder: AccountId) -> Self {
        let mut policy = Self::new(Kind::Group, conversation);
        policy.roles.insert(founder, Role::Owner);
        policy
    }

    fn new(kind: Kind, conversation: GroupId) -> Self {
        let (roles, invites) = (BTreeMap::new(), BTreeMap::new());
        Self { kind, conversation, predecessor: None, successor: None, default_role: Role::Member, roles, invites }
    }

    /// The role of an account, whether or not it is in the group.
    pub fn role(&self, account: AccountId) -> Role {
        self.roles.get(&account).copied().unwrap_or(self.default_role)
    }

    /// Gives an account a role.
    pub fn set_role(&mut self, account: AccountId, role: Role) -> Result<(), PolicyError> {
        if role == self.default_role {
            self.roles.remove(&account);
            return Ok(());
        }
        if self.roles.len() >= MAX_ROLES && !self.roles.contains_key(&account) {
            return Err(PolicyError::TooManyRoles);
        }
        self.roles.insert(account, role);
        Ok(())
    }

    /// The accounts whose role is written down, in ascending order.
    pub fn roles(&self) -> impl Iterator<Item = (AccountId, Role)> + '_ {
        self.roles.iter().map(|(account, role)| (*account, *role))
    }

    /// Opens an invite with this public key, or changes its terms.
    pub fn add_invite(&mut self, key: [u8; INVITE_KEY_LEN], terms: InviteTerms) -> Result<(), PolicyError> {
        if self.invites.len() >= MAX_INVITES && !self.invites.contains_key(&key) {
            return Err(PolicyError::TooManyInvites);
        }
        self.invites.insert(key, terms);
        Ok(())
    }

    /// Closes an invite. Whether it was open.
    pub fn remove_invite(&mut self, key: &[u8; INVITE_KEY_LEN]) -> bool {
        self.invites.remove(key).is_some()
    }

    /// The terms of an open invite.
    pub fn invite(&self, key: &[u8; INVITE_KEY_LEN]) -> Option<&InviteTerms> {
        self.invites.get(key)
    }

    /// The open invites, in ascending order of keys.
    pub fn invites(&self) -> impl Iterator<Item = (&[u8; INVITE_KEY_LEN], &InviteTerms)> + '_ {
        self.invites.iter()
    }

    /// Whether an account may come into the group from outside because of its role: one that came along from the group before,
    /// so that nobody gets rid of owners and admins by carrying a conversation on without them.
    pub fn readmits(&self, account: AccountId) -> bool {
        self.predecessor.is_some() && self.role(account) >= Role::Admin
    }

    /// Whether all of roles, default role and invites are the same.
    pub(super) fn grants_the_same(&self, other: &Self) -> bool {
        self.default_role == other.default_role && self.invites == other.invites && self.written().eq(other.written())
    }

    /// Drops the roles of accounts that `keep` does not hold with.
    pub(super) fn retain_roles(&mut self, keep: impl Fn(&AccountId) -> bool) {
        self.roles.retain(|account, _| keep(account));
    }

    /// The policy as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let flags =
            u8::from(self.predecessor.is_some()) * HAS_PREDECESSOR + u8::from(self.successor.is_some()) * HAS_SUCCESSOR;
        let mut bytes = vec![VERSION, self.kind as u8];
        bytes.extend_from_slice(self.conversation.as_ref());
        bytes.push(flags);
        for link in [self.predecessor, self.successor].into_iter().flatten() {
            bytes.extend_from_slice(link.as_ref());
        }
        bytes.push(self.default_role as u8);
        // The maps stay within their bounds, so the counts fit.
        bytes.extend_from_slice(&(self.written().count() as u16).to_be_bytes());
        for (account, role) in self.written() {
            bytes.extend_from_slice(account.as_ref());
            bytes.push(role as u8);
        }
        bytes.push(self.invites.len() as u8);
        for (key, terms) in &self.invites {
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(&terms.expires_ms.to_be_bytes());
            bytes.extend_from_slice(&terms.max_uses.to_be_bytes());
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote, and nothing else: no other order, no bytes after it, nothing that does not
    /// fit the kind.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        let mut reader = Reader(bytes);
        match reader.byte()? {
            VERSION => {}
            version => return Err(PolicyError::Version(version)),
        }
        let kinds = [Kind::Direct, Kind::Group, Kind::Own];
        let kind = reader.byte()?;
        let kind = kinds.into_iter().find(|known| *known as u8 == kind).ok_or(PolicyError::Malformed)?;
        let mut policy = Self::new(kind, GroupId(reader.array()?));
        if policy.conversation == GroupId::NIL {
            return Err(PolicyError::Conversation);
        }
        let flags = reader.byte()?;
        if flags & !(HAS_PREDECESSOR | HAS_SUCCESSOR) != 0 {
            return Err(PolicyError::Malformed);
        }
        let mut link = |flag| (flags & flag != 0).then(|| reader.array().map(GroupId)).transpose();
        policy.predecessor = link(HAS_PREDECESSOR)?;
        policy.successor = link(HAS_SUCCESSOR)?;
        policy.default_role = Role::parse(reader.byte()?)?;
        policy.roles = reader.roles(policy.default_role)?;
        policy.invites = reader.invites()?;
        if !reader.0.is_empty() {
            return Err(PolicyError::Malformed);
        }
        policy.fits_kind()?;
        Ok(policy)
    }

    fn fits_kind(&self) -> Result<(), PolicyError> {
        let plain = self.default_role == Role::Member && self.roles.is_empty() && self.invites.is_empty();
        let fits = match self.kind {
            Kind::Group => self.default_role <= Role::Member,
            Kind::Direct | Kind::Own => plain,
        };
        if fits { Ok(()) } else { Err(PolicyError::Kind) }
    }

    /// The roles that are written: the default may have changed after one was given.
    fn written(&self) -> impl Iterator<Item = (AccountId, Role)> + '_ {
        self.roles().filter(|(_, role)| *role != self.default_role)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], PolicyError> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(PolicyError::Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    fn byte(&mut self) -> Result<u8, PolicyError> {
        self.array().map(|[byte]| byte)
    }

    fn roles(&mut self, default: Role) -> Result<BTreeMap<AccountId, Role>, PolicyError> {
        let count = usize::from(u16::from_be_bytes(self.array()?));
        if count > MAX_ROLES {
            return Err(PolicyError::TooManyRoles);
        }
        let mut roles = BTreeMap::new();
        for _ in 0..count {
            let (account, role) = (AccountId(self.array()?), Role::parse(self.byte()?)?);
            insert_ascending(&mut roles, account, role)?;
            if role == default {
                return Err(PolicyError::Malformed);
            }
        }
        Ok(roles)
    }

    fn invites(&mut self) -> Result<BTreeMap<[u8; INVITE_KEY_LEN], InviteTerms>, PolicyError> {
        let count = usize::from(self.byte()?);
        if count > MAX_INVITES {
            return Err(PolicyError::TooManyInvites);
        }
        let mut invites = BTreeMap::new();
        for _ in 0..count {
            let key = self.array()?;
            let expires_ms = u64::from_be_bytes(self.array()?);
            let max_uses = u32::from_be_bytes(self.array()?);
            insert_ascending(&mut invites, key, InviteTerms { expires_ms, max_uses })?;
        }
        Ok(invites)
    }
}

fn insert_ascending<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) -> Result<(), PolicyError> {
    if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
        return Err(PolicyError::Malformed);
    }
    map.insert(key, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_policy() -> impl Strategy<Value = Policy> {
        let id = any::<Option<[u8; 16]>>().prop_map(|id| id.map(GroupId));
        let role = prop::sample::select(vec![Role::ReadOnly, Role::Member, Role::Admin, Role::Owner]);
        let roles = prop::collection::btree_map(any::<[u8; 16]>().prop_map(AccountId), role, 0..20);
        let terms = any::<(u64, u32)>().prop_map(|(expires_ms, max_uses)| InviteTerms { expires_ms, max_uses });
        let invites = prop::collection::btree_map(any::<[u8; 32]>(), terms, 0..5);
        let kind = prop::sample::select(vec![Kind::Direct, Kind::Group, Kind::Own]);
        let conversation = any::<[u8; 16]>().prop_filter("0 is no group's", |id| *id != [0; 16]);
        (kind, conversation, id.clone(), id, any::<bool>(), roles, invites).prop_map(
            |(kind, conversation, predecessor, successor, read_only, roles, invites)| {
                let mut policy = Policy::new(kind, GroupId(conversation));
                (policy.predecessor, policy.successor) = (predecessor, successor);
                if kind == Kind::Group {
                    policy.default_role = if read_only { Role::ReadOnly } else { Role::Member };
                    roles.into_iter().for_each(|(account, role)| policy.set_role(account, role).unwrap());
                    invites.into_iter().for_each(|(key, terms)| policy.add_invite(key, terms).unwrap());
                }
                policy
            },
        )
    }

    proptest! {
        #[test]
        fn round_trip_and_one_encoding(
            policy in any_policy(), place: prop::sample::Index, byte: u8, cut: prop::sample::Index
        ) {
            let bytes = policy.to_bytes();
            prop_assert_eq!(&Policy::parse(&bytes).unwrap(), &policy);
            // Whatever damaged bytes are read as, they are the only bytes of that policy.
            let mut damaged = bytes.clone();
            damaged[place.index(bytes.len())] = byte;
            if let Ok(other) = Policy::parse(&damaged) {
                prop_assert_eq!(other.to_bytes(), damaged);
            }
            let cut = cut.index(bytes.len());
            prop_assert!(Policy::parse(&bytes[..cut]).is_err());
            prop_assert_eq!(Policy::parse(&[&bytes[..], &[0]].concat()), Err(PolicyError::Malformed));
        }

        #[test]
        fn arbitrary_bytes_are_refused_in_peace(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(policy) = Policy::parse(&bytes) {
                prop_assert_eq!(policy.to_bytes(), bytes);
            }
        }
    }

    fn account(index: u16) -> AccountId {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&index.to_be_bytes());
        AccountId(id)
    }

    #[test]
    fn layout_is_fixed() {
        let mut policy = Policy::group(GroupId([1; 16]), AccountId([2; 16]));
        policy.predecessor = Some(GroupId([3; 16]));
        policy.add_invite([4; 32], InviteTerms { expires_ms: 5, max_uses: 6 }).unwrap();
        let expected = [
            &[1, 2][..],
            &[1; 16],
            &[1],
            &[3; 16],
            &[2],
            &[0, 1],
            &[2; 16],
            &[4],
            &[1],
            &[4; 32],
            &[0, 0, 0, 0, 0, 0, 0, 5],
            &[0, 0, 0, 6],
        ]
        .concat();
        assert_eq!(policy.to_bytes(), expected);
        assert_eq!(Policy::parse(&Policy::direct(GroupId::NIL).to_bytes()), Err(PolicyError::Conversation));
        assert_eq!(Policy::direct(GroupId([1; 16])).to_bytes(), [&[1, 1][..], &[1; 16], &[0, 2, 0, 0, 0]].concat());
    }

    #[test]
    fn roles_and_their_bounds() {
        let founder = account(9_999);
        let mut policy = Policy::group(GroupId([1; 16]), founder);
        assert_eq!((policy.role(founder), policy.role(account(1))), (Role::Owner, Role::Member));
        policy.set_role(account(1), Role::ReadOnly).unwrap();
        // A role that has become the default is not written.
        policy.default_role = Role::ReadOnly;
        let read = Policy::parse(&policy.to_bytes()).unwrap();
        assert_eq!(read.roles().collect::<Vec<_>>(), [(founder, Role::Owner)]);
        assert_eq!(read.role(account(1)), Role::ReadOnly);
        assert!(read.grants_the_same(&policy));

        for index in 0..MAX_ROLES as u16 - 1 {
            policy.set_role(account(index), Role::Admin).unwrap();
        }
        assert_eq!(policy.set_role(account(5_000), Role::Admin), Err(PolicyError::TooManyRoles));
        policy.set_role(account(3), Role::Owner).unwrap();
        policy.set_role(account(3), Role::ReadOnly).unwrap();
        policy.set_role(account(5_000), Role::Admin).unwrap();
        assert_eq!(Policy::parse(&policy.to_bytes()).unwrap(), policy);

        let terms = InviteTerms { expires_ms: 0, max_uses: 0 };
        (0..MAX_INVITES as u8).for_each(|key| policy.add_invite([key; 32], terms).unwrap());
        assert_eq!(policy.add_invite([99; 32], terms), Err(PolicyError::TooManyInvites));
        policy.add_invite([1; 32], InviteTerms { expires_ms: 1, max_uses: 0 }).unwrap();
        assert!(policy.remove_invite(&[2; 32]) && !policy.remove_invite(&[2; 32]));
        assert_eq!((policy.invite(&[1; 32]).unwrap().expires_ms, policy.invite(&[2; 32])), (1, None));
    }

    #[test]
    fn what_does_not_fit_the_kind_is_refused() {
        let base = Policy::group(GroupId([1; 16]), AccountId([2; 16])).to_bytes();
        let with = |index: usize, byte: u8| {
            let mut bytes = base.clone();
            bytes[index] = byte;
            Policy::parse(&bytes)
        };
        assert_eq!(with(0, 2), Err(PolicyError::Version(2)));
        assert_eq!(with(1, 0), Err(PolicyError::Malformed));
        assert_eq!(with(1, 1), Err(PolicyError::Kind), "roles in a direct conversation");
        assert_eq!(with(18, 4), Err(PolicyError::Malformed), "an unknown flag");
        assert_eq!(with(19, 3), Err(PolicyError::Kind), "everybody an admin");
        assert_eq!(with(38, 2), Err(PolicyError::Malformed), "the default role written");
        assert_eq!(with(20, 4), Err(PolicyError::TooManyRoles));
        assert_eq!(with(39, 33), Err(PolicyError::TooManyInvites));
        let twice = [&base[..20], &[0, 2], &base[22..39], &base[22..39], &[0]].concat();
        assert_eq!(Policy::parse(&twice), Err(PolicyError::Malformed), "an account twice");
    }
}
