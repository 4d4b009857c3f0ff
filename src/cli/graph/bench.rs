//! `shardloom graph bench`: how many facts a second are sampled.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use clap::Args;
use rand::RngExt;
use serde::Serialize;
use shardloom::graph::Graph;
use shardloom::neighborhood::{Draw, SampleError, SamplePlan, Sampler, Seeds};
use shardloom::rng::{Purpose, stream};

use super::super::outcome::CommandResult;
use super::sample::PlanArgs;

/// Batches of each thread that are not measured.
const WARM: u64 = 3;

/// Arguments of `graph bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A graph file, as `graph build` wrote it.
    file: PathBuf,
    #[command(flatten)]
    plan: PlanArgs,
    /// Seeds of a batch, drawn uniformly.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Batches of each thread.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..))]
    batches: u64,
    /// Numbers of threads to measure with.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Vec<u32>,
    /// Name the number of each fact, too.
    #[arg(long)]
    facts: bool,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

/// Figures of one number of threads.
#[derive(Debug, Serialize)]
struct Figures {
    threads: u32,
    batches: u64,
    facts_a_batch: f64,
    nodes_a_batch: f64,
    /// Processor time of a batch; time on the clock where the system does not tell.
    cpu_milliseconds_a_batch: f64,
    facts_a_core_second: f64,
    facts_a_second: f64,
}

/// Runs the command.
///
/// # Errors
/// If the file cannot be read, or the arguments do not fit the graph.
pub fn run(args: BenchArgs) -> CommandResult {
    let graph = Graph::open(&args.file)?;
    graph.check(&args.file)?;
    if graph.nodes() == 0 {
        return Err(format!("{}: the graph has no nodes", args.file.display()).into());
    }
    let mut plan = args.plan.plan()?;
    plan.facts = args.facts;
    let figures: Vec<Figures> = (args.threads.iter())
        .map(|&threads| measure(&graph, &plan, &args, threads))
        .collect::<Result<_, _>>()?;
    let mut text = String::new();
    if args.json {
        text = format!("{:#}\n", serde_json::to_value(&figures)?);
    } else {
        for figures in figures {
            text += &format!(
                "{} threads: {:.2} ms of processor time a batch, {:.0} facts, {:.0} nodes; {:.1} M facts a core-second, \
                 {:.1} M facts a second\n",
                figures.threads,
                figures.cpu_milliseconds_a_batch,
                figures.facts_a_batch,
                figures.nodes_a_batch,
                figures.facts_a_core_second / 1e6,
                figures.facts_a_second / 1e6
            );
        }
    }
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn measure(
    graph: &Graph,
    plan: &SamplePlan,
    args: &BenchArgs,
    threads: u32,
) -> Result<Figures, SampleError> {
    let warm = Barrier::new(threads as usize + 1);
    let (counts, cpu, clock) = thread::scope(|scope| {
        let workers: Vec<_> = (0..u64::from(threads))
            .map(|thread| {
                let warm = &warm;
                scope.spawn(move || {
                    let mut sampler = Sampler::new();
                    let (mut facts, mut nodes) = (0, 0);
                    let mut sample = |index: u64| {
                        let mut random = stream(thread, Purpose::Graph, [u64::MAX, index]);
                        let seeds: Vec<u32> = (0..args.batch)
                            .map(|_| random.random_range(0..graph.nodes()))
                            .collect();
                        let draw = Draw {
                            seed: 0,
                            epoch: thread,
                            index,
                        };
                        sampler.sample(graph, &Seeds::Nodes(&seeds), plan, draw)
                    };
                    let first = (0..WARM).try_for_each(|index| sample(index).map(drop));
                    warm.wait();
                    first?;
                    for index in WARM..WARM + args.batches {
                        let batch = sample(index)?;
                        facts += batch.facts();
                        nodes += batch.nodes.len();
                    }
                    Ok::<_, SampleError>((facts, nodes))
                })
            })
            .collect();
        warm.wait();
        let (cpu, clock) = (processor_seconds(), Instant::now());
        let counts: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        let clock = clock.elapsed().as_secs_f64();
        let cpu = cpu.and_then(|cpu| Some(processor_seconds()? - cpu));
        (counts, cpu.unwrap_or(clock * f64::from(threads)), clock)
    });
    let (mut facts, mut nodes) = (0, 0);
    for count in counts {
        // A thread that panics has been told of.
        let (more_facts, more_nodes) = count.unwrap_or(Ok((0, 0)))?;
        facts += more_facts;
        nodes += more_nodes;
    }
    let batches = args.batches * u64::from(threads);
    Ok(Figures {
        threads,
        batches,
        facts_a_batch: facts as f64 / batches as f64,
        nodes_a_batch: nodes as f64 / batches as f64,
        cpu_milliseconds_a_batch: cpu * 1e3 / batches as f64,
        facts_a_core_second: facts as f64 / cpu,
        facts_a_second: facts as f64 / clock,
    })
}

/// Processor time of this process; `None` where the system does not tell.
fn processor_seconds() -> Option<f64> {
    #[cfg(unix)]
    {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the call fills the struct.
        let told = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
        (told == 0).then_some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
    }
    #[cfg(not(unix))]
    None
}
