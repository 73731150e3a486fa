//! What a user interface needs beside the conversations: a drawer for what it remembers, the messages that nobody has read
//! yet, one by one, and an end of the session.

use bytes::Bytes;
use qpc_wire::{methods::SessionEnd, v1};

use crate::{Client, Error, Message, own, receive, retry};

/// Longest value of [`Client::keep`], bytes.
const MAX_KEPT: usize = 1 << 20;
/// Longest name of one, bytes.
const MAX_KEPT_NAME: usize = 64;
/// Messages of one call of [`Client::unread`].
const MAX_UNREAD: u32 = 1_000;

impl Client {
    /// Keeps a value of a user interface on this device, encrypted like everything here, in place of the one of that name;
    /// an empty one takes it away. No other device sees it.
    pub async fn keep(&self, name: &str, value: Vec<u8>) -> Result<(), Error> {
        if name.len() > MAX_KEPT_NAME {
            return Err(Error::TextTooLong { len: name.len(), max: MAX_KEPT_NAME });
        }
        if value.len() > MAX_KEPT {
            return Err(Error::TextTooLong { len: value.len(), max: MAX_KEPT });
        }
        let name = name.to_owned();
        self.inner.store.run(move |tx| tx.put_kept(&name, &value)).await
    }

    /// What [`Self::keep`] has kept.
    pub async fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let name = name.to_owned();
        self.inner.store.run(move |tx| tx.kept(&name)).await
    }

    /// Messages of others that nobody has read on this device, in the order of their coming; at most `limit`, and at most
    /// 1,000.
    pub async fn unread(&self, limit: u32) -> Result<Vec<Message>, Error> {
        self.inner.store.run(move |tx| tx.unread_messages(limit.min(MAX_UNREAD))).await
    }

    /// Somebody has read this one message. Tells whether that is news. The members of its conversation are told, if they
    /// tell each other such things.
    pub async fn mark_message_read(&self, message: &Message) -> Result<bool, Error> {
        let (conversation, id) = (message.conversation, message.id);
        let (news, until) = self.inner.store.run(move |tx| receive::read_one(tx, conversation, id)).await?;
        if news {
            self.inner.chore_wake.notify_one();
            self.inner.timer_wake.notify_one();
        }
        if let Some(until) = until {
            own::share_read(&self.inner, conversation, until).await?;
        }
        Ok(news)
    }

    /// Ends the session at the server and forgets it here. The store stays, and the next connection asks for the password
    /// again. Needs a connection, which ends by this.
    pub async fn log_out(&self) -> Result<(), Error> {
        let connection = self.inner.connection()?;
        if let Some(token) = self.inner.store.run(|tx| tx.session_token()).await? {
            let request = v1::SessionEndRequest {
                idempotency_key: self.inner.idempotency_key().to_bytes(),
                session_token: Bytes::copy_from_slice(&token),
            };
            retry::call::<SessionEnd>(&self.inner.runtime, &connection, &request).await?;
        }
        // Or it would log in again by itself.
        self.inner.runtime.shutdown().cancel();
        self.inner.store.run(|tx| tx.forget_session()).await
    }
}
