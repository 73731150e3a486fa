//! Exit codes.

use std::{path::PathBuf, process::ExitCode};

use qpc_crypto::MlsError;
use qpc_sdk::{Error, ReceiptFileError, transport::ConnectError};
use qpc_wire::Code;

/// What is wrong with the command line, beyond what its parser sees.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Usage {
    /// There is nobody to trust.
    #[error("no certificate to trust: give --ca-cert FILE, or start qpc-server in this folder first")]
    NoCertificate,
    /// There is no place for the store.
    #[error("no home folder: give --data DIR")]
    NoHome,
    /// Not a possible name.
    #[error("{0:?} is no username: 1 to 64 of a-z 0-9 . _ - and a letter or digit first")]
    Username(String),
    /// Nobody to ask for the password.
    #[error("no password: give --password-file FILE or QPC_PASSWORD, or run this on a terminal")]
    NoPassword,
    /// An empty password.
    #[error("the password is empty")]
    EmptyPassword,
    /// The two entries of a new password differ.
    #[error("the passwords differ")]
    PasswordsDiffer,
    /// A device is made where there is one.
    #[error("{} is a device already", .0.display())]
    DeviceExists(PathBuf),
    /// Nothing to make a device in.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The account is not the one that was asked for.
    #[error("the code was typed at a device of {found}, not of {wanted}")]
    OtherAccount {
        /// Whose device it was.
        found: String,
        /// Who was to be.
        wanted: String,
    },
    /// No such device.
    #[error("no device {0:?}: give its name, or the beginning of its id (qpc devices lists them)")]
    NoDevice(String),
    /// More than one such device.
    #[error("{0:?} fits several devices: give more of the id")]
    SeveralDevices(String),
}

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
    ExitCode::from(code(error))
}

/// The exit code of an error.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<ReceiptFileError>().is_some() {
        return UNREADABLE;
    }
    if let Some(usage) = error.downcast_ref::<Usage>() {
        return match usage {
            Usage::NoDevice(_) => 5,
            Usage::DeviceExists(_) | Usage::NotEmpty(_) | Usage::OtherAccount { .. } => 6,
            _ => 2,
        };
    }
    error.downcast_ref::<Error>().map_or(1, of_sdk)
}

/// The exit code of an error of the sdk.
pub(crate) fn of_sdk(error: &Error) -> u8 {
    match error.root() {
        Error::InvalidUsername(_)
        | Error::EmptyText
        | Error::TextTooLong { .. }
        | Error::OwnName
        | Error::Invite(_)
        | Error::LinkCode(_) => 2,
        Error::WrongPassword | Error::LoginRefused(_) => 3,
        Error::Connect(ConnectError::Untrusted(_)) => VERIFICATION,
        Error::Connect(_) | Error::Offline => UNREACHABLE,
        Error::UnknownUser(_)
        | Error::UnknownConversation(_)
        | Error::NoKeyPackage { .. }
        | Error::NotAMember(_)
        | Error::Expired(_) => 5,
        Error::NameTaken(_)
        | Error::AlreadyRegistered
        | Error::StoreInUse(_)
        | Error::OtherUser { .. }
        | Error::TooManyRaces => 6,
        Error::NotMember
        | Error::NotWelcomed(_)
        | Error::NotAllowed(_)
        | Error::LastOwner
        | Error::Mls(MlsError::Denied(_)) => 7,
        Error::IdentityChanged(_)
        | Error::BadDirectory(_)
        | Error::WrongKeyPackage(_)
        | Error::WrongSuccessor(_)
        | Error::WrongOffer
        | Error::Certificate(_)
        | Error::Signature(_)
        | Error::Chain(_)
        | Error::Receipt(_)
        | Error::ReceiptEpoch(_) => VERIFICATION,
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
        assert_eq!(code(&Usage::DeviceExists("here".into()).into()), 6);
    }
}
