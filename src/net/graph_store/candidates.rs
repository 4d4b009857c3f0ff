//! Candidates near facts, at both ends. A client cuts its questions into requests that the server has the limits for.
//! No request depends on another one: a server that takes the place of a lost one goes on.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tonic::Status;

use super::calls::{Calls, chunks, counted, draw, json, numbers};
use super::chunks::Chunks;
use super::connection::Failure;
use super::message::CandidatesRequest;
use super::remote::{self, Remote, draw_message};
use super::remote_channel::AGAIN;
use super::status::status;
use crate::dataset::Triple;
use crate::graph::Side;
use crate::neighborhood::{Candidates, Draw, NearPlan, Question, SampleError};
use crate::store::{Description, Scratch, StoreError};

impl Calls {
    pub async fn candidates(self, request: CandidatesRequest) -> Result<Chunks, Status> {
        let facts: Vec<Triple> = numbers("facts", &request.facts)?;
        let plan: NearPlan = json("plan", &request.plan)?;
        let (asked, sides) = (facts.len(), request.sides.len());
        if sides != asked {
            return Err(Status::invalid_argument(format!(
                "{asked} facts and {sides} sides; a question has one of each"
            )));
        }
        let (found, expected) = (self.0.description.digest, request.graph);
        if expected != 0 && expected != found {
            return Err(status(&StoreError::OtherGraph { found, expected }));
        }
        let (facts_read, most) = (plan.most_facts(asked), self.0.description.most_facts);
        if facts_read > most {
            let error = SampleError::TooLarge {
                seeds: asked,
                facts: facts_read,
                most,
            };
            return Err(status(&error.into()));
        }
        let pairs = facts.into_iter().zip(&request.sides);
        let questions: Vec<Question> = pairs
            .map(|(fact, &side)| Question {
                fact,
                side: if side == 0 { Side::Out } else { Side::In },
            })
            .collect();
        let (named, pools) = (draw(request.draw), draw(request.pools));
        let shell = std::sync::Arc::clone(&self.0);
        let work = move |scratch: &mut Scratch| {
            counted(&shell, || {
                let begun = Instant::now();
                let near = &mut scratch.near;
                let first = request.first;
                let drawn = near.draw_part(&shell.graph, &questions, first, &plan, named, pools)?;
                shell.metrics.drawn(begun.elapsed());
                Ok(packed(&drawn))
            })
        };
        let drawn = self.0.on_pool(work).await;
        Ok(chunks(drawn.map_err(|error| status(&error))?))
    }
}

/// Bounds, then nodes.
fn packed(candidates: &Candidates) -> Bytes {
    let mut bytes = Vec::with_capacity(4 * (candidates.bounds.len() + candidates.nodes.len()));
    bytes.extend_from_slice(bytemuck::cast_slice(&candidates.bounds));
    bytes.extend_from_slice(bytemuck::cast_slice(&candidates.nodes));
    Bytes::from(bytes)
}

/// Candidates of an answer to `questions` questions, each with `count` candidates or none.
///
/// # Errors
/// If the numbers contradict each other.
fn unpacked(bytes: &[u8], questions: usize, count: u32) -> Result<Candidates, StoreError> {
    let mut bounds = remote::numbers(bytes);
    let found = bounds.len();
    let fault = || {
        let what = format!("{found} numbers for the candidates of {questions} questions");
        StoreError::Failed(what)
    };
    let answers = found.checked_sub(questions + 1).ok_or_else(fault)?;
    let nodes = bounds.split_off(questions + 1);
    let steps = bounds.windows(2).map(|two| two[1].checked_sub(two[0]));
    let whole = steps
        .into_iter()
        .all(|step| step == Some(count) || step == Some(0));
    match whole && bounds[0] == 0 && bounds[questions] as usize == answers {
        true => Ok(Candidates { bounds, nodes }),
        false => Err(fault()),
    }
}

/// Questions of a request, at most, of a server that reads `most` facts for one.
fn part(plan: &NearPlan, most: u64) -> usize {
    (most / plan.most_facts(1).max(1)).clamp(1, 1 << 20) as usize
}

/// Asks a server for candidates, and the one that takes its place.
///
/// # Errors
/// If the server refuses, has another graph than `graph`, or is away for longer than the client's patience.
pub(super) fn ask(
    remote: &Remote,
    graph: &Description,
    questions: &[Question],
    plan: &NearPlan,
    [draw, pools]: [Draw; 2],
) -> Result<Candidates, StoreError> {
    let json = remote::json(plan)?;
    let mut all = Candidates {
        bounds: vec![0],
        nodes: Vec::new(),
    };
    let each = part(plan, graph.most_facts);
    for (at, questions) in questions.chunks(each).enumerate() {
        let facts: Vec<Triple> = questions.iter().map(|question| question.fact).collect();
        let sides = questions.iter().map(|of| u8::from(of.side == Side::In));
        let request = CandidatesRequest {
            facts: remote::bytes(&facts),
            sides: sides.collect::<Vec<u8>>().into(),
            plan: json.clone(),
            draw: Some(draw_message(draw)),
            pools: Some(draw_message(pools)),
            first: (at * each) as u32,
            graph: graph.digest,
        };
        let bytes = answer(remote, &request)?;
        let found = unpacked(&bytes, questions.len(), plan.count)?;
        if let Some(&node) = found.nodes.iter().find(|&&node| node >= graph.nodes) {
            let nodes = graph.nodes;
            let what = format!("candidate {node}, and the graph has {nodes} nodes");
            return Err(StoreError::Failed(what));
        }
        let before = all.nodes.len() as u32;
        let bounds = found.bounds[1..].iter().map(|bound| before + bound);
        all.bounds.extend(bounds);
        all.nodes.extend(found.nodes);
    }
    Ok(all)
}

/// Sends a request until it is answered, or the client's patience is over.
fn answer(remote: &Remote, request: &CandidatesRequest) -> Result<bytes::BytesMut, StoreError> {
    let begun = Instant::now();
    loop {
        match remote.connection.many("Candidates", request.clone()) {
            Err(Failure::Lost(_)) if begun.elapsed() < remote.patience => {
                let left: Duration = remote.patience.saturating_sub(begun.elapsed());
                std::thread::sleep(AGAIN.min(left));
            }
            answer => return answer.map_err(Failure::error),
        }
    }
}
