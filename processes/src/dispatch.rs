//! How processes issue commands: in their own name, with keys of their own making, again with the same key while the write
//! side is not available.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use commands::{Bus, Command, Failure, Principal, Receipt, Request};
use uuid::Uuid;

/// Issues the commands of one process.
#[derive(Clone, Debug)]
pub(crate) struct Dispatcher {
    bus: Bus,
    principal: Principal,
}

impl Dispatcher {
    /// In the name of the process.
    pub(crate) fn new(bus: Bus, process: &str) -> Self {
        Self { bus, principal: Principal::system(process) }
    }

    /// Issues the command until it is answered. Drop the future to give up; what it came to is then unknown.
    ///
    /// # Errors
    /// [`Failure`] other than those that pass by themselves.
    pub(crate) async fn send(
        &self,
        idempotency_key: String,
        correlation_id: Uuid,
        command: Command,
    ) -> Result<Receipt, Failure> {
        let request = Request { principal: self.principal.clone(), idempotency_key, correlation_id, command };
        let patience = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(20))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times();
        (|| self.bus.execute(request.clone()))
            .retry(patience)
            .when(|failure| matches!(failure, Failure::Unavailable | Failure::Overloaded))
            .await
    }
}
