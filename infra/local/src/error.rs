//! The one error of the local stack: what was being done, and why it failed.

use std::error::Error as StdError;

/// Says what could not be done; its source says why.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error that has no cause below it.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: None,
        }
    }

    /// For `map_err`: keeps the cause below what was being done.
    pub fn because<E>(message: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let message = message.into();
        move |cause| Self {
            message,
            source: Some(cause.into()),
        }
    }

    /// The message and every cause, on one line.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
