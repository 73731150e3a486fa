//! Exit codes.

use std::process::ExitCode;

use qpc_sdk::{Error, transport::ConnectError};
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
}

/// Code of an interrupted program.
pub(crate) const INTERRUPTED: u8 = 130;
/// Code of a server that cannot be reached.
pub(crate) const UNREACHABLE: u8 = 4;

/// Prints an error and returns its code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    crate::console::complain(format_args!("qpc: {error:#}"));
    ExitCode::from(code(error))
}

/// The exit code of an error.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<Usage>().is_some() {
        return 2;
    }
    error.downcast_ref::<Error>().map_or(1, of_sdk)
}

/// The exit code of an error of the sdk.
pub(crate) fn of_sdk(error: &Error) -> u8 {
    match error.root() {
        Error::InvalidUsername(_) | Error::EmptyText | Error::TextTooLong { .. } | Error::OwnName => 2,
        Error::WrongPassword | Error::LoginRefused(_) => 3,
        Error::Connect(ConnectError::Untrusted(_)) => 8,
        Error::Connect(_) | Error::Offline => UNREACHABLE,
        Error::UnknownUser(_) | Error::UnknownConversation(_) | Error::NoKeyPackage { .. } => 5,
        Error::NameTaken(_) | Error::AlreadyRegistered | Error::StoreInUse(_) | Error::OtherUser { .. } => 6,
        Error::NotMember | Error::NotWelcomed(_) => 7,
        Error::IdentityChanged(_)
        | Error::BadDirectory(_)
        | Error::WrongKeyPackage(_)
        | Error::Certificate(_)
        | Error::Signature(_)
        | Error::Receipt(_)
        | Error::ReceiptEpoch(_) => 8,
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
    }
}
