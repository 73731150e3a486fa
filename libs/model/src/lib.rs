//! The protocols behind the guarantees, as models that a checker (`stateright`) walks through in every order of events.
//!
//! Tests of the code meet a race when the machine happens to produce it; here every interleaving of two replicas, lost
//! answers, repeated calls and crashes is visited, in a world that is as small as it can be and still go wrong.
//!
//! | model | what of the code | guarantees |
//! |---|---|---|
//! | [`mailbox`] | batches of messages fan out into two mailboxes; fetch, doorbells, acknowledgement, expiry | G1 G2 G3 G10 |
//! | [`commits`] | two members commit and follow, while one of them sends a message that was written long ago | G1 G4 G10 |
//! | [`key_packages`] | claims of a stock of two packages and a last resort; a repeated upload | G6 G10 |
//!
//! # How to read a model
//!
//! A state is what is durable (rows of the database, the stores of clients), what is under way (the calls that two replicas
//! work on), and a few notes of the observer that no code has, such as how often a call took effect.
//! An action is one step that cannot be cut in two by a crash or by somebody else. Transactions are READ COMMITTED, as on
//! Postgres; what waits for a row that another transaction holds is an action that is not possible yet. An answer that
//! gets lost is a crash after the commit: the caller cannot tell the two apart.
//!
//! Everything that can go wrong is counted down (crashes, repetitions out of impatience, expiries), so that every run ends,
//! and the property that something happens *eventually* is judged where nothing more can happen.
//!
//! # Rules
//!
//! What the code does to keep a guarantee stands in `Rules` of each model, a switch for each line of code, with the file
//! and the guarantee that falls without it. `tests/` checks that nothing can be broken while all rules hold, and that
//! each rule, switched off alone, gives a counterexample of the property that it names. So the models can fail, and no
//! rule is in them for show. Where a rule is hoped for rather than enforced, its comment says so.
//!
//! To add a rule: a line in `rules!` of the model that says where it is kept and what it `keeps`; then the one place in the
//! model that behaves otherwise without it. The test finds it by itself, and fails until a counterexample exists. If there
//! is none, either the guarantee does not depend on that line, or the world is too small: give it one more message or
//! crash rather than a hint. When a property falls that should not, `assert_properties` prints the steps.
//!
//! # Left out, on purpose
//!
//! - Cryptography: a commit, a message and a package are numbers; an epoch is the list of commits that led to it.
//! - Bytes: sizes, limits, quotas, pages of a fetch.
//! - A second line of defence behind a rule: with it, the loss of the first line would not be seen. So clients here do not
//!   know a message by its id under another sequence, and repetitions of a message do not wait for the lock of its group.
//! - Deadlocks: heads are locked in ascending order and Postgres would end a circle; a batch that is given up is a crash.
//! - Groups that change their members, Welcomes, external commits and what else heals (G7), and the server losing its
//!   memory in a restore.
//! - The clock: keys are remembered for 24 hours, and callers here come back in time, but where a rule is about that.
//! - Requests on the wire: one that is late is one that its replica is late to begin. So at most two are under way.

pub mod commits;
pub mod key_packages;
pub mod mailbox;

/// The rules of a model with one of them off.
#[derive(Debug, Clone, Copy)]
pub struct Without<R: 'static> {
    /// Name of the rule.
    pub rule: &'static str,
    /// The properties that fall.
    pub fall: &'static [&'static str],
    /// All rules but this one.
    pub rules: R,
}

/// Declares `Rules`: a switch for each, and the table of what falls without it.
macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident keeps $($property:ident)|+,)*) => {
        /// What the code does, one switch for each line that a guarantee stands on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Rules {
            $($(#[$doc])* pub $rule: bool,)*
        }

        impl Rules {
            /// As the code is.
            pub const ALL: Self = Self { $($rule: true,)* };
            /// Each rule off once, and nothing else touched.
            pub const WITHOUT: &[$crate::Without<Self>] = &[$(
                $crate::Without {
                    rule: stringify!($rule),
                    fall: &[$($property),+],
                    rules: Self { $rule: false, ..Self::ALL },
                },
            )*];
        }
    };
}
pub(crate) use rules;
