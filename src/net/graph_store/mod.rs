//! The graph store between processes, over gRPC: `proto/graph_store.proto`.

pub mod message;
