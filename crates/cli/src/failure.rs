//! How commands fail: a message for people, an exit code for pipelines.

use std::fmt;

/// The exit codes, as documented in `docs/CLI.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// It did not work.
    Error = 1,
    /// The command line or the file is not acceptable, or differences are pending.
    Usage = 2,
    /// No valid credential.
    Unauthenticated = 3,
    /// The credential may not do this.
    Forbidden = 4,
    /// There is no such thing.
    NotFound = 5,
    /// Taken, still used, or changed meanwhile.
    Conflict = 6,
}

/// Why a command ended.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// Empty when everything has been said.
    pub(crate) message: String,
}

/// What commands return.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::new(Code::Error, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// Says what was being done when it failed.
    pub(crate) fn during(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

/// Of reading and writing streams: what goes wrong with files says which.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::error(error.to_string())
    }
}
