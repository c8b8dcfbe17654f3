//! Why a worker ends before it is told to.

use std::error::Error;

use bellbuoy_broker::BrokerError;
use bellbuoy_store::StoreError;
use tracing::warn;

/// The worker gave its claims back and is to be started again after a while.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The broker did not take or give.
    #[error("the broker failed")]
    Broker(#[from] BrokerError),
    /// The store did not answer.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Why a worker stops in the middle of something. Nothing is lost: its claims go back.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It was told to, while it waited for something that is out of reach.
    Stopped,
    /// It can't go on.
    Failed(WorkerError),
}

impl Halt {
    /// As [`WorkerError::outlived`].
    pub(crate) fn outlived(self, role: &str) -> Result<(), Self> {
        match self {
            Self::Stopped => Err(Self::Stopped),
            Self::Failed(error) => error.outlived(role).map_err(Self::Failed),
        }
    }

    /// What `run` answers.
    pub(crate) fn into_result(self) -> Result<(), WorkerError> {
        match self {
            Self::Stopped => Ok(()),
            Self::Failed(error) => Err(error),
        }
    }
}

impl WorkerError {
    /// Nothing to stop for, when only the claims in hand are lost: their messages come again.
    pub(crate) fn outlived(self, role: &str) -> Result<(), Self> {
        match self {
            Self::Broker(lost @ BrokerError::Lost) => {
                warn!("worker {role} could not settle what it had in hand, and goes on: {lost}");
                Ok(())
            }
            error => Err(error),
        }
    }
}

impl<E: Into<WorkerError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// An error and what caused it, in one line.
pub(crate) fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
