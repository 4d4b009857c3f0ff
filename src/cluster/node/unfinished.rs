//! Reasons why a node does not finish its part of a step.

use super::RouteError;
use crate::coordinator::Failure;
use crate::ids::WorkerId;
use crate::kernel::KernelError;
use crate::server::ServerError;

/// Reason why a part was not computed.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// The part is not wanted any more: the nodes have changed.
    Superseded(String),
    /// Another node cannot be reached.
    Unreachable(WorkerId, String),
    /// The node cannot go on.
    Failed(Failure),
}

impl Unfinished {
    /// The reason as a failure of the node.
    pub fn into_failure(self) -> Failure {
        match self {
            Unfinished::Failed(failure) => failure,
            Unfinished::Superseded(message) | Unfinished::Unreachable(_, message) => {
                Failure::Other { message }
            }
        }
    }
}

pub(super) fn failed(error: impl ToString) -> Unfinished {
    Unfinished::Failed(Failure::Other {
        message: error.to_string(),
    })
}

pub(super) fn lost(error: KernelError) -> Unfinished {
    Unfinished::Failed(Failure::DeviceLost {
        message: error.to_string(),
    })
}

pub(super) fn unfinished(RouteError { worker, error }: RouteError) -> Unfinished {
    match error {
        ServerError::Generation { .. }
        | ServerError::UnknownWorker { .. }
        | ServerError::Reconfigured { .. }
        | ServerError::LayoutChanged
        | ServerError::Late { .. }
        | ServerError::PastStep { .. }
        | ServerError::NotReached { .. }
        | ServerError::Unled { .. }
        // A holder has joined the next leader: this node's session is about to end.
        | ServerError::OldEpoch { .. }
        | ServerError::Stopped => Unfinished::Superseded(error.to_string()),
        error if error.is_lost() => Unfinished::Unreachable(worker, error.to_string()),
        ServerError::Kernel(error) => Unfinished::Failed(Failure::DeviceLost {
            message: error.to_string(),
        }),
        error => failed(error),
    }
}
