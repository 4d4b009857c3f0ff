//! The queue of the sampling threads, the session, and the orders of streams, under random orders of threads: a scheduler
//! runs one thread at a time, changes it at every lock, and finds threads that wait for ever.
//!
//! The queue and the outbox are those of the library, compiled here with the scheduler's locks. Between them and the
//! session stands `Shell`, which takes the same locks in the same order as the server's.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::Duration;

use shardloom::graph::Graph;
use shardloom::neighborhood::SamplePlan;
use shardloom::store::session::{Action, Credit, EndReason, Made, Session, SessionConfig};
use shardloom::store::{ChannelPlan, ChannelSpec, Epoch, SamplerSpec, SeedSpec};
use shuttle::future::block_on;
use shuttle::thread;

use outbox::{Outbox, Used};
use queue::Queue;
use sync::Mutex;

/// Locks of the scheduler.
mod sync {
    pub use std::sync::PoisonError;

    pub use shuttle::sync::{Condvar, Mutex, MutexGuard};
}

#[path = "../../src/net/graph_store/outbox.rs"]
mod outbox;
#[path = "../../src/store/queue.rs"]
mod queue;

/// Orders of threads that each test tries.
const SCHEDULES: usize = 1_000;

/// A batch: its channel's epoch, and position.
type Payload = (u64, u64);

#[derive(Debug)]
enum Order {
    Send(u64, Payload),
    Done(Epoch),
    End(EndReason),
}

/// A job: its number, and the batch.
#[derive(Clone, Copy, Debug)]
struct Job(u64, Payload);

struct State {
    session: Session<Payload>,
    streams: HashMap<u64, Arc<Outbox<Order>>>,
    next_stream: u64,
}

struct Shell {
    state: Mutex<State>,
    jobs: Queue<Job>,
}

static GRAPH: LazyLock<Graph> = LazyLock::new(crate::fixture::graph);

/// Settings of a loader with six batches.
fn spec(key: &str) -> SamplerSpec {
    SamplerSpec::new(key, SamplePlan::uniform(&[1]), NonZeroU32::new(3).unwrap())
}

fn credit(batches: u64) -> Credit {
    Credit {
        batches,
        bytes: u64::MAX,
    }
}

impl Shell {
    fn new(memory: u64) -> Arc<Shell> {
        let config = SessionConfig {
            jobs: 2,
            memory,
            ..SessionConfig::default()
        };
        Arc::new(Shell {
            state: Mutex::new(State {
                session: Session::new(config),
                streams: HashMap::new(),
                next_stream: 1,
            }),
            jobs: Queue::new(),
        })
    }

    /// Calls the session, and carries out its actions before another thread calls it.
    fn call<R>(&self, call: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap();
        let result = call(&mut state);
        while let Some(action) = state.session.next_action() {
            let (stream, order) = match action {
                Action::Sample {
                    job,
                    epoch,
                    position,
                    ..
                } => {
                    self.jobs.push(Job(job, (epoch, position)));
                    continue;
                }
                Action::Stop { .. } => continue,
                Action::Send {
                    stream,
                    position,
                    payload,
                    ..
                } => (stream, Order::Send(position, payload)),
                Action::Done { stream, epoch } => (stream, Order::Done(epoch)),
                Action::End { stream, reason } => (stream, Order::End(reason)),
            };
            let Some(outbox) = state.streams.get(&stream) else {
                continue;
            };
            match order {
                Order::End(EndReason::Failed(_) | EndReason::CutOff) => outbox.push(order),
                Order::End(_) => outbox.replace(order),
                order => outbox.push(order),
            }
        }
        result
    }

    /// Takes jobs until the queue is closed; returns their number.
    fn sample(&self) -> u64 {
        let mut made = 0;
        while let Some(Job(job, payload)) = self.jobs.take() {
            made += 1;
            let result = Made {
                payload,
                bytes: 100,
                facts: 3,
            };
            self.call(|state| state.session.sampled(Duration::ZERO, job, Ok(result)));
        }
        made
    }

    fn open(&self, key: &str) -> u64 {
        let spec = spec(key);
        let channel = ChannelSpec {
            seeds: SeedSpec::Listed((0..18).collect()),
            ..ChannelSpec::default()
        };
        let plan = ChannelPlan::new(&*GRAPH, &spec, &channel, 1 << 20).unwrap();
        self.call(|state| {
            let session = &mut state.session;
            let sampler = session.open_sampler(Duration::ZERO, &spec).unwrap();
            let opened =
                session.open_channel(Duration::ZERO, "client", key, sampler, plan, channel.window);
            opened.unwrap()
        })
    }

    fn start(&self, channel: u64, epoch: u64) {
        self.call(|state| state.session.start(Duration::ZERO, channel, epoch).unwrap());
    }

    /// Begins a fetch at the first batch.
    fn fetch(&self, channel: u64, epoch: u64, batches: u64) -> (u64, Arc<Outbox<Order>>) {
        self.call(|state| {
            let outbox = Arc::new(Outbox::new());
            let stream = state.next_stream;
            state.next_stream += 1;
            state.streams.insert(stream, Arc::clone(&outbox));
            let session = &mut state.session;
            let fetched = session.fetch(Duration::ZERO, channel, stream, epoch, 0, credit(batches));
            fetched.unwrap();
            (stream, outbox)
        })
    }

    /// Reads a stream to its end, with a credit for each batch; returns the batches and the end.
    fn read(&self, channel: u64, stream: u64, outbox: &Outbox<Order>) -> (Vec<u64>, Order) {
        let mut seen = Vec::new();
        loop {
            // As a server does, a batch is taken in two parts.
            let mut parts = 0;
            let order = block_on(std::future::poll_fn(|context| {
                loop {
                    let taken = outbox.poll(context, |order| match order {
                        Order::Send(..) if parts == 0 => (None, Used::InPart),
                        Order::Send(position, payload) => {
                            (Some(Order::Send(*position, *payload)), Used::Up)
                        }
                        Order::Done(epoch) => (Some(Order::Done(*epoch)), Used::Up),
                        Order::End(reason) => (Some(Order::End(reason.clone())), Used::Up),
                    });
                    match taken {
                        Poll::Ready(Some(order)) => return Poll::Ready(order),
                        Poll::Ready(None) => parts += 1,
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }));
            let Order::Send(position, payload) = order else {
                self.call(|state| {
                    state.streams.remove(&stream);
                    state.session.ended(Duration::ZERO, channel, stream);
                });
                return (seen, order);
            };
            assert_eq!(payload.1, position);
            seen.push(position);
            self.call(|state| {
                let session = &mut state.session;
                session.taken(Duration::ZERO, channel, stream, position);
                session.credit(Duration::ZERO, channel, stream, credit(1));
            });
        }
    }
}

/// A client's part.
type Client = Box<dyn FnOnce(&Shell) + Send>;

/// Runs clients beside two sampling threads. All of them end, or the scheduler says who waits for whom.
fn beside_samplers(shell: &Arc<Shell>, clients: Vec<Client>) {
    let spawn = |work: Box<dyn FnOnce(&Shell) + Send>| {
        let shell = Arc::clone(shell);
        thread::spawn(move || work(&shell))
    };
    let samplers = [0, 1].map(|_| {
        let shell = Arc::clone(shell);
        thread::spawn(move || shell.sample())
    });
    let clients: Vec<_> = clients.into_iter().map(spawn).collect();
    for client in clients {
        client.join().unwrap();
    }
    shell.jobs.close();
    for sampler in samplers {
        sampler.join().unwrap();
    }
}

#[test]
fn every_client_has_all_batches_in_order_and_its_end() {
    let run = || {
        // Less than two batches are expected to have: one client waits for the other, and batches are thrown away.
        let shell = Shell::new(400);
        let client = |key: &'static str, credits: u64| -> Box<dyn FnOnce(&Shell) + Send> {
            Box::new(move |shell| {
                let channel = shell.open(key);
                for epoch in 1..=2 {
                    shell.start(channel, epoch);
                    let (stream, outbox) = shell.fetch(channel, epoch, credits);
                    let (seen, end) = shell.read(channel, stream, &outbox);
                    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
                    assert!(
                        matches!(end, Order::Done(of) if of.epoch == epoch),
                        "{end:?}"
                    );
                }
                shell.call(|state| state.session.close(Duration::ZERO, channel));
            })
        };
        beside_samplers(&shell, vec![client("a", 1), client("b", 4)]);
        let state = shell.state.lock().unwrap();
        assert_eq!(state.session.status().memory, 0);
        assert!(state.streams.is_empty());
    };
    shuttle::check_random(run, SCHEDULES);
    shuttle::check_pct(run, SCHEDULES, 3);
}

#[test]
fn a_stream_that_is_closed_or_replaced_at_any_moment_ends() {
    let run = || {
        let shell = Shell::new(1 << 20);
        let closed = shell.open("closed");
        let replaced = shell.open("replaced");
        for channel in [closed, replaced] {
            shell.start(channel, 1);
        }
        let reader = |channel: u64, stream: u64, outbox: Arc<Outbox<Order>>| {
            let read = move |shell: &Shell| {
                let (seen, end) = shell.read(channel, stream, &outbox);
                assert!(seen.iter().copied().eq(0..seen.len() as u64));
                match end {
                    Order::Done(_) => assert_eq!(seen.len(), 6),
                    Order::End(EndReason::Closed | EndReason::Replaced) => {}
                    end => panic!("{end:?}"),
                }
            };
            Box::new(read) as Box<dyn FnOnce(&Shell) + Send>
        };
        let first = shell.fetch(closed, 1, 2);
        let second = shell.fetch(replaced, 1, 2);
        let close = Box::new(move |shell: &Shell| {
            shell.call(|state| state.session.close(Duration::ZERO, closed));
        });
        let replace = Box::new(move |shell: &Shell| {
            let (stream, outbox) = shell.fetch(replaced, 1, 2);
            let (seen, end) = shell.read(replaced, stream, &outbox);
            assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
            assert!(matches!(end, Order::Done(_)), "{end:?}");
        });
        let clients = vec![
            reader(closed, first.0, first.1),
            reader(replaced, second.0, second.1),
            close,
            replace,
        ];
        beside_samplers(&shell, clients);
        assert!(shell.state.lock().unwrap().streams.is_empty());
    };
    shuttle::check_random(run, SCHEDULES);
    shuttle::check_pct(run, SCHEDULES, 3);
}

#[test]
fn a_queue_that_is_closed_at_any_moment_runs_or_drops_each_job_once() {
    let run = || {
        let queue = Arc::new(Queue::new());
        let counted = Arc::new(());
        let threads = [0, 1].map(|_| {
            let queue: Arc<Queue<Arc<()>>> = Arc::clone(&queue);
            thread::spawn(move || std::iter::from_fn(|| queue.take()).count())
        });
        let adders = [0, 1].map(|_| {
            let (queue, counted) = (Arc::clone(&queue), Arc::clone(&counted));
            thread::spawn(move || {
                for _ in 0..3 {
                    queue.push(Arc::clone(&counted));
                }
            })
        });
        let [first, second] = adders;
        first.join().unwrap();
        queue.close();
        second.join().unwrap();
        let ran: usize = threads
            .map(|thread| thread.join().unwrap())
            .into_iter()
            .sum();
        assert!(ran <= 6);
        // No job is left.
        assert_eq!(queue.waiting(), 0);
        assert_eq!(Arc::strong_count(&counted), 1);
    };
    shuttle::check_random(run, SCHEDULES);
    shuttle::check_pct(run, SCHEDULES, 3);
}
