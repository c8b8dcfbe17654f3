//! Why a worker ends before it is told to.

use bellbuoy_broker::BrokerError;
use bellbuoy_store::StoreError;

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
