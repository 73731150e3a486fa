//! `qpc get-file`, `/save`: the file of a message, taken from the server and checked.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use qpc_sdk::{Attachment, Client, Error, Message};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    connect, files, info,
    progress::{Shown, unless_interrupted},
};
use crate::{
    engine::{Act, Cli, Item, Needs, On, Outcome, Row, Run, Said, Slash, Target, args, program},
    exit::Usage,
    render::Render,
    settings::Settings,
    show, text,
};

/// Bytes that are hashed at a time.
const CHUNK: usize = 64 << 10;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "get-file",
        about: "Take the files of a message from the server, and check them",
        after: "Examples:\n  qpc get-file @bob\n  qpc get-file @bob 3f2a -o pictures/\n  qpc get-file club 3f2a --n 2 -o plan.pdf\n\n\
            Nothing that is there is replaced without --force, and nothing is there before the whole file has been found\n\
            right. After Ctrl-C the same command goes on where it was.\n\n\
            Exit codes: 5 no such message or file, or the server does not have it any more, 6 there is a file of that name,\n\
            8 what came is not what was sent",
        args: args::<GetFile>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["save", "get-file"],
        form: "/save [N] [FILE]",
        about: "take the files of message N, or the last ones, and put them here or to FILE",
        parse: |words| {
            let (message, path) = match words {
                [number, path @ ..] if number.trim_matches(['[', ']']).parse::<u64>().is_ok() => {
                    (Some((*number).to_owned()), path)
                }
                path => (None, path),
            };
            let output = (!path.is_empty()).then(|| PathBuf::from(path.join(" ")));
            Said::act(GetFile { target: Target::Open, message, output, number: None, force: false })
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct GetFile {
    /// The conversation: #name, @user, title or id
    target: Target,
    /// Beginning of the message's id [default: the last one with a file]
    message: Option<String>,
    /// Where to put it: a file, or a folder for its own name [default: this folder]
    #[arg(short, long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    output: Option<PathBuf>,
    /// Which of its files, from 1 [default: all]
    #[arg(long = "n", value_name = "N")]
    number: Option<usize>,
    /// Replace a file of that name
    #[arg(long)]
    force: bool,
}

async fn run(args: GetFile, settings: Settings) -> anyhow::Result<ExitCode> {
    let client = Client::open(settings.existing()?).await?;
    let work = async {
        connect(&client, &settings).await?;
        let on = On::new(client.clone(), settings.place()?).await?;
        args.take(&on, Shown::by(&settings)).await
    };
    let done = unless_interrupted(work).await;
    client.close().await;
    Render::new(&settings).outcome(&done?);
    Ok(ExitCode::SUCCESS)
}

impl Act for GetFile {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        self.take(on, Shown::Steps).await
    }
}

impl GetFile {
    async fn take(&self, on: &On, shown: Shown) -> anyhow::Result<Outcome> {
        let message = self.find(on).await?;
        let wanted = files::of(&message).filter(|(_, number, _)| self.number.is_none_or(|wanted| wanted == *number));
        let wanted: Vec<Attachment> = wanted.map(|(_, _, file)| file).collect();
        let place = self.output.as_deref().unwrap_or(Path::new("."));
        if wanted.is_empty() {
            return Err(Usage::NoFile.into());
        }
        if wanted.len() > 1 && !place.is_dir() {
            return Err(Usage::SeveralFiles(wanted.len()).into());
        }
        let mut items = Vec::with_capacity(wanted.len());
        for file in wanted {
            let path = self.one(&on.client, &file, place, shown).await?;
            let sha256 = hash(&path).with_context(|| path.display().to_string())?;
            items.push(item(&message, &file, &path, &sha256));
        }
        Ok(items.into_iter().collect())
    }

    /// The message that is meant.
    async fn find(&self, on: &On) -> anyhow::Result<Message> {
        if let Some(wanted) = &self.message {
            return Ok(info::find(on, &self.target, Some(wanted)).await?.1);
        }
        let id = self.target.find(on).await?.id;
        let messages = on.client.history(id, files::MAX_LOOKED).await?;
        let last = messages.into_iter().rev().find(|message| files::of(message).next().is_some());
        Ok(last.ok_or(Usage::NoFile)?)
    }

    async fn one(&self, client: &Client, file: &Attachment, place: &Path, shown: Shown) -> anyhow::Result<PathBuf> {
        let tell = shown.file(&file.name);
        let target = if place.is_dir() { place.join(&file.name) } else { place.to_owned() };
        if !self.force || !target.exists() {
            return Ok(client.download(file, place, tell).await?);
        }
        // The old file stays until the new one is there and right.
        let new = target.with_file_name(format!(".{}.new", show::hex(&file.blob_id[..16])));
        let failed = |source| Error::Io { path: target.clone(), source };
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error).into()),
            _ => {}
        }
        client.download(file, &new, tell).await?;
        fs::rename(&new, &target).map_err(failed)?;
        Ok(target)
    }
}

/// SHA-256 of a file, as `sha256sum` has it.
fn hash(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut chunk) = (File::open(path)?, Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(show::hex(&hash.finalize())),
            len => hash.update(&chunk[..len]),
        }
    }
}

fn item(message: &Message, file: &Attachment, path: &Path, sha256: &str) -> Item {
    let fields = json!({
        "message": message.id.to_string(), "path": path, "name": file.name, "media_type": file.media_type,
        "size": file.size, "sha256": sha256, "blob": show::hex(&file.blob_id),
    });
    let shown = text::safe(&path.display().to_string());
    Item::new("qpc.file_saved/1", &fields, format!("{shown} · {}\nsha256  {sha256}", text::size(file.size)))
}
