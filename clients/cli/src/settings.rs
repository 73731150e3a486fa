//! What holds for this call: a flag, else its environment variable, else the configuration file, else what is usual.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use qpc_sdk::{ClientOptions, Suite, transport::Trust};
use zeroize::Zeroizing;

use crate::{
    args::{ColorArg, Globals, SuiteArg},
    config::{self, Config},
    exit::Usage,
    password::{self, Asked},
    style::{self, Theme},
};

/// Where `qpc-server` puts its self-signed certificate when it is started in the same folder.
const LOCAL_CERTIFICATE: &str = "qpc-data/cert.pem";
/// Server of who names none.
const SERVER: &str = "127.0.0.1:7000";
/// Profile of who names none.
const PROFILE: &str = "default";
/// Folder of ours in those of the desktop.
const FOLDER: &str = "quicprochat";
/// Longest wait for the server, seconds, of who names none.
const TIMEOUT: u64 = 30;
/// Folders that are looked through for the only account on this device.
const MAX_ACCOUNTS: usize = 1_000;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) globals: Globals,
    pub(crate) config: Config,
    pub(crate) profile: String,
}

/// A server, and whom to believe that it is the one.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) server: String,
    pub(crate) server_name: Option<String>,
    pub(crate) trust: Trust,
}

impl Settings {
    pub(crate) fn new(globals: Globals) -> anyhow::Result<Self> {
        let config = Config::load(config_path(&globals)?)?;
        let profile = globals.profile.clone().or_else(|| config.current()).unwrap_or_else(|| PROFILE.to_owned());
        // It becomes part of a path.
        if !config::is_profile(&profile) {
            return Err(Usage::Profile(profile).into());
        }
        Ok(Self { globals, config, profile })
    }

    /// What the configuration file says.
    pub(crate) fn configured(&self, key: &str) -> Option<String> {
        self.config.value(&self.profile, key)
    }

    pub(crate) fn server(&self) -> String {
        self.globals.server.clone().or_else(|| self.configured("server")).unwrap_or_else(|| SERVER.to_owned())
    }

    /// The certificate to trust, if there is one.
    pub(crate) fn certificate(&self) -> Option<PathBuf> {
        let given = self.globals.ca_cert.clone().or_else(|| self.configured("ca_cert").map(PathBuf::from));
        given.or_else(|| Some(PathBuf::from(LOCAL_CERTIFICATE)).filter(|local| local.exists()))
    }

    pub(crate) fn place(&self) -> Result<Place, Usage> {
        Ok(Place {
            server: self.server(),
            server_name: self.globals.server_name.clone().or_else(|| self.configured("server_name")),
            trust: Trust::PemFile(self.certificate().ok_or(Usage::NoCertificate)?),
        })
    }

    /// The name of the account: the one that was given, or the only one that has a store here.
    pub(crate) fn username(&self) -> Result<String, Usage> {
        if let Some(name) = self.globals.username.clone().or_else(|| self.configured("username")) {
            return Ok(name);
        }
        match self.accounts().as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Usage::NoUsername),
            several => Err(Usage::SeveralUsers(several.join(", "))),
        }
    }

    /// Accounts of the profile that have a store in its usual place.
    pub(crate) fn accounts(&self) -> Vec<String> {
        let Ok(base) = self.base() else { return Vec::new() };
        let entries = fs::read_dir(base).into_iter().flatten().take(MAX_ACCOUNTS).flatten();
        let names =
            entries.filter(|entry| is_device(&entry.path())).filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| qpc_wire::limits::is_username(name)).collect();
        names.sort();
        names
    }

    /// Where the stores of the profile are. No user is called `@work`.
    fn base(&self) -> Result<PathBuf, Usage> {
        let base = absolute(self.globals.around.xdg_data_home.as_ref());
        let home = || Some(absolute(self.globals.around.home.as_ref())?.join(".local/share"));
        let base = base.or_else(home).ok_or(Usage::NoHome)?.join(FOLDER);
        Ok(if self.profile == PROFILE { base } else { base.join(format!("@{}", self.profile)) })
    }

    /// The folder of the store of `username`.
    pub(crate) fn folder(&self, username: &str) -> Result<PathBuf, Usage> {
        let given = self.globals.data_dir.clone().or_else(|| self.configured("data_dir").map(PathBuf::from));
        if let Some(folder) = given {
            return Ok(folder);
        }
        // The name becomes part of a path.
        if !qpc_wire::limits::is_username(username) {
            return Err(Usage::Username(username.to_owned()));
        }
        Ok(self.base()?.join(username))
    }

    /// Cipher suite of new conversations.
    pub(crate) fn suite(&self) -> Suite {
        let configured = || (self.configured("suite")? == "classic").then_some(SuiteArg::Classic);
        match self.globals.suite.or_else(configured) {
            Some(SuiteArg::Classic) => Suite::Classic,
            Some(SuiteArg::Hybrid) | None => Suite::Hybrid,
        }
    }

    /// Longest wait for the server.
    pub(crate) fn timeout(&self) -> Duration {
        let configured = || self.configured("timeout")?.parse().ok();
        Duration::from_secs(self.globals.timeout.or_else(configured).unwrap_or(TIMEOUT))
    }

    /// Colours of what is printed.
    pub(crate) fn theme(&self) -> Theme {
        let color = self.globals.color.or_else(|| match self.configured("color")?.as_str() {
            "always" => Some(ColorArg::Always),
            "never" => Some(ColorArg::Never),
            _ => None,
        });
        let set = |value: &Option<OsString>| value.as_ref().is_some_and(|value| !value.is_empty() && value != "0");
        // By its convention NO_COLOR counts with whatever value.
        let no_color = self.globals.around.no_color.as_ref().is_some_and(|value| !value.is_empty());
        if !style::wanted(color, no_color, set(&self.globals.around.clicolor_force)) {
            return Theme::Plain;
        }
        self.configured("theme").and_then(|name| Theme::parse(&name)).unwrap_or_default()
    }

    /// Whether JSON is wanted, and which of its fields if not all.
    pub(crate) fn json(&self) -> Option<Option<&[String]>> {
        let Globals { json, fields, .. } = &self.globals;
        let fields = (!fields.is_empty()).then_some(fields.as_slice());
        (*json || fields.is_some()).then_some(fields)
    }

    /// What a client is opened with, of a device that need not be there yet; asks for the password if it has to.
    pub(crate) fn options(&self, username: &str) -> anyhow::Result<ClientOptions> {
        let folder = self.folder(username)?;
        let asked = if is_device(&folder) { Asked::Known } else { Asked::New };
        self.options_for(folder, username, asked)
    }

    /// The same for one that must be there already.
    pub(crate) fn existing(&self) -> anyhow::Result<ClientOptions> {
        let username = self.username()?;
        let folder = self.folder(&username)?;
        if !is_device(&folder) {
            return Err(Usage::NotHere { username, folder }.into());
        }
        self.options_for(folder, &username, Asked::Known)
    }

    fn options_for(&self, folder: PathBuf, username: &str, asked: Asked) -> anyhow::Result<ClientOptions> {
        let place = self.place()?;
        let password = password::find(self, username, asked)?;
        Ok(self.client_options(folder, username, password, place))
    }

    /// What a client is opened with.
    pub(crate) fn client_options(
        &self,
        folder: PathBuf,
        username: &str,
        password: Zeroizing<String>,
        place: Place,
    ) -> ClientOptions {
        let mut options = ClientOptions::new(folder, username, String::new(), place.server, place.trust);
        options.password = password;
        options.server_name = place.server_name;
        options.suite = self.suite();
        options
    }
}

/// Where the configuration file is.
fn config_path(globals: &Globals) -> Result<PathBuf, Usage> {
    if let Some(path) = &globals.config {
        return Ok(path.clone());
    }
    let base = absolute(globals.around.xdg_config_home.as_ref());
    let home = || Some(absolute(globals.around.home.as_ref())?.join(".config"));
    Ok(base.or_else(home).ok_or(Usage::NoHome)?.join("qpc/config.toml"))
}

/// A relative or empty folder of the desktop is to be ignored, says its specification.
fn absolute(path: Option<&OsString>) -> Option<PathBuf> {
    path.map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Whether a folder is the store of a device.
pub(crate) fn is_device(folder: &Path) -> bool {
    folder.join("store.db").exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Around;

    fn settings(home: &Path, change: impl FnOnce(&mut Globals)) -> Settings {
        let around = Around { home: Some(home.into()), ..Around::default() };
        let mut globals = Globals { around, ..Globals::default() };
        change(&mut globals);
        Settings::new(globals).unwrap()
    }

    #[test]
    fn the_store_is_where_the_desktop_wants_it() {
        let home = tempfile::tempdir().unwrap();
        let plain = settings(home.path(), |globals| globals.around.xdg_data_home = Some("".into()));
        assert_eq!(plain.folder("alice").unwrap(), home.path().join(".local/share/quicprochat/alice"));
        let xdg = settings(home.path(), |globals| globals.around.xdg_data_home = Some("/data".into()));
        assert_eq!(xdg.folder("alice").unwrap(), Path::new("/data/quicprochat/alice"));
        let work = settings(home.path(), |globals| globals.profile = Some("work".into()));
        assert_eq!(work.folder("alice").unwrap(), home.path().join(".local/share/quicprochat/@work/alice"));
        let given = settings(home.path(), |globals| globals.data_dir = Some("here".into()));
        assert_eq!(given.folder("alice").unwrap(), Path::new("here"));
        assert!(plain.folder("../alice").is_err());
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_what_is_usual() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/qpc");
        fs::create_dir_all(&folder).unwrap();
        let text = "profile = 'work'\nserver = 'a'\n[profiles.work]\nserver = 'b'\nsuite = 'classic'\ntimeout = 7\n";
        fs::write(folder.join("config.toml"), text).unwrap();
        let by_file = settings(home.path(), |_| {});
        assert_eq!((by_file.profile.as_str(), by_file.server().as_str()), ("work", "b"));
        assert_eq!((by_file.suite(), by_file.timeout()), (Suite::Classic, Duration::from_secs(7)));
        let by_flag = settings(home.path(), |globals| {
            (globals.server, globals.timeout) = (Some("c".into()), Some(9));
            globals.suite = Some(SuiteArg::Hybrid);
        });
        assert_eq!((by_flag.server().as_str(), by_flag.timeout()), ("c", Duration::from_secs(9)));
        assert_eq!(by_flag.suite(), Suite::Hybrid);
        let other = settings(home.path(), |globals| globals.profile = Some("other".into()));
        assert_eq!((other.server().as_str(), other.suite()), ("a", Suite::Hybrid));
        let elsewhere = settings(home.path(), |globals| globals.config = Some("/nowhere/at/all".into()));
        assert_eq!(elsewhere.server(), SERVER);
    }

    #[test]
    fn the_only_account_need_not_be_named() {
        let home = tempfile::tempdir().unwrap();
        let settings = settings(home.path(), |_| {});
        assert!(matches!(settings.username(), Err(Usage::NoUsername)));
        for (name, fits) in [("alice", true), ("bob", false)] {
            let folder = settings.folder(name).unwrap();
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("store.db"), "").unwrap();
            assert_eq!(settings.username().ok().as_deref(), fits.then_some("alice"));
        }
        assert!(matches!(settings.username(), Err(Usage::SeveralUsers(names)) if names == "alice, bob"));
    }
}
