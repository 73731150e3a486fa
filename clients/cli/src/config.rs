//! The configuration file: keys for everybody at the top, and below `[profiles.NAME]` those of a profile.
//!
//! ```toml
//! profile = "work"
//! theme = "light"
//!
//! [profiles.work]
//! server = "chat.example:7000"
//! ca_cert = "/etc/qpc/ca.pem"
//! username = "alice"
//!
//! [aliases]
//! brb = "/me is back soon"
//! ```

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use toml_edit::{DocumentMut, Item, Table, value};

use crate::exit::Usage;

/// Longest configuration file that is read, bytes.
const MAX_FILE: u64 = 1 << 20;

/// A key that the file may have.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    check: fn(&str) -> bool,
}

/// All keys, but for the tables.
pub(crate) const KEYS: &[Key] = &[
    Key { name: "profile", about: "the profile that is used without -P", check: is_profile },
    Key { name: "server", about: "server, HOST[:PORT]", check: any },
    Key { name: "server_name", about: "name in the server's certificate", check: any },
    Key { name: "ca_cert", about: "certificate of the server or its authority, PEM", check: any },
    Key { name: "username", about: "name of the account", check: qpc_wire::limits::is_username },
    Key { name: "data_dir", about: "folder of the store", check: any },
    Key { name: "password_file", about: "file whose first line is the password", check: any },
    Key { name: "suite", about: "hybrid or classic", check: |word| ["hybrid", "classic"].contains(&word) },
    Key { name: "timeout", about: "longest wait for the server, seconds", check: |word| word.parse::<u64>().is_ok() },
    Key { name: "color", about: "auto, always or never", check: |word| ["auto", "always", "never"].contains(&word) },
    Key { name: "theme", about: "colours of the chat: dark, light or plain", check: crate::style::is_theme },
    Key { name: "keymap", about: "keys of the chat: emacs or vi", check: |word| ["emacs", "vi"].contains(&word) },
    Key {
        name: "numbers",
        about: "numbers of messages in the chat: on or off",
        check: |word| ["on", "off"].contains(&word),
    },
    Key { name: "bell", about: "ring the bell for a message: on or off", check: |word| ["on", "off"].contains(&word) },
    Key { name: "pictures", about: "show pictures in qpc tui: on or off", check: |word| ["on", "off"].contains(&word) },
    Key { name: "opener", about: "program that opens a link", check: any },
];

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    document: DocumentMut,
    /// What keeps it from being understood.
    broken: Option<String>,
}

impl Config {
    /// The file at `path`; an empty one if it is not there.
    pub(crate) fn load(path: PathBuf) -> anyhow::Result<Self> {
        let text = match fs::metadata(&path) {
            Ok(found) if found.len() > MAX_FILE => {
                return Err(Usage::Config { file: path, why: "it is too long".to_owned() }.into());
            }
            Ok(_) => fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok(match text.parse::<DocumentMut>() {
            Ok(document) => Self { path, document, broken: None },
            Err(error) => Self { path, document: DocumentMut::new(), broken: Some(error.to_string()) },
        })
    }

    /// What a file that cannot be understood is to everything but what mends it.
    pub(crate) fn check(&self) -> Result<(), Usage> {
        self.broken.clone().map_or(Ok(()), |why| Err(Usage::Config { file: self.path.clone(), why }))
    }

    /// A value: of the profile, or else of everybody. Numbers and booleans are taken as they are written.
    pub(crate) fn value(&self, profile: &str, key: &str) -> Option<String> {
        let of_profile = self.profile(profile).and_then(|table| table.get(key));
        of_profile.or_else(|| self.document.get(key)).and_then(text)
    }

    fn profile(&self, name: &str) -> Option<&Table> {
        self.document.get("profiles")?.as_table()?.get(name)?.as_table()
    }

    /// Names of the profiles that have a table.
    pub(crate) fn profiles(&self) -> Vec<String> {
        let table = self.document.get("profiles").and_then(Item::as_table);
        table.map(|table| table.iter().map(|(name, _)| name.to_owned()).collect()).unwrap_or_default()
    }

    /// The profile that is used without `-P`.
    pub(crate) fn current(&self) -> Option<String> {
        self.document.get("profile").and_then(text)
    }

    /// What the chat's commands are called besides.
    pub(crate) fn aliases(&self) -> Vec<(String, String)> {
        let table = self.document.get("aliases").and_then(Item::as_table);
        let all = table.into_iter().flat_map(Table::iter);
        all.filter_map(|(name, expansion)| Some((name.to_owned(), text(expansion)?))).collect()
    }

    /// Sets or takes away a value; of a profile if one is named.
    pub(crate) fn set(&mut self, profile: Option<&str>, key: &str, new: Option<&str>) -> Result<(), Usage> {
        let known = KEYS.iter().find(|known| known.name == key).ok_or_else(|| Usage::Key(key.to_owned()))?;
        if let Some(new) = new.filter(|new| !(known.check)(new)) {
            return Err(Usage::Value { key: key.to_owned(), value: new.to_owned(), about: known.about });
        }
        let table = match profile.filter(|_| key != "profile") {
            Some(profile) if !is_profile(profile) => return Err(Usage::Profile(profile.to_owned())),
            Some(profile) => self.table(&["profiles", profile])?,
            None => self.document.as_table_mut(),
        };
        put(table, key, new);
        Ok(())
    }

    /// Sets or takes away an alias.
    pub(crate) fn set_alias(&mut self, name: &str, expansion: Option<&str>) -> Result<(), Usage> {
        put(self.table(&["aliases"])?, name, expansion);
        Ok(())
    }

    fn table(&mut self, path: &[&str]) -> Result<&mut Table, Usage> {
        let file = self.path.clone();
        let mut table = self.document.as_table_mut();
        for name in path {
            let item = table.entry(name).or_insert_with(|| {
                let mut new = Table::new();
                new.set_implicit(true);
                Item::Table(new)
            });
            table = item
                .as_table_mut()
                .ok_or_else(|| Usage::Config { file: file.clone(), why: format!("{name} is no table") })?;
        }
        Ok(table)
    }

    /// Writes the file, readable for its owner alone; comments stay. It is the old or the new one at every moment.
    pub(crate) fn save(&self) -> anyhow::Result<()> {
        self.check()?;
        let cannot = || format!("cannot write {}", self.path.display());
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(cannot)?;
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside).with_context(cannot)?;
        file.write_all(self.document.to_string().as_bytes()).with_context(cannot)?;
        file.sync_all().with_context(cannot)?;
        fs::rename(&beside, &self.path).with_context(cannot)
    }

    /// What is written that nobody reads, or is no value of its key: `server_nam`, `profiles.work.sweet`.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = look_at(self.document.as_table(), "");
        for profile in self.profiles() {
            let table = self.profile(&profile).map(|table| look_at(table, &format!("profiles.{profile}.")));
            mistakes.extend(table.unwrap_or_default());
        }
        mistakes
    }
}

fn look_at(table: &Table, prefix: &str) -> Vec<String> {
    let wrong = |(name, item): (&str, &Item)| {
        if prefix.is_empty() && ["profiles", "aliases"].contains(&name) {
            return item.as_table().is_none().then(|| format!("{name} is no table"));
        }
        match KEYS.iter().find(|key| key.name == name) {
            None => Some(format!("{prefix}{name}: no such key")),
            Some(key) if !text(item).is_some_and(|text| (key.check)(&text)) => {
                Some(format!("{prefix}{name}: {}", key.about))
            }
            Some(_) => None,
        }
    };
    table.iter().filter_map(wrong).collect()
}

fn put(table: &mut Table, key: &str, new: Option<&str>) {
    match new {
        Some(new) => drop(table.insert(key, value(new))),
        None => drop(table.remove(key)),
    }
}

fn text(item: &Item) -> Option<String> {
    let value = item.as_value()?;
    let plain = value.as_str().map(str::to_owned);
    plain.or_else(|| Some(value.as_integer()?.to_string())).or_else(|| Some(value.as_bool()?.to_string()))
}

/// Becomes a part of a path.
pub(crate) fn is_profile(name: &str) -> bool {
    qpc_wire::limits::is_username(name)
}

fn any(word: &str) -> bool {
    !word.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config { path: "config.toml".into(), document: text.parse().unwrap(), broken: None }
    }

    #[test]
    fn a_profile_goes_before_everybody() {
        let config = config("server = 'a'\ntimeout = 5\n[profiles.work]\nserver = 'b'\n");
        assert_eq!(config.value("work", "server").as_deref(), Some("b"));
        assert_eq!(config.value("other", "server").as_deref(), Some("a"));
        assert_eq!(config.value("work", "timeout").as_deref(), Some("5"));
        assert_eq!(config.value("work", "suite"), None);
    }

    #[test]
    fn what_a_person_wrote_stays() {
        let mut config = config("# mine\nserver = 'a' # home\n");
        config.set(Some("work"), "username", Some("alice")).unwrap();
        config.set(None, "theme", Some("light")).unwrap();
        config.set_alias("brb", Some("/me is back soon")).unwrap();
        let text = config.document.to_string();
        assert!(text.starts_with("# mine\nserver = 'a' # home\ntheme = \"light\"\n"), "{text}");
        assert!(text.contains("[profiles.work]\nusername = \"alice\"\n"), "{text}");
        config.set(Some("work"), "username", None).unwrap();
        config.set_alias("brb", None).unwrap();
        assert_eq!((config.value("work", "username"), config.aliases()), (None, vec![]));
    }

    #[test]
    fn slips_are_told_before_they_do_harm() {
        let mut config = config("sever = 'a'\n[profiles.work]\nsuite = 'quantum'\n");
        assert_eq!(config.mistakes(), ["sever: no such key", "profiles.work.suite: hybrid or classic"]);
        assert!(matches!(config.set(None, "sever", Some("a")), Err(Usage::Key(_))));
        assert!(matches!(config.set(None, "suite", Some("quantum")), Err(Usage::Value { .. })));
        assert!(matches!(config.set(Some("../x"), "suite", Some("classic")), Err(Usage::Profile(_))));
    }

    #[test]
    fn it_is_written_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qpc/config.toml");
        let mut config = Config::load(path.clone()).unwrap();
        config.set(None, "server", Some("chat.example")).unwrap();
        config.save().unwrap();
        assert_eq!(Config::load(path.clone()).unwrap().value("x", "server").as_deref(), Some("chat.example"));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}
