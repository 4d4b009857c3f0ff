//! Thousands of random schedules of pushes (good, late, early, repeated, not finite, of other
//! generations), cancellations, changes of the workers and passing time, against a model that is
//! plain bookkeeping.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use shardloom::ids::Generation;
use shardloom::server::{ParameterServer, Push, Pushed, ServerError, WorkerId};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::{RATE, SYNC, TIMEOUT, push, server, values};

#[derive(Clone, Debug)]
enum Event {
    /// Step and generation relative to what is expected.
    Push {
        worker: u32,
        step: i64,
        generation: i64,
        gradient: i8,
        samples: u8,
        broken: bool,
    },
    /// The caller of one of the waiting pushes goes away.
    Cancel(usize),
    /// Workers join, leave or fail: a new generation of those whose bit is set.
    Configure(u8),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let push = (0u32..4, 0usize..12, 0usize..9, any::<i8>(), 0u8..4, 0u8..12);
    prop_oneof![
        8 => push.prop_map(|(worker, step, generation, gradient, samples, broken)| Event::Push {
            worker,
            step: [-1, 1].get(step).copied().unwrap_or(0),
            generation: [-1, 1].get(generation).copied().unwrap_or(0),
            gradient,
            samples,
            broken: broken == 0,
        }),
        1 => any::<usize>().prop_map(Event::Cancel),
        1 => (1u8..16).prop_map(Event::Configure),
        1 => (0u64..7000).prop_map(Event::Pass),
    ]
}

/// What a caller may hear.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Applied {
        step: u64,
        workers: usize,
        missing: Vec<u32>,
        repeated: bool,
    },
    /// It had been applied before.
    Old,
    Refused(&'static str),
}

fn heard(outcome: Result<Pushed, ServerError>) -> Heard {
    match outcome {
        Ok(pushed) if pushed.repeated && pushed.workers == 0 => Heard::Old,
        Ok(pushed) => Heard::Applied {
            step: pushed.step.0,
            workers: pushed.workers,
            missing: pushed.missing.iter().map(|worker| worker.0).collect(),
            repeated: pushed.repeated,
        },
        Err(error) => Heard::Refused(match error {
            ServerError::UnknownWorker { .. } => "unknown",
            ServerError::Generation { .. } => "generation",
            ServerError::Reconfigured { .. } => "reconfigured",
            ServerError::Late { .. } => "late",
            ServerError::Early { .. } => "early",
            ServerError::NotFinite { .. } => "not finite",
            other => panic!("{other}"),
        }),
    }
}

/// A waiting push: its calls, in the order they came.
#[derive(Debug)]
struct Waiting {
    gradient: f32,
    samples: f32,
    calls: Vec<usize>,
}

#[derive(Debug)]
struct Model {
    step: u64,
    generation: u64,
    workers: Vec<u32>,
    waiting: BTreeMap<u32, Waiting>,
    deadline: Option<Duration>,
    applied: BTreeMap<u32, u64>,
    value: f64,
    heard: BTreeMap<usize, Heard>,
}

impl Model {
    fn push(&mut self, call: usize, now: Duration, event: &Event) {
        let Event::Push {
            worker,
            step,
            generation,
            gradient,
            samples,
            broken,
        } = *event
        else {
            return;
        };
        let step = self.step.saturating_add_signed(step);
        let refused = if generation != 0 {
            Some("generation")
        } else if !self.workers.contains(&worker) {
            Some("unknown")
        } else if step > self.step {
            Some("early")
        } else if step < self.step && self.applied.get(&worker) != Some(&step) {
            Some("late")
        } else if broken {
            Some("not finite")
        } else {
            None
        };
        if let Some(why) = refused {
            self.heard.insert(call, Heard::Refused(why));
            return;
        }
        if step < self.step {
            self.heard.insert(call, Heard::Old);
            return;
        }
        self.deadline.get_or_insert(now + TIMEOUT);
        let waiting = self.waiting.entry(worker).or_insert(Waiting {
            gradient: f32::from(gradient),
            samples: f32::from(samples),
            calls: Vec::new(),
        });
        waiting.calls.push(call);
        if self.waiting.len() == self.workers.len() {
            self.apply();
        }
    }

    fn apply(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.deadline = None;
        let missing: Vec<u32> = self
            .workers
            .iter()
            .copied()
            .filter(|worker| !waiting.contains_key(worker))
            .collect();
        let total: f64 = waiting.values().map(|push| f64::from(push.samples)).sum();
        let sum: f64 = waiting
            .values()
            .map(|push| f64::from(push.samples) * f64::from(push.gradient))
            .sum();
        if total > 0.0 {
            self.value -= RATE * sum / total;
        }
        for (worker, push) in &waiting {
            self.applied.insert(*worker, self.step);
            for (i, &call) in push.calls.iter().enumerate() {
                let heard = Heard::Applied {
                    step: self.step,
                    workers: waiting.len(),
                    missing: missing.clone(),
                    repeated: i > 0,
                };
                self.heard.insert(call, heard);
            }
        }
        self.step += 1;
    }

    fn cancel(&mut self, call: usize) {
        for push in self.waiting.values_mut() {
            push.calls.retain(|other| *other != call);
        }
        self.waiting.retain(|_, push| !push.calls.is_empty());
        if self.waiting.is_empty() {
            self.deadline = None;
        }
    }

    fn configure(&mut self, workers: Vec<u32>) {
        for push in std::mem::take(&mut self.waiting).into_values() {
            for call in push.calls {
                self.heard.insert(call, Heard::Refused("reconfigured"));
            }
        }
        self.deadline = None;
        self.generation += 1;
        self.workers = workers;
    }

    fn pass(&mut self, now: Duration) {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.apply();
        }
    }
}

/// Lets every task that can go on do so, and the one thread that applies gradients finish its work.
async fn settle() {
    for _ in 0..2 {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        // The thread takes work in order: when this is done, all before it is.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    }
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

async fn run(events: &[Event]) {
    let server: ParameterServer = server(SYNC, 3);
    let start = Instant::now();
    let first = f64::from(values(&server)[20]);
    let mut model = Model {
        step: 0,
        generation: 1,
        workers: vec![0, 1, 2],
        waiting: BTreeMap::new(),
        deadline: None,
        applied: BTreeMap::new(),
        value: first,
        heard: BTreeMap::new(),
    };
    let mut calls: BTreeMap<usize, JoinHandle<Result<Pushed, ServerError>>> = BTreeMap::new();
    for (call, event) in events.iter().enumerate() {
        match event {
            Event::Push {
                worker,
                step,
                generation,
                gradient,
                samples,
                broken,
            } => {
                let mut gradients = [f32::from(*gradient); 8];
                if *broken {
                    gradients[3] = f32::NAN;
                }
                let request = (
                    model.step.saturating_add_signed(*step),
                    model.generation.saturating_add_signed(*generation),
                );
                let (server, worker, samples) = (server.clone(), *worker, *samples);
                calls.insert(
                    call,
                    tokio::spawn(async move {
                        let push = Push {
                            generation: Generation(request.1),
                            samples: f32::from(samples),
                            ..push(worker, request.0, &gradients)
                        };
                        server.push(push).await
                    }),
                );
                model.push(call, start.elapsed(), event);
            }
            Event::Cancel(which) => {
                let waiting: Vec<usize> = model
                    .waiting
                    .values()
                    .flat_map(|push| push.calls.clone())
                    .collect();
                if !waiting.is_empty() {
                    let call = waiting[which % waiting.len()];
                    let task = calls.remove(&call).unwrap();
                    task.abort();
                    assert!(task.await.unwrap_err().is_cancelled());
                    model.cancel(call);
                }
            }
            Event::Configure(bits) => {
                let workers: Vec<u32> = (0..4).filter(|worker| bits >> worker & 1 == 1).collect();
                model.configure(workers.clone());
                let workers: Vec<WorkerId> = workers.into_iter().map(WorkerId).collect();
                server.configure(SYNC, Generation(model.generation), &workers);
            }
            Event::Pass(milliseconds) => {
                tokio::time::advance(Duration::from_millis(*milliseconds)).await;
                settle().await;
                model.pass(start.elapsed());
            }
        }
        settle().await;
        assert_eq!(server.shard_steps()[1], model.step, "after {event:?}");
        let off = f64::from(values(&server)[20]) - model.value;
        assert!(off.abs() < 1e-3, "{off} after {event:?}");
        for (call, task) in &calls {
            let finished = model.heard.contains_key(call);
            assert_eq!(task.is_finished(), finished, "call {call} after {event:?}");
        }
    }
    // Nothing waits past its deadline.
    tokio::time::advance(TIMEOUT + Duration::from_millis(1)).await;
    settle().await;
    model.pass(start.elapsed());
    for (call, task) in calls {
        assert!(task.is_finished(), "call {call} waits past its deadline");
        assert_eq!(
            heard(task.await.unwrap()),
            model.heard[&call],
            "call {call}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_schedule_is_as_the_model_says(events in prop::collection::vec(event(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(run(&events));
    }
}
