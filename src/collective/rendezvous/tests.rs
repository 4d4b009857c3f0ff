//! Random schedules: whatever happens in whatever order, a call has one outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{self, Receiver, Sender};

use super::*;
use crate::collective::Operation;

const WORLD: usize = 3;

/// An event of one rank.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The rank comes to the call that is this many after its last one, with this many values.
    Arrive(u64, usize),
    /// The deadline of the rank passes.
    Expire,
    /// The future of the rank is dropped.
    Withdraw,
    /// The rank ends the generation.
    End,
}

fn event() -> impl Strategy<Value = Event> {
    let ahead = prop_oneof![8 => Just(1), 1 => 0..4u64];
    let length = prop_oneof![9 => Just(5), 1 => Just(6)];
    prop_oneof![
        800 => (ahead, length).prop_map(|(ahead, length)| Event::Arrive(ahead, length)),
        100 => Just(Event::Expire),
        100 => Just(Event::Withdraw),
        1 => Just(Event::End),
    ]
}

type Outcome = Result<usize, CollectiveError>;

/// A rank, and the channel that it waits on.
#[derive(Debug)]
struct Reply(usize, Sender<Outcome>);

impl Participant for Reply {
    fn fail(self, error: &CollectiveError) {
        let _ = self.1.send(Err(error.clone()));
    }
}

/// A rank that waits.
struct Waiting {
    sequence: u64,
    ticket: u64,
    outcome: Receiver<Outcome>,
}

/// The ranks, and the first outcome of every call on each.
#[derive(Default)]
struct Ranks {
    waiting: [Option<Waiting>; WORLD],
    last: [u64; WORLD],
    /// Tickets of calls that have been decided.
    spent: [u64; WORLD],
    heard: BTreeMap<u64, [Option<Result<(), CollectiveError>>; WORLD]>,
}

impl Ranks {
    fn arrive(&mut self, calls: &mut Rendezvous<Reply>, rank: usize, ahead: u64, length: usize) {
        let sequence = self.last[rank] + ahead;
        let call = Call::new(Generation(1), sequence, Duration::ZERO);
        let operation = Term::Operation(Operation::AllReduce);
        let terms = vec![Term::Sequence(sequence), operation, Term::Length(length)];
        let waits = self.waiting[rank].is_some();
        let (reply, outcome) = oneshot::channel();
        match calls.arrive(rank, call, terms, None, Reply(rank, reply)) {
            Err(CollectiveError::Busy { .. }) => assert!(waits),
            Err(CollectiveError::Ended { .. }) => assert!(calls.ended.is_some()),
            Err(error) => {
                assert!(!waits);
                self.last[rank] = sequence;
                self.hear(rank, sequence, Err(error));
            }
            Ok(arrival) => {
                assert!(!waits);
                self.last[rank] = sequence;
                let ticket = arrival.ticket;
                self.waiting[rank] = Some(Waiting {
                    sequence,
                    ticket,
                    outcome,
                });
                let complete = arrival.complete.into_iter().flatten();
                for (rank, Reply(brought, reply)) in complete.enumerate() {
                    assert_eq!(brought, rank);
                    // A rank that dropped its future has withdrawn and is no participant.
                    reply.send(Ok(rank)).expect("the rank waits");
                }
            }
        }
    }

    /// Records the outcomes that waiting ranks have received.
    fn listen(&mut self) {
        for rank in 0..WORLD {
            let Some(waiting) = &mut self.waiting[rank] else {
                continue;
            };
            let (sequence, ticket) = (waiting.sequence, waiting.ticket);
            match waiting.outcome.try_recv() {
                Ok(outcome) => {
                    self.waiting[rank] = None;
                    self.spent[rank] = ticket;
                    self.hear(rank, sequence, outcome.map(drop));
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => panic!("rank {rank} was forgotten"),
            }
        }
    }

    fn hear(&mut self, rank: usize, sequence: u64, result: Result<(), CollectiveError>) {
        self.heard.entry(sequence).or_default()[rank].get_or_insert(result);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn a_call_has_one_outcome(events in prop::collection::vec((0..WORLD, event()), 0..120)) {
        let mut calls = Rendezvous::new(Generation(1), WORLD);
        let mut ranks = Ranks::default();
        for (rank, event) in events {
            let ticket = ranks.waiting[rank].as_ref().map(|waiting| waiting.ticket);
            match (event, ticket) {
                (Event::Arrive(ahead, length), _) => ranks.arrive(&mut calls, rank, ahead, length),
                (Event::Expire, Some(ticket)) => calls.expire(rank, ticket),
                (Event::Withdraw, Some(ticket)) => {
                    let Reply(withdrawn, _) = calls.withdraw(rank, ticket).unwrap();
                    prop_assert_eq!(withdrawn, rank);
                    ranks.waiting[rank] = None;
                }
                (Event::Expire | Event::Withdraw, None) => {}
                (Event::End, _) => calls.end(Generation(2)),
            }
            // What becomes of a decided call's future touches no other call.
            let missing = |calls: &Rendezvous<Reply>| calls.open.as_ref().map(Open::missing);
            let before = missing(&calls);
            prop_assert!(calls.withdraw(rank, ranks.spent[rank]).is_none());
            calls.expire(rank, ranks.spent[rank]);
            prop_assert_eq!(missing(&calls), before);
            ranks.listen();
            if matches!(event, Event::Expire | Event::End) {
                prop_assert!(ranks.waiting[rank].is_none(), "the wait is over");
            }
            // All who wait do so at one call, and not all ranks wait.
            let mut waiting = ranks.waiting.iter().flatten().map(|waiting| waiting.sequence);
            let first = waiting.next();
            prop_assert!(waiting.all(|sequence| Some(sequence) == first));
            prop_assert!(ranks.waiting.iter().any(Option::is_none));
        }
        for (sequence, heard) in &ranks.heard {
            if heard.contains(&Some(Ok(()))) {
                // It has happened: for all.
                let all = heard.iter().all(|result| *result == Some(Ok(())));
                prop_assert!(all, "call {sequence}: {heard:?}");
            }
            // A time-out is the same for all, and is not heard by those it names.
            let mut all_missing = None;
            for (rank, result) in heard.iter().enumerate() {
                if let Some(Err(CollectiveError::Timeout { missing, .. })) = result {
                    prop_assert!(!missing.contains(&rank));
                    prop_assert_eq!(all_missing.get_or_insert(missing), &missing);
                }
            }
        }
    }
}
