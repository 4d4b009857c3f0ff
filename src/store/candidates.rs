//! Candidates of a graph store, for the plans of a trainer.

use std::fmt;
use std::sync::Arc;

use super::GraphStore;
use crate::neighborhood::{Candidates, Draw, NearPlan, Question};
use crate::sampler::{CandidateSource, PlanError};

/// Candidates out of a graph store, of this process or of a server.
#[derive(Clone)]
pub struct StoreCandidates {
    store: Arc<dyn GraphStore>,
    /// Name of the store for people.
    name: String,
}

impl StoreCandidates {
    /// Makes the source of a store, with a name that errors tell.
    pub fn new(store: Arc<dyn GraphStore>, name: String) -> StoreCandidates {
        StoreCandidates { store, name }
    }
}

impl fmt::Debug for StoreCandidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "candidates of {}", self.name)
    }
}

impl CandidateSource for StoreCandidates {
    fn candidates(
        &self,
        questions: &[Question],
        plan: &NearPlan,
        draw: Draw,
        pools: Draw,
    ) -> Result<Candidates, PlanError> {
        let drawn = self.store.candidates(questions, plan, draw, pools);
        drawn.map_err(|error| PlanError::Source {
            source_name: self.name.clone(),
            reason: error.to_string(),
        })
    }
}
