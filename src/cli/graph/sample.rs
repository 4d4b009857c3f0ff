//! `shardloom graph sample`: the neighbourhood of nodes.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use shardloom::graph::{Graph, Side};
use shardloom::neighborhood::{
    Batch, Direction, Draw, Expand, Fanout, Hop, Pick, SamplePlan, Sampler, Seeds,
};

use super::super::outcome::CommandResult;

/// Arguments of `graph sample`.
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// A graph file, as `graph build` wrote it.
    file: PathBuf,
    /// Names of nodes; repeat the flag for several.
    #[arg(long = "seed", value_name = "NAME", required = true)]
    seeds: Vec<String>,
    #[command(flatten)]
    plan: PlanArgs,
    /// Draw facts before this time only, in trees, one for each seed.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, conflicts_with_all = ["replace", "weighted", "expand"])]
    before: Option<i64>,
    /// With --before: facts at that time, too.
    #[arg(long, requires = "before")]
    inclusive: bool,
    /// With --before: no facts that are older than it by more than this.
    #[arg(long, value_name = "TIME", requires = "before", value_parser = clap::value_parser!(i64).range(0..))]
    window: Option<i64>,
    /// With --before: the latest facts of each row, rather than any.
    #[arg(long, requires = "before")]
    latest: bool,
    /// Key of the draws: the same key, the same neighbourhood.
    #[arg(long, default_value_t = 0)]
    key: u64,
    /// Print the batch as JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments that settle how batches are drawn.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// Facts taken of each row, for each hop; -1 for all.
    #[arg(
        long,
        value_delimiter = ',',
        allow_hyphen_values = true,
        default_value = "10,5"
    )]
    fanouts: Vec<i64>,
    /// Sides of facts.
    #[arg(long, value_enum, default_value_t = Way::Both)]
    direction: Way,
    /// Nodes that a hop expands.
    #[arg(long, value_enum, default_value_t = Expanded::New)]
    expand: Expanded,
    /// Draw facts again and again.
    #[arg(long)]
    replace: bool,
    /// Draw facts by their weights.
    #[arg(long)]
    weighted: bool,
}

/// Sides of facts.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    /// Facts that a node is the head of.
    Out,
    /// Facts that a node is the tail of.
    In,
    /// Both.
    Both,
}

/// Nodes that a hop expands.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Expanded {
    /// Nodes that the hop before met first.
    New,
    /// All nodes met so far.
    All,
    /// Nodes as often as they were met: a tree for each seed.
    Tree,
}

impl PlanArgs {
    /// The settings.
    ///
    /// # Errors
    /// If a fanout is below -1.
    pub fn plan(&self) -> Result<SamplePlan, String> {
        let fanout = |&fanout: &i64| match fanout {
            -1 => Ok(Fanout::All),
            fanout => u32::try_from(fanout).map(Fanout::Most).map_err(|_| {
                format!("--fanouts: {fanout}; a fanout is a number of facts, or -1 for all")
            }),
        };
        Ok(SamplePlan {
            fanouts: self.fanouts.iter().map(fanout).collect::<Result<_, _>>()?,
            pick: match (self.weighted, self.replace) {
                (false, false) => Pick::Uniform,
                (false, true) => Pick::Replace,
                (true, false) => Pick::Weighted,
                (true, true) => Pick::WeightedReplace,
            },
            direction: self.direction(),
            expand: match self.expand {
                Expanded::New => Expand::New,
                Expanded::All => Expand::All,
                Expanded::Tree => Expand::Tree,
            },
            ..SamplePlan::uniform(&[])
        })
    }
}

impl PlanArgs {
    /// Sides of facts.
    pub fn direction(&self) -> Direction {
        match self.direction {
            Way::Out => Direction::Out,
            Way::In => Direction::In,
            Way::Both => Direction::Both,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// If the file cannot be read, a name is unknown, or the arguments do not fit the graph.
pub fn run(args: SampleArgs) -> CommandResult {
    let graph = Graph::open(&args.file)?;
    graph.check(&args.file)?;
    let node = |name: &String| {
        let found = graph.find_node(name);
        found.ok_or_else(|| format!("{}: there is no node {name:?}", args.file.display()))
    };
    let seeds: Vec<u32> = args.seeds.iter().map(node).collect::<Result<_, _>>()?;
    let draw = Draw {
        seed: args.key,
        epoch: 0,
        index: 0,
    };
    let mut plan = args.plan.plan()?;
    let times = vec![args.before.unwrap_or_default(); seeds.len()];
    let seeds = match args.before {
        None => Seeds::Nodes(&seeds),
        Some(_) => {
            plan.expand = Expand::Tree;
            plan.pick = Pick::Before {
                inclusive: args.inclusive,
                window: args.window,
                latest: args.latest,
            };
            Seeds::Timed(&seeds, &times)
        }
    };
    let batch = Sampler::new().sample(&graph, &seeds, &plan, draw)?;
    let text = match args.json {
        true => format!("{:#}\n", to_json(&graph, &batch)),
        false => to_text(&graph, &batch)?,
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Calls `each` with hop, head, relation and tail of every fact, all but the hop as names.
fn facts(
    graph: &Graph,
    batch: &Batch,
    mut each: impl FnMut(usize, [&str; 3]) -> std::fmt::Result,
) -> std::fmt::Result {
    let name = |local: u32| graph.node_name(batch.nodes[local as usize]).unwrap_or("?");
    for (number, hop) in batch.hops.iter().enumerate() {
        let mut place = 0;
        for (local, &count) in hop.expanded.clone().zip(&hop.counts) {
            for _ in 0..count {
                let (relation, side) =
                    Hop::relation(hop.relations.get(place).copied().unwrap_or(0));
                let relation = graph.relation_name(relation).unwrap_or("?");
                let (this, other) = (name(local), name(hop.sources[place]));
                match side {
                    Side::Out => each(number, [this, relation, other])?,
                    Side::In => each(number, [other, relation, this])?,
                }
                place += 1;
            }
        }
    }
    Ok(())
}

fn to_text(graph: &Graph, batch: &Batch) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    facts(graph, batch, |hop, [head, relation, tail]| {
        writeln!(text, "{}\t{head}\t{relation}\t{tail}", hop + 1)
    })?;
    let (nodes, facts) = (batch.nodes.len(), batch.facts());
    writeln!(
        text,
        "{nodes} nodes, {facts} facts in {} hops",
        batch.hops.len()
    )?;
    Ok(text)
}

fn to_json(graph: &Graph, batch: &Batch) -> serde_json::Value {
    let mut all = Vec::new();
    // A closure that always succeeds.
    let _ = facts(graph, batch, |hop, [head, relation, tail]| {
        all.push(json!({ "hop": hop + 1, "head": head, "relation": relation, "tail": tail }));
        Ok(())
    });
    let nodes: Vec<&str> = batch
        .nodes
        .iter()
        .map(|&node| graph.node_name(node).unwrap_or("?"))
        .collect();
    json!({ "nodes": nodes, "seeds": batch.seeds, "facts": all })
}
