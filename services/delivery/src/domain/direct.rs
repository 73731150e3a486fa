//! Rules of direct conversations.

use std::collections::BTreeSet;

use qpc_wire::AccountId;

use crate::error::Error;

/// The two accounts of a direct conversation, the smaller id first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Smaller id.
    pub low: AccountId,
    /// Larger id.
    pub high: AccountId,
}

impl Pair {
    /// The pair of `accounts` (one for each member device), of which `caller` must be one.
    pub fn of(accounts: impl Iterator<Item = AccountId>, caller: AccountId) -> Result<Self, Error> {
        let distinct: BTreeSet<AccountId> = accounts.collect();
        let mut distinct = distinct.into_iter();
        match (distinct.next(), distinct.next(), distinct.next()) {
            (Some(low), Some(high), None) if [low, high].contains(&caller) => Ok(Self { low, high }),
            _ => Err(Error::NotDirect),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_two_accounts_with_the_caller_among_them() {
        let [a, b, c] = [1, 2, 3].map(|n| AccountId([n; 16]));
        assert_eq!(Pair::of([b, a, b].into_iter(), a).unwrap(), Pair { low: a, high: b });
        assert!(Pair::of([a, a].into_iter(), a).is_err());
        assert!(Pair::of([a, b, c].into_iter(), a).is_err());
        assert!(Pair::of([a, b].into_iter(), c).is_err());
    }
}
