//! While all rules hold nothing can be broken; without any one of them its guarantee falls.

#![allow(unreachable_pub, clippy::unwrap_used)]

use std::{collections::BTreeSet, fmt::Debug, hash::Hash};

use qpc_model::{
    Without,
    commits::{self, Commits},
    key_packages::{self, KeyPackages},
    mailbox::{self, Mailboxes},
};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

const THREADS: usize = 2;

/// Walks through every state. `at_least` states there must be, or the world has become smaller than it was.
fn holds<M>(model: M, at_least: usize)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send,
{
    let checker = model.checker().threads(THREADS).spawn_bfs().join();
    checker.assert_properties();
    let states = checker.unique_state_count();
    assert!(states >= at_least, "{states} states, of which there were {at_least}");
}

/// Switches each rule off, once, and wants a counterexample of each property it names.
fn falls<R, M>(without: &[Without<R>], model: impl Fn(R) -> M)
where
    R: Copy,
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send,
{
    let mut guarded: BTreeSet<&str> = BTreeSet::new();
    let mut survived = Vec::new();
    for Without { rule, fall, rules } in without {
        guarded.extend(*fall);
        let when = HasDiscoveries::AllOf(fall.iter().copied().collect());
        let checker = model(*rules).checker().finish_when(when).threads(THREADS).spawn_bfs().join();
        let found = checker.discoveries();
        let standing = fall.iter().filter(|property| !found.contains_key(*property));
        survived.extend(standing.map(|property| format!("{property}: holds without {rule}")));
    }
    assert!(survived.is_empty(), "{survived:#?}");
    // A property that no rule keeps could be one that cannot fail.
    let properties = model(without.first().unwrap().rules).properties();
    for property in properties.iter().filter(|property| property.expectation == Expectation::Always) {
        assert!(guarded.contains(property.name), "no rule keeps {}", property.name);
    }
}

#[test]
fn mailboxes_keep_what_they_accept() {
    holds(Mailboxes { rules: mailbox::Rules::ALL }, 330_000);
}

#[test]
fn each_rule_of_mailboxes_is_needed() {
    falls(mailbox::Rules::WITHOUT, |rules| Mailboxes { rules });
}

#[test]
fn commits_take_turns() {
    holds(Commits { rules: commits::Rules::ALL }, 1_400_000);
}

#[test]
fn each_rule_of_commits_is_needed() {
    falls(commits::Rules::WITHOUT, |rules| Commits { rules });
}

#[test]
fn packages_go_out_once() {
    holds(KeyPackages { rules: key_packages::Rules::ALL }, 37_000);
}

#[test]
fn each_rule_of_key_packages_is_needed() {
    falls(key_packages::Rules::WITHOUT, |rules| KeyPackages { rules });
}
