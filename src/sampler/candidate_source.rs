//! Sources of candidates near facts: the graph of this process, or a graph store elsewhere.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::PlanError;
use crate::graph::Graph;
use crate::neighborhood::{Candidates, Draw, NearPlan, NearSampler, Question, SampleError};

/// Source of candidates near facts. Two sources with equal graphs give equal candidates.
pub trait CandidateSource: fmt::Debug + Send + Sync {
    /// Draws candidates for questions from the pools of another draw, as [`NearSampler::draw_from`] does.
    ///
    /// # Errors
    /// [`PlanError::Source`] if the source fails, or its graph does not have the facts.
    fn candidates(
        &self,
        questions: &[Question],
        plan: &NearPlan,
        draw: Draw,
        pools: Draw,
    ) -> Result<Candidates, PlanError>;
}

/// Candidates out of a graph of this process, for any number of threads.
#[derive(Debug)]
pub struct GraphCandidates {
    graph: Arc<Graph>,
    /// Samplers that no thread uses, with the pools that they keep.
    idle: Mutex<Vec<NearSampler>>,
}

impl GraphCandidates {
    /// Makes the source of a graph.
    pub fn new(graph: Arc<Graph>) -> GraphCandidates {
        GraphCandidates {
            graph,
            idle: Mutex::default(),
        }
    }

    /// Draws candidates for questions from the pools of another draw, on this thread.
    ///
    /// # Errors
    /// As [`NearSampler::draw_from`].
    pub fn draw(
        &self,
        questions: &[Question],
        plan: &NearPlan,
        draw: Draw,
        pools: Draw,
    ) -> Result<Candidates, SampleError> {
        let lock = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = lock().pop();
        let mut sampler = idle.unwrap_or_default();
        let drawn = sampler.draw_from(&self.graph, questions, plan, draw, pools);
        lock().push(sampler);
        drawn
    }
}

impl CandidateSource for GraphCandidates {
    fn candidates(
        &self,
        questions: &[Question],
        plan: &NearPlan,
        draw: Draw,
        pools: Draw,
    ) -> Result<Candidates, PlanError> {
        let drawn = self.draw(questions, plan, draw, pools);
        drawn.map_err(|error| PlanError::Source {
            source_name: format!("the graph {:?}", self.graph.description().name),
            reason: error.to_string(),
        })
    }
}
