//! What is written once for a key, and what waits to be sent.

use qpc_wire::GroupId;

use crate::{Client, Draft, Error, MessageId, say};

impl Client {
    /// [`Self::send`], once for a key, on this device: the same text again, in whatever process, is the message of before,
    /// sent anew if it was refused. Tells whether it was there. Fails for another text under the key, unless the message
    /// was edited since.
    pub async fn send_once(
        &self,
        conversation: GroupId,
        draft: impl Into<Draft>,
        key: &str,
    ) -> Result<(MessageId, bool), Error> {
        say::write_once(&self.inner, conversation, draft.into(), key).await
    }

    /// Sends a message of this account again that the server has refused, under its id. One that waits goes on waiting.
    pub async fn retry(&self, conversation: GroupId, message: MessageId) -> Result<(), Error> {
        say::retry(&self.inner, conversation, message).await
    }

    /// Takes a message of this account back that was refused, or has never left this device: nothing is left of it. One that
    /// may have reached the server is [deleted](Self::delete) instead.
    pub async fn cancel(&self, conversation: GroupId, message: MessageId) -> Result<(), Error> {
        say::cancel(&self.inner, conversation, message).await
    }
}
