//! A graph beyond every cache of a processor: that of the figures in docs/graph-store.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::RngExt;

use super::super::file::{FileSink, Sink};
use super::super::header::{Description, SectionName};
use super::super::{Builder, Graph};
use crate::dataset::Triple;
use crate::neighborhood::{Batch, Draw, SamplePlan, Sampler, Seeds};
use crate::rng::{Purpose, Stream, stream};

/// Ends of facts, as Chung and Lu draw them: node *i* has the weight (*i* + 20)^-0.75 before nodes are mixed up.
struct Ends {
    nodes: u32,
    random: Stream,
}

impl Ends {
    /// A prime number, by which nodes are mixed up.
    const MIX: u64 = 10_000_019;

    fn new(nodes: u32) -> Ends {
        let random = stream(20, Purpose::Graph, [0, 0]);
        Ends { nodes, random }
    }

    fn end(&mut self) -> u32 {
        // The integral of the weights is their sum, all but exactly.
        let [first, last] = [20.0, f64::from(self.nodes) + 20.0].map(|at: f64| at.sqrt().sqrt());
        let root = first + (last - first) * self.random.random::<f64>();
        let node = (root.powi(4) - 20.0).max(0.0) as u64;
        (node.min(u64::from(self.nodes) - 1) * Ends::MIX % u64::from(self.nodes)) as u32
    }

    fn fact(&mut self) -> [u32; 2] {
        [self.end(), self.end()]
    }
}

/// Place of the first fact of each node, and the number of all facts, out of the numbers of facts.
fn bounds(mut counts: Vec<u32>) -> Vec<u32> {
    let mut sum = 0;
    for count in &mut counts {
        sum += std::mem::replace(count, sum);
    }
    counts.push(sum);
    counts
}

/// Nodes with facts.
fn with_facts(bounds: &[u32]) -> Vec<u32> {
    let rows = (0..).zip(bounds.windows(2));
    rows.filter(|(_, row)| row[0] < row[1])
        .map(|(node, _)| node)
        .collect()
}

/// Writes the file that a [`Builder`] writes of these facts, all of weight 1, in a third of its memory: facts are drawn twice
/// rather than kept.
fn write(path: &Path, nodes: u32, facts: u32) {
    let mut sink = FileSink::create(path).unwrap();
    let mut section =
        |name, numbers: &[u32]| sink.section(name, bytemuck::cast_slice(numbers)).unwrap();
    let mut ends = Ends::new(nodes);
    let mut counts = [vec![0; nodes as usize], vec![0; nodes as usize]];
    for _ in 0..facts {
        for (counts, end) in counts.iter_mut().zip(ends.fact()) {
            counts[end as usize] += 1;
        }
    }
    let [out_bounds, in_bounds] = counts.map(bounds);
    let mut tails = vec![0; facts as usize];
    let mut next = out_bounds.clone();
    let mut ends = Ends::new(nodes);
    for _ in 0..facts {
        let [head, tail] = ends.fact();
        tails[next[head as usize] as usize] = tail;
        next[head as usize] += 1;
    }
    for row in out_bounds.windows(2) {
        tails[row[0] as usize..row[1] as usize].sort_unstable();
    }
    let weights = vec![1f32.to_bits(); facts as usize];
    section(SectionName::OutBounds, &out_bounds);
    section(SectionName::OutNeighbors, &tails);
    section(SectionName::OutWeights, &weights);
    let heads = with_facts(&out_bounds);
    section(SectionName::HeadBounds, &[0, heads.len() as u32]);
    section(SectionName::Heads, &heads);
    drop(weights);
    // Rows by head are read in their order, and so rows by tail are sorted.
    let mut next = in_bounds.clone();
    let (mut heads, mut numbers) = (vec![0; facts as usize], vec![0; facts as usize]);
    for (head, row) in (0..).zip(out_bounds.windows(2)) {
        for number in row[0]..row[1] {
            let next = &mut next[tails[number as usize] as usize];
            heads[*next as usize] = head;
            numbers[*next as usize] = number;
            *next += 1;
        }
    }
    drop(tails);
    section(SectionName::InBounds, &in_bounds);
    section(SectionName::InNeighbors, &heads);
    section(SectionName::InFacts, &numbers);
    drop((heads, numbers));
    section(
        SectionName::InWeights,
        &vec![1f32.to_bits(); facts as usize],
    );
    let tails = with_facts(&in_bounds);
    section(SectionName::TailBounds, &[0, tails.len() as u32]);
    section(SectionName::Tails, &tails);
    let description = Description {
        name: "graph".to_owned(),
        nodes,
        relations: 1,
        facts,
        held_out: 0,
        part: None,
        sections: Vec::new(),
    };
    sink.finish(description).unwrap();
}

#[test]
fn a_file_of_facts_that_are_drawn_twice_is_that_of_a_builder() {
    let folder = tempfile::tempdir().unwrap();
    let [drawn, built] = ["drawn", "built"].map(|name| folder.path().join(name));
    let (nodes, facts) = (1000, 10_000);
    write(&drawn, nodes, facts);
    let mut ends = Ends::new(nodes);
    let all: Vec<Triple> = (0..facts)
        .map(|_| {
            let [head, tail] = ends.fact();
            let relation = 0;
            Triple {
                head,
                relation,
                tail,
            }
        })
        .collect();
    let weights = vec![1.0; facts as usize];
    let builder = Builder::new(nodes, 1).weights(&weights);
    builder.write(&all, &built).unwrap();
    assert_eq!(fs::read(drawn).unwrap(), fs::read(built).unwrap());
}

/// Processor time of this thread, in seconds.
#[cfg(target_os = "linux")]
fn processor_time() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call fills the struct.
    let told = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(told, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// 16.8 million nodes, 268 million facts: 1 GiB of neighbours on each side, 5.2 GiB of file. `SHARDLOOM_LARGE_GRAPH` names the file,
/// which is made if it is not there and stays; without the variable, the file is made in a temporary folder.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "measures: on an idle machine, in release"]
fn a_large_graph_opens_at_once_and_is_sampled_fast() {
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::var_os("SHARDLOOM_LARGE_GRAPH").map(PathBuf::from);
    let path = path.unwrap_or_else(|| folder.path().join("large.graph"));
    if !path.exists() {
        let start = Instant::now();
        write(&path, 16_800_000, 268_000_000);
        println!("written in {:.0} s", start.elapsed().as_secs_f64());
    }
    let start = Instant::now();
    let graph = Graph::open(&path).unwrap();
    let opened = start.elapsed();
    println!(
        "{} bytes opened in {opened:?}",
        fs::metadata(&path).unwrap().len()
    );
    let start = Instant::now();
    graph.check(&path).unwrap();
    println!("checked in {:.1} s", start.elapsed().as_secs_f64());
    let plan = SamplePlan::uniform(&[15, 10, 5]);
    let (mut sampler, mut batch) = (Sampler::new(), Batch::default());
    let mut random = stream(1, Purpose::Graph, [1, 1]);
    let (mut times, mut facts) = (Vec::new(), 0);
    for index in 0..50 {
        let nodes: Vec<u32> = (0..1024)
            .map(|_| random.random_range(0..graph.nodes()))
            .collect();
        let draw = Draw {
            seed: 1,
            epoch: 0,
            index,
        };
        let start = processor_time();
        let seeds = Seeds::Nodes(&nodes);
        sampler
            .sample_into(&graph, &seeds, &plan, draw, &mut batch)
            .unwrap();
        times.push((processor_time() - start) / batch.facts() as f64);
        facts += batch.facts();
    }
    times.sort_by(f64::total_cmp);
    let rate = 1.0 / times[times.len() / 2];
    println!(
        "{:.1} M facts a core-second, {} facts a batch",
        rate / 1e6,
        facts / times.len()
    );
    assert!(opened <= Duration::from_millis(100), "{opened:?}");
    assert!(rate >= 25e6, "{rate}");
}
