//! `qpc doctor`: what is wrong, if something is. Asks for no password.

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, UNIX_EPOCH},
};

use clap::Args;
use qpc_sdk::{
    Error, Runtime,
    transport::{ConnectError, Connection},
};
use qpc_wire::{methods, v1};
use serde_json::json;

use super::ping::{answer, millis, reach};
use crate::{
    engine::{Cli, Item, Row, Run, args, program},
    exit::{UNREACHABLE, VERIFICATION},
    render::Render,
    settings::{Settings, is_device},
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "doctor",
        aliases: &[],
        about: "Look for what is wrong: configuration, certificate, server, clock, store, versions",
        after: "Examples:\n  qpc doctor\n  qpc doctor --redact > report.txt     without names, folders and addresses\n\n\
            Each finding names its runbook. It asks for no password and changes nothing. Exit code 0 if nothing is wrong,\n\
            4 if the server cannot be reached, 8 if it cannot prove itself, else 1.",
        args: args::<Doctor>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        mends: true,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Doctor {
    /// Leave out names, folders and addresses, so that the report can be shown to others
    #[arg(long)]
    redact: bool,
}

/// How something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    Well,
    Odd,
    Ill,
}

/// Where the runbooks are, one page for each finding.
const RUNBOOKS: &str = "https://github.com/quicprochat/quicprochat/blob/main/docs/runbooks/";

/// What can be found: its name never changes, and is that of its runbook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Finding {
    ConfigurationUnreadable,
    ConfigurationUnknownKeys,
    CertificateMissing,
    CertificateUnreadable,
    ServerUntrusted,
    ServerNameUnknown,
    ServerUnreachable,
    ServerSilent,
    ServerVersion,
    ClockSetBack,
    StoreMissing,
    StoreOpenToOthers,
    StoreUnreadable,
}

impl Finding {
    const fn id(self) -> &'static str {
        match self {
            Self::ConfigurationUnreadable => "configuration-unreadable",
            Self::ConfigurationUnknownKeys => "configuration-unknown-keys",
            Self::CertificateMissing => "certificate-missing",
            Self::CertificateUnreadable => "certificate-unreadable",
            Self::ServerUntrusted => "server-untrusted",
            Self::ServerNameUnknown => "server-name-unknown",
            Self::ServerUnreachable => "server-unreachable",
            Self::ServerSilent => "server-silent",
            Self::ServerVersion => "server-version",
            Self::ClockSetBack => "clock-set-back",
            Self::StoreMissing => "store-missing",
            Self::StoreOpenToOthers => "store-open-to-others",
            Self::StoreUnreadable => "store-unreadable",
        }
    }

    const fn how(self) -> How {
        match self {
            Self::ConfigurationUnknownKeys | Self::ServerVersion | Self::StoreMissing | Self::StoreOpenToOthers => {
                How::Odd
            }
            _ => How::Ill,
        }
    }

    /// Exit code, if it is an ill one.
    const fn code(self) -> u8 {
        match self {
            Self::ServerUntrusted => VERIFICATION,
            Self::ServerNameUnknown | Self::ServerUnreachable | Self::ServerSilent => UNREACHABLE,
            _ => 1,
        }
    }
}

/// What was looked at, and what was found.
#[derive(Debug)]
struct Check {
    what: &'static str,
    finding: Option<Finding>,
    /// For everybody to see.
    found: String,
    /// Names, folders and addresses.
    private: String,
}

impl Check {
    fn well(what: &'static str, found: impl Into<String>, private: impl Into<String>) -> Self {
        Self { what, finding: None, found: found.into(), private: private.into() }
    }

    fn new(what: &'static str, finding: Finding, found: impl Into<String>, private: impl Into<String>) -> Self {
        Self { what, finding: Some(finding), found: found.into(), private: private.into() }
    }

    fn how(&self) -> How {
        self.finding.map_or(How::Well, Finding::how)
    }
}

async fn run(args: Doctor, settings: Settings) -> anyhow::Result<ExitCode> {
    let mut checks = vec![program_itself(), configuration(&settings), certificate(&settings)];
    checks.extend(server(&settings).await);
    checks.push(clock(&settings));
    checks.extend(stores(&settings));
    let render = Render::new(&settings);
    for check in &checks {
        let (mark, word) = match check.how() {
            How::Well => ("✓", "ok"),
            How::Odd => ("!", "odd"),
            How::Ill => ("⚠", "ill"),
        };
        let private = (!args.redact && !check.private.is_empty()).then_some(&check.private);
        let detail = private.map(|private| format!(" · {private}")).unwrap_or_default();
        let runbook = check.finding.map(|finding| format!("{RUNBOOKS}{}.md", finding.id()));
        let see = runbook.as_ref().map(|runbook| format!("\n{:<15} see {runbook}", "")).unwrap_or_default();
        let line = format!("{mark} {:<13} {}{detail}{see}", check.what, check.found);
        let fields = json!({
            "check": check.what, "state": word, "found": check.found, "detail": private,
            "finding": check.finding.map(Finding::id), "runbook": runbook,
        });
        render.item(&Item::new("qpc.check/1", &fields, line));
    }
    let ill = checks.iter().filter_map(|check| check.finding).filter(|finding| finding.how() == How::Ill);
    Ok(ExitCode::from(ill.map(Finding::code).max().unwrap_or(0)))
}

fn program_itself() -> Check {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    Check::well("program", format!("qpc {} on {os} {arch}", env!("CARGO_PKG_VERSION")), "")
}

fn configuration(settings: &Settings) -> Check {
    let path = settings.config.path.display().to_string();
    if let Err(error) = settings.config.check() {
        let found = "the file cannot be understood";
        return Check::new("configuration", Finding::ConfigurationUnreadable, found, error.to_string());
    }
    let mistakes = settings.config.mistakes();
    match mistakes.len() {
        0 if settings.config.path.exists() => Check::well("configuration", "understood", path),
        0 => Check::well("configuration", "no file; defaults", path),
        count => Check::new(
            "configuration",
            Finding::ConfigurationUnknownKeys,
            format!("{count} keys mean nothing"),
            mistakes.join("; "),
        ),
    }
}

fn certificate(settings: &Settings) -> Check {
    let Some(path) = settings.certificate() else {
        let found = "none to trust: give --ca-cert FILE, or start qpc-server in this folder first";
        return Check::new("certificate", Finding::CertificateMissing, found, "");
    };
    let place = path.display().to_string();
    match fs::read_to_string(&path) {
        Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => Check::well("certificate", "there", place),
        Ok(_) => Check::new("certificate", Finding::CertificateUnreadable, "the file holds no certificate", place),
        Err(error) => {
            let found = format!("cannot be read: {}", error.kind());
            Check::new("certificate", Finding::CertificateUnreadable, found, place)
        }
    }
}

async fn server(settings: &Settings) -> Vec<Check> {
    let Ok(place) = settings.place() else { return Vec::new() };
    let ill = |finding, found: &str, private: String| Check::new("server", finding, found, private);
    let connection = match tokio::time::timeout(settings.timeout(), reach(&place)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let private = format!("{}: {error}", place.server);
            return vec![match error.root() {
                Error::Connect(ConnectError::Untrusted(_)) => ill(
                    Finding::ServerUntrusted,
                    "it cannot prove that it is the one: another certificate, an expired one, or another name",
                    private,
                ),
                Error::Connect(ConnectError::Address(_)) => {
                    ill(Finding::ServerNameUnknown, "its name is not known", private)
                }
                _ => {
                    let found = "cannot be reached: is it running, and does UDP get through?";
                    ill(Finding::ServerUnreachable, found, private)
                }
            }];
        }
        Err(_) => {
            let found = "no answer: is it running, and does UDP get through?";
            return vec![ill(Finding::ServerUnreachable, found, place.server)];
        }
    };
    let said = match tokio::time::timeout(settings.timeout(), ask(&connection)).await {
        Ok(Ok((took, version))) => {
            let other = (version != env!("CARGO_PKG_VERSION")).then_some(Finding::ServerVersion);
            let answers = Check::well("server", format!("answers in {}", millis(took)), place.server);
            let version = Check::well("its version", crate::text::label(&version), "");
            vec![answers, Check { finding: other, ..version }]
        }
        Ok(Err(error)) => vec![ill(Finding::ServerSilent, "it connects and does not answer", error.to_string())],
        Err(_) => vec![ill(Finding::ServerSilent, "it connects and does not answer", String::new())],
    };
    connection.close();
    said
}

async fn ask(connection: &Connection) -> anyhow::Result<(Duration, String)> {
    let took = answer(connection).await?;
    let info = connection.call::<methods::ServerInfo>(&v1::ServerInfoRequest {}).await.map_err(Error::from)?;
    Ok((took, info.version))
}

/// The server tells nobody the time. What this machine wrote in its own future shows a clock that was set back.
fn clock(settings: &Settings) -> Check {
    /// Difference that a file system may make, milliseconds.
    const SLACK_MS: u64 = 5_000;
    let now = Runtime::system().now_ms();
    let written = |name: &String| {
        let changed = fs::metadata(settings.folder(name).ok()?.join("store.db")).ok()?.modified().ok()?;
        Some(changed.duration_since(UNIX_EPOCH).ok()?.as_millis() as u64)
    };
    let newest = settings.accounts().iter().filter_map(written).max().unwrap_or_default();
    if newest > now + SLACK_MS {
        let behind = (newest - now) / 1_000;
        return Check::new(
            "clock",
            Finding::ClockSetBack,
            format!("a store was written {behind} s in the future: the clock was set back"),
            "",
        );
    }
    Check::well("clock", crate::text::utc(now), "")
}

fn stores(settings: &Settings) -> Vec<Check> {
    let accounts = settings.accounts();
    let given = settings.globals.data_dir.as_ref().filter(|folder| is_device(folder)).map(|folder| store(folder));
    if accounts.is_empty() && given.is_none() {
        return vec![Check::new("store", Finding::StoreMissing, "none here: qpc register-user NAME makes one", "")];
    }
    let folders = accounts.iter().filter_map(|name| settings.folder(name).ok()).filter(|folder| is_device(folder));
    let mut checks: Vec<Check> = folders.map(|folder| store(&folder)).collect();
    if settings.globals.data_dir.is_some() {
        checks.clear();
    }
    checks.extend(given);
    checks
}

fn store(folder: &Path) -> Check {
    let place = folder.display().to_string();
    #[cfg(unix)]
    if let Ok(found) = fs::metadata(folder) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Check::new(
                "store",
                Finding::StoreOpenToOthers,
                format!("others can look into its folder (mode {mode:o}, want 700)"),
                place,
            );
        }
    }
    let lock = fs::File::options().read(true).write(true).open(folder.join("store.lock"));
    match lock.map(|file| file.try_lock()) {
        Ok(Err(fs::TryLockError::WouldBlock)) => Check::well("store", "in use by another qpc", place),
        Ok(_) => {
            let size = fs::metadata(folder.join("store.db")).map(|found| found.len() / 1024).unwrap_or_default();
            Check::well("store", format!("{size} KiB, free to open"), place)
        }
        Err(error) => {
            Check::new("store", Finding::StoreUnreadable, format!("cannot be opened: {}", error.kind()), place)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Around, Globals};

    /// All of them; a new one does not compile before it is here.
    fn findings() -> Vec<Finding> {
        let mut all = vec![Finding::ConfigurationUnreadable];
        while let Some(last) = all.last() {
            all.push(match last {
                Finding::ConfigurationUnreadable => Finding::ConfigurationUnknownKeys,
                Finding::ConfigurationUnknownKeys => Finding::CertificateMissing,
                Finding::CertificateMissing => Finding::CertificateUnreadable,
                Finding::CertificateUnreadable => Finding::ServerUntrusted,
                Finding::ServerUntrusted => Finding::ServerNameUnknown,
                Finding::ServerNameUnknown => Finding::ServerUnreachable,
                Finding::ServerUnreachable => Finding::ServerSilent,
                Finding::ServerSilent => Finding::ServerVersion,
                Finding::ServerVersion => Finding::ClockSetBack,
                Finding::ClockSetBack => Finding::StoreMissing,
                Finding::StoreMissing => Finding::StoreOpenToOthers,
                Finding::StoreOpenToOthers => Finding::StoreUnreadable,
                Finding::StoreUnreadable => break,
            });
        }
        all
    }

    #[test]
    fn each_finding_has_a_runbook_that_names_it() {
        let runbooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks");
        assert_eq!(findings().len(), 13);
        for finding in findings() {
            let page = fs::read_to_string(runbooks.join(format!("{}.md", finding.id())));
            assert!(page.is_ok_and(|page| page.contains(&format!("`{}`", finding.id()))), "{}", finding.id());
        }
    }

    #[tokio::test]
    async fn each_illness_is_named_and_no_folder_in_what_others_see() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("config.toml");
        fs::write(&config, "sever = 'x'").unwrap();
        let certificate_file = home.path().join("cert.pem");
        let settings = || {
            let globals = Globals {
                around: Around { home: Some(home.path().into()), ..Around::default() },
                config: Some(config.clone()),
                ca_cert: Some(certificate_file.clone()),
                ..Globals::default()
            };
            Settings::new(globals).unwrap()
        };
        assert_eq!(configuration(&settings()).how(), How::Odd);
        fs::write(&config, "[profiles").unwrap();
        assert_eq!(configuration(&settings()).how(), How::Ill);
        assert_eq!(certificate(&settings()).finding, Some(Finding::CertificateUnreadable));
        fs::write(&certificate_file, "dear bob").unwrap();
        let check = certificate(&settings());
        assert!(check.found.contains("no certificate") && check.private.contains("cert.pem"), "{check:?}");
        assert_eq!(stores(&settings())[0].how(), How::Odd);
        let folder = settings().folder("alice").unwrap();
        fs::create_dir_all(&folder).unwrap();
        for name in ["store.db", "store.lock"] {
            fs::write(folder.join(name), "x").unwrap();
        }
        let seen = |found: &str| {
            let checks = stores(&settings());
            assert!(checks[0].found.contains(found) && !checks[0].found.contains("alice"), "{checks:?}");
        };
        let mode = |mode| fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        mode(0o755);
        seen("mode 755");
        mode(0o700);
        seen("free to open");
        let lock = fs::File::open(folder.join("store.lock")).unwrap();
        lock.lock().unwrap();
        seen("in use by another qpc");
    }
}
