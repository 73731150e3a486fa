//! The command line.

mod devices;
mod receipts;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Arg, Args, Parser, Subcommand, ValueEnum};
use qpc_sdk::{ClientOptions, Suite, transport::Trust};
use zeroize::Zeroizing;

pub(crate) use self::{
    devices::{DeviceAction, DevicesArgs, LinkArgs},
    receipts::{ExportArgs, ReceiptsAction, ReceiptsArgs, VerifyArgs},
};
use crate::{
    admin::AdminArgs,
    discover::DiscoverArgs,
    exit::Usage,
    password::{self, Asked},
};

/// Where `qpc-server` puts its self-signed certificate when it is started in the same folder.
const LOCAL_CERTIFICATE: &str = "qpc-data/cert.pem";

/// End-to-end encrypted chat over QUIC
#[derive(Parser)]
#[command(
    name = "qpc",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  \
        qpc demo                      two people talk, on this machine, and you see what is proved\n  \
        qpc repl -u alice             chat as alice with the server on this machine\n  \
        qpc repl -u bob --server chat.example:7000 --ca-cert ca.pem\n  \
        qpc link                      make this machine a further device of an account\n  \
        qpc devices -u alice          the devices of an account\n  \
        qpc receipts verify *.receipts\n  \
        qpc ping --server chat.example --ca-cert ca.pem\n\n\
        Exit codes: 0 ok, 1 other, 2 usage, 3 login, 4 unreachable, 5 not found, 6 conflict, 7 forbidden,\n\
        8 verification failed, 9 rate limited, 10 unreadable file, 130 interrupted"
)]
pub(crate) struct Cli {
    /// More of what happens, on standard error; twice for every call
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start a server in this process and let two people talk
    #[cfg(feature = "embedded")]
    #[command(after_help = "Examples:\n  qpc demo\n  qpc demo --json | jq .suite")]
    Demo(DemoArgs),
    /// Chat: registers and logs in by itself
    #[command(
        mut_arg("username", required),
        after_help = "Examples:\n  \
        qpc repl -u alice\n  \
        printf '/dm bob\\nhello\\n' | qpc repl -u alice --password-file pw.txt\n\n\
        Inside, /help lists the commands. Reading from a pipe, it ends when everything is sent."
    )]
    Repl(AccountArgs),
    /// Make this machine a further device of an account that another device has
    #[command(after_help = "Examples:\n  \
        qpc link --server chat.example:7000 --ca-cert ca.pem\n  \
        qpc link --password-file pw.txt --json\n\n\
        Type the code at a device of the account: /link CODE in its chat, or qpc devices link CODE.\n\
        With --json, standard output is two lines: {\"code\"}, then {\"username\", \"account\", \"device\", \"data\"}.")]
    Link(LinkArgs),
    /// List, name, revoke and link the devices of an account
    #[command(after_help = "Examples:\n  \
        qpc devices -u alice\n  \
        qpc devices -u alice link ABCDE-FGHJK-...   the code that qpc link shows\n  \
        qpc devices -u alice rename 3f2a \"old laptop\"\n  \
        qpc devices -u alice revoke \"old laptop\"")]
    Devices(DevicesArgs),
    /// Take the server's receipts away, and check them without it
    #[command(after_help = "Examples:\n  \
        qpc receipts export -u alice -o alice.receipts\n  \
        qpc receipts verify alice.receipts bob.receipts")]
    Receipts(ReceiptsArgs),
    /// What operators do, over the admin API
    #[command(after_help = "Examples:\n  \
        qpc admin stats --json | jq .users\n  \
        qpc admin users --banned\n  \
        qpc admin ban mallory --reason spam\n  \
        qpc admin --server admin.example:7001 --folder ~/admin-certs audit verify\n  \
        qpc admin drain 0011223344556677       as qpc admin gateways shows it\n\n\
        USER is a name or an account id. Every call is kept in the audit log of the server.")]
    Admin(AdminArgs),
    /// Servers that announce themselves on the local network
    #[command(after_help = "Examples:\n  \
        qpc discover\n  \
        qpc discover --seconds 10 --json | jq -r .addresses[0]\n\n\
        Anybody can announce anything: compare the certificate (sha256sum of its DER form) before you trust it.")]
    Discover(DiscoverArgs),
    /// Ask a server for a sign of life
    #[command(after_help = "Example:\n  qpc ping --server 127.0.0.1:7000 --ca-cert qpc-data/cert.pem")]
    Ping(ServerArgs),
    /// Say who this device is, from its own store
    #[command(mut_arg("username", required), after_help = "Example:\n  qpc whoami -u alice")]
    Whoami(AccountArgs),
}

/// Settings of the demonstration.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// One JSON object instead of the story
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which server, and whom to believe that it is the one.
#[derive(Args, Clone)]
pub(crate) struct ServerArgs {
    /// Server, HOST[:PORT]
    #[arg(short, long, env = "QPC_SERVER", default_value = "127.0.0.1:7000", global = true)]
    pub(crate) server: String,
    /// Certificate of the server or its authority, PEM [default: qpc-data/cert.pem if it is there]
    #[arg(long, env = "QPC_CA_CERT", value_name = "FILE", global = true)]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Name in the server's certificate, where that is not HOST
    #[arg(long, env = "QPC_SERVER_NAME", value_name = "NAME", global = true)]
    pub(crate) server_name: Option<String>,
}

/// Whose account, on which device.
#[derive(Args, Clone)]
pub(crate) struct AccountArgs {
    /// Name of the account
    // Required all the same: whoever flattens this may have subcommands, behind which it can stand too.
    #[arg(short, long, env = "QPC_USERNAME", value_name = "NAME", global = true, required = false)]
    pub(crate) username: String,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// A device: its server, its store, and what opens that.
#[derive(Args, Clone)]
pub(crate) struct DeviceArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Folder of this device's store [default: ~/.local/share/quicprochat/NAME]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data: Option<PathBuf>,
    /// Password; others on this machine can see it in the list of processes
    #[arg(short, long, env = "QPC_PASSWORD", hide_env_values = true, global = true)]
    pub(crate) password: Option<String>,
    /// File whose first line is the password; goes before --password
    #[arg(long, env = "QPC_PASSWORD_FILE", value_name = "FILE", global = true)]
    pub(crate) password_file: Option<PathBuf>,
    /// Cipher suite of new conversations
    #[arg(long, env = "QPC_SUITE", value_enum, default_value = "hybrid", global = true)]
    pub(crate) suite: SuiteArg,
    #[arg(long, env = "XDG_DATA_HOME", hide = true, global = true)]
    xdg_data_home: Option<OsString>,
    #[arg(long, env = "HOME", hide = true, global = true)]
    home: Option<OsString>,
}

/// The name of the account, where no subcommand can bring it.
fn required(username: Arg) -> Arg {
    username.global(false).required(true)
}

/// Cipher suite by its short name.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum SuiteArg {
    /// X25519 and ML-KEM-768 together
    Hybrid,
    /// X25519 alone
    Classic,
}

impl ServerArgs {
    /// Whom to believe.
    pub(crate) fn trust(&self) -> Result<Trust, Usage> {
        if let Some(path) = &self.ca_cert {
            return Ok(Trust::PemFile(path.clone()));
        }
        let local = Path::new(LOCAL_CERTIFICATE);
        if local.exists() { Ok(Trust::PemFile(local.to_owned())) } else { Err(Usage::NoCertificate) }
    }
}

impl AccountArgs {
    /// The folder of the store.
    pub(crate) fn folder(&self) -> Result<PathBuf, Usage> {
        self.device.folder(&self.username)
    }

    /// What the client is opened with; asks for the password if it has to.
    pub(crate) fn options(&self) -> anyhow::Result<ClientOptions> {
        let folder = self.folder()?;
        let asked = if is_device(&folder) { Asked::Known } else { Asked::New };
        self.options_for(folder, asked)
    }

    /// The same for a device that must be there already.
    pub(crate) fn existing(&self) -> anyhow::Result<ClientOptions> {
        let folder = self.folder()?;
        if !is_device(&folder) {
            anyhow::bail!("there is no {} on this device ({} is not there)", self.username, folder.display());
        }
        self.options_for(folder, Asked::Known)
    }

    fn options_for(&self, folder: PathBuf, asked: Asked) -> anyhow::Result<ClientOptions> {
        let trust = self.device.server.trust()?;
        let password = password::find(&self.device, &self.username, asked)?;
        Ok(self.device.options(folder, &self.username, password, trust))
    }
}

impl DeviceArgs {
    /// The folder of the store of `username`.
    pub(crate) fn folder(&self, username: &str) -> Result<PathBuf, Usage> {
        if let Some(folder) = &self.data {
            return Ok(folder.clone());
        }
        // The name becomes part of a path.
        if !qpc_wire::limits::is_username(username) {
            return Err(Usage::Username(username.to_owned()));
        }
        // A relative or empty XDG_DATA_HOME is to be ignored, says its specification.
        let absolute = |path: &OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
        let base = self.xdg_data_home.as_ref().and_then(absolute);
        let home = || Some(self.home.as_ref().and_then(absolute)?.join(".local/share"));
        let base = base.or_else(home).ok_or(Usage::NoHome)?;
        Ok(base.join("quicprochat").join(username))
    }

    /// What a client is opened with.
    pub(crate) fn options(
        &self,
        folder: PathBuf,
        username: &str,
        password: Zeroizing<String>,
        trust: Trust,
    ) -> ClientOptions {
        let mut options = ClientOptions::new(folder, username, String::new(), self.server.server.clone(), trust);
        options.password = password;
        options.server_name = self.server.server_name.clone();
        options.suite = match self.suite {
            SuiteArg::Hybrid => Suite::Hybrid,
            SuiteArg::Classic => Suite::Classic,
        };
        options
    }
}

/// Whether a folder is the store of a device.
pub(crate) fn is_device(folder: &Path) -> bool {
    folder.join("store.db").exists()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn account(arguments: &[&str]) -> AccountArgs {
        let arguments = ["qpc", "repl"].iter().chain(arguments);
        match Cli::try_parse_from(arguments).unwrap().command {
            Command::Repl(args) => args,
            _ => unreachable!(),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_account_can_stand_on_either_side_of_what_is_done_with_its_devices() {
        let parse = |line: &[&str]| match Cli::try_parse_from(line).map(|cli| cli.command) {
            Ok(Command::Devices(args)) => Ok((args.account.username, args.account.device.server.server, args.action)),
            Ok(_) => unreachable!(),
            Err(error) => Err(error.kind()),
        };
        for line in [["-u", "alice", "-s", "chat.example", "list"], ["list", "-s", "chat.example", "-u", "alice"]] {
            let (username, server, action) = parse(&[&["qpc", "devices"], &line[..]].concat()).unwrap();
            assert_eq!((&*username, &*server), ("alice", "chat.example"));
            assert!(matches!(action, Some(DeviceAction::List)));
        }
        assert!(matches!(parse(&["qpc", "devices", "-u", "alice"]), Ok((_, _, None))));
        for command in [&["devices", "list"][..], &["repl"], &["receipts", "export"]] {
            let missing = Cli::try_parse_from([&["qpc"], command].concat()).err().map(|error| error.kind());
            assert_eq!(missing, Some(clap::error::ErrorKind::MissingRequiredArgument), "{command:?}");
        }
    }

    #[test]
    fn the_store_is_where_the_desktop_wants_it() {
        let plain = account(&["-u", "alice", "--home", "/home/a", "--xdg-data-home", ""]);
        assert_eq!(plain.folder().unwrap(), Path::new("/home/a/.local/share/quicprochat/alice"));
        let xdg = account(&["-u", "alice", "--xdg-data-home", "/data"]);
        assert_eq!(xdg.folder().unwrap(), Path::new("/data/quicprochat/alice"));
        let given = account(&["-u", "alice", "--data", "here"]);
        assert_eq!(given.folder().unwrap(), Path::new("here"));
        assert!(account(&["-u", "../alice", "--home", "/home/a"]).folder().is_err());
    }
}
