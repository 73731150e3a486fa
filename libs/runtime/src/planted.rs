//! Mistakes that a simulation makes on purpose, to see that it notices them. Outside of simulations nothing is planted, and
//! [`planted`] is a constant.

/// A mistake, named after what the code then does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// delivery: answers that a message is durable, and commits a little later.
    AnswersBeforeCommit,
    /// delivery: an acknowledgement removes one entry more.
    AcksOneTooMany,
    /// delivery: a commit is taken although another one was first.
    IgnoresEpoch,
    /// delivery: the last recipient of a message gets no entry.
    MissesOneRecipient,
    /// delivery: a mailbox skips a sequence.
    SkipsSequence,
    /// chassis: a repeated call takes effect again.
    ForgetsKeys,
    /// keypackage: a KeyPackage stays in stock after it was handed out.
    KeepsPackages,
    /// sdk: a mailbox event with a hole before it is taken in.
    AcceptsHole,
    /// sdk: the periodic look does not fetch.
    LooksWithoutPull,
    /// sdk: a message is shown before it is stored.
    ShowsBeforeStoring,
    /// sdk: a commit that was refused is merged.
    MergesRefused,
    /// sdk: a message whose answer is lost leaves the outbox.
    ForgetsUnanswered,
    /// sdk: the receipt of an own message is not kept.
    ForgetsOwnReceipts,
    /// sdk: an own message stays last when the server has put it before others.
    ShowsOwnLast,
    /// sdk: of several changes of a message the one counts that came last to this device.
    CountsLastToCome,
    /// sdk: nonces of tokens are numbers beside the key of the call that asks for them.
    NumbersTokens,
}

impl Mistake {
    /// All that show in a simulation; who sent a sealed message does not.
    pub const ALL: [Self; 15] = [
        Self::AnswersBeforeCommit,
        Self::AcksOneTooMany,
        Self::IgnoresEpoch,
        Self::MissesOneRecipient,
        Self::SkipsSequence,
        Self::ForgetsKeys,
        Self::KeepsPackages,
        Self::AcceptsHole,
        Self::LooksWithoutPull,
        Self::ShowsBeforeStoring,
        Self::MergesRefused,
        Self::ForgetsUnanswered,
        Self::ForgetsOwnReceipts,
        Self::ShowsOwnLast,
        Self::CountsLastToCome,
    ];
}

/// Whether the simulation of this thread makes this mistake.
#[cfg(feature = "sim")]
pub fn planted(mistake: Mistake) -> bool {
    PLANTED.get() == Some(mistake)
}

/// See above; there is no simulation.
#[cfg(not(feature = "sim"))]
#[inline(always)]
pub const fn planted(_: Mistake) -> bool {
    false
}

#[cfg(feature = "sim")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mistake>> = const { std::cell::Cell::new(None) };
}

/// Has the simulations of this thread make this mistake, or none, from now on.
#[cfg(feature = "sim")]
pub fn plant(mistake: Option<Mistake>) {
    PLANTED.set(mistake);
}
