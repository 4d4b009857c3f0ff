//! Tasks for workers: slices of a step's plan, or plans of a round.

use super::Workers;
use super::hosts::Order;
use super::plans::Part;
use super::rounds::Round;
use super::slices;
use crate::coordinator::Vote;
use crate::ids::{Generation, Step};
use crate::sampler::{PlanError, PlanId, StepSize};
use crate::server::{Apply, UpdateMode, WorkerId};

impl Workers {
    pub(super) fn start(
        &mut self,
        generation: Generation,
        step: Step,
        workers: &[WorkerId],
        round: &mut Round,
    ) -> Result<(), PlanError> {
        round.start(|worker, number| {
            self.hosts.last_push(worker) == Some(Step(self.first + u64::from(number)))
        });
        if self.asynchronous() {
            for &worker in workers {
                match round.next(worker)? {
                    Some(part) => self.send_task(worker, generation, step, part.plan, vec![part]),
                    // More workers than plans: this worker has nothing to do and is ready.
                    None => self.idle(worker, generation, step),
                }
            }
            return Ok(());
        }
        let StepSize {
            id, queries, unit, ..
        } = round.size();
        let lanes = self.lanes(workers.len());
        let speeds = self.speeds.of(workers);
        // If each worker is one lane, its size follows its speed; a fixed number of lanes has equal sizes, and
        // a worker's number of lanes follows its speed.
        let (ranges, lanes_of) = match (self.by_speed, self.lanes) {
            (true, 0) => {
                let ranges = slices::by_speed(queries, unit, &speeds);
                (ranges, slices::even(lanes, 1, workers.len()))
            }
            (by_speed, _) => {
                let lanes_of = if by_speed {
                    slices::by_speed(lanes, 1, &speeds)
                } else {
                    slices::even(lanes, 1, workers.len())
                };
                (slices::even(queries, unit, lanes), lanes_of)
            }
        };
        for (&worker, lanes) in workers.iter().zip(lanes_of) {
            let parts = lanes.map(|lane| Part {
                name: lane as u32,
                plan: id,
                queries: ranges[lane].clone(),
            });
            self.send_task(worker, generation, step, id, parts.collect());
        }
        Ok(())
    }

    /// Number of parts of a sync step with this number of workers.
    pub(super) fn lanes(&self, workers: usize) -> usize {
        match self.lanes {
            0 => workers,
            lanes => lanes,
        }
    }

    pub(super) fn send_task(
        &mut self,
        worker: WorkerId,
        generation: Generation,
        step: Step,
        plan: PlanId,
        parts: Vec<Part>,
    ) {
        let order = Order {
            generation,
            step,
            first: self.first,
            plan,
            parts,
            apply: match self.mode {
                UpdateMode::Sync { .. } => Apply::OnCommit,
                UpdateMode::Async { .. } => Apply::Now,
            },
            fault: self.faults.remove(&worker),
        };
        self.since.insert(worker, self.started.elapsed());
        self.hosts.send(worker, order);
    }

    fn idle(&mut self, worker: WorkerId, generation: Generation, step: Step) {
        let now = self.now();
        let voted = self
            .coordinator
            .vote(now, worker, generation, step, Vote::Ready);
        if let Err(error) = voted {
            tracing::debug!(%worker, %error, "vote not counted");
        }
    }
}
