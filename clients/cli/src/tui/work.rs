//! Carries effects out on the client.

use std::{ffi::OsString, path::Path, process::Stdio, sync::Arc, time::Duration};

use bytes::Bytes;
use qpc_sdk::{
    Attachment, Client, ConversationId, Draft, Error, Message, MessageRef, Picture, Progress, Runtime, Settings,
};
use tokio::{
    process::Command,
    sync::{Mutex, mpsc},
};

use super::{
    command::{self, Command as Asked, Here},
    files,
    model::{MAX_LOADED, Pictures},
    timeline::matches,
    update::{Answer, Effect, FileOfMessage},
};
use crate::{
    engine::{Effect as Follows, Listed, On, Outcome, Target},
    settings::Place,
    text,
};

/// An invite by `/invite` is good for this time, and for one.
const INVITE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
const INVITE_USES: u32 = 1;
/// Small pictures of a conversation that are shown, and cells that each takes at the most, columns and rows.
const MAX_PICTURES: usize = 200;
const PICTURE: (u32, u32) = (32, 10);
/// A program that cannot open a link says so within this time.
const OPENS_WITHIN: Duration = Duration::from_secs(2);

/// Programs of the person's own.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// Writes longer texts.
    pub(crate) editor: Option<OsString>,
    /// Opens links.
    pub(crate) opener: String,
}

/// What is worked with.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) client: Client,
    pub(crate) place: Place,
    pub(crate) programs: Programs,
    pub(crate) runtime: Runtime,
    pub(crate) answers: mpsc::Sender<Answer>,
    /// Pictures of the conversation that was read last.
    pub(crate) pictures: Arc<Mutex<Pictures>>,
    /// What the numbers stand for that were shown.
    pub(crate) listed: Arc<Mutex<Listed>>,
}

impl Desk {
    /// Tells how far a file is; not while there is too much else to tell.
    fn telling(&self, transfer: u64) -> impl Fn(Progress) + Send + Sync + 'static {
        let answers = self.answers.clone();
        move |progress| drop(answers.try_send(Answer::Progress(transfer, progress)))
    }
}

/// Does what needs the store or the server; none if there is nothing to say about it.
pub(crate) async fn carry_out(desk: &Desk, effect: Effect) -> Option<Answer> {
    let client = &desk.client;
    match effect {
        // Nobody misses it.
        Effect::Typing(id, active) => {
            let _ = client.typing(id, active).await;
            None
        }
        Effect::Send(id, draft) => Some(match send(client, id, draft.clone()).await {
            Ok(()) => Answer::Written(id),
            Err(error) => Answer::NotSent(id, draft, error.to_string()),
        }),
        Effect::Run(Asked::Shared(line), open) => Some(match shared(desk, &line, open).await {
            Ok(answer) => answer,
            Err(error) => Answer::Failed(format!("{error:#}")),
        }),
        Effect::Run(Asked::Switch(name), open) => Some(match listed(desk, &name, open).await {
            Ok(id) => Answer::Opened(id),
            Err(error) => Answer::Failed(format!("{error:#}")),
        }),
        Effect::Folder(folder) => match desk.runtime.blocking(move || files::list(&folder)).await? {
            Ok((folder, entries)) => Some(Answer::Folder(folder, entries)),
            Err(error) => Some(Answer::Failed(format!("that folder cannot be read: {error}"))),
        },
        Effect::Upload { transfer, conversation, path, reply_to } => {
            let done = upload(desk, transfer, conversation, &path, reply_to).await;
            Some(Answer::Arrived(transfer, done.map_err(|error| error.to_string())))
        }
        Effect::Download { transfer, file, folder } => {
            let done = download(desk, transfer, *file, &folder).await;
            Some(Answer::Arrived(transfer, done.map_err(|error| error.to_string())))
        }
        Effect::Messages(id, limit) => Some(match client.history(id, limit).await {
            Ok(messages) => {
                let pictures = pictures(desk, &messages).await;
                Answer::Messages(id, limit, messages, pictures)
            }
            Err(error) => Answer::Failed(error.to_string()),
        }),
        Effect::Browse(link) => Some(match browse(&desk.programs.opener, &link).await {
            Ok(()) => Answer::Said(format!("given to {}", text::label(&desk.programs.opener))),
            Err(why) => Answer::Failed(why),
        }),
        effect => match asked(client, effect).await {
            Ok(answer) => answer,
            Err(error) => Some(Answer::Failed(error.to_string())),
        },
    }
}

async fn send(client: &Client, id: ConversationId, draft: Draft) -> Result<(), Error> {
    let mentions = client.draft(id, &draft.text).await?.mentions;
    client.send(id, Draft { mentions, ..draft }).await.map(drop)
}

/// Does what the repl and the command line can do as well.
async fn shared(desk: &Desk, line: &str, open: Option<ConversationId>) -> anyhow::Result<Answer> {
    let Some(action) = command::action(line) else { return Ok(Answer::Failed(format!("no command /{line}"))) };
    let mut listed = desk.listed.lock().await;
    let on = On {
        open,
        listed: std::mem::take(&mut *listed),
        // Keys and screen are this program's own.
        asks: false,
        ..On::new(desk.client.clone(), desk.place.clone()).await?
    };
    let done = action.run(&on).await;
    *listed = on.listed;
    let Outcome { items, notes, effect, .. } = done?;
    let numbers = listed.number(&effect);
    let number = |index: usize| match (&effect, numbers.get(index)) {
        (_, None) => String::new(),
        (Follows::Messages(_), Some(number)) => format!("[{number}] "),
        (_, Some(number)) => format!("{number} "),
    };
    let items = items.into_iter().enumerate().map(|(index, item)| format!("{}{}", number(index), item.text));
    let texts: Vec<String> = items.chain(notes).collect();
    match (effect, open) {
        (Follows::Enter(id), _) => return Ok(Answer::Opened(id)),
        (Follows::Gone(id), _) | (Follows::Told | Follows::Retitle | Follows::Sent(..), Some(id)) => {
            return Ok(Answer::Changed(id));
        }
        _ => {}
    }
    let lines: Vec<String> =
        texts.iter().flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    Ok(match <[String; 1]>::try_from(lines) {
        Ok([line]) => Answer::Said(line),
        Err(lines) => Answer::Lines(format!("/{line}"), lines),
    })
}

/// The conversation of a number of the list that was shown.
async fn listed(desk: &Desk, name: &str, open: Option<ConversationId>) -> anyhow::Result<ConversationId> {
    let mut listed = desk.listed.lock().await;
    let mut on = On { open, ..On::new(desk.client.clone(), desk.place.clone()).await? };
    on.listed.conversations = std::mem::take(&mut listed.conversations);
    let found = Target::typed(name).find(&on).await;
    listed.conversations = on.listed.conversations;
    Ok(found?.id)
}

async fn upload(
    desk: &Desk,
    transfer: u64,
    conversation: ConversationId,
    path: &Path,
    reply_to: Option<MessageRef>,
) -> Result<String, Error> {
    let file = desk.client.upload(path, desk.telling(transfer)).await?;
    let draft = Draft { attachments: vec![(&file).into()], reply_to, ..Draft::default() };
    desk.client.send(conversation, draft).await?;
    Ok(format!("{} is sent", text::label(&file.name)))
}

async fn download(desk: &Desk, transfer: u64, file: FileOfMessage, folder: &Path) -> Result<String, Error> {
    let file = Attachment::try_from(file)?;
    let path = desk.client.download(&file, folder, desk.telling(transfer)).await?;
    Ok(format!("saved as {}", path.display()))
}

/// The small pictures of the newest files in messages, at most [`MAX_PICTURES`]. Those that were made before are not made again.
async fn pictures(desk: &Desk, messages: &[Message]) -> Pictures {
    let mut made = desk.pictures.lock().await;
    let files = messages.iter().rev().flat_map(|message| &message.attachments);
    let thumbnails = files.map(|file| &file.thumbnail).filter(|thumbnail| !thumbnail.is_empty());
    let mut pictures: Pictures = thumbnails.take(MAX_PICTURES).map(|thumbnail| (thumbnail.clone(), None)).collect();
    let missing: Vec<Bytes> = pictures.keys().filter(|thumbnail| !made.contains_key(*thumbnail)).cloned().collect();
    if !missing.is_empty() {
        let read = |thumbnail: Bytes| (thumbnail.clone(), read_picture(&thumbnail).map(Arc::new));
        let read: Option<Pictures> = desk.runtime.blocking(move || missing.into_iter().map(read).collect()).await;
        made.extend(read.unwrap_or_default());
        // Those of another conversation are made again when it is opened.
        made.retain(|thumbnail, _| pictures.contains_key(thumbnail));
    }
    for (thumbnail, picture) in &mut pictures {
        *picture = made.get(thumbnail).cloned().flatten();
    }
    pictures
}

fn read_picture(thumbnail: &[u8]) -> Option<Picture> {
    let (columns, rows) = PICTURE;
    Picture::of(thumbnail, columns, 2 * rows).inspect_err(|error| tracing::debug!(%error, "no picture")).ok()
}

/// Gives a link to a program, which may go on for as long as it likes.
async fn browse(opener: &str, link: &str) -> Result<(), String> {
    let mut command = Command::new(opener);
    command.arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command
        .spawn()
        .map_err(|error| format!("{opener}: {error}; say another program by --opener, or copy the message (y)"))?;
    match tokio::time::timeout(OPENS_WITHIN, child.wait()).await {
        Ok(Ok(status)) if !status.success() => Err(format!("{opener} ended with {status}")),
        Ok(Err(error)) => Err(format!("{opener}: {error}")),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

async fn asked(client: &Client, effect: Effect) -> Result<Option<Answer>, Error> {
    Ok(Some(match effect {
        Effect::Connect => match client.connect().await {
            Ok(()) => return Ok(None),
            Err(error) if error.is_transient() => {
                Answer::Failed(format!("not connected ({error}); trying again. What you write is kept and sent then"))
            }
            Err(error) => Answer::Failed(error.to_string()),
        },
        Effect::Conversations => Answer::Conversations(client.conversations().await?),
        Effect::Members(id) => match client.members(id).await {
            Ok(members) => Answer::Members(id, members),
            // Of the notes, and of what this account has left.
            Err(_) => Answer::Members(id, Vec::new()),
        },
        Effect::Edit(id, target, text) => {
            client.edit(id, target, client.draft(id, text).await?).await?;
            Answer::Written(id)
        }
        Effect::Delete(id, target) => {
            client.delete(id, target).await?;
            Answer::Written(id)
        }
        Effect::React(id, target, sign, taken_away) => {
            match taken_away {
                true => client.unreact(id, target, &sign).await?,
                false => client.react(id, target, &sign).await?,
            };
            Answer::Written(id)
        }
        Effect::Report(id, target, note) => {
            client.report(id, &[target], &note).await?;
            Answer::Said("reported; the server can see that exactly this was written by them".to_owned())
        }
        Effect::Keep(id, draft) => {
            client.set_draft(id, draft).await?;
            return Ok(None);
        }
        Effect::Read(id) => {
            client.mark_read(id).await?;
            return Ok(None);
        }
        Effect::Search(id, query) => {
            let messages = client.history(id, MAX_LOADED).await?;
            let len = messages.len() as u32;
            let hits = (0..).zip(&messages).filter(|(_, message)| !matches(&message.text, &query).is_empty());
            let hits = hits.map(|(index, message)| (message.reference(), len - index)).collect();
            Answer::Found(id, query, hits)
        }
        Effect::Day(id, day) => {
            let messages = client.history(id, MAX_LOADED).await?;
            let found = day.find(&messages).and_then(|at| Some((messages.get(at)?.reference(), messages.len() - at)));
            Answer::Day(id, found.map(|(message, depth)| (message, depth as u32)))
        }
        Effect::Retry(id, message) => {
            client.retry(id, message).await?;
            Answer::Written(id)
        }
        Effect::Cancel(id, message) => {
            client.cancel(id, message).await?;
            Answer::Said("taken back; nobody has it".to_owned())
        }
        Effect::Run(command, open) => return run(client, command, open).await,
        Effect::Typing(..)
        | Effect::Send(..)
        | Effect::Folder(_)
        | Effect::Messages(..)
        | Effect::Upload { .. }
        | Effect::Download { .. }
        | Effect::Copy(_)
        | Effect::Browse(_)
        | Effect::Editor(..)
        | Effect::Ring(_)
        | Effect::Redraw
        | Effect::Suspend
        | Effect::Quit
        | Effect::Refused(_) => return Ok(None),
    }))
}

async fn run(client: &Client, command: Asked, open: Option<ConversationId>) -> Result<Option<Answer>, Error> {
    Ok(Some(match command {
        Asked::Dm(name) => Answer::Opened(client.dm(&name).await?),
        Asked::Create(name, people) => Answer::Opened(client.create_group(&name, &people).await?),
        Asked::Notes => Answer::Opened(client.notes().await?),
        Asked::Join(link) => match link.parse() {
            Ok(link) => Answer::Opened(client.join(&link).await?),
            Err(error) => Answer::Failed(error.to_string()),
        },
        Asked::Typing(typing) => set(client, |settings| settings.typing = typing).await?,
        Asked::Receipts(read_receipts) => set(client, |settings| settings.read_receipts = read_receipts).await?,
        Asked::Here(here) => match open {
            Some(id) => run_here(client, here, id).await?,
            None => return Ok(None),
        },
        Asked::Switch(_)
        | Asked::Search(_)
        | Asked::Date(_)
        | Asked::Help
        | Asked::Quit
        | Asked::Theme(_)
        | Asked::Keymap(_)
        | Asked::Bell(_)
        | Asked::Pictures(_)
        | Asked::Editor
        | Asked::Shared(_) => return Ok(None),
    }))
}

async fn set(client: &Client, change: impl FnOnce(&mut Settings)) -> Result<Answer, Error> {
    let mut settings = client.settings().await?;
    change(&mut settings);
    client.set_settings(settings).await?;
    let word = |told| if told { "told" } else { "not told" };
    let (typing, read) = (word(settings.typing), word(settings.read_receipts));
    Ok(Answer::Said(format!("others are {typing} that you are writing, and {read} what you have read")))
}

async fn run_here(client: &Client, here: Here, id: ConversationId) -> Result<Answer, Error> {
    Ok(match here {
        Here::Add(people) => {
            client.add(id, &people).await?;
            Answer::Changed(id)
        }
        Here::Remove(name) => {
            client.remove(id, &name).await?;
            Answer::Changed(id)
        }
        Here::Role(name, role) => {
            client.set_role(id, &name, role).await?;
            Answer::Changed(id)
        }
        Here::Rename(name) => {
            client.rename(id, &name).await?;
            Answer::Changed(id)
        }
        Here::Name(name) => {
            client.set_petname(id, &name).await?;
            Answer::Changed(id)
        }
        Here::Timer(after) => {
            client.set_timer(id, after).await?;
            Answer::Changed(id)
        }
        Here::UpdateKeys => Answer::Said(format!("new keys: epoch {}", client.update_keys(id).await?)),
        Here::Invite => {
            let link = client.invite(id, INVITE_FOR, INVITE_USES).await?;
            let lines =
                vec!["For one, and a day:".to_owned(), link.to_string(), "y copies nothing here: select it".to_owned()];
            Answer::Lines("Invite".to_owned(), lines.into_iter().map(|line| text::safe(&line)).collect())
        }
        Here::Accept => {
            client.accept(id).await?;
            Answer::Changed(id)
        }
        Here::Decline => {
            client.decline(id).await?;
            Answer::Changed(id)
        }
        Here::Block(name, blocked) => block(client, id, name, blocked).await?,
        // They never come here: the model knows them.
        Here::Info | Here::Report(_) => Answer::Changed(id),
    })
}

/// Blocks somebody of a conversation, or takes that back.
async fn block(client: &Client, id: ConversationId, name: Option<String>, blocked: bool) -> Result<Answer, Error> {
    let account = match &name {
        None => client.conversation(id).await?.peer,
        Some(name) => {
            let members = client.members(id).await?;
            members.into_iter().find(|member| member.name.as_ref() == Some(name)).map(|member| member.account)
        }
    };
    let Some(account) = account else {
        return Ok(Answer::Failed("say whom: a member of this conversation".to_owned()));
    };
    match blocked {
        true => client.block(account).await?,
        false => client.unblock(account).await?,
    }
    Ok(Answer::Changed(id))
}
