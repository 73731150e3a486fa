//! Numbers of the messages that were shown, by which commands name them. They begin with 1 and are never given twice in a
//! sitting; a message that is shown again keeps its own.

use std::collections::{HashMap, VecDeque};

use qpc_sdk::MessageRef;

use crate::engine::Spot;

/// Messages whose numbers are known at the same time: the last ones.
const MAX_SHOWN: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Numbers that were forgotten.
    forgotten: u64,
    messages: VecDeque<Spot>,
    numbers: HashMap<MessageRef, u64>,
}

impl Shown {
    /// The number of a message that is shown.
    pub(crate) fn note(&mut self, message: Spot) -> u64 {
        if let Some(number) = self.numbers.get(&message.1) {
            return *number;
        }
        if self.messages.len() == MAX_SHOWN
            && let Some((_, oldest)) = self.messages.pop_front()
        {
            self.numbers.remove(&oldest);
            self.forgotten += 1;
        }
        self.messages.push_back(message);
        let number = self.forgotten + self.messages.len() as u64;
        self.numbers.insert(message.1, number);
        number
    }

    /// The message of a number.
    pub(crate) fn find(&self, number: u64) -> Option<Spot> {
        let index = number.checked_sub(self.forgotten + 1)?;
        self.messages.get(usize::try_from(index).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use qpc_sdk::{AccountId, ConversationId, MessageId};

    use super::*;

    fn message(number: u64) -> Spot {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        (ConversationId([1; 16]), MessageRef { author: AccountId([2; 16]), id: MessageId(id) })
    }

    #[test]
    fn a_number_means_one_message_for_ever_or_none() {
        let mut shown = Shown::default();
        assert_eq!((shown.note(message(7)), shown.note(message(8)), shown.note(message(7))), (1, 2, 1));
        assert_eq!((shown.find(2), shown.find(0), shown.find(3)), (Some(message(8)), None, None));
        for other in 0..MAX_SHOWN as u64 {
            shown.note(message(100 + other));
        }
        assert_eq!((shown.find(1), shown.find(2)), (None, None), "forgotten");
        assert_eq!(shown.find(3), Some(message(100)));
        assert_eq!(shown.note(message(7)), MAX_SHOWN as u64 + 3, "and not given again");
    }
}
