//! What happens at the client.

use qpc_sdk::{AccountId, ConversationId, Event, GapReason, Message, Standing, TYPING_FOR};

use super::{Effect, ask_list, ask_messages, is_open};
use crate::{
    commands::progress::WORKING,
    show::{RESTORED, key_changed, title},
    text,
    tui::{
        command::duration,
        model::{Focus, MAX_LOADED, Model},
    },
};

pub(super) fn happened(model: &mut Model, event: Event, effects: &mut Vec<Effect>) {
    match event {
        Event::Connected => {
            model.online = true;
            ask_list(model, effects);
        }
        Event::Disconnected => model.online = false,
        Event::LoginRefused(error) => effects.push(Effect::Refused(error)),
        Event::MessageReceived(message) => received(model, &message, effects),
        Event::MessageChanged { message, .. } => changed(model, message.conversation, effects),
        Event::Delivered { conversation, .. }
        | Event::Read { conversation, .. }
        | Event::Accepted { conversation, .. } => {
            if is_open(model, conversation) {
                ask_messages(model, effects);
            }
        }
        Event::Typing { conversation, by, active } => {
            if active && by != model.account {
                let until_ms = model.now_ms + TYPING_FOR.as_millis() as u64;
                model.typing.insert((conversation, by), until_ms);
            } else {
                model.typing.remove(&(conversation, by));
            }
        }
        Event::Expired { conversation, .. }
        | Event::Recovered { conversation, .. }
        | Event::Cancelled { conversation, .. } => {
            changed(model, conversation, effects);
        }
        Event::History { .. } | Event::Synced(_) | Event::DeviceLinked(_) | Event::Lagged(_) => {
            ask_list(model, effects);
            ask_messages(model, effects);
        }
        Event::StandingChanged { conversation, standing } => {
            if standing == Standing::Declined && is_open(model, conversation) {
                model.open = None;
                model.focus = Focus::List;
            }
            members(model, conversation, effects);
        }
        Event::ConversationAdded(_) => ask_list(model, effects),
        event => told(model, event, effects),
    }
}

/// What a person is told in a line.
fn told(model: &mut Model, event: Event, effects: &mut Vec<Effect>) {
    match event {
        Event::MembersChanged { conversation, by, added, removed, left } => {
            let by = model.name(by);
            for (who, what) in [(added, "added"), (removed, "removed")] {
                if !who.is_empty() {
                    model.say(format!("{}: {by} {what} {}", name_of(model, conversation), names(model, &who)));
                }
            }
            if !left.is_empty() {
                model.say(format!("{}: {} left", name_of(model, conversation), names(model, &left)));
            }
            members(model, conversation, effects);
        }
        Event::RolesChanged { conversation, .. } => members(model, conversation, effects),
        Event::EpochChanged { conversation, .. } | Event::Healed(conversation) => members(model, conversation, effects),
        Event::TimerChanged { conversation, expires_after_ms, by } => {
            let stays = match expires_after_ms {
                0 => "for ever".to_owned(),
                ms => format!("{} after it was read", duration(ms)),
            };
            model.say(format!(
                "{}: {} says that what is written stays {stays}",
                name_of(model, conversation),
                model.name(by)
            ));
            ask_list(model, effects);
        }
        Event::Renamed { conversation, name } => {
            model.say(format!("{} is called {} now", name_of(model, conversation), text::label(&name)));
            ask_list(model, effects);
        }
        Event::Removed(conversation) => {
            model.complain(format!("you were removed from {}", name_of(model, conversation)));
            members(model, conversation, effects);
        }
        Event::Left(conversation) => {
            model.say(format!("you have left {}", name_of(model, conversation)));
            members(model, conversation, effects);
        }
        Event::Stuck(conversation) => {
            model.say(format!("{} is being repaired", name_of(model, conversation)));
            ask_list(model, effects);
        }
        Event::Replaced { conversation, suite } => {
            model.say(format!("{} goes on in another group, {suite}", name_of(model, conversation)));
            members(model, conversation, effects);
        }
        Event::SendFailed { conversation, error, .. } => {
            model.complain(format!("{}: not sent: {error}", name_of(model, conversation)));
            changed(model, conversation, effects);
        }
        Event::ReceiptRefused { conversation, error, .. } => {
            model.complain(format!("{}: the server's receipt does not hold: {error}", name_of(model, conversation)));
            changed(model, conversation, effects);
        }
        Event::Lost { conversation, count } => {
            model.complain(format!("{}: {count} missing; nobody who was asked has them", name_of(model, conversation)));
            changed(model, conversation, effects);
        }
        Event::Working { done: 0, .. } => model.say(WORKING.to_owned()),
        Event::IdentityChanged { username, .. } => {
            model.complain(key_changed(&username));
            ask_list(model, effects);
        }
        Event::Undecryptable { error, .. } => model.complain(format!("something that came cannot be read: {error}")),
        Event::Gap { reason: GapReason::Restored, .. } => model.complain(RESTORED.to_owned()),
        Event::Gap { from, to, .. } => model.complain(format!("{} entries of the mailbox are gone", to - from + 1)),
        // Of a later version of the client.
        _ => {}
    }
}

fn received(model: &mut Model, message: &Message, effects: &mut Vec<Effect>) {
    model.typing.remove(&(message.conversation, message.sender));
    if let Some(name) = &message.sender_name {
        model.names.insert(message.sender, name.clone());
    }
    if let Some(open) = model.open.as_mut().filter(|open| open.id == message.conversation) {
        // So that nothing that is looked at goes out at the other end.
        open.limit = (open.limit + 1).min(MAX_LOADED);
    }
    changed(model, message.conversation, effects);
    if message.sender != model.account && model.options.bell && !model.attended {
        effects.push(Effect::Ring(format!("{} wrote", model.name(message.sender))));
    }
}

fn changed(model: &mut Model, conversation: ConversationId, effects: &mut Vec<Effect>) {
    ask_list(model, effects);
    if is_open(model, conversation) {
        ask_messages(model, effects);
    }
}

fn members(model: &mut Model, conversation: ConversationId, effects: &mut Vec<Effect>) {
    ask_list(model, effects);
    if is_open(model, conversation) {
        effects.push(Effect::Members(conversation));
    }
}

fn name_of(model: &Model, conversation: ConversationId) -> String {
    model.info(conversation).map_or_else(|| text::name(None, &conversation.to_string()), title)
}

fn names(model: &Model, accounts: &[AccountId]) -> String {
    accounts.iter().map(|account| model.name(*account)).collect::<Vec<_>>().join(", ")
}
