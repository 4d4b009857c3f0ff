#!/usr/bin/env bash
# A RecordBatch that goes through FlightDataEncoder of arrow-flight 60.1.0 comes out of FlightRecordBatchStream as
# two when its data exceed 2 MiB, as 4096 rows of a u32 and 128 f32 do. Who answers a request with one batch and
# reads one batch loses half of the rows, without an error, and only once requests are large enough.
#
# One would guess that batches are what a stream of Flight is made of, and that they keep their bounds, as they do
# in Arrow's files and streams of IPC; gRPC's own limit of 4 MiB for a message is not reached.
#
# Seen: 4000 rows arrive as one batch, 4096 as two of 2048.
# Cure: FlightDataEncoderBuilder::with_max_flight_data_size(usize::MAX), or to read until the stream ends.
# Needs cargo. Exit status 0: as described; 1: it changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
arrow-array = "=60.1.0"
arrow-flight = "=60.1.0"
arrow-schema = "=60.1.0"
futures = { version = "0.3", default-features = false, features = ["executor", "std"] }
TOML
cat >src/main.rs <<'RUST'
use std::sync::Arc;

use arrow_array::{FixedSizeListArray, Float32Array, RecordBatch, UInt32Array};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_schema::{DataType, Field};
use futures::{StreamExt, TryStreamExt, stream};

/// Numbers of rows of the batches that arrive of one batch of `rows` rows.
fn arrived(rows: usize) -> String {
    let ids = UInt32Array::from_iter_values(0..rows as u32);
    let values = Float32Array::from(vec![1.0; rows * 128]);
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let list = FixedSizeListArray::new(item, 128, Arc::new(values), None);
    let columns = [("id", Arc::new(ids) as _), ("values", Arc::new(list) as _)];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let sent = FlightDataEncoderBuilder::new().build(stream::iter([Ok(batch)]));
    let received = FlightRecordBatchStream::new_from_flight_data(sent);
    let sizes = received.map(|batch| batch.map(|batch| batch.num_rows().to_string()));
    let sizes: Vec<String> = futures::executor::block_on(sizes.try_collect()).expect("batches");
    sizes.join("+")
}

fn main() {
    println!("{} {}", arrived(4000), arrived(4096));
}
RUST
cargo run --quiet >out 2>err || { cat err >&2; exit 1; }
read -r small large <out
echo "arrow-flight 60.1.0: 4000 rows arrive as $small, 4096 as $large"
[ "$small" = 4000 ] && [ "$large" = 2048+2048 ]
