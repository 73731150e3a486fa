//! Who may change what in a group. Pure: the same answer for a member and for the server, from the state before and what a
//! commit does. MLS itself was checked before; here it is about authority.

use std::collections::{HashMap, HashSet};

use qpc_wire::{AccountId, DeviceId, GroupId};

use super::invite;
use super::policy::{Kind, Policy, Role};

/// Why a group does not allow a change. The list is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Denied {
    /// Another group continues this one.
    #[error("the group is closed")]
    Closed,
    /// A new group's policy does not make its founder what the founder of such a group is.
    #[error("a new group must have the policy of its kind")]
    Founding,
    /// A conversation of two would get a third account.
    #[error("a direct conversation has two accounts")]
    ThirdAccount,
    /// The first commit of a conversation of two must bring the other account.
    #[error("the first commit of a direct conversation adds the other account")]
    NoSecondAccount,
    /// A device of another account among the devices of one's own.
    #[error("this group is for the devices of one account")]
    OtherAccount,
    /// Adding an account takes an admin.
    #[error("adding an account takes an admin")]
    AddsAccount,
    /// Adding a device of another account takes an admin.
    #[error("adding a device of another account takes an admin")]
    AddsDevice,
    /// Removing an account takes an admin, removing an admin an owner.
    #[error("removing an account takes a higher role")]
    RemovesAccount,
    /// Nobody removes an owner but that account itself.
    #[error("an owner cannot be removed by others")]
    RemovesOwner,
    /// A group keeps an owner.
    #[error("the group would have no owner")]
    LastOwner,
    /// Kind, conversation and predecessor never change; roles and invites exist in groups only.
    #[error("this part of the policy never changes")]
    FixedPolicy,
    /// This change of the policy takes an admin.
    #[error("this change takes an admin")]
    NeedsAdmin,
    /// This change of the policy takes an owner.
    #[error("this change takes an owner")]
    NeedsOwner,
    /// A role for an account that is not in the group.
    #[error("only accounts in the group have roles")]
    RoleOfStranger,
    /// Whoever joins from outside removes nothing but this device's own stuck leaf.
    #[error("joining from outside removes nobody else")]
    ExternalRemoves,
    /// Joining from outside takes an account that is in the group, or an invite.
    #[error("joining takes an invite")]
    NotInvited,
    /// A proof that is wrong, of an invite that is not open, or where none is needed.
    #[error("the invite does not hold")]
    BadInvite,
}

/// A device and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) account: AccountId,
    pub(super) device: DeviceId,
}

/// How many leaves each account has.
pub(super) type Leaves = HashMap<AccountId, u32>;

/// A group before a commit.
pub(super) struct State<'a> {
    pub(super) group: GroupId,
    pub(super) epoch: u64,
    pub(super) policy: &'a Policy,
}

/// Who commits.
#[derive(Clone, Copy)]
pub(super) enum Committer<'a> {
    Member(Leaf),
    /// Somebody from outside, with the authenticated data of the commit.
    Joiner(Leaf, &'a [u8]),
}

/// What a commit does.
pub(super) struct Change<'a> {
    pub(super) committer: Committer<'a>,
    pub(super) added: &'a [AccountId],
    pub(super) removed: &'a [Leaf],
    /// Accounts of the leaves whose SelfRemove is committed.
    pub(super) left: &'a [AccountId],
    pub(super) policy: Option<&'a Policy>,
}

/// What is to be known about a commit that is allowed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Devices removed by somebody who could not remove their account.
    pub(super) pruned: Vec<DeviceId>,
    /// A device came back in place of its own leaf.
    pub(super) resync: bool,
    /// The invite by which an account joined.
    pub(super) invite: Option<[u8; 32]>,
}

/// Whether the policy is one to found a group with.
pub(super) fn found(policy: &Policy, group: GroupId, founder: AccountId) -> Result<(), Denied> {
    let first = policy.predecessor.is_none() == (policy.conversation == group);
    // A group that carries another one on has the roles of that one, also of those who are still to be added.
    let (least, carries_on) = match policy.predecessor {
        None => (Role::Owner, false),
        Some(_) => (Role::Admin, true),
    };
    let owned = policy.kind != Kind::Group || policy.role(founder) >= least;
    let only_founder = carries_on || policy.roles().all(|(account, _)| account == founder);
    if first && owned && only_founder && policy.successor.is_none() { Ok(()) } else { Err(Denied::Founding) }
}

/// Whether a commit is allowed. `leaves` counts those before it, and is not called for a commit that only updates, as most
/// do.
pub(super) fn check(
    state: &State<'_>,
    leaves: impl FnOnce() -> Leaves,
    change: &Change<'_>,
) -> Result<Verdict, Denied> {
    if state.policy.successor.is_some() {
        return Err(Denied::Closed);
    }
    let founding_pair = state.policy.kind == Kind::Direct && state.epoch == 0;
    if change.only_updates() && !founding_pair {
        return Ok(Verdict::default());
    }
    let before = leaves();
    let after = change.after(&before);
    let verdict = match change.committer {
        Committer::Member(sender) => by_member(state, sender, &before, &after, change)?,
        Committer::Joiner(joiner, proof) => by_joiner(state, joiner, proof, &before, change)?,
    };
    let policy = change.policy.unwrap_or(state.policy);
    sound(policy, &after)?;
    carries_on(state.policy, &before, policy, &after)?;
    if founding_pair && after.len() != 2 {
        return Err(Denied::NoSecondAccount);
    }
    Ok(verdict)
}

/// Whether a SelfRemove of a leaf of `leaver` may wait for a commit, beside those of `waiting`.
pub(super) fn leave(
    policy: &Policy,
    mut leaves: Leaves,
    waiting: &[AccountId],
    leaver: AccountId,
) -> Result<(), Denied> {
    if policy.successor.is_some() {
        return Err(Denied::Closed);
    }
    let ownerless = !owned(policy, &leaves);
    waiting.iter().chain([&leaver]).for_each(|account| take(&mut leaves, *account));
    if leaves.is_empty() || ownerless || owned(policy, &leaves) { Ok(()) } else { Err(Denied::LastOwner) }
}

/// Which of the waiting SelfRemoves can be committed together: all, unless the last owners would go. `leaves` are those
/// without the leavers of the answer in the end.
pub(super) fn departures(policy: &Policy, leaves: &mut Leaves, waiting: &[AccountId]) -> Vec<bool> {
    let ownerless = !owned(policy, leaves);
    let mut goes = |account: &AccountId| {
        take(leaves, *account);
        let allowed = ownerless || owned(policy, leaves);
        if !allowed {
            *leaves.entry(*account).or_default() += 1;
        }
        allowed
    };
    waiting.iter().map(&mut goes).collect()
}

/// What is true of every group at every epoch after the founding.
pub(super) fn sound(policy: &Policy, leaves: &Leaves) -> Result<(), Denied> {
    match policy.kind {
        Kind::Own if leaves.len() != 1 => Err(Denied::OtherAccount),
        Kind::Direct if leaves.len() > 2 => Err(Denied::ThirdAccount),
        // Its roles came with it, and not everybody who has one may have been reached.
        Kind::Group if policy.predecessor.is_some() => Ok(()),
        Kind::Group if !owned(policy, leaves) => Err(Denied::LastOwner),
        Kind::Group if policy.roles().any(|(account, _)| !leaves.contains_key(&account)) => Err(Denied::RoleOfStranger),
        _ => Ok(()),
    }
}

/// What [`sound`] asks of other groups, for one that carries another one on: it loses no owner that it has, and no role is
/// given to, or kept by, an account that is not there; those that came with it stay.
fn carries_on(from: &Policy, before: &Leaves, to: &Policy, after: &Leaves) -> Result<(), Denied> {
    if from.kind != Kind::Group || from.predecessor.is_none() {
        return Ok(());
    }
    if owned(from, before) && !owned(to, after) {
        return Err(Denied::LastOwner);
    }
    let came_along = |account: &AccountId| {
        !before.contains_key(account) && from.roles().any(|(known, role)| known == *account && role == to.role(known))
    };
    let stranger = to.roles().any(|(account, _)| !after.contains_key(&account) && !came_along(&account));
    if stranger { Err(Denied::RoleOfStranger) } else { Ok(()) }
}

impl Change<'_> {
    fn only_updates(&self) -> bool {
        let nobody_moves = self.added.is_empty() && self.removed.is_empty() && self.left.is_empty();
        nobody_moves && self.policy.is_none() && matches!(self.committer, Committer::Member(_))
    }

    /// The leaves after the commit.
    pub(super) fn after(&self, before: &Leaves) -> Leaves {
        let mut after = before.clone();
        let joiner = match self.committer {
            Committer::Member(_) => None,
            Committer::Joiner(joiner, _) => Some(joiner.account),
        };
        self.added.iter().chain(&joiner).for_each(|account| *after.entry(*account).or_default() += 1);
        let removed = self.removed.iter().map(|leaf| leaf.account);
        removed.chain(self.left.iter().copied()).for_each(|account| take(&mut after, account));
        after
    }
}

fn take(leaves: &mut Leaves, account: AccountId) {
    if let Some(count) = leaves.get_mut(&account) {
        *count -= 1;
        if *count == 0 {
            leaves.remove(&account);
        }
    }
}

/// Whether an owner is in the group, if it is of a kind that has owners.
fn owned(policy: &Policy, leaves: &Leaves) -> bool {
    let owner = |(account, role)| role == Role::Owner && leaves.contains_key(&account);
    policy.kind != Kind::Group || policy.roles().any(owner)
}

fn by_member(
    state: &State<'_>,
    sender: Leaf,
    before: &Leaves,
    after: &Leaves,
    change: &Change<'_>,
) -> Result<Verdict, Denied> {
    for account in change.added.iter().filter(|account| **account != sender.account) {
        adds(state, sender, before.contains_key(account))?;
    }
    let mut pruned = Vec::new();
    for leaf in change.removed {
        if !removes(state.policy, sender, leaf, after)? {
            pruned.push(leaf.device);
        }
    }
    if let Some(policy) = change.policy {
        changes_policy(state.policy, policy, state.policy.role(sender.account), before, after)?;
    }
    Ok(Verdict { pruned, ..Verdict::default() })
}

/// Adding a device of another account, which is `present` or not.
fn adds(state: &State<'_>, sender: Leaf, present: bool) -> Result<(), Denied> {
    match state.policy.kind {
        Kind::Own => Err(Denied::OtherAccount),
        Kind::Direct if present || state.epoch == 0 => Ok(()),
        // When one of the two has left, nobody takes the place.
        Kind::Direct => Err(Denied::ThirdAccount),
        Kind::Group if state.policy.role(sender.account) >= Role::Admin => Ok(()),
        Kind::Group if present => Err(Denied::AddsDevice),
        Kind::Group => Err(Denied::AddsAccount),
    }
}

/// Whether the sender could remove the whole account; if not, a device that is revoked may still go.
fn removes(policy: &Policy, sender: Leaf, leaf: &Leaf, after: &Leaves) -> Result<bool, Denied> {
    let (own, target) = (policy.role(sender.account), policy.role(leaf.account));
    let entitled = leaf.account == sender.account
        || own == Role::Owner && target != Role::Owner
        || own == Role::Admin && target < Role::Admin;
    match entitled {
        true => Ok(true),
        false if after.contains_key(&leaf.account) => Ok(false),
        false if target == Role::Owner => Err(Denied::RemovesOwner),
        false => Err(Denied::RemovesAccount),
    }
}

fn changes_policy(from: &Policy, to: &Policy, role: Role, before: &Leaves, after: &Leaves) -> Result<(), Denied> {
    let fixed = |policy: &Policy| (policy.kind, policy.conversation, policy.predecessor);
    if fixed(from) != fixed(to) {
        return Err(Denied::FixedPolicy);
    }
    if from.kind != Kind::Group {
        // Only the successor is left to change, and anybody may.
        return if from.grants_the_same(to) { Ok(()) } else { Err(Denied::FixedPolicy) };
    }
    let named: HashSet<AccountId> = from.roles().chain(to.roles()).map(|(account, _)| account).collect();
    // A role that goes with its account takes no authority of its own.
    let highest = named.iter().filter(|account| after.contains_key(account)).filter_map(|account| {
        let (old, new) = (from.role(*account), to.role(*account));
        (old != new).then_some(old.max(new))
    });
    if highest.max().is_some_and(|highest| highest > Role::Member) && role < Role::Owner {
        return Err(Denied::NeedsOwner);
    }
    // A role that came along from another group, of an account that is still to be added.
    let absent = |account: &AccountId| !before.contains_key(account) && !after.contains_key(account);
    if role < Role::Owner && from.roles().any(|(account, known)| absent(&account) && to.role(account) != known) {
        return Err(Denied::NeedsOwner);
    }
    let mut gone = from.clone();
    gone.retain_roles(|account| after.contains_key(account) || absent(account));
    if !(gone.grants_the_same(to) && from.successor == to.successor) && role < Role::Admin {
        return Err(Denied::NeedsAdmin);
    }
    Ok(())
}

fn by_joiner(
    state: &State<'_>,
    joiner: Leaf,
    proof: &[u8],
    before: &Leaves,
    change: &Change<'_>,
) -> Result<Verdict, Denied> {
    if !change.added.is_empty() || change.policy.is_some() {
        // MLS allows neither in an external commit.
        return Err(Denied::NotInvited);
    }
    let resync = !change.removed.is_empty();
    if resync && change.removed != [joiner] {
        return Err(Denied::ExternalRemoves);
    }
    if before.contains_key(&joiner.account) {
        if !proof.is_empty() {
            return Err(Denied::BadInvite);
        }
        return Ok(Verdict { resync, ..Verdict::default() });
    }
    if proof.is_empty() {
        return if state.policy.readmits(joiner.account) { Ok(Verdict::default()) } else { Err(Denied::NotInvited) };
    }
    let key = invite::proven(proof, state.group, state.epoch, joiner.device).ok_or(Denied::BadInvite)?;
    state.policy.invite(&key).ok_or(Denied::BadInvite)?;
    Ok(Verdict { invite: Some(key), ..Verdict::default() })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::super::InviteSecret;
    use super::super::policy::InviteTerms;
    use super::*;

    const GROUP: GroupId = GroupId([9; 16]);
    /// Founder and owner, with two devices; then owner, admin, admin, member with two devices, read-only; nobody.
    const ANN: AccountId = acc(1);
    const OWEN: AccountId = acc(2);
    const ADA: AccountId = acc(3);
    const AL: AccountId = acc(4);
    const MEG: AccountId = acc(5);
    const RON: AccountId = acc(6);
    const NED: AccountId = acc(7);

    const fn acc(id: u8) -> AccountId {
        AccountId([id; 16])
    }

    fn leaf(account: AccountId, device: u8) -> Leaf {
        Leaf { account, device: DeviceId([account.0[0] * 16 + device; 16]) }
    }

    fn invite() -> InviteSecret {
        InviteSecret::generate(&mut StdRng::seed_from_u64(1))
    }

    fn policy() -> Policy {
        let mut policy = Policy::group(GROUP, ANN);
        policy.set_role(OWEN, Role::Owner).unwrap();
        policy.set_role(ADA, Role::Admin).unwrap();
        policy.set_role(AL, Role::Admin).unwrap();
        policy.set_role(RON, Role::ReadOnly).unwrap();
        policy.add_invite(invite().key(), InviteTerms { expires_ms: 1, max_uses: 1 }).unwrap();
        policy
    }

    fn group_leaves() -> Leaves {
        [(ANN, 2), (OWEN, 1), (ADA, 1), (AL, 1), (MEG, 2), (RON, 1)].into()
    }

    #[derive(Default)]
    struct Case<'a> {
        added: &'a [AccountId],
        removed: &'a [Leaf],
        left: &'a [AccountId],
        policy: Option<Policy>,
    }

    fn judge(
        policy: &Policy,
        epoch: u64,
        leaves: &Leaves,
        committer: Committer<'_>,
        case: &Case<'_>,
    ) -> Result<Verdict, Denied> {
        let change = Change {
            committer,
            added: case.added,
            removed: case.removed,
            left: case.left,
            policy: case.policy.as_ref(),
        };
        check(&State { group: GROUP, epoch, policy }, || leaves.clone(), &change)
    }

    /// What the group says to a commit of the first device of `sender`.
    fn member(sender: AccountId, case: Case<'_>) -> Result<Verdict, Denied> {
        judge(&policy(), 5, &group_leaves(), Committer::Member(leaf(sender, 0)), &case)
    }

    fn allowed() -> Result<Verdict, Denied> {
        Ok(Verdict::default())
    }

    #[test]
    fn adding() {
        let add = |sender, added: &[AccountId]| member(sender, Case { added, ..Case::default() });
        let table: [(AccountId, &[AccountId], Result<Verdict, Denied>); 8] = [
            (ANN, &[NED, MEG], allowed()),
            (ADA, &[NED, OWEN], allowed()),
            (MEG, &[MEG, MEG], allowed()),
            (RON, &[RON], allowed()),
            (MEG, &[NED], Err(Denied::AddsAccount)),
            (MEG, &[MEG, RON], Err(Denied::AddsDevice)),
            (RON, &[NED], Err(Denied::AddsAccount)),
            (RON, &[MEG], Err(Denied::AddsDevice)),
        ];
        for (sender, added, expected) in table {
            assert_eq!(add(sender, added), expected, "{sender} adds {added:?}");
        }
    }

    /// `policy()` without the roles of `gone`, as a commit that removes an account must bring it.
    fn without(gone: AccountId) -> Option<Policy> {
        let mut policy = policy();
        policy.retain_roles(|account| *account != gone);
        Some(policy)
    }

    #[test]
    fn removing() {
        let pruned = |leaf: Leaf| Ok(Verdict { pruned: vec![leaf.device], ..Verdict::default() });
        let (meg, meg2) = (leaf(MEG, 0), leaf(MEG, 1));
        type Row<'a> = (AccountId, &'a [Leaf], Option<Policy>, Result<Verdict, Denied>);
        let table: [Row<'_>; 16] = [
            (ANN, &[meg, meg2], None, allowed()),
            (ANN, &[leaf(ADA, 0)], without(ADA), allowed()),
            (ANN, &[leaf(ANN, 1)], None, allowed()),
            (ANN, &[leaf(OWEN, 0)], without(OWEN), Err(Denied::RemovesOwner)),
            (OWEN, &[leaf(ANN, 1)], None, pruned(leaf(ANN, 1))),
            (ADA, &[leaf(RON, 0)], without(RON), allowed()),
            (ADA, &[meg], None, allowed()),
            (ADA, &[leaf(AL, 0)], without(AL), Err(Denied::RemovesAccount)),
            (ADA, &[leaf(OWEN, 0)], without(OWEN), Err(Denied::RemovesOwner)),
            (ADA, &[leaf(ANN, 1)], None, pruned(leaf(ANN, 1))),
            (ADA, &[leaf(RON, 0)], None, Err(Denied::RoleOfStranger)),
            (MEG, &[meg2], None, allowed()),
            (MEG, &[leaf(RON, 0)], without(RON), Err(Denied::RemovesAccount)),
            (RON, &[meg], None, pruned(meg)),
            (RON, &[meg, meg2], None, Err(Denied::RemovesAccount)),
            (RON, &[leaf(ANN, 0), leaf(ANN, 1)], without(ANN), Err(Denied::RemovesOwner)),
        ];
        for (sender, removed, policy, expected) in table {
            let result = member(sender, Case { removed, policy, ..Case::default() });
            assert_eq!(result, expected, "{sender} removes {removed:?}");
        }
        // The rest of the account leaves at the same time, so it keeps no leaf.
        let result = member(RON, Case { removed: &[meg], left: &[MEG], ..Case::default() });
        assert_eq!(result, Err(Denied::RemovesAccount));
        // One device in place of another, by those who may add.
        let result = member(ADA, Case { removed: &[meg, meg2], added: &[MEG], ..Case::default() });
        assert_eq!(result, allowed());
    }

    #[test]
    fn leaving() {
        let leave_with = |left: &[AccountId], policy| member(MEG, Case { left, policy, ..Case::default() });
        assert_eq!(leave_with(&[ANN], None), allowed(), "one of two devices");
        assert_eq!(leave_with(&[ANN, ANN], without(ANN)), allowed(), "roles go with whoever leaves");
        assert_eq!(leave_with(&[ANN, ANN], None), Err(Denied::RoleOfStranger));
        let mut both = without(ANN).unwrap();
        both.retain_roles(|account| *account != OWEN);
        assert_eq!(leave_with(&[ANN, ANN, OWEN], Some(both)), Err(Denied::LastOwner));
        assert_eq!(leave_with(&[RON], without(ADA)), Err(Denied::NeedsOwner), "a role of another goes along");

        let waits = |waiting: &[AccountId], leaver| leave(&policy(), group_leaves(), waiting, leaver);
        assert_eq!(waits(&[], RON), Ok(()));
        assert_eq!(waits(&[ANN, ANN], RON), Ok(()));
        assert_eq!(waits(&[ANN, OWEN], ANN), Err(Denied::LastOwner));
        assert_eq!(waits(&[ANN, ANN], OWEN), Err(Denied::LastOwner));
        let alone = || Leaves::from([(ANN, 1)]);
        assert_eq!(leave(&policy(), alone(), &[], ANN), Ok(()), "nobody is left behind");
        assert_eq!(leave(&Policy::direct(GROUP), [(ANN, 1), (NED, 1)].into(), &[], ANN), Ok(()));
        let mut closed = policy();
        closed.successor = Some(GroupId([1; 16]));
        assert_eq!(leave(&closed, alone(), &[], ANN), Err(Denied::Closed));
    }

    #[test]
    fn as_many_leave_as_can() {
        let mut leaves = group_leaves();
        let goes = departures(&policy(), &mut leaves, &[ANN, OWEN, ANN, MEG]);
        assert_eq!(goes, [true, true, false, true]);
        assert_eq!((leaves.get(&ANN), leaves.get(&OWEN), leaves.get(&MEG)), (Some(&1), None, Some(&1)));
    }

    #[test]
    fn changing_the_policy() {
        use Role::{Admin, Member, Owner, ReadOnly};
        let role = |account, role| move |policy: &mut Policy| policy.set_role(account, role).unwrap();
        type Edit = Box<dyn Fn(&mut Policy)>;
        type Row = (&'static str, Edit, [Result<(), Denied>; 3]);
        let table: Vec<Row> = {
            let (ok, admin, owner) = (Ok(()), Err(Denied::NeedsAdmin), Err(Denied::NeedsOwner));
            let fixed = Err(Denied::FixedPolicy);
            vec![
                // What owner, admin and member may do.
                ("member to read-only", Box::new(role(MEG, ReadOnly)), [ok, ok, admin]),
                ("read-only to member", Box::new(role(RON, Member)), [ok, ok, admin]),
                ("member to admin", Box::new(role(MEG, Admin)), [ok, owner, owner]),
                ("oneself to admin", Box::new(role(RON, Admin)), [ok, owner, owner]),
                ("admin to member", Box::new(role(AL, Member)), [ok, owner, owner]),
                ("admin to owner", Box::new(role(ADA, Owner)), [ok, owner, owner]),
                ("owner to member", Box::new(role(OWEN, Member)), [ok, owner, owner]),
                (
                    "a stranger",
                    Box::new(role(NED, ReadOnly)),
                    [Err(Denied::RoleOfStranger), Err(Denied::RoleOfStranger), admin],
                ),
                ("default", Box::new(|policy| policy.default_role = ReadOnly), [ok, ok, admin]),
                ("invite", Box::new(|policy| assert!(policy.remove_invite(&invite().key()))), [ok, ok, admin]),
                ("successor", Box::new(|policy| policy.successor = Some(GROUP)), [ok, ok, admin]),
                ("kind", Box::new(|policy| policy.kind = Kind::Direct), [fixed; 3]),
                ("conversation", Box::new(|policy| policy.conversation = GroupId([1; 16])), [fixed; 3]),
                ("predecessor", Box::new(|policy| policy.predecessor = Some(GROUP)), [fixed; 3]),
                ("nothing", Box::new(|_| ()), [ok; 3]),
            ]
        };
        for (what, edit, expected) in table {
            for (sender, expected) in [ANN, ADA, MEG].into_iter().zip(expected) {
                let mut changed = policy();
                edit(&mut changed);
                let result = member(sender, Case { policy: Some(changed), ..Case::default() }).map(|_| ());
                assert_eq!(result, expected, "{what} by {sender}");
            }
        }
        // With the account that gets it.
        let mut changed = policy();
        changed.set_role(NED, ReadOnly).unwrap();
        assert_eq!(member(ADA, Case { added: &[NED], policy: Some(changed.clone()), ..Case::default() }), allowed());
        changed.set_role(NED, Admin).unwrap();
        let case = Case { added: &[NED], policy: Some(changed), ..Case::default() };
        assert_eq!(member(ADA, case), Err(Denied::NeedsOwner));
        let mut nobody = policy();
        nobody.retain_roles(|account| ![ANN, OWEN].contains(account));
        assert_eq!(member(ANN, Case { policy: Some(nobody), ..Case::default() }), Err(Denied::LastOwner));
    }

    #[test]
    fn from_outside() {
        let join = |joiner: Leaf, proof: &[u8], removed: &[Leaf], left: &[AccountId]| {
            let case = Case { removed, left, ..Case::default() };
            judge(&policy(), 5, &group_leaves(), Committer::Joiner(joiner, proof), &case)
        };
        let (meg, ned) = (leaf(MEG, 0), leaf(NED, 0));
        assert_eq!(join(leaf(MEG, 7), &[], &[], &[]), allowed(), "a new device");
        assert_eq!(join(meg, &[], &[meg], &[]), Ok(Verdict { resync: true, ..Verdict::default() }));
        assert_eq!(join(meg, &[], &[leaf(MEG, 1)], &[]), Err(Denied::ExternalRemoves));
        assert_eq!(join(meg, &[], &[meg, leaf(MEG, 1)], &[]), Err(Denied::ExternalRemoves));
        let stolen = Leaf { account: RON, device: meg.device };
        assert_eq!(join(stolen, &[], &[meg], &[]), Err(Denied::ExternalRemoves), "another's device key");
        assert_eq!(join(leaf(MEG, 7), &[], &[], &[MEG]), allowed());
        assert_eq!(join(leaf(MEG, 7), &[], &[], &[RON]), Err(Denied::RoleOfStranger), "nobody drops the role");

        let proof = invite().proof(GROUP, 5, ned.device);
        let by_invite = Ok(Verdict { invite: Some(invite().key()), ..Verdict::default() });
        assert_eq!(join(ned, &proof, &[], &[]), by_invite);
        assert_eq!(join(ned, &proof, &[], &[MEG]), by_invite);
        assert_eq!(join(ned, &[], &[], &[]), Err(Denied::NotInvited));
        assert_eq!(join(leaf(NED, 1), &proof, &[], &[]), Err(Denied::BadInvite), "of another device");
        let late = invite().proof(GROUP, 4, ned.device);
        assert_eq!(join(ned, &late, &[], &[]), Err(Denied::BadInvite), "of another epoch");
        let closed = InviteSecret::generate(&mut StdRng::seed_from_u64(2)).proof(GROUP, 5, ned.device);
        assert_eq!(join(ned, &closed, &[], &[]), Err(Denied::BadInvite));
        let member = invite().proof(GROUP, 5, leaf(MEG, 7).device);
        assert_eq!(join(leaf(MEG, 7), &member, &[], &[]), Err(Denied::BadInvite), "not needed");

        // A group that carries another one on without its owner and an admin.
        let mut successor = policy();
        successor.predecessor = Some(GroupId([1; 16]));
        let mut without = group_leaves();
        without.retain(|account, _| ![OWEN, AL, MEG].contains(account));
        let come = |account| {
            let committer = Committer::Joiner(leaf(account, 0), &[]);
            judge(&successor, 5, &without, committer, &Case::default())
        };
        assert_eq!((come(OWEN), come(AL)), (allowed(), allowed()));
        assert_eq!((come(MEG), come(NED)), (Err(Denied::NotInvited), Err(Denied::NotInvited)));
    }

    #[test]
    fn two_accounts_and_one() {
        let says =
            |policy: Policy, epoch, leaves: &[(AccountId, u32)], committer, added: &[AccountId], removed: &[Leaf]| {
                let leaves = leaves.iter().copied().collect();
                judge(&policy, epoch, &leaves, committer, &Case { added, removed, ..Case::default() }).map(|_| ())
            };
        let (direct, own) = (|| Policy::direct(GROUP), || Policy::own(GROUP));
        let ann = Committer::Member(leaf(ANN, 0));
        let alone = &[(ANN, 1)][..];
        let pair = &[(ANN, 1), (OWEN, 2)][..];
        assert_eq!(says(direct(), 0, alone, ann, &[OWEN, OWEN, ANN], &[]), Ok(()));
        assert_eq!(says(direct(), 0, alone, ann, &[], &[]), Err(Denied::NoSecondAccount));
        assert_eq!(says(direct(), 0, alone, ann, &[ANN], &[]), Err(Denied::NoSecondAccount));
        assert_eq!(says(direct(), 0, alone, ann, &[OWEN, NED], &[]), Err(Denied::ThirdAccount));
        assert_eq!(says(direct(), 1, pair, ann, &[], &[]), Ok(()));
        assert_eq!(says(direct(), 1, pair, ann, &[OWEN, ANN], &[]), Ok(()));
        assert_eq!(says(direct(), 1, pair, ann, &[NED], &[]), Err(Denied::ThirdAccount));
        assert_eq!(says(direct(), 1, alone, ann, &[OWEN], &[]), Err(Denied::ThirdAccount), "the other has left");
        assert_eq!(says(direct(), 1, pair, ann, &[], &[leaf(OWEN, 0)]), Ok(()));
        let both = [leaf(OWEN, 0), leaf(OWEN, 1)];
        assert_eq!(says(direct(), 1, pair, ann, &[], &both), Err(Denied::RemovesAccount));
        let (new, stranger) = (Committer::Joiner(leaf(ANN, 5), &[]), Committer::Joiner(leaf(NED, 5), &[]));
        assert_eq!(says(direct(), 1, pair, new, &[], &[]), Ok(()));
        assert_eq!(says(direct(), 0, alone, new, &[], &[]), Err(Denied::NoSecondAccount));
        assert_eq!(says(direct(), 1, pair, stranger, &[], &[]), Err(Denied::NotInvited));

        assert_eq!(says(own(), 0, alone, ann, &[ANN], &[]), Ok(()));
        assert_eq!(says(own(), 3, &[(ANN, 2)], ann, &[], &[leaf(ANN, 1)]), Ok(()));
        assert_eq!(says(own(), 0, alone, ann, &[NED], &[]), Err(Denied::OtherAccount));
        assert_eq!(says(own(), 2, alone, new, &[], &[]), Ok(()));
        assert_eq!(says(own(), 2, alone, stranger, &[], &[]), Err(Denied::NotInvited));

        // Anybody may point to a successor; nothing else can change.
        for policy in [direct(), own()] {
            let change = |edit: fn(&mut Policy)| {
                let mut changed = policy.clone();
                edit(&mut changed);
                let case = Case { policy: Some(changed), ..Case::default() };
                judge(&policy, 2, &alone.iter().copied().collect(), ann, &case).map(|_| ())
            };
            assert_eq!(change(|policy| policy.successor = Some(GroupId([1; 16]))), Ok(()));
            assert_eq!(change(|policy| policy.default_role = Role::ReadOnly), Err(Denied::FixedPolicy));
            assert_eq!(change(|policy| policy.conversation = GroupId([1; 16])), Err(Denied::FixedPolicy));
        }
    }

    #[test]
    fn closed_is_closed() {
        let mut closed = policy();
        closed.successor = Some(GroupId([1; 16]));
        for committer in [Committer::Member(leaf(ANN, 0)), Committer::Joiner(leaf(ANN, 5), &[])] {
            let result = judge(&closed, 5, &group_leaves(), committer, &Case::default());
            assert_eq!(result, Err(Denied::Closed));
        }
    }

    #[test]
    fn updates_count_nobody() {
        let change =
            Change { committer: Committer::Member(leaf(RON, 0)), added: &[], removed: &[], left: &[], policy: None };
        let state = State { group: GROUP, epoch: 5, policy: &policy() };
        assert_eq!(check(&state, || unreachable!("counted"), &change), allowed());
    }

    #[test]
    fn founding() {
        let founds = |edit: fn(&mut Policy)| {
            let mut policy = Policy::group(GROUP, ANN);
            edit(&mut policy);
            found(&policy, GROUP, ANN)
        };
        assert_eq!(founds(|_| ()), Ok(()));
        assert_eq!(founds(|policy| policy.default_role = Role::ReadOnly), Ok(()));
        assert_eq!(founds(|policy| policy.set_role(ANN, Role::Admin).unwrap()), Err(Denied::Founding));
        assert_eq!(founds(|policy| policy.set_role(NED, Role::Admin).unwrap()), Err(Denied::Founding));
        assert_eq!(founds(|policy| policy.successor = Some(GroupId([1; 16]))), Err(Denied::Founding));
        assert_eq!(founds(|policy| policy.conversation = GroupId([1; 16])), Err(Denied::Founding));
        assert_eq!(founds(|policy| policy.predecessor = Some(GroupId([1; 16]))), Err(Denied::Founding));
        let continues = |policy: &mut Policy| {
            (policy.conversation, policy.predecessor) = (GroupId([1; 16]), Some(GroupId([1; 16])));
        };
        assert_eq!(founds(continues), Ok(()));
        let with_roles = |policy: &mut Policy| {
            (policy.conversation, policy.predecessor) = (GroupId([1; 16]), Some(GroupId([1; 16])));
            policy.set_role(ANN, Role::Admin).unwrap();
            policy.set_role(OWEN, Role::Owner).unwrap();
        };
        assert_eq!(founds(with_roles), Ok(()));
        let by_a_member = |policy: &mut Policy| {
            (policy.conversation, policy.predecessor) = (GroupId([1; 16]), Some(GroupId([1; 16])));
            policy.set_role(ANN, Role::Member).unwrap();
        };
        assert_eq!(founds(by_a_member), Err(Denied::Founding));
        assert_eq!(found(&Policy::own(GROUP), GROUP, ANN), Ok(()));
        assert_eq!(found(&Policy::direct(GroupId([1; 16])), GROUP, ANN), Err(Denied::Founding));
    }
}
