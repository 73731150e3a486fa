//! Everything of a conversation, page by page.

use qpc_wire::{DeviceId, GroupId};
use rusqlite::params;

use super::Tx;
use crate::{Error, Message, MessageId};

impl Tx<'_> {
    /// Messages of a conversation after a place in the order of their arrival, with their places. What has disappeared is
    /// none.
    pub(crate) fn messages_after(
        &self,
        conversation: GroupId,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Option<Message>)>, Error> {
        let mut statement = self.sql.prepare_cached(
            "SELECT n, sender_device, id FROM messages WHERE conversation = ?1 AND n > ?2 ORDER BY n LIMIT ?3",
        )?;
        let rows = statement.query_map(params![conversation.as_ref(), after, limit], |row| {
            Ok((row.get(0)?, DeviceId(row.get(1)?), MessageId(row.get(2)?)))
        })?;
        rows.collect::<Result<Vec<(i64, _, _)>, _>>()?
            .into_iter()
            .map(|(n, device, id)| Ok((n, self.message(conversation, device, id)?)))
            .collect()
    }
}
