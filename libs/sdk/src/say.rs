//! What people say: messages, and changes of messages. Kept and encrypted in one transaction; the outbox does the rest.

use qpc_crypto::{
    Conversation, MlsError, kdf,
    mls::{Kind, Role},
};
use qpc_wire::{AccountId, GroupId, IdempotencyKey};

use crate::{
    Error, Event, Message, MessageId, MessageKind, MessageRef, MessageState,
    client::Inner,
    content::{Body, Content, Draft, MAX_TEXT, Mention, Said, Saying, Text, is_sign},
    outbox, own, sealed,
    store::{ConversationKind, Identity, New, Standing, Tx},
    strangers,
};

/// Writes a message.
pub(crate) async fn write(inner: &Inner, conversation: GroupId, draft: Draft) -> Result<MessageId, Error> {
    check_text(&draft.text, !draft.attachments.is_empty())?;
    let saying = move |tx: &Tx<'_>| {
        let (expires_after_ms, _) = tx.timer(conversation)?;
        Ok(Saying::Text(Text { draft, expires_after_ms }))
    };
    say(inner, conversation, saying).await
}

/// Writes a message, once for a key: whoever has the same written again gets the first one, and what was refused is sent
/// anew. Tells whether it was there.
pub(crate) async fn write_once(
    inner: &Inner,
    conversation: GroupId,
    draft: Draft,
    key: &str,
) -> Result<(MessageId, bool), Error> {
    check_text(&draft.text, !draft.attachments.is_empty())?;
    let (id, text) = (id_of(&inner.identity, conversation, key), draft.text.clone());
    if is_there(inner, conversation, id, text.clone()).await? {
        return Ok((id, true));
    }
    let saying = move |tx: &Tx<'_>| {
        let (expires_after_ms, _) = tx.timer(conversation)?;
        Ok(Saying::Text(Text { draft, expires_after_ms }))
    };
    if say_as(inner, conversation, id, saying).await? {
        return Ok((id, false));
    }
    // Somebody else was faster; what they wrote under the key may be something else.
    is_there(inner, conversation, id, text).await.map(|there| (id, there))
}

/// Whether a text was written under an id; if it was refused, it is sent anew. Another text is an error.
async fn is_there(inner: &Inner, conversation: GroupId, id: MessageId, text: String) -> Result<bool, Error> {
    let (identity, outgoing, seals) = (inner.identity.clone(), inner.idempotency_key(), inner.sealed);
    let there = inner.store.run(move |tx| {
        let message = MessageRef { author: identity.account(), id };
        let Some(state) = tx.state_of(conversation, message)? else { return Ok(false) };
        let other =
            |before: &Message| before.kind == MessageKind::Text && before.edited_at_ms.is_none() && before.text != text;
        if tx.message_of(conversation, message)?.as_ref().is_some_and(other) {
            return Err(Error::KeyUsed(id));
        }
        if state == MessageState::Failed {
            post_again(tx, &identity, conversation, message, outgoing, seals)?;
        }
        Ok(true)
    });
    let there = there.await?;
    if there {
        inner.outbox_wake.notify_one();
    }
    Ok(there)
}

/// The id of the message of a key. Others see it, and cannot guess the key from it.
fn id_of(identity: &Identity, conversation: GroupId, key: &str) -> MessageId {
    let label = [b"qpc message of a key v1", conversation.as_ref(), key.as_bytes()].concat();
    let mut id = [0; 16];
    id.copy_from_slice(&kdf::expand(identity.device_key.to_bytes().as_ref(), &label)[..16]);
    MessageId(id)
}

/// Sends a message once more that the server has refused; one that waits goes on waiting.
pub(crate) async fn retry(inner: &Inner, conversation: GroupId, id: MessageId) -> Result<(), Error> {
    let (identity, key, seals) = (inner.identity.clone(), inner.idempotency_key(), inner.sealed);
    let posted = inner.store.run(move |tx| {
        let message = MessageRef { author: identity.account(), id };
        match tx.state_of(conversation, message)? {
            Some(MessageState::Failed) => post_again(tx, &identity, conversation, message, key, seals),
            Some(MessageState::Queued | MessageState::Sent) => Ok(()),
            Some(_) => Err(Error::AlreadySent(id)),
            None => Err(Error::UnknownMessage(id)),
        }
    });
    posted.await?;
    inner.outbox_wake.notify_one();
    Ok(())
}

/// Takes a message back that the server was never shown, or has refused.
pub(crate) async fn cancel(inner: &Inner, conversation: GroupId, id: MessageId) -> Result<(), Error> {
    let account = inner.identity.account();
    let taken_back = inner.store.run(move |tx| {
        let message = MessageRef { author: account, id };
        match tx.state_of(conversation, message)? {
            Some(MessageState::Queued | MessageState::Failed) => tx.forget_unsent(conversation, message),
            Some(_) => Err(Error::AlreadySent(id)),
            None => Err(Error::UnknownMessage(id)),
        }
    });
    taken_back.await?;
    inner.settled.send_replace(());
    inner.events.emit(Event::Cancelled { conversation, message: id });
    Ok(())
}

/// Puts a message that was refused into the outbox again, under its id.
fn post_again(
    tx: &Tx<'_>,
    identity: &Identity,
    conversation: GroupId,
    message: MessageRef,
    key: IdempotencyKey,
    seals: bool,
) -> Result<(), Error> {
    let info = tx.conversation(conversation)?.ok_or(Error::UnknownConversation(conversation))?;
    strangers::check_peer(tx, info.kind, info.peer)?;
    let said = tx.requeue(conversation, message, identity.device())?;
    post(tx, identity, said, key, seals)
}

/// Puts something said into the outbox, encrypted if it can be.
fn post(tx: &Tx<'_>, identity: &Identity, said: Said, key: IdempotencyKey, seals: bool) -> Result<(), Error> {
    let Said { conversation, id, sent_at_ms, saying, .. } = said;
    let body = Body::Say(saying);
    let (from, blind) = (identity.username.clone(), tx.random());
    let content = Content { id, sent_at_ms, from, again: None, blind, body }.encode()?;
    let way = sealed::wanted(tx, seals, conversation)?;
    let sealed = match outbox::encrypt(tx, identity, conversation, &content, way) {
        Ok(sealed) => Some(sealed),
        Err(error) if is_for_later(&error) => None,
        Err(error) => return Err(error),
    };
    tx.push_outbox(conversation, Some(id), &content, key, sealed.as_ref())
}

/// Puts a sign under a message, or takes it away.
pub(crate) async fn react(
    inner: &Inner,
    conversation: GroupId,
    target: MessageRef,
    emoji: &str,
    removed: bool,
) -> Result<MessageId, Error> {
    let emoji = Some(emoji.to_owned()).filter(|sign| is_sign(sign)).ok_or(Error::NoSign)?;
    let saying = move |tx: &Tx<'_>| {
        expect_there(tx, conversation, target)?;
        Ok(Saying::Reaction { target, emoji, removed })
    };
    say(inner, conversation, saying).await
}

/// Gives a message of this account another text.
pub(crate) async fn edit(
    inner: &Inner,
    conversation: GroupId,
    target: MessageRef,
    draft: Draft,
) -> Result<MessageId, Error> {
    check_text(&draft.text, false)?;
    let saying = move |tx: &Tx<'_>| {
        if expect_there(tx, conversation, target)? != MessageKind::Text {
            return Err(Error::UnknownMessage(target.id));
        }
        let text = Text { draft: Draft { attachments: Vec::new(), reply_to: None, ..draft }, expires_after_ms: 0 };
        Ok(Saying::Edit { target, text })
    };
    say(inner, conversation, saying).await
}

/// Deletes a message for all.
pub(crate) async fn delete(inner: &Inner, conversation: GroupId, target: MessageRef) -> Result<MessageId, Error> {
    let saying = move |tx: &Tx<'_>| {
        expect_there(tx, conversation, target)?;
        Ok(Saying::Delete(target))
    };
    say(inner, conversation, saying).await
}

fn check_text(text: &str, may_be_empty: bool) -> Result<(), Error> {
    match text.len() {
        0 if !may_be_empty => Err(Error::EmptyText),
        0..=MAX_TEXT => Ok(()),
        len => Err(Error::TextTooLong { len, max: MAX_TEXT }),
    }
}

fn expect_there(tx: &Tx<'_>, conversation: GroupId, target: MessageRef) -> Result<MessageKind, Error> {
    let message = tx.message_of(conversation, target)?.ok_or(Error::UnknownMessage(target.id))?;
    if message.kind == MessageKind::Deleted { Err(Error::UnknownMessage(target.id)) } else { Ok(message.kind) }
}

/// Who may change whose message: edit one's own, delete one's own, and in groups admins those of who is no higher than they.
pub(crate) fn may_change(group: Option<&Conversation>, by: AccountId, saying: &Saying) -> Result<(), Error> {
    let author = saying.target().map(|target| target.author);
    match saying {
        Saying::Edit { .. } if author != Some(by) => Err(Error::NotAllowed("edit what others wrote")),
        Saying::Delete(target) if target.author != by => {
            let policy = group.map(Conversation::policy).transpose()?.filter(|policy| policy.kind == Kind::Group);
            let may = policy.is_some_and(|policy| {
                let role = policy.role(by);
                role >= Role::Admin && role >= policy.role(target.author)
            });
            if may { Ok(()) } else { Err(Error::NotAllowed("delete what others wrote")) }
        }
        _ => Ok(()),
    }
}

async fn say(
    inner: &Inner,
    conversation: GroupId,
    saying: impl FnOnce(&Tx<'_>) -> Result<Saying, Error> + Send + 'static,
) -> Result<MessageId, Error> {
    let id = MessageId(inner.runtime.random());
    say_as(inner, conversation, id, saying).await.map(|_| id)
}

/// The same under an id. What is there under it stays as it is; tells whether there was nothing.
async fn say_as(
    inner: &Inner,
    conversation: GroupId,
    id: MessageId,
    saying: impl FnOnce(&Tx<'_>) -> Result<Saying, Error> + Send + 'static,
) -> Result<bool, Error> {
    let (identity, key, seals) = (inner.identity.clone(), inner.idempotency_key(), inner.sealed);
    let (takes_part, fresh) = inner
        .store
        .run(move |tx| {
            let info = tx.conversation(conversation)?.ok_or(Error::UnknownConversation(conversation))?;
            let (local, sent_at_ms) = (info.kind == ConversationKind::Notes, tx.now_ms());
            strangers::check_peer(tx, info.kind, info.peer)?;
            let takes_part = info.standing != Standing::Accepted;
            if takes_part {
                // Who answers does.
                own::put_standing(tx, &identity, conversation, Standing::Accepted)?;
            }
            let saying = saying(tx)?;
            match saying {
                Saying::Delete(target) if target.author != identity.account() && !local => {
                    may_change(Some(&*tx.load_current(conversation)?), identity.account(), &saying)?;
                }
                _ => may_change(None, identity.account(), &saying)?,
            }
            let said = Said {
                conversation,
                sender: identity.account(),
                device: identity.device(),
                id,
                sent_at_ms,
                at_ms: if local { sent_at_ms } else { 0 },
                place: None,
                saying,
            };
            let state = if local { MessageState::Local } else { MessageState::Queued };
            let kept = tx.keep(&New {
                said: &said,
                seq: None,
                epoch: info.epoch,
                state,
                seen: true,
                for_us: false,
                evidence: &[],
            })?;
            let fresh = kept || said.saying.target().is_some();
            if !local && fresh {
                post(tx, &identity, said, key, seals)?;
            }
            Ok((takes_part, fresh))
        })
        .await?;
    inner.outbox_wake.notify_one();
    if takes_part {
        inner.chore_wake.notify_one();
    }
    Ok(fresh)
}

/// What does not hinder writing: it is encrypted when it is sent.
fn is_for_later(error: &Error) -> bool {
    matches!(
        error,
        Error::Stuck(_) | Error::NotLetIn | Error::Mls(MlsError::ProposalsPending | MlsError::CommitPending)
    )
}

/// Members of a conversation who are named in a text, as `@name`.
pub(crate) fn find_mentions(tx: &Tx<'_>, conversation: GroupId, text: &str) -> Result<Vec<Mention>, Error> {
    let named = text.match_indices('@').filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric()));
    let members = match tx.current_group(conversation) {
        Ok(group) => tx.last_accounts(group)?.unwrap_or_default(),
        // Notes, and what cannot be written to: whoever sends it is told then.
        Err(Error::NotMember | Error::NotLetIn | Error::UnknownConversation(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut mentions = Vec::new();
    for (at, _) in named {
        let rest = &text[at + 1..];
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c)));
        // A name at the end of a sentence.
        let name = rest[..end.unwrap_or(rest.len())].trim_end_matches(['.', '-']);
        if name.is_empty() {
            continue;
        }
        if let Some(account) = tx.pinned_account(name)?.filter(|account| members.contains(account)) {
            mentions.push(Mention { account, range: at..at + 1 + name.len() });
        }
    }
    Ok(mentions)
}
