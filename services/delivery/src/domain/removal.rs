//! Revoked devices: which of them a commit may not leave in a group.

use std::collections::BTreeSet;

use qpc_crypto::mls::{Kind, Policy, Role};
use qpc_wire::{AccountId, DeviceId};

/// Of the `leaves` after a commit of `sender`, the revoked ones that it should have removed. A device whose account has
/// nobody else in the group stays until somebody comes who may remove the account: nobody is asked for what the rules of
/// the group deny.
pub fn due(
    policy: &Policy,
    sender: AccountId,
    leaves: &[(DeviceId, AccountId)],
    revoked: &BTreeSet<DeviceId>,
) -> Vec<DeviceId> {
    let alive: BTreeSet<AccountId> =
        leaves.iter().filter(|(device, _)| !revoked.contains(device)).map(|(_, account)| *account).collect();
    leaves
        .iter()
        .filter(|(device, account)| {
            revoked.contains(device) && (alive.contains(account) || removes(policy, sender, *account))
        })
        .map(|(device, _)| *device)
        .collect()
}

fn removes(policy: &Policy, sender: AccountId, account: AccountId) -> bool {
    let (own, target) = (policy.role(sender), policy.role(account));
    policy.kind == Kind::Group && own >= Role::Admin && target < own
}

#[cfg(test)]
mod tests {
    use qpc_wire::GroupId;

    use super::*;

    #[test]
    fn nobody_is_asked_for_what_the_rules_deny() {
        let [owner, admin, member] = [1, 2, 3].map(|n| AccountId([n; 16]));
        let mut policy = Policy::group(GroupId([0; 16]), owner);
        policy.set_role(admin, Role::Admin).unwrap();
        let leaves: Vec<_> =
            [(1, owner), (2, owner), (3, admin), (4, member)].map(|(n, a)| (DeviceId([n; 16]), a)).to_vec();
        let due = |policy: &Policy, sender, gone: &[u8]| {
            let gone = gone.iter().map(|n| DeviceId([*n; 16])).collect();
            due(policy, sender, &leaves, &gone).iter().map(|device| device.0[0]).collect::<Vec<_>>()
        };
        assert_eq!(due(&policy, member, &[1]), [1], "the account has another device");
        assert_eq!(due(&policy, member, &[3]), [0; 0], "a member cannot remove the admin's account");
        assert_eq!(due(&policy, owner, &[3, 4]), [3, 4]);
        assert_eq!(due(&policy, admin, &[4]), [4]);
        assert_eq!(due(&policy, admin, &[1, 2]), [0; 0], "nobody removes an owner");
        assert_eq!(due(&Policy::direct(GroupId([0; 16])), owner, &[4]), [0; 0]);
    }
}
