//! Errors of stores as codes and sentences of gRPC, and back.

use tonic::{Code, Status};

use crate::neighborhood::SampleError;
use crate::store::StoreError;

/// Code of an error.
fn code(error: &StoreError) -> Code {
    match error {
        StoreError::Sample(error) => match error {
            SampleError::TooLarge { .. } => Code::ResourceExhausted,
            SampleError::NoWeights | SampleError::NoTimes | SampleError::Part(_) => {
                Code::FailedPrecondition
            }
            SampleError::Damaged(_) => Code::DataLoss,
            _ => Code::InvalidArgument,
        },
        StoreError::Setting { .. } | StoreError::Relation { .. } | StoreError::Position { .. } => {
            Code::InvalidArgument
        }
        StoreError::UnknownChannel(_) | StoreError::UnknownSampler(_) => Code::NotFound,
        StoreError::KeyTaken { .. } => Code::AlreadyExists,
        StoreError::NotStarted | StoreError::OtherEpoch { .. } | StoreError::OtherGraph { .. } => {
            Code::FailedPrecondition
        }
        StoreError::Closed => Code::Aborted,
        StoreError::Draining | StoreError::Unreachable { .. } => Code::Unavailable,
        StoreError::Limit { .. } => Code::ResourceExhausted,
        StoreError::Timeout(_) => Code::DeadlineExceeded,
        StoreError::Packed(_) => Code::DataLoss,
        _ => Code::Internal,
    }
}

/// Status of an error: its code and its sentence.
pub(super) fn status(error: &StoreError) -> Status {
    Status::new(code(error), error.to_string())
}
