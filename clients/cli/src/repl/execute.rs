//! What commands do.

use std::time::Duration;

use qpc_sdk::{AccountId, ConversationId, ConversationKind, Device, Error, InviteLink, LinkCode, Suite};

use super::{
    command::{self, Command, Here},
    session::{Open, Session},
    show::{self, Miss},
};
use crate::{
    devices::{describe as describe_device, name_and_id},
    qr, text,
    whoami::describe,
};

/// Own messages whose text is remembered until their fate is known.
const MAX_REMEMBERED: usize = 10_000;
/// Exit code of something that is not there.
const NOT_FOUND: u8 = 5;

impl Session {
    pub(super) async fn execute(&mut self, command: Command) -> Result<(), Error> {
        match command {
            Command::Nothing | Command::Quit => {}
            Command::Dm(name) => {
                let id = self.client.dm(&name).await?;
                self.enter(id).await?;
            }
            Command::Create(name, people) => {
                let id = self.client.create_group(&name, &people).await?;
                self.enter(id).await?;
            }
            Command::Join(link) => {
                let link: InviteLink = link.parse()?;
                let id = self.client.join(&link).await?;
                self.enter(id).await?;
            }
            Command::Notes => {
                let id = self.client.notes().await?;
                self.enter(id).await?;
            }
            Command::List => self.list().await?,
            Command::Switch(target) => {
                if let Some(id) = self.find(&target).await? {
                    self.enter(id).await?;
                }
            }
            Command::Leave(None) => match self.open.as_ref().map(|open| open.id) {
                Some(id) => self.leave(id).await?,
                None => self.nothing_open(),
            },
            Command::Leave(Some(target)) => {
                if let Some(id) = self.find(&target).await? {
                    self.leave(id).await?;
                }
            }
            Command::Devices => {
                self.devices = self.client.devices().await?;
                for (number, device) in (1..).zip(&self.devices) {
                    self.print(format_args!("{number} {}", describe_device(device)));
                }
            }
            Command::NameDevice(number, name) => self.name_device(number, &name).await?,
            Command::RevokeDevice(number) => self.revoke_device(number).await?,
            Command::Link(code) => {
                let code: LinkCode = code.parse()?;
                self.client.link_device(&code).await?;
                self.print("the new device was told; it asks for your password, and then gets your conversations");
            }
            Command::Whoami => {
                let (who, stats) = (self.client.whoami().await?, self.client.stats().await?);
                describe(&who, &stats).iter().for_each(|line| self.print(line));
                self.print(format_args!("link      {}", if who.connected { "connected" } else { "not connected" }));
            }
            Command::Help => command::help().iter().for_each(|line| self.print(line)),
            Command::Here(here) => match self.open.as_ref().map(|open| (open.id, open.kind)) {
                Some((id, kind)) => self.execute_here(id, kind, here).await?,
                None => self.nothing_open(),
            },
        }
        Ok(())
    }

    async fn execute_here(&mut self, id: ConversationId, kind: ConversationKind, here: Here) -> Result<(), Error> {
        match here {
            Here::Say(text) => self.say(id, kind, text).await?,
            Here::History(count) => self.history(id, kind, count).await?,
            Here::Read => match self.client.mark_read(id).await? {
                0 => self.print("nothing was unread"),
                1 => self.print("1 message marked as read"),
                count => self.print(format_args!("{count} messages marked as read")),
            },
            Here::Members => {
                let members = self.client.members(id).await?;
                members.iter().for_each(|member| self.print(show::member(member, self.account)));
            }
            // An event says who has come and gone.
            Here::Add(people) => {
                let before = self.client.conversation(id).await?.epoch;
                if self.client.add(id, &people).await? == before {
                    self.print("they are all there already");
                }
            }
            Here::Remove(name) => drop(self.client.remove(id, &name).await?),
            Here::Role(name, role) => {
                let epoch = self.client.set_role(id, &name, role).await?;
                self.print(format_args!("{name} is {} now (epoch {epoch})", show::role(role)));
            }
            Here::Rename(name) => {
                self.client.rename(id, &name).await?;
                self.retitle().await;
                self.print(format_args!("this group is called {} now", text::label(&name)));
            }
            Here::Petname(name) => {
                self.client.set_petname(id, &name).await?;
                self.retitle().await;
                match self.open.as_ref().map(|open| &open.title) {
                    Some(title) if name.is_empty() => self.print(format_args!("this is called {title} again")),
                    _ => self.print(format_args!("you call this {} now; nobody else does", text::label(&name))),
                }
            }
            Here::Invite(hours, uses) => self.invite(id, hours, uses).await?,
            Here::Invites => self.list_invites(id).await?,
            Here::RevokeInvite(number) => self.revoke_invite(id, number).await?,
            Here::UpdateKey => {
                let epoch = self.client.update_keys(id).await?;
                self.print(format_args!("new keys: epoch {epoch}"));
            }
            Here::Reset => {
                let lost = self.client.reset(id).await?;
                self.carried_on(id, &lost).await?;
            }
            Here::Suite(suite) => self.change_suite(id, suite).await?,
        }
        Ok(())
    }

    fn nothing_open(&mut self) {
        self.refuse(NOT_FOUND, "no conversation is open: /dm USER or /switch NAME");
    }

    async fn say(&mut self, id: ConversationId, kind: ConversationKind, text: String) -> Result<(), Error> {
        let message = self.client.send(id, &text).await?;
        if kind == ConversationKind::Notes {
            self.print(format_args!("✓ {}   (kept here)", text::short(&text)));
            return Ok(());
        }
        if self.sent.len() < MAX_REMEMBERED {
            self.sent.insert(message, text::short(&text));
        }
        if !self.client.whoami().await?.connected {
            self.print(format_args!("… queued: {}", text::short(&text)));
        }
        Ok(())
    }

    async fn history(&mut self, id: ConversationId, kind: ConversationKind, count: u32) -> Result<(), Error> {
        let messages = self.client.history(id, count).await?;
        messages.iter().for_each(|message| self.print(show::history_line(message, kind)));
        let missing = self.client.conversation(id).await?.missing;
        if missing > 0 {
            self.print(show::missing(missing));
        }
        Ok(())
    }

    pub(super) async fn enter(&mut self, id: ConversationId) -> Result<(), Error> {
        let info = self.client.conversation(id).await?;
        let members = self.client.members(id).await.ok().map(|members| members.len());
        let unread = self.client.mark_read(id).await?;
        self.print(show::heading(&info, members, unread));
        self.known.insert(id);
        self.open = Some(Open { id, kind: info.kind, title: show::title(&info) });
        self.unread = false;
        Ok(())
    }

    async fn list(&mut self) -> Result<(), Error> {
        let conversations = self.client.conversations().await?;
        if conversations.is_empty() {
            self.print("no conversations yet: /dm USER begins one, /create NAME a group");
        }
        for (number, info) in (1..).zip(&conversations) {
            let open = self.open.as_ref().is_some_and(|open| open.id == info.id);
            self.print(show::list_line(number, open, info));
        }
        self.listed = conversations.iter().map(|info| info.id).collect();
        Ok(())
    }

    /// The conversation that is meant, if there is one.
    async fn find(&mut self, target: &str) -> Result<Option<ConversationId>, Error> {
        let conversations = self.client.conversations().await?;
        match show::find(&conversations, &self.listed, target) {
            Ok(info) => return Ok(Some(info.id)),
            Err(Miss::None) => {
                self.refuse(NOT_FOUND, format_args!("no conversation {target}: /list shows all, /dm USER begins one"));
            }
            Err(Miss::Several) => {
                self.refuse(NOT_FOUND, format_args!("several are called {target}: /list, then /switch NUMBER"));
            }
        }
        Ok(None)
    }

    async fn leave(&mut self, id: ConversationId) -> Result<(), Error> {
        let title = self.title(id).await;
        self.client.leave(id).await?;
        self.known.remove(&id);
        if self.open.as_ref().is_some_and(|open| open.id == id) {
            self.open = None;
            self.unread = false;
        }
        self.print(format_args!("you have left {title}, with all your devices; what was written stays here"));
        Ok(())
    }

    async fn invite(&mut self, id: ConversationId, hours: u32, uses: u32) -> Result<(), Error> {
        let link = self.client.invite(id, Duration::from_secs(u64::from(hours) * 3_600), uses).await?.to_string();
        let uses = match uses {
            0 => "any number of joins".to_owned(),
            1 => "1 join".to_owned(),
            uses => format!("{uses} joins"),
        };
        // One line for the screen, so that nothing comes between the rows of the code.
        let picture = qr::draw(&link).map(|picture| format!("\n{picture}")).unwrap_or_default();
        self.print(format_args!("{link}{picture}"));
        self.print(format_args!("whoever has this can come in: {uses} in {hours} hours. /invites lists it."));
        Ok(())
    }

    async fn list_invites(&mut self, id: ConversationId) -> Result<(), Error> {
        let invites = self.client.invites(id).await?;
        if invites.is_empty() {
            self.print("no invites: /invite makes one");
        }
        for (number, invite) in (1..).zip(&invites) {
            self.print(show::invite(number, invite));
        }
        self.invites = Some((id, invites.iter().map(|invite| invite.key).collect()));
        Ok(())
    }

    async fn revoke_invite(&mut self, id: ConversationId, number: usize) -> Result<(), Error> {
        let listed = self.invites.as_ref().filter(|(of, _)| *of == id);
        let key = listed.and_then(|(_, keys)| keys.get(number.checked_sub(1)?).copied());
        match key {
            Some(key) => {
                let epoch = self.client.revoke_invite(id, key).await?;
                self.print(format_args!("invite {number} is void (epoch {epoch})"));
            }
            None => self.refuse(NOT_FOUND, format_args!("no invite {number}: /invites numbers those of this group")),
        }
        Ok(())
    }

    async fn change_suite(&mut self, id: ConversationId, suite: Suite) -> Result<(), Error> {
        if self.client.conversation(id).await?.suite == suite {
            self.print(format_args!("this conversation has {suite} already"));
            return Ok(());
        }
        let lost = self.client.change_suite(id, suite).await?;
        self.carried_on(id, &lost).await
    }

    /// The event says that another group carries the conversation on; here is who is not in it.
    async fn carried_on(&mut self, id: ConversationId, lost: &[AccountId]) -> Result<(), Error> {
        let info = self.client.conversation(id).await?;
        self.print(format_args!("a new group carries this on: {} · epoch {}", info.suite, info.epoch));
        if !lost.is_empty() {
            self.print(format_args!("⚠ could not be reached, and are not in it: {}", self.all_of(lost).await));
        }
        Ok(())
    }

    async fn name_device(&mut self, number: usize, name: &str) -> Result<(), Error> {
        let Some(device) = self.device(number) else { return Ok(()) };
        self.client.rename_device(device.id, name).await?;
        self.print(format_args!("device {number} is called {} now", text::label(name)));
        self.devices = self.client.devices().await?;
        Ok(())
    }

    async fn revoke_device(&mut self, number: usize) -> Result<(), Error> {
        let Some(device) = self.device(number) else { return Ok(()) };
        self.client.revoke_device(device.id).await?;
        self.print(format_args!("revoked {}: it is logged out and goes from every conversation", name_and_id(&device)));
        // The numbers have changed: they are to be looked at before the next one.
        self.devices.clear();
        Ok(())
    }

    /// The device of a number that `/devices` has shown.
    fn device(&mut self, number: usize) -> Option<Device> {
        let device = number.checked_sub(1).and_then(|index| self.devices.get(index)).cloned();
        if device.is_none() {
            self.refuse(NOT_FOUND, format_args!("no device {number}: /devices numbers them"));
        }
        device
    }
}
