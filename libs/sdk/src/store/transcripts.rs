//! Messages of a conversation from the first to the last, some at a time, while others are written and accepted.

use qpc_wire::GroupId;
use rusqlite::{ToSql, params};

use super::{
    Tx,
    messages::{SELECT, read},
};
use crate::{Error, Message};

/// How far a conversation was told. Messages are told in the order in which they are shown, those that the server has not
/// accepted last: what is accepted meanwhile counts among these, so that nothing is told twice or left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Telling {
    /// The last message that was there at the beginning.
    until: i64,
    /// Acceptance, place and number of the last that was told of the accepted ones.
    accepted: (u64, u64, i64),
    /// Number of the last that was told of the others, once it is their turn.
    others: Option<i64>,
}

/// A message, and where it stands.
pub(crate) struct Told {
    pub(crate) message: Message,
    /// When the server accepted it, Unix milliseconds; 0 before.
    pub(crate) at_ms: u64,
    /// Group and place in its chain of receipts, where they are known.
    pub(crate) place: Option<(GroupId, u64)>,
}

/// Where a row stands: number, acceptance, place, group.
type Place = (i64, u64, u64, Option<[u8; 16]>);

/// What is told: what is to disappear is not.
const SHOWN: &str = "m.kind <> 3 AND m.expires_after_ms = 0";
const ACCEPTED: &str = "m.at_ms > 0 AND (m.at_ms, m.chain, m.n) > (?3, ?4, ?5) ORDER BY m.at_ms, m.chain, m.n LIMIT ?6";
const OTHERS: &str = "m.n > ?7 AND (m.at_ms = 0 OR (m.at_ms, m.chain, m.n) > (?3, ?4, ?5)) ORDER BY m.n LIMIT ?6";

impl Tx<'_> {
    /// The beginning of a conversation, and how many messages it has.
    pub(crate) fn begin_telling(&self, conversation: GroupId) -> Result<(Telling, u64), Error> {
        let sql = format!("SELECT COALESCE(max(n), 0), count(*) FROM messages m WHERE conversation = ?1 AND {SHOWN}");
        let (until, count) = self.sql.query_row(&sql, [conversation.as_ref()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((Telling { until, accepted: (0, 0, 0), others: None }, count))
    }

    /// The next messages of a conversation, at most `limit`; none at the end.
    pub(crate) fn tell(&self, conversation: GroupId, telling: &mut Telling, limit: usize) -> Result<Vec<Told>, Error> {
        if telling.others.is_none() {
            let told = self.told(conversation, telling, ACCEPTED, limit)?;
            if !told.is_empty() {
                return Ok(told);
            }
            telling.others = Some(0);
        }
        self.told(conversation, telling, OTHERS, limit)
    }

    fn told(
        &self,
        conversation: GroupId,
        telling: &mut Telling,
        condition: &str,
        limit: usize,
    ) -> Result<Vec<Told>, Error> {
        let (at_ms, chain, n) = telling.accepted;
        let others = telling.others.unwrap_or_default();
        let all = params![conversation.as_ref(), telling.until, at_ms, chain, n, limit, others];
        let values: &[&dyn ToSql] = if telling.others.is_none() { &all[..6] } else { all };
        let condition = format!("WHERE m.conversation = ?1 AND m.n <= ?2 AND {SHOWN} AND {condition}");
        let mut statement = self.sql.prepare_cached(&format!("{SELECT} {condition}"))?;
        let mut messages = statement.query_map(values, read)?.collect::<Result<Vec<_>, _>>()?;
        self.lay_changes_over(&mut messages, &format!("SELECT m.id FROM messages m {condition}"), values)?;
        let mut statement = self
            .sql
            .prepare_cached(&format!("SELECT m.n, m.at_ms, m.chain, m.group_id FROM messages m {condition}"))?;
        let places = statement.query_map(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let places = places.collect::<Result<Vec<Place>, _>>()?;
        if let Some((n, at_ms, chain, _)) = places.last() {
            match &mut telling.others {
                Some(others) => *others = *n,
                None => telling.accepted = (*at_ms, *chain, *n),
            }
        }
        let told = |(message, (_, at_ms, chain, group)): (Message, Place)| Told {
            message,
            at_ms,
            place: group.map(|group| (GroupId(group), chain)),
        };
        Ok(messages.into_iter().zip(places).map(told).collect())
    }
}
