//! The one error of the domain, free of transport. Each surface renders it in its own form.

use std::borrow::Cow;

/// What went wrong. `Display` is safe to show to callers; sources go to the log only.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such thing, or none that the caller may know of.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// It exists already, or is still in use.
    #[error("{0}")]
    Conflict(Cow<'static, str>),
    /// Somebody else changed it meanwhile.
    #[error("it was changed meanwhile")]
    Stale,
    /// A field is not acceptable.
    #[error("{detail}")]
    Invalid {
        /// JSON pointer to the field.
        pointer: Cow<'static, str>,
        /// What is wrong.
        detail: Cow<'static, str>,
    },
    /// The caller is known but may not.
    #[error("{0}")]
    Forbidden(Cow<'static, str>),
    /// The database does not answer.
    #[error("the database does not answer")]
    Unavailable(#[source] sqlx::Error),
    /// As much of this is being done as there is room for. Nothing was done; a moment later there may be room.
    #[error("the server does as much of this at once as it can")]
    Busy,
    /// A fault of ours.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The result of domain operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether PostgreSQL chose this transaction among two that waited for each other (SQLSTATE 40P01): the other one went on.
    pub(crate) fn is_deadlock(&self) -> bool {
        let Self::Unavailable(error) = self else {
            return false;
        };
        let code = error.as_database_error().and_then(|refused| refused.code());
        code.as_deref() == Some("40P01")
    }

    /// A field is not acceptable.
    pub fn invalid(pointer: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }

    /// A fault of ours.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(e) if e.is_unique_violation() => Self::Conflict("it exists already".into()),
            sqlx::Error::Database(e) if e.is_foreign_key_violation() => {
                Self::Conflict("something else still uses it, or it refers to something that is gone".into())
            }
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Tls(_)
            | sqlx::Error::Database(_) => Self::Unavailable(error),
            _ => Self::Internal(Box::new(error)),
        }
    }
}
