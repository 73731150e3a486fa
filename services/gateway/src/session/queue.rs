//! Pushes that wait for a client to read. What does not fit is dropped and made good by telling the client to fetch
//! (G3, G11).

use std::collections::VecDeque;

use bytes::Bytes;
use qpc_wire::v1::EventType;

/// Bytes that one connection may have waiting, whatever their number.
const MAX_BYTES: usize = 1 << 20;

/// One push frame to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Push {
    pub(crate) event: EventType,
    pub(crate) body: Bytes,
}

/// What has become of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushAction {
    /// It waits, and nobody writes yet: the carrier has to.
    StartWriter,
    /// It waits; the writer will come to it.
    Queued,
    /// It did not fit, or says what a waiting one says already.
    Dropped,
}

pub(super) struct PushQueue {
    waiting: VecDeque<Push>,
    bytes: usize,
    capacity: usize,
    writing: bool,
    pull_again_owed: bool,
}

impl PushQueue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, capacity, writing: false, pull_again_owed: false }
    }

    pub(super) fn push(&mut self, push: Push) -> PushAction {
        if says_all_by_itself(push.event) {
            // Never refused for want of room, so it must not repeat itself either: at most three on top of the capacity.
            if self.waiting.iter().any(|waiting| waiting.event == push.event) {
                return PushAction::Dropped;
            }
        } else if self.waiting.len() >= self.capacity || self.bytes + push.body.len() > MAX_BYTES {
            self.pull_again_owed = true;
            return PushAction::Dropped;
        }
        self.bytes += push.body.len();
        self.waiting.push_back(push);
        if std::mem::replace(&mut self.writing, true) { PushAction::Queued } else { PushAction::StartWriter }
    }

    pub(super) fn next(&mut self) -> Option<Push> {
        if let Some(push) = self.waiting.pop_front() {
            self.bytes -= push.body.len();
            if std::mem::take(&mut self.pull_again_owed) {
                self.push(Push::bare(EventType::PullAgain));
            }
            return Some(push);
        }
        if std::mem::take(&mut self.pull_again_owed) {
            return Some(Push::bare(EventType::PullAgain));
        }
        // An idle connection holds no buffer.
        self.clear();
        self.writing = false;
        None
    }

    pub(super) fn owe_pull_again(&mut self) {
        self.pull_again_owed = true;
    }

    pub(super) fn clear(&mut self) {
        self.waiting = VecDeque::new();
        self.bytes = 0;
        self.pull_again_owed = false;
    }
}

/// Events of which a second one tells nothing new.
fn says_all_by_itself(event: EventType) -> bool {
    matches!(event, EventType::PullAgain | EventType::SessionEnded | EventType::Drain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(byte: u8) -> Push {
        Push { event: EventType::Mailbox, body: Bytes::copy_from_slice(&[byte]) }
    }

    fn drained(queue: &mut PushQueue) -> Vec<EventType> {
        std::iter::from_fn(|| queue.next()).map(|push| push.event).collect()
    }

    #[test]
    fn one_writer_at_a_time_and_order_is_kept() {
        let mut queue = PushQueue::new(4);
        assert_eq!(queue.push(mail(1)), PushAction::StartWriter);
        assert_eq!(queue.push(mail(2)), PushAction::Queued);
        assert_eq!(queue.next(), Some(mail(1)));
        assert_eq!(queue.next(), Some(mail(2)));
        assert_eq!(queue.push(mail(3)), PushAction::Queued);
        assert_eq!(queue.next(), Some(mail(3)));
        assert_eq!(queue.next(), None);
        assert_eq!(queue.push(mail(4)), PushAction::StartWriter);
    }

    #[test]
    fn the_65th_is_dropped_and_made_good_by_one_pull_again() {
        let mut queue = PushQueue::new(64);
        for _ in 0..64 {
            assert_ne!(queue.push(mail(0)), PushAction::Dropped);
        }
        for _ in 0..10 {
            assert_eq!(queue.push(mail(0)), PushAction::Dropped);
        }
        let events = drained(&mut queue);
        assert_eq!(events.len(), 65);
        assert_eq!(events[64], EventType::PullAgain);
        assert!(events[..64].iter().all(|event| *event == EventType::Mailbox));
    }

    #[test]
    fn pull_again_takes_the_first_free_place_and_does_not_wait_for_silence() {
        let mut queue = PushQueue::new(2);
        let pushed = [1, 2, 3].map(|byte| queue.push(mail(byte)));
        assert_eq!(pushed, [PushAction::StartWriter, PushAction::Queued, PushAction::Dropped]);
        assert_eq!(queue.next(), Some(mail(1)));
        assert_eq!(queue.push(mail(4)), PushAction::Dropped);
        assert_eq!(queue.next(), Some(mail(2)));
        assert_eq!(queue.push(mail(5)), PushAction::Queued);
        assert_eq!(queue.next(), Some(Push::bare(EventType::PullAgain)));
        assert_eq!(queue.next(), Some(mail(5)));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut queue = PushQueue::new(64);
        let half = Push { event: EventType::Mailbox, body: vec![0; MAX_BYTES / 2].into() };
        queue.push(half.clone());
        queue.push(half.clone());
        assert_eq!(queue.push(mail(0)), PushAction::Dropped);
        queue.next();
        assert_eq!(queue.push(half), PushAction::Queued);
    }

    #[test]
    fn control_events_pass_a_full_queue_once_each() {
        let mut queue = PushQueue::new(1);
        queue.push(mail(0));
        for event in [EventType::PullAgain, EventType::SessionEnded, EventType::Drain] {
            assert_eq!(queue.push(Push::bare(event)), PushAction::Queued);
            assert_eq!(queue.push(Push::bare(event)), PushAction::Dropped);
        }
        assert_eq!(drained(&mut queue).len(), 4);
    }

    #[test]
    fn a_push_lost_on_the_way_is_made_good() {
        let mut queue = PushQueue::new(4);
        queue.push(mail(0));
        queue.next();
        queue.owe_pull_again();
        assert_eq!(drained(&mut queue), [EventType::PullAgain]);
    }
}
