//! What was begun to be written.

use qpc_wire::{AccountId, GroupId};
use rusqlite::params;

use super::Tx;
use crate::{Draft, Error, MessageId, MessageRef};

impl Tx<'_> {
    /// Keeps a draft in place of the one before; an empty one takes it away.
    pub(crate) fn put_draft(&self, conversation: GroupId, draft: &Draft) -> Result<(), Error> {
        if draft.text.is_empty() {
            self.sql.execute("DELETE FROM drafts WHERE conversation = ?1", [conversation.as_ref()])?;
            return Ok(());
        }
        let (author, id) = (draft.reply_to.map(|target| target.author.0), draft.reply_to.map(|target| target.id.0));
        self.sql.execute(
            "INSERT OR REPLACE INTO drafts (conversation, text, reply_author, reply_id) VALUES (?1, ?2, ?3, ?4)",
            params![conversation.as_ref(), draft.text, author, id],
        )?;
        Ok(())
    }

    /// All drafts.
    pub(crate) fn drafts(&self) -> Result<Vec<(GroupId, Draft)>, Error> {
        let mut statement = self.sql.prepare_cached("SELECT conversation, text, reply_author, reply_id FROM drafts")?;
        let rows = statement.query_map([], |row| {
            let reply_to: Option<([u8; 16], [u8; 16])> = row.get::<_, Option<_>>(2)?.zip(row.get(3)?);
            let reply_to = reply_to.map(|(author, id)| MessageRef { author: AccountId(author), id: MessageId(id) });
            Ok((GroupId(row.get(0)?), Draft { text: row.get(1)?, reply_to, ..Draft::default() }))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
