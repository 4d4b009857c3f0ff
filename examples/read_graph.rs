//! Seconds from a graph's files to a ready filter index: `cargo run --release --example read_graph -- GRAPH`.
//!
//! `benches/reading.sh` compares two builds of it.

use std::time::Instant;

use shardloom::dataset::{Dataset, LoadOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let graph = std::env::args().nth(1).ok_or("usage: read_graph GRAPH")?;
    let start = Instant::now();
    let dataset = Dataset::load(&graph, &LoadOptions::default())?;
    let read = start.elapsed().as_secs_f64();
    let index = dataset.filter_index();
    let ready = start.elapsed().as_secs_f64();
    println!(
        "{read:.3} s to read {} facts of {} entities, {ready:.3} s to an index of {} bytes",
        dataset.train.len() + dataset.valid.len() + dataset.test.len(),
        dataset.entities.len(),
        index.bytes()
    );
    Ok(())
}
