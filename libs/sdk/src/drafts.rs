//! What was begun to be written survives the program. Only text and the message that it answers: who is named in it is found
//! when it is sent.

use qpc_wire::GroupId;

use crate::{Client, Draft, Error, content::MAX_TEXT};

impl Client {
    /// Keeps what was begun in a conversation, in place of the draft before; an empty text takes it away. No other device
    /// sees it.
    pub async fn set_draft(&self, conversation: GroupId, draft: impl Into<Draft>) -> Result<(), Error> {
        let draft = draft.into();
        if draft.text.len() > MAX_TEXT {
            return Err(Error::TextTooLong { len: draft.text.len(), max: MAX_TEXT });
        }
        self.inner.store.run(move |tx| tx.put_draft(conversation, &draft)).await
    }

    /// All that was begun, by conversation.
    pub async fn drafts(&self) -> Result<Vec<(GroupId, Draft)>, Error> {
        self.inner.store.run(|tx| tx.drafts()).await
    }
}
