//! What exporting, backing up and their opposites share: the passphrase of a file, and files that get their name when they are
//! whole.

use std::{
    fs, io,
    io::{BufWriter, IsTerminal as _, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use qpc_sdk::Error;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::{exit::Usage, password::Asked};

/// An encrypted file that is written.
#[derive(Args, Clone, Debug)]
pub(super) struct FileArgs {
    /// Where to write it
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(super) file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Replace a file of that name
    #[arg(long)]
    force: bool,
}

impl FileArgs {
    /// The same as it is typed in a chat, where a name may have blanks.
    pub(super) fn typed(words: &[&str]) -> Option<Self> {
        let until_flag = |words: &[&str]| words.iter().position(|word| word.starts_with("--")).unwrap_or(words.len());
        let (file, mut flags) = words.split_at(until_flag(words));
        let mut args =
            Self { file: PathBuf::from(file.join(" ")), passphrase: PassphraseArgs::default(), force: false };
        while let [flag, rest @ ..] = flags {
            let (value, others) = rest.split_at(until_flag(rest));
            match (*flag, value) {
                ("--force", []) => args.force = true,
                ("--passphrase-file", [_, ..]) => args.passphrase.passphrase_file = Some(value.join(" ").into()),
                _ => return None,
            }
            flags = others;
        }
        (!file.is_empty()).then_some(args)
    }

    /// It can be written there.
    pub(super) fn check(&self) -> Result<(), Error> {
        check_free(&self.file, self.force)
    }

    /// The passphrase that it gets.
    pub(super) fn passphrase(&self, may_ask: bool) -> anyhow::Result<Zeroizing<String>> {
        self.passphrase.find(may_ask, Asked::New)
    }

    /// Begins to write it.
    pub(super) fn begin(&self) -> Result<Whole, Error> {
        Whole::begin(&self.file, self.force)
    }
}

/// Where a passphrase comes from.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct PassphraseArgs {
    /// File whose first line is the passphrase of FILE [default: ask]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// The passphrase. A new one is asked for twice: nobody can open the file after a slip.
    pub(super) fn find(&self, may_ask: bool, asked: Asked) -> anyhow::Result<Zeroizing<String>> {
        let passphrase = match &self.passphrase_file {
            Some(path) => {
                let content = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
                let content = Zeroizing::new(content);
                Zeroizing::new(content.lines().next().unwrap_or_default().to_owned())
            }
            None if may_ask && io::stdin().is_terminal() => ask(asked)?,
            None => return Err(Usage::NoPassphrase.into()),
        };
        if passphrase.is_empty() {
            return Err(Usage::EmptyPassphrase.into());
        }
        Ok(passphrase)
    }
}

fn ask(asked: Asked) -> anyhow::Result<Zeroizing<String>> {
    let prompt = |text: &str| rpassword::prompt_password(text).map(Zeroizing::new);
    if asked == Asked::Known {
        return Ok(prompt("Passphrase of the file: ")?);
    }
    let passphrase = prompt("Choose a passphrase for the file: ")?;
    if prompt("Once more: ")? != passphrase {
        return Err(Usage::PassphrasesDiffer.into());
    }
    Ok(passphrase)
}

/// A file can be written there.
pub(super) fn check_free(path: &Path, force: bool) -> Result<(), Error> {
    // A link that leads nowhere is something, too.
    if !force && path.symlink_metadata().is_ok() { Err(Error::FileExists(path.to_owned())) } else { Ok(()) }
}

/// A file that is not there before it is whole. Nobody else can read it.
pub(super) struct Whole {
    out: BufWriter<NamedTempFile>,
    path: PathBuf,
    force: bool,
}

impl Whole {
    pub(super) fn begin(path: &Path, force: bool) -> Result<Self, Error> {
        check_free(path, force)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = tempfile::Builder::new().prefix(".qpc-").tempfile_in(folder);
        let file = made.map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Ok(Self { out: BufWriter::new(file), path: path.to_owned(), force })
    }

    pub(super) fn out(&mut self) -> &mut (impl Write + Send + use<>) {
        &mut self.out
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        let Self { out, path, force } = self;
        let failed = |source| Error::Io { path: path.clone(), source };
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.as_file().sync_all().map_err(failed)?;
        let named = if force { file.persist(&path) } else { file.persist_noclobber(&path) };
        match named.map_err(|error| error.error) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Error::FileExists(path.clone())),
            Err(error) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_whole_and_replaces_nothing_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.qpct");
        let mut whole = Whole::begin(&path, false).unwrap();
        whole.out().write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(whole);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left of half a file");

        let (mut first, second) = (Whole::begin(&path, false).unwrap(), Whole::begin(&path, false).unwrap());
        first.out().write_all(b"whole").unwrap();
        first.finish().unwrap();
        assert!(matches!(second.finish(), Err(Error::FileExists(_))), "not even if it has come meanwhile");
        assert!(matches!(Whole::begin(&path, false), Err(Error::FileExists(_))));
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
        Whole::begin(&path, true).unwrap().finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_file_is_typed_with_its_flags() {
        let typed = |line: &str| FileArgs::typed(&line.split(' ').collect::<Vec<_>>());
        let args = typed("my file.qpct --passphrase-file my words.txt --force").unwrap();
        assert_eq!((args.file.to_str(), args.force), (Some("my file.qpct"), true));
        assert_eq!(args.passphrase.passphrase_file.unwrap().to_str(), Some("my words.txt"));
        assert!(!typed("a.qpct").unwrap().force);
        for slip in ["--force", "a --passphrase-file", "a --force b", "a --forse", "a --passphrase-file --force"] {
            assert!(typed(slip).is_none(), "{slip}");
        }
    }

    #[test]
    fn a_passphrase_is_the_first_line_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words");
        let args = PassphraseArgs { passphrase_file: Some(path.clone()) };
        fs::write(&path, "correct horse\nsecond\n").unwrap();
        assert_eq!(*args.find(false, Asked::New).unwrap(), "correct horse");
        fs::write(&path, "\n").unwrap();
        assert!(matches!(args.find(false, Asked::New).unwrap_err().downcast(), Ok(Usage::EmptyPassphrase)));
        let none = PassphraseArgs::default().find(false, Asked::Known).unwrap_err();
        assert!(matches!(none.downcast(), Ok(Usage::NoPassphrase)));
    }
}
