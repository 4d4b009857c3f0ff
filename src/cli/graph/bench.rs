//! `shardloom graph bench`: how fast neighbourhoods are sampled.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use clap::{Args, ValueEnum};
use rand::RngExt;
use serde::Serialize;
use shardloom::dataset::Triple;
use shardloom::graph::{Graph, Memory, Side};
use shardloom::neighborhood::{
    Batch, Direction, Draw, Exclude, PprPlan, PprRanker, SampleError, SamplePlan, Sampler, Seeds,
};
use shardloom::rng::{Purpose, stream};

use super::super::outcome::CommandResult;
use super::reads;
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
    /// Work to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "nodes")]
    work: Vec<Work>,
    /// Seeds of a batch, drawn uniformly; the two ends of a fact are two.
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
    /// PageRank: probability that a walk goes back to its seed.
    #[arg(long, default_value_t = 0.25)]
    alpha: f64,
    /// PageRank: bound of the error.
    #[arg(long, default_value_t = 1e-4)]
    epsilon: f64,
    /// The memory that the file is read from.
    #[arg(long, value_enum, default_value_t = Memory::File)]
    memory: Memory,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

/// Work that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Work {
    /// Neighbourhoods of nodes.
    Nodes,
    /// Neighbourhoods of the ends of facts.
    Facts,
    /// The same, without these facts and their inverses, and with the number of each fact.
    Exclusion,
    /// Personalised PageRank of nodes, the best 50.
    Ppr,
    /// Random reads of the graph's sections, which limit all samplers.
    Reads,
}

/// Figures of some work on a number of threads.
#[derive(Debug, Serialize)]
struct Figures {
    work: Work,
    threads: u32,
    batches: u64,
    facts_a_batch: f64,
    nodes_a_batch: f64,
    /// Processor time of a batch; time on the clock where the system does not tell.
    cpu_milliseconds_a_batch: f64,
    cpu_microseconds_a_seed: f64,
    facts_a_core_second: f64,
    facts_a_second: f64,
}

/// Random reads a core-second, and what follows for one thread's neighbourhoods of nodes.
#[derive(Debug, Serialize)]
struct Reads {
    work: Work,
    neighbors_a_core_second: f64,
    bounds_a_core_second: f64,
    /// Facts that reads alone allow: of a fact's neighbour, of its number in the batch, and of the bounds of each new node.
    limit_facts_a_core_second: f64,
    /// Share of the limit that the sampler reaches; `None` if that was not measured.
    share_of_limit: Option<f64>,
}

/// Facts and nodes that a batch had.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    facts: usize,
    nodes: usize,
}

/// Runs the command.
///
/// # Errors
/// If the file cannot be read, or the arguments do not fit the graph.
pub fn run(args: BenchArgs) -> CommandResult {
    let graph = Graph::open_in(&args.file, args.memory)?;
    graph.check(&args.file)?;
    if graph.nodes() == 0 || graph.facts() == 0 {
        return Err(format!("{}: the graph has no facts", args.file.display()).into());
    }
    let mut plan = args.plan.plan()?;
    plan.facts = args.facts;
    let (mut text, mut rows) = (String::new(), Vec::new());
    let mut figures: Vec<Figures> = Vec::new();
    for &work in args.work.iter().filter(|&&work| work != Work::Reads) {
        for &threads in &args.threads {
            let found = measure(&graph, work, &plan, &args, threads)?;
            text += &found.to_text();
            rows.push(serde_json::to_value(&found)?);
            figures.push(found);
        }
    }
    if args.work.contains(&Work::Reads) {
        let one = |of: &&Figures| of.work == Work::Nodes && of.threads == 1;
        let found = random_reads(&graph, &args, figures.iter().find(one));
        text += &found.to_text();
        rows.push(serde_json::to_value(&found)?);
    }
    if args.json {
        text = format!("{:#}\n", serde_json::Value::from(rows));
    }
    Ok(io::stdout().write_all(text.as_bytes())?)
}

impl Figures {
    fn to_text(&self) -> String {
        let name = self.work.to_possible_value();
        let name = name.as_ref().map_or("", |name| name.get_name());
        let threads = self.threads;
        match self.work {
            Work::Ppr => format!(
                "{name}, {threads} threads: {:.1} µs of processor time a seed, {:.0} nodes\n",
                self.cpu_microseconds_a_seed, self.nodes_a_batch
            ),
            _ => format!(
                "{name}, {threads} threads: {:.2} ms of processor time a batch, {:.0} facts, {:.0} nodes; {:.1} M facts a \
                 core-second, {:.1} M facts a second\n",
                self.cpu_milliseconds_a_batch,
                self.facts_a_batch,
                self.nodes_a_batch,
                self.facts_a_core_second / 1e6,
                self.facts_a_second / 1e6
            ),
        }
    }
}

impl Reads {
    fn to_text(&self) -> String {
        let share = self.share_of_limit;
        let share = share.map_or(String::new(), |share| {
            format!("; {:.0} % of them are reached", 100.0 * share)
        });
        format!(
            "reads: {:.0} M neighbours and {:.0} M bounds a core-second, which allow {:.1} M facts{share}\n",
            self.neighbors_a_core_second / 1e6,
            self.bounds_a_core_second / 1e6,
            self.limit_facts_a_core_second / 1e6
        )
    }
}

/// Measures random reads. `nodes` are figures of the sampler on one thread.
fn random_reads(graph: &Graph, args: &BenchArgs, nodes: Option<&Figures>) -> Reads {
    let side = match args.plan.direction() {
        Direction::In => Side::In,
        _ => Side::Out,
    };
    let rows = graph.rows(side);
    let (neighbors, bounds) = (reads::rate(rows.neighbors), reads::rate(rows.bounds));
    // A new node is expanded unless the last hop met it; the table of numbers is as large as the bounds.
    let new = nodes.map_or(0.7, |nodes| nodes.nodes_a_batch / nodes.facts_a_batch);
    let limit = 1.0 / (1.0 / neighbors + (1.0 + new) / bounds);
    Reads {
        work: Work::Reads,
        neighbors_a_core_second: neighbors,
        bounds_a_core_second: bounds,
        limit_facts_a_core_second: limit,
        share_of_limit: nodes.map(|nodes| nodes.facts_a_core_second / limit),
    }
}

/// Random fact of a graph.
fn random_fact(graph: &Graph, random: &mut impl RngExt) -> Triple {
    let rows = graph.rows(Side::Out);
    let place = random.random_range(0..graph.facts());
    let head = rows.bounds.partition_point(|&bound| bound <= place) - 1;
    Triple {
        head: head as u32,
        relation: rows.relations.get(place as usize),
        tail: rows.neighbors[place as usize],
    }
}

/// Draws the batches of one thread.
struct Worker<'a> {
    graph: &'a Graph,
    work: Work,
    plan: SamplePlan,
    ppr: PprPlan,
    batch: u32,
    thread: u64,
    sampler: Sampler,
    ranker: PprRanker,
    /// Memory of all batches.
    sampled: Batch,
}

impl Worker<'_> {
    fn batch(&mut self, index: u64) -> Result<Counts, SampleError> {
        let graph = self.graph;
        let mut random = stream(self.thread, Purpose::Graph, [u64::MAX, index]);
        let draw = Draw {
            seed: 0,
            epoch: self.thread,
            index,
        };
        let batch = &mut self.sampled;
        match self.work {
            Work::Facts | Work::Exclusion => {
                let facts: Vec<Triple> = (0..self.batch.div_ceil(2))
                    .map(|_| random_fact(graph, &mut random))
                    .collect();
                let seeds = Seeds::Facts(&facts);
                self.sampler
                    .sample_into(graph, &seeds, &self.plan, draw, batch)?;
            }
            Work::Nodes | Work::Reads => {
                let nodes: Vec<u32> = (0..self.batch)
                    .map(|_| random.random_range(0..graph.nodes()))
                    .collect();
                let seeds = Seeds::Nodes(&nodes);
                self.sampler
                    .sample_into(graph, &seeds, &self.plan, draw, batch)?;
            }
            Work::Ppr => {
                let mut counts = Counts::default();
                for _ in 0..self.batch {
                    let seed = random.random_range(0..graph.nodes());
                    counts.nodes += self.ranker.rank(graph, seed, &self.ppr)?.nodes.len();
                }
                counts.nodes /= self.batch as usize;
                return Ok(counts);
            }
        }
        Ok(Counts {
            facts: batch.facts(),
            nodes: batch.nodes.len(),
        })
    }
}

fn measure(
    graph: &Graph,
    work: Work,
    plan: &SamplePlan,
    args: &BenchArgs,
    threads: u32,
) -> Result<Figures, SampleError> {
    let mut plan = plan.clone();
    if work == Work::Exclusion {
        plan.exclude = Exclude::SeedsAndInverse;
        plan.facts = true;
    }
    let ppr = PprPlan {
        alpha: args.alpha,
        epsilon: args.epsilon,
        direction: plan.direction,
        ..PprPlan::default()
    };
    let warm = Barrier::new(threads as usize + 1);
    let (counts, cpu, clock) = thread::scope(|scope| {
        let workers: Vec<_> = (0..u64::from(threads))
            .map(|thread| {
                let (warm, plan) = (&warm, plan.clone());
                scope.spawn(move || {
                    let mut worker = Worker {
                        graph,
                        work,
                        plan,
                        ppr,
                        batch: args.batch,
                        thread,
                        sampler: Sampler::new(),
                        ranker: PprRanker::default(),
                        sampled: Batch::default(),
                    };
                    let first = (0..WARM).try_for_each(|index| worker.batch(index).map(drop));
                    warm.wait();
                    first?;
                    let mut all = Counts::default();
                    for index in WARM..WARM + args.batches {
                        let counts = worker.batch(index)?;
                        all.facts += counts.facts;
                        all.nodes += counts.nodes;
                    }
                    Ok::<_, SampleError>(all)
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
    let mut all = Counts::default();
    for count in counts {
        // A thread that panics has been told of.
        let count = count.unwrap_or(Ok(Counts::default()))?;
        all.facts += count.facts;
        all.nodes += count.nodes;
    }
    let batches = args.batches * u64::from(threads);
    Ok(Figures {
        work,
        threads,
        batches,
        facts_a_batch: all.facts as f64 / batches as f64,
        nodes_a_batch: all.nodes as f64 / batches as f64,
        cpu_milliseconds_a_batch: cpu * 1e3 / batches as f64,
        cpu_microseconds_a_seed: cpu * 1e6 / (batches as f64 * f64::from(args.batch)),
        facts_a_core_second: all.facts as f64 / cpu,
        facts_a_second: all.facts as f64 / clock,
    })
}

/// Processor time of this process; `None` where the system does not tell.
pub(super) fn processor_seconds() -> Option<f64> {
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
