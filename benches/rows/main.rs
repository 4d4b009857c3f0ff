//! Rows of shards over gRPC, compared with a plain copy over TCP.
//!
//! ```text
//! cargo bench --bench rows
//! ```

mod measure;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use shardloom::server::PackedType;

use measure::{Measurement, Options};

/// Pull and push rows over loopback, and copy the same bytes over TCP in turn
///
/// Worker and owner of the shards have runtimes of their own in one process, and are connected by gRPC as two
/// processes would be. A pull reads random rows of a table, a push applies SGD to them. The copy moves as many
/// bytes of f32 through a TCP socket of blocking threads, without any table. CPU seconds are those of both ends.
#[derive(Debug, Parser)]
#[command(name = "rows", bin_name = "cargo bench --bench rows --")]
struct RowsArgs {
    /// Rows of the table.
    #[arg(long, default_value_t = Options::default().rows)]
    rows: usize,
    /// Values in a row.
    #[arg(long, default_value_t = Options::default().dim)]
    dim: usize,
    /// Rows of a pull or a push.
    #[arg(long, default_value_t = Options::default().batch)]
    batch: usize,
    /// Numbers of clients at once, each with a stream of its own.
    #[arg(long, value_delimiter = ',', value_name = "N,…", default_values_t = Options::default().clients)]
    clients: Vec<usize>,
    /// Type in which values travel.
    #[arg(long, value_enum, default_value_t = Wire::F32)]
    wire: Wire,
    /// Rounds; each measures all work once, and a result is the median over rounds.
    #[arg(long, default_value_t = Options::default().rounds)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = Options::default().time.as_secs_f64())]
    seconds: f64,
    /// Print a line of JSON for each result.
    #[arg(long)]
    json: bool,
    /// Ignored: `cargo bench` gives this flag to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Wire {
    F32,
    F16,
    Bf16,
}

impl Wire {
    fn value_type(self) -> PackedType {
        match self {
            Wire::F32 => PackedType::F32,
            Wire::F16 => PackedType::F16,
            Wire::Bf16 => PackedType::Bf16,
        }
    }
}

fn main() -> ExitCode {
    match run(&RowsArgs::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &RowsArgs) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let options = Options {
        rows: args.rows,
        dim: args.dim,
        batch: args.batch,
        clients: args.clients.clone(),
        value_type: args.wire.value_type(),
        rounds: args.rounds,
        time: Duration::try_from_secs_f64(args.seconds)?,
    };
    let results = measure::run(&options)?;
    if args.json {
        for result in &results {
            println!("{}", shardloom::bench::json(result));
        }
        return Ok(());
    }
    println!(
        "{:<10} {:>7} {:>6} {:>10} {:>8} {:>9} {:>7} {:>9}",
        "WORK", "CLIENTS", "ROWS", "MEDIAN", "GB/s", "COPY GB/s", "SHARE", "CPU s/GB"
    );
    for result in &results {
        let Measurement {
            work,
            clients,
            rows,
            median_s,
            gb_per_second,
            copy_gb_per_second,
            share_of_copy,
            cpu_seconds_per_gb,
            copy_cpu_seconds_per_gb,
        } = result;
        println!(
            "{work:<10} {clients:>7} {rows:>6} {:>10} {gb_per_second:>8.3} {copy_gb_per_second:>9.3} \
             {share_of_copy:>7.3} {cpu_seconds_per_gb:>9.3} (copy {copy_cpu_seconds_per_gb:.3})",
            shardloom::bench::format_seconds(*median_s),
        );
    }
    Ok(())
}
