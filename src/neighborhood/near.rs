//! Candidates near a fact: wrong answers of a question that are hard to tell from the right one.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::draw::{Draw, Draws, Use};
use super::plan::{Direction, SamplePlan, Seeds};
use super::ppr::{PprPlan, PprRanker};
use super::{Counts, SampleError, Sampler, limits};
use crate::dataset::Triple;
use crate::graph::{Graph, Side};

/// Draws of a candidate before all wrong answers of a pool are listed.
const TRIES: usize = 8;
/// Nodes of pools that are kept for further questions, at most: 64 MiB.
const KEPT: usize = 1 << 24;

/// Question that candidates are wrong answers of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Fact with the right answer.
    pub fact: Triple,
    /// Side of the known node, as in an [`Anchor`](super::Anchor): [`Side::Out`] asks for tails, [`Side::In`] for heads.
    pub side: Side,
}

impl Question {
    /// Node that is known.
    pub fn known(&self) -> u32 {
        match self.side {
            Side::Out => self.fact.head,
            Side::In => self.fact.tail,
        }
    }

    /// Right answer.
    pub fn answer(&self) -> u32 {
        match self.side {
            Side::Out => self.fact.tail,
            Side::In => self.fact.head,
        }
    }
}

/// Nodes that candidates are drawn from, uniformly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// Nodes that hops over facts of both sides meet, with a fanout for each hop. The hops are those of a [`Sampler`] with the
    /// pools' draw, so that a node has one pool for each draw.
    Hops(Vec<u32>),
    /// Nodes of the highest personalised PageRank, as many as the plan says.
    Ppr(PprPlan),
    /// Nodes that answer the relation anywhere in the graph: its heads or its tails.
    Relation,
}

/// End of a fact that a pool lies around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Around {
    /// The known node.
    Known,
    /// The right answer.
    Answer,
    /// Both: the union of their pools.
    Both,
}

/// Settings of candidates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NearPlan {
    /// Nodes to draw from.
    pub pool: Pool,
    /// Ends that the pool lies around; [`Pool::Relation`] does not look at them.
    pub around: Around,
    /// Candidates of each question.
    pub count: u32,
}

impl NearPlan {
    /// Number of facts that pools of so many questions read, and of candidates, at most. Pools that are kept are read
    /// once only.
    pub fn most_facts(&self, questions: usize) -> u64 {
        let of_pool = match &self.pool {
            Pool::Hops(fanouts) => {
                let hop = |(all, frontier): (u64, u64), &fanout: &u32| {
                    let drawn = frontier.saturating_mul(u64::from(fanout));
                    (all.saturating_add(drawn), drawn)
                };
                fanouts.iter().fold((0, 1), hop).0
            }
            // A push adds alpha · epsilon or more to the scores for each fact that it reads, and scores add up to 1.
            Pool::Ppr(plan) => (1.0 / (plan.alpha * plan.epsilon)).ceil() as u64,
            Pool::Relation => 0,
        };
        let ends = match self.around {
            Around::Known | Around::Answer => 1,
            Around::Both => 2,
        };
        let each = of_pool
            .saturating_mul(ends)
            .saturating_add(u64::from(self.count));
        each.saturating_mul(questions as u64)
    }
}

/// Candidates of questions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Place of the first candidate of each question, and the number of all. A question has either as many as the plan says or,
    /// if its pool holds nothing but right answers, none.
    pub bounds: Vec<u32>,
    /// Candidates of each question, in the order of the draws; a candidate may be drawn again.
    pub nodes: Vec<u32>,
}

/// Draws candidates. Keeps memory that calls need again and again; each thread has its own.
#[derive(Debug, Default)]
pub struct NearSampler {
    sampler: Sampler,
    ranker: PprRanker,
    /// Pools by node, without the node, ascending.
    pools: HashMap<u32, Box<[u32]>>,
    /// Plan, graph's digest and draw of the pools that are kept; ranks do not depend on a draw.
    kept_for: Option<(Pool, u64, Option<Draw>)>,
    /// Nodes of all kept pools.
    kept: usize,
    /// Union of two pools.
    union: Vec<u32>,
    /// Wrong answers of one pool.
    wrong: Vec<u32>,
}

impl NearSampler {
    /// Draws candidates for questions. Pools are those of the same draw. No candidate is a known answer: neither the question's own nor that of another fact of the
    /// graph. The same arguments give the same candidates, on every machine. The candidates of a question depend on its place
    /// among the questions, and not on the others.
    ///
    /// # Errors
    /// Before any work, if the graph does not have a node or relation of a question, a setting of the plan is out of range, or the
    /// candidates or a pool could be more than [`Sampler::MOST_FACTS`]; [`SampleError::Damaged`] if the graph's file is.
    pub fn draw(
        &mut self,
        graph: &Graph,
        questions: &[Question],
        plan: &NearPlan,
        draw: Draw,
    ) -> Result<Candidates, SampleError> {
        self.draw_from(graph, questions, plan, draw, draw)
    }

    /// Draws candidates for questions from the pools of another draw, which are kept from call to call.
    ///
    /// # Errors
    /// As [`draw`](NearSampler::draw).
    pub fn draw_from(
        &mut self,
        graph: &Graph,
        questions: &[Question],
        plan: &NearPlan,
        draw: Draw,
        pools: Draw,
    ) -> Result<Candidates, SampleError> {
        self.draw_part(graph, questions, 0, plan, draw, pools)
    }

    /// Draws candidates for some questions of a draw, of which the first has the place `first` among all of them: the
    /// same as [`draw_from`](NearSampler::draw_from) draws for all.
    ///
    /// # Errors
    /// As [`draw`](NearSampler::draw).
    pub fn draw_part(
        &mut self,
        graph: &Graph,
        questions: &[Question],
        first: u32,
        plan: &NearPlan,
        draw: Draw,
        pools: Draw,
    ) -> Result<Candidates, SampleError> {
        limits::whole(graph)?;
        check(graph, questions, plan)?;
        self.keep_for(graph, plan, pools);
        let key = draw.key_of(Use::Near);
        let mut all = Candidates {
            bounds: vec![0],
            nodes: Vec::with_capacity(questions.len() * plan.count as usize),
        };
        for (at, question) in questions.iter().enumerate() {
            let mut draws = key.row(question.side as usize, first.wrapping_add(at as u32));
            self.of_question(graph, question, plan, pools, &mut draws, &mut all.nodes)?;
            all.bounds.push(all.nodes.len() as u32);
        }
        Ok(all)
    }

    /// Forgets pools of another plan, graph or draw.
    fn keep_for(&mut self, graph: &Graph, plan: &NearPlan, draw: Draw) {
        let draw = match plan.pool {
            Pool::Hops(_) => Some(draw),
            Pool::Ppr(_) | Pool::Relation => None,
        };
        let of = (plan.pool.clone(), graph.description().digest(), draw);
        if self.kept_for.as_ref() != Some(&of) {
            self.pools.clear();
            self.kept = 0;
            self.kept_for = Some(of);
        }
    }

    fn of_question(
        &mut self,
        graph: &Graph,
        question: &Question,
        plan: &NearPlan,
        draw: Draw,
        draws: &mut Draws,
        candidates: &mut Vec<u32>,
    ) -> Result<(), SampleError> {
        let (known, answer) = (question.known(), question.answer());
        let relation = question.fact.relation;
        let ends = match (&plan.pool, plan.around) {
            (Pool::Relation, _) => [None, None],
            (_, Around::Known) => [Some(known), None],
            (_, Around::Answer) => [Some(answer), None],
            (_, Around::Both) => [Some(known), Some(answer)],
        };
        if self.kept > KEPT {
            self.pools.clear();
            self.kept = 0;
        }
        for end in ends.into_iter().flatten() {
            self.make_pool(graph, end, plan, draw)?;
        }
        let kept = |end: Option<u32>| end.and_then(|end| self.pools.get(&end));
        let pool: &[u32] = match (kept(ends[0]), kept(ends[1])) {
            (Some(first), Some(second)) => {
                unite(first, second, &mut self.union);
                &self.union
            }
            (Some(pool), None) | (None, Some(pool)) => pool,
            (None, None) => graph.nodes_of(question.side.other(), relation)?,
        };
        let rows = graph.rows(question.side);
        let answers = &rows.neighbors[rows.of_relation(known, relation)?];
        let wrong = |node: u32| node != answer && answers.binary_search(&node).is_err();
        let first = candidates.len();
        let mut listed = false;
        for _ in 0..plan.count {
            let mut found = None;
            if !listed && !pool.is_empty() {
                found = (0..TRIES)
                    .map(|_| pool[draws.below(pool.len() as u32) as usize])
                    .find(|&node| wrong(node));
            }
            if found.is_none() {
                if !listed {
                    self.wrong.clear();
                    self.wrong
                        .extend(pool.iter().copied().filter(|&node| wrong(node)));
                    listed = true;
                }
                if self.wrong.is_empty() {
                    break;
                }
                found = Some(self.wrong[draws.below(self.wrong.len() as u32) as usize]);
            }
            candidates.extend(found);
        }
        match candidates[first..]
            .iter()
            .find(|&&node| node >= graph.nodes())
        {
            Some(node) => {
                let nodes = graph.nodes();
                Err(SampleError::Damaged(format!(
                    "relation {relation} has node {node} of {nodes}"
                )))
            }
            None => Ok(()),
        }
    }

    /// Makes the pool around a node, unless it is kept.
    fn make_pool(
        &mut self,
        graph: &Graph,
        node: u32,
        plan: &NearPlan,
        draw: Draw,
    ) -> Result<(), SampleError> {
        if self.pools.contains_key(&node) {
            return Ok(());
        }
        let mut nodes = match &plan.pool {
            Pool::Hops(fanouts) => {
                let plan = hops(fanouts);
                self.sampler
                    .sample(graph, &Seeds::Nodes(&[node]), &plan, draw)?
                    .nodes
            }
            Pool::Ppr(plan) => self.ranker.rank(graph, node, plan)?.nodes,
            Pool::Relation => Vec::new(),
        };
        nodes.retain(|&other| other != node);
        nodes.sort_unstable();
        self.kept += nodes.len() + 8;
        self.pools.insert(node, nodes.into_boxed_slice());
        Ok(())
    }
}

/// Numbers of two ascending lists, ascending, each once.
fn unite(first: &[u32], second: &[u32], union: &mut Vec<u32>) {
    union.clear();
    union.resize(first.len() + second.len(), 0);
    let (mut a, mut b, mut len) = (0, 0, 0);
    // Without branches but for the loop's: the lists' order cannot be foreseen.
    while a < first.len() && b < second.len() {
        let (one, other) = (first[a], second[b]);
        union[len] = one.min(other);
        a += usize::from(one <= other);
        b += usize::from(other <= one);
        len += 1;
    }
    union.truncate(len);
    union.extend_from_slice(&first[a..]);
    union.extend_from_slice(&second[b..]);
}

/// Plan of the hops of a pool.
fn hops(fanouts: &[u32]) -> SamplePlan {
    SamplePlan {
        direction: Direction::Both,
        ..SamplePlan::uniform(fanouts)
    }
}

fn check(graph: &Graph, questions: &[Question], plan: &NearPlan) -> Result<(), SampleError> {
    let (nodes, relations) = (graph.nodes(), graph.relations());
    for (at, question) in questions.iter().enumerate() {
        let Triple {
            head,
            relation,
            tail,
        } = question.fact;
        if let Some(id) = [head, tail].into_iter().find(|&id| id >= nodes) {
            return Err(SampleError::Seed { at, id, nodes });
        }
        if relation >= relations {
            let id = relation;
            return Err(SampleError::Relation { at, id, relations });
        }
    }
    let most = Sampler::MOST_FACTS;
    let facts = (questions.len() as u64).saturating_mul(u64::from(plan.count));
    if facts > most {
        let seeds = questions.len();
        return Err(SampleError::TooLarge { seeds, facts, most });
    }
    match &plan.pool {
        Pool::Hops(fanouts) => {
            let seed = questions.first().map(Question::known);
            limits::check(
                &Counts::of(graph),
                &Seeds::Nodes(seed.as_slice()),
                &hops(fanouts),
                most,
            )
        }
        Pool::Ppr(plan) => plan.check(),
        Pool::Relation => Ok(()),
    }
}
