//! The health of a server, as gRPC's own protocol `grpc.health.v1` asks for it.

use prost::Message;

/// Path of the call.
pub(super) const CHECK: &str = "/grpc.health.v1.Health/Check";

/// Request of `Check`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HealthCheckRequest {
    /// Name of the service; empty for the whole server.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// Answer of `Check`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HealthCheckResponse {
    /// 1 if the service takes calls, 2 if it ends.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

impl HealthCheckResponse {
    /// State of a server that ends, or does not.
    pub fn of(draining: bool) -> HealthCheckResponse {
        let status = if draining { 2 } else { 1 };
        HealthCheckResponse { status }
    }
}
