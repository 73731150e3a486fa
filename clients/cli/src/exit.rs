//! Exit codes.

use std::{path::PathBuf, process::ExitCode};

use qpc_crypto::{MlsError, SafetyMismatch};
use qpc_sdk::{ArchiveError, Error, NotAdmitted, ReceiptFileError, transport::ConnectError};
use qpc_trace::export::ExportError;
use qpc_wire::Code;

/// What is wrong with the command line, beyond what its parser sees.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Usage {
    /// There is nobody to trust.
    #[error("no certificate to trust: give --ca-cert FILE, or start qpc-server in this folder first")]
    NoCertificate,
    /// There is no place for the store.
    #[error("no home folder: give --data-dir DIR")]
    NoHome,
    /// Not a possible name.
    #[error("{0:?} is no username: 1 to 64 of a-z 0-9 . _ - and a letter or digit first")]
    Username(String),
    /// Nobody has been named.
    #[error("which account? Give -u NAME, or: qpc register-user NAME")]
    NoUsername,
    /// Several could be meant.
    #[error("which account? Give -u NAME: {0}")]
    SeveralUsers(String),
    /// There is no device of the account.
    #[error(
        "{username} is not logged in here ({} is not there): qpc register-user {username} makes the account, qpc link makes \
         this a further device of it", .folder.display()
    )]
    NotHere {
        /// Who.
        username: String,
        /// Where the store would be.
        folder: PathBuf,
    },
    /// Not a possible name of a profile.
    #[error("{0:?} is no name of a profile: 1 to 64 of a-z 0-9 . _ - and a letter or digit first")]
    Profile(String),
    /// No such profile.
    #[error("no profile {0}: qpc -P {0} config set username NAME makes it")]
    NoProfile(String),
    /// No such command.
    #[error("no such command: qpc --help lists them")]
    NoCommand,
    /// The configuration file cannot be understood.
    #[error("{}: {why}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Not a key of it.
    #[error("no key {0:?}: qpc config get lists them")]
    Key(String),
    /// Not a value of a key.
    #[error("{value:?} is no value of {key}: {about}")]
    Value {
        /// Which key.
        key: String,
        /// What was given.
        value: String,
        /// What it takes.
        about: &'static str,
    },
    /// No conversation is open.
    #[error("no conversation is open: /dm USER or /switch NAME")]
    NothingOpen,
    /// No such conversation.
    #[error("no conversation {0}: /list (qpc list) shows all, /dm USER (qpc dm USER) begins one")]
    NoConversation(String),
    /// More than one such conversation.
    #[error("several are called {0}: give a number of /list, or the beginning of an id (qpc list --json)")]
    SeveralConversations(String),
    /// No such message.
    #[error("no message {0}: the numbers in brackets name them, or the beginning of an id (qpc history --ids)")]
    NoMessage(String),
    /// No such message in the outbox.
    #[error("no message {0} waits or was refused: /outbox (qpc outbox --json) lists those that do")]
    NotWaiting(String),
    /// More than one such message.
    #[error("{0:?} fits several messages: give more of the id")]
    SeveralMessages(String),
    /// No such file in a message or conversation.
    #[error("no file there: /files (qpc files) lists those of a conversation")]
    NoFile,
    /// Several files cannot go to one place.
    #[error("{0} files: give --n N for one of them, or a folder")]
    SeveralFiles(usize),
    /// No such invite.
    #[error("no invite {0}: /invites numbers those of this group (qpc invites)")]
    NoInvite(String),
    /// A person who has to confirm something cannot or does not.
    #[error("not done: {0}; --yes does it without asking")]
    NotConfirmed(&'static str),
    /// What cannot be undone was not confirmed by its name.
    #[error("nothing was deleted: the name has to be given, by --yes-delete NAME or at a terminal")]
    NotNamed,
    /// There is no editor.
    #[error("no editor: set VISUAL or EDITOR")]
    NoEditor,
    /// The server takes too long.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(std::time::Duration),
    /// Nobody to ask for the password.
    #[error("no password: give --password-file FILE or QPC_PASSWORD, or run this on a terminal")]
    NoPassword,
    /// Nothing to draw on.
    #[error("qpc tui needs a terminal; qpc repl also works in a pipe")]
    NoTerminal,
    /// An empty password.
    #[error("the password is empty")]
    EmptyPassword,
    /// The two entries of a new password differ.
    #[error("the passwords differ")]
    PasswordsDiffer,
    /// Nobody to ask for the passphrase of a file.
    #[error("no passphrase: give --passphrase-file FILE, or run this on a terminal")]
    NoPassphrase,
    /// Nobody to ask for a recovery code.
    #[error("no recovery code: give --code-file FILE, or run this on a terminal")]
    NoCode,
    /// An empty passphrase.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The two entries of a new passphrase differ.
    #[error("the passphrases differ")]
    PassphrasesDiffer,
    /// A device is made where there is one.
    #[error("{} is a device already", .0.display())]
    DeviceExists(PathBuf),
    /// Nothing to make a device in.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// What was to prevent a slip is another name.
    #[error("this is the account of {of}, not of {given}; nothing was deleted")]
    OtherName {
        /// What was given.
        given: String,
        /// Whose account it is.
        of: String,
    },
    /// The account is not the one that was asked for.
    #[error("the code was typed at a device of {found}, not of {wanted}")]
    OtherAccount {
        /// Whose device it was.
        found: String,
        /// Who was to be.
        wanted: String,
    },
    /// No such device.
    #[error("no device {0}: /devices numbers them; or give its name, or the beginning of its id (qpc devices)")]
    NoDevice(String),
    /// More than one such device.
    #[error("{0:?} fits several devices: give more of the id")]
    SeveralDevices(String),
}

/// What the codes mean, as `qpc exit-codes` says it.
pub(crate) const CODES: [(u8, &str, &str); 12] = [
    (0, "ok", "it was done"),
    (1, "other", "something else went wrong; the message says what"),
    (2, "usage", "the command line, the configuration or a typed command is not right"),
    (3, "login", "no device of the account here, a wrong password, or a login that the server refuses"),
    (4, "unreachable", "no connection, or no answer in time; what was written is kept and sent later"),
    (5, "not found", "no such user, conversation, message, file, device or invite"),
    (6, "conflict", "it exists already, or another qpc uses the store"),
    (7, "forbidden", "the role in the group, or the server, does not allow it"),
    (8, "verification failed", "something signed or pinned does not hold: certificate, key of a user, receipt, export"),
    (9, "rate limited", "too much in too short a time"),
    (10, "partly done", "done for some and not for all; or a file that cannot be read as what it should be"),
    (130, "interrupted", "Ctrl-C"),
];

/// Code of something that is not there.
pub(crate) const NOT_FOUND: u8 = 5;
/// Code of an interrupted program.
pub(crate) const INTERRUPTED: u8 = 130;
/// Code of a server that cannot be reached.
pub(crate) const UNREACHABLE: u8 = 4;
/// Code of something that does not hold.
pub(crate) const VERIFICATION: u8 = 8;
/// Code of a file that cannot be read.
const UNREADABLE: u8 = 10;

/// Prints an error and returns its code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    crate::console::complain(format_args!("qpc: {error:#}"));
    if let Some(advice) = advice(error) {
        crate::console::complain(format_args!("     {advice}"));
    }
    ExitCode::from(code(error))
}

/// What a person can do about it, where the error does not say so.
fn advice(error: &anyhow::Error) -> Option<&'static str> {
    if let Some(Usage::Timeout(_)) = error.downcast_ref() {
        return Some("What was written is kept, and sent later. --timeout gives more time.");
    }
    Some(match error.downcast_ref::<Error>()?.root() {
        Error::StoreInUse(_) => {
            "Another qpc works with this account. Use its commands (/help), or end it (/quit) and try again; \
             a second account or device has a store of its own (-u, -P, --data-dir)."
        }
        Error::Connect(ConnectError::Untrusted(_)) => {
            "The server could not prove that it is the one: --ca-cert must name its certificate or its authority. qpc doctor \
             looks into it."
        }
        Error::Connect(_) | Error::Offline => "qpc doctor looks for the reason.",
        Error::IdentityChanged(_) => {
            "Nothing was sent. Ask the person by another way whether they began anew; qpc verify shows both keys, and takes \
             your decision."
        }
        Error::RecoveryExists => "qpc recovery status counts them, qpc recovery rotate makes others.",
        Error::NotAdmitted(NotAdmitted::NoInvite) => "Whoever runs the server makes invites; then: --invite CODE.",
        Error::NotAdmitted(NotAdmitted::UnknownInvite | NotAdmitted::ExpiredInvite | NotAdmitted::UsedInvite) => {
            "Compare it with what you were given, or ask whoever runs the server for another one."
        }
        Error::NameTaken(_) => "If it is yours: qpc link makes this a further device of it.",
        _ => return None,
    })
}

/// The exit code of an error.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<ReceiptFileError>().is_some() {
        return UNREADABLE;
    }
    if let Some(usage) = error.downcast_ref::<Usage>() {
        return match usage {
            Usage::NotHere { .. } => 3,
            Usage::Timeout(_) => UNREACHABLE,
            Usage::NoDevice(_)
            | Usage::NothingOpen
            | Usage::NoProfile(_)
            | Usage::SeveralConversations(_)
            | Usage::NoConversation(_)
            | Usage::NoMessage(_)
            | Usage::NotWaiting(_)
            | Usage::NoFile
            | Usage::NoInvite(_) => NOT_FOUND,
            Usage::DeviceExists(_) | Usage::NotEmpty(_) | Usage::OtherAccount { .. } => 6,
            _ => 2,
        };
    }
    if error.downcast_ref::<ExportError>().is_some() {
        return 2;
    }
    if let Some(archive) = error.downcast_ref::<ArchiveError>() {
        return of_archive(archive);
    }
    error.downcast_ref::<Error>().map_or(1, of_sdk)
}

/// The exit code of a transcript or backup that cannot be read.
fn of_archive(error: &ArchiveError) -> u8 {
    match error {
        ArchiveError::Damaged { .. } => VERIFICATION,
        ArchiveError::WrongPassphrase => 3,
        ArchiveError::NoRecord(_) => NOT_FOUND,
        ArchiveError::TooLong(_) => 1,
        ArchiveError::Io(_)
        | ArchiveError::Unknown
        | ArchiveError::Kind(_)
        | ArchiveError::Version { .. }
        | ArchiveError::Kdf(_) => UNREADABLE,
    }
}

/// The exit code of an error of the sdk.
pub(crate) fn of_sdk(error: &Error) -> u8 {
    match error.root() {
        Error::InvalidUsername(_)
        | Error::Safety(SafetyMismatch::Malformed | SafetyMismatch::Version(_))
        | Error::EmptyText
        | Error::TextTooLong { .. }
        | Error::OwnName
        | Error::NotAFile(_)
        | Error::Invite(_)
        | Error::LinkCode(_)
        | Error::RecoveryCode(_) => 2,
        Error::WrongPassword | Error::LoginRefused(_) => 3,
        Error::Connect(ConnectError::Untrusted(_)) => VERIFICATION,
        Error::Connect(_) | Error::Offline => UNREACHABLE,
        Error::UnknownUser(_)
        | Error::NoSuchCode
        | Error::UnknownConversation(_)
        | Error::NoKeyPackage { .. }
        | Error::NotAMember(_)
        | Error::NothingToAccept(_)
        | Error::UnknownMessage(_)
        | Error::Expired(_)
        | Error::NotAdmitted(NotAdmitted::UnknownInvite | NotAdmitted::ExpiredInvite | NotAdmitted::UsedInvite) => 5,
        Error::NameTaken(_)
        | Error::RecoveryExists
        | Error::AlreadyRegistered
        | Error::StoreInUse(_)
        | Error::OtherUser { .. }
        | Error::StoreNotEmpty(_)
        | Error::BackupOfOther { .. }
        | Error::FileExists(_)
        | Error::FileInUse(_)
        | Error::FileChanged(_)
        | Error::KeyUsed(_)
        | Error::AlreadySent(_)
        | Error::TooManyRaces => 6,
        Error::NotMember
        | Error::NotWelcomed(_)
        | Error::NotAllowed(_)
        | Error::Blocked
        | Error::LastOwner
        | Error::NotAdmitted(_)
        | Error::Mls(MlsError::Denied(_)) => 7,
        Error::IdentityChanged(_)
        | Error::Safety(_)
        | Error::BadBundle
        | Error::BadDirectory(_)
        | Error::WrongKeyPackage(_)
        | Error::WrongSuccessor(_)
        | Error::WrongOffer
        | Error::Certificate(_)
        | Error::Signature(_)
        | Error::Chain(_)
        | Error::DamagedFile(_)
        | Error::File(_)
        | Error::Receipt(_)
        | Error::ReceiptEpoch(_) => VERIFICATION,
        // Of a disk that is full, say, where one is written.
        Error::Archive(ArchiveError::Io(_)) => 1,
        Error::Archive(error) => of_archive(error),
        Error::Interrupted => INTERRUPTED,
        error => match error.code() {
            Some(Code::Unauthenticated) => 3,
            Some(Code::Unavailable | Code::DeadlineExceeded) => UNREACHABLE,
            Some(Code::NotFound) => 5,
            Some(Code::AlreadyExists | Code::Aborted) => 6,
            Some(Code::PermissionDenied) => 7,
            Some(Code::ResourceExhausted) => 9,
            _ if error.is_transient() => UNREACHABLE,
            _ => 1,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn codes_are_found_behind_wrappings() {
        let wrapped = || Error::Failed(Arc::new(Error::LoginRefused(Box::new(Error::WrongPassword))));
        assert_eq!(code(&anyhow::Error::from(wrapped())), 3);
        assert_eq!(code(&anyhow::Error::from(wrapped()).context("while connecting")), 3);
        assert_eq!(code(&Usage::NoHome.into()), 2);
        assert_eq!(code(&anyhow::anyhow!("something")), 1);
        assert_eq!(of_sdk(&Error::IdentityChanged("bob".into())), 8);
        assert_eq!(of_sdk(&Error::NotAllowed("write")), 7);
        assert_eq!(code(&anyhow::Error::from(ReceiptFileError::Head).context("a.receipts")), 10);
        let damaged = || ArchiveError::Damaged { records: 1, offset: 2, what: qpc_sdk::Damage::Chain };
        assert_eq!(code(&anyhow::Error::from(damaged()).context("a.qpct")), 8);
        assert_eq!((of_sdk(&damaged().into()), of_sdk(&ArchiveError::WrongPassphrase.into())), (8, 3));
        assert_eq!(of_sdk(&Error::DamagedFile("x")), 8);
        assert_eq!(code(&Usage::DeviceExists("here".into()).into()), 6);
    }
}
