//! Pulls and pushes over gRPC, and copies over TCP, in turn.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use shardloom::ids::{Generation, Step};
use shardloom::kernel::{Backend, GradientRows};
use shardloom::model::Model;
use shardloom::net::Accept;
use shardloom::net::rows::{NoFence, RemoteOptions, RemoteShards, ServeOptions, serve};
use shardloom::net::transport::{Dialer, Listener, Security, Settings, runtime};
use shardloom::net::{Channel, FrameStream};
use shardloom::optim::OptimizerKind;
use shardloom::server::{
    Apply, Caller, Initializer, PackedType, ParameterServer, PushRequest, PushedPart, PushedRows,
    Shape, ShardClient, ShardId, StalenessPolicy, Storage, TableName, UpdateMode, WorkerId,
};
use tokio::runtime::Runtime;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Longest time of a request.
const DEADLINE: Duration = Duration::from_secs(30);
const GENERATION: Generation = Generation(1);

/// Work to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rows of the table.
    pub rows: usize,
    /// Values in a row.
    pub dim: usize,
    /// Rows of a pull or a push.
    pub batch: usize,
    /// Numbers of clients at once.
    pub clients: Vec<usize>,
    /// Type in which values travel.
    pub value_type: PackedType,
    /// Number of rounds.
    pub rounds: usize,
    /// Duration of each measurement.
    pub time: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            rows: 100_000,
            dim: 128,
            batch: 4096,
            clients: vec![1, 4],
            value_type: PackedType::F32,
            rounds: 5,
            time: Duration::from_millis(500),
        }
    }
}

/// Medians over all rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// `pull` or `push`.
    pub work: &'static str,
    /// Number of clients at once.
    pub clients: usize,
    /// Rows of a call.
    pub rows: usize,
    /// Median seconds of a call.
    pub median_s: f64,
    /// 10⁹ bytes of f32 a second, over all clients.
    pub gb_per_second: f64,
    /// The same of the plain copy.
    pub copy_gb_per_second: f64,
    /// Median over rounds of the share of the copy in the same round.
    pub share_of_copy: f64,
    /// CPU seconds of both ends for 10⁹ bytes.
    pub cpu_seconds_per_gb: f64,
    /// The same of the plain copy.
    pub copy_cpu_seconds_per_gb: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    Pull,
    Push,
}

/// Figures of one measurement.
#[derive(Clone, Copy, Debug)]
struct Figures {
    median: f64,
    rate: f64,
    cpu: f64,
}

/// Measures all work.
pub fn run(options: &Options) -> Result<Vec<Measurement>> {
    let [owner, worker] = [runtime()?, runtime()?];
    let most = options.clients.iter().copied().max().unwrap_or(1);
    let server = server(options, most)?;
    let security = Security::default();
    let accept = Arc::new(Owner(server, owner.handle().clone()));
    let listener = Listener::bind(
        "127.0.0.1:0",
        &security,
        &Settings::default(),
        accept,
        owner.handle(),
    )?;
    let dialer = Dialer::new(security, Settings::default(), worker.handle().clone());
    let address = listener.local_address().to_string();
    let clients = (0..most).map(|_| {
        worker.block_on(async {
            let stream = dialer.open(&address, Channel::Rows, DEADLINE).await?;
            let options = RemoteOptions {
                epoch: 1,
                value_type: options.value_type,
                deadline: DEADLINE,
            };
            Ok(RemoteShards::new(stream, options))
        })
    });
    let clients: Vec<RemoteShards> = clients.collect::<Result<_>>()?;
    let mut works = Vec::new();
    for &n in &options.clients {
        works.extend([Work::Pull, Work::Push].map(|work| (work, n, options.batch)));
    }
    works.extend([Work::Pull, Work::Push].map(|work| (work, 1, 1)));
    let mut rounds: Vec<Vec<[Figures; 2]>> = Vec::new();
    // The first round warms up.
    for _ in 0..=options.rounds {
        let measure = |&(work, n, batch)| {
            let own = rows(options, &worker, &clients[..n], work, batch)?;
            Ok([own, copy(options, work, n, batch)?])
        };
        rounds.push(works.iter().map(measure).collect::<Result<_>>()?);
    }
    rounds.remove(0);
    let results = works.iter().enumerate().map(|(i, &(work, clients, rows))| {
        let of = |read: &dyn Fn([Figures; 2]) -> f64| {
            let mut all: Vec<f64> = rounds.iter().map(|round| read(round[i])).collect();
            median(&mut all)
        };
        Measurement {
            work: match work {
                Work::Pull => "pull",
                Work::Push => "push",
            },
            clients,
            rows,
            median_s: of(&|[own, _]| own.median),
            gb_per_second: of(&|[own, _]| own.rate),
            copy_gb_per_second: of(&|[_, copy]| copy.rate),
            share_of_copy: of(&|[own, copy]| own.rate / copy.rate),
            cpu_seconds_per_gb: of(&|[own, _]| own.cpu),
            copy_cpu_seconds_per_gb: of(&|[_, copy]| copy.cpu),
        }
    });
    Ok(results.collect())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn server(options: &Options, workers: usize) -> Result<ParameterServer> {
    let shape = Shape {
        model: Model::DistMult,
        dim: options.dim,
        entities: options.rows,
        relations: 1,
        relation_dim: None,
    };
    let storage = Storage {
        optimizer: OptimizerKind::Sgd,
        ..Storage::default()
    };
    let server = ParameterServer::new(Backend::cpu(), shape, storage, &Initializer::ZERO)?;
    let mode = UpdateMode::Async {
        bound: u64::MAX,
        policy: StalenessPolicy::Refuse,
        timeout: DEADLINE,
    };
    let workers: Vec<WorkerId> = (0..workers as u32).map(WorkerId).collect();
    server.configure(mode, GENERATION, &workers);
    server.set_rate(1e-6);
    Ok(server)
}

/// Owner of shards: serves every stream.
struct Owner(ParameterServer, tokio::runtime::Handle);

impl Accept for Owner {
    fn accept(&self, _channel: Channel, stream: FrameStream) {
        let shards = Arc::new(self.0.clone());
        self.1.spawn(serve(
            stream,
            shards,
            Arc::new(NoFence),
            ServeOptions::default(),
        ));
    }
}

/// Repeats a call on several threads until the time is over. `calls` makes the call of each thread.
fn timed<C: FnMut() -> Result<()> + Send>(
    options: &Options,
    batch: usize,
    calls: Vec<C>,
) -> Result<Figures> {
    let barrier = Barrier::new(calls.len());
    let start = (Instant::now(), cpu_seconds());
    let repeat = |mut call: C| {
        barrier.wait();
        let (begin, mut taken) = (Instant::now(), Vec::new());
        while begin.elapsed() < options.time {
            let start = Instant::now();
            call()?;
            taken.push(start.elapsed().as_secs_f64());
        }
        Ok::<Vec<f64>, Box<dyn Error + Send + Sync>>(taken)
    };
    let taken = thread::scope(|scope| {
        let threads: Vec<_> = (calls.into_iter())
            .map(|call| scope.spawn(|| repeat(call)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Vec<f64>>>| match thread.join() {
            Ok(taken) => taken,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let (seconds, cpu) = (start.0.elapsed().as_secs_f64(), cpu_seconds() - start.1);
    let mut taken = taken.concat();
    let gigabytes = (taken.len() * batch * options.dim * 4) as f64 / 1e9;
    Ok(Figures {
        median: median(&mut taken),
        rate: gigabytes / seconds,
        cpu: cpu / gigabytes,
    })
}

/// Pulls or pushes rows of the table.
fn rows(
    options: &Options,
    runtime: &Runtime,
    clients: &[RemoteShards],
    work: Work,
    batch: usize,
) -> Result<Figures> {
    let layout = runtime.block_on(clients[0].layout())?.version;
    let calls = clients.iter().zip(0u32..).map(|(client, worker)| {
        let apart = (options.rows / batch).max(1);
        let drawn = (0..batch).map(|i| (i * apart + worker as usize) % options.rows);
        let drawn: Vec<u32> = drawn.map(|row| row as u32).collect();
        let gradients = GradientRows::from(vec![0.5f32; batch * options.dim]);
        let (mut out, mut step) = (Vec::new(), first_step());
        move || {
            let caller = Caller {
                worker: WorkerId(worker),
                generation: GENERATION,
                step: Step(step),
                layout,
            };
            step += 1;
            if work == Work::Pull {
                let table = TableName::Entities;
                runtime.block_on(client.pull_into(caller, table, &drawn, &mut out))?;
                return Ok(());
            }
            let part = |shard, places, rows| PushedPart {
                shard,
                places: Some(places),
                gradients: PushedRows::OnDevice(rows),
            };
            let request = PushRequest {
                caller,
                apply: Apply::Now,
                samples: 1.0,
                squares: 1.0,
                parts: vec![
                    part(ShardId::entities(0), drawn.clone(), gradients.clone()),
                    part(ShardId::relations(0), vec![], Vec::new().into()),
                ],
            };
            runtime.block_on(client.push(request))?;
            Ok(())
        }
    });
    timed(options, batch, calls.collect())
}

/// First step of pushes that follow: rises with time, as steps of a worker must.
fn first_step() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_micros() as u64
}

/// Copies the bytes of rows over TCP: to the client for a pull, to the server for a push.
fn copy(options: &Options, work: Work, clients: usize, batch: usize) -> Result<Figures> {
    let bytes = batch * options.dim * 4;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let [asked, answered] = match work {
        Work::Pull => [8, bytes],
        Work::Push => [bytes, 8],
    };
    thread::scope(|scope| {
        let calls = (0..clients).map(|_| {
            let mut client = TcpStream::connect(address)?;
            let (mut server, _) = listener.accept()?;
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
            scope.spawn(move || {
                let (mut request, answer) = (vec![0; asked], vec![1; answered]);
                // Until the client is gone.
                while server.read_exact(&mut request).is_ok() {
                    if server.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
            let (request, mut answer) = (vec![2; asked], vec![0; answered]);
            Ok(move || {
                client.write_all(&request)?;
                client.read_exact(&mut answer)?;
                Ok(())
            })
        });
        timed(options, batch, calls.collect::<Result<Vec<_>>>()?)
    })
}

/// CPU seconds of the process, all threads; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    #[cfg(unix)]
    {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is valid for the call, which writes the whole struct.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
            usage.assume_init()
        };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
        seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }
    #[cfg(not(unix))]
    0.0
}
