//! What the benchmarks share: devices to measure, and a file for results.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use shardloom::bench::devices;
use shardloom::device::Device;

/// The result of a benchmark.
pub type BenchResult<T> = Result<T, Box<dyn Error>>;

/// Tells the error of a benchmark on stderr.
pub fn exit(result: BenchResult<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Flags of every benchmark.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// Device to compute on: auto, cpu, gpu, gpu:N or all (see `shardloom devices`).
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Print a line of JSON for each result.
    #[arg(long)]
    pub json: bool,
    /// Write the lines of JSON to a file.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Ignored: `cargo bench` gives this flag to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl CommonArgs {
    /// Opens the devices.
    pub fn devices(&self) -> BenchResult<Vec<Device>> {
        let opened = devices(&self.device)?.into_iter().map(|opened| {
            if let Some(note) = opened.note {
                eprintln!("{note}");
            }
            opened.device
        });
        Ok(opened.collect())
    }
}
