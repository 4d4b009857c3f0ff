//! A network that delays, holds up, cuts, repeats and reorders frames.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use shardloom::net::dial::Opening;
use shardloom::net::{Accept, Channel, Dial, Frame, FrameStream, NetError};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Number of a host.
pub type Host = usize;

/// Time after which both ends of a stream give up a link that is down: that of pings and their answers.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Frames that wait to be sent.
const WAITING: usize = 4;

/// State of a link between two hosts.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Whether nothing passes.
    pub down: bool,
    /// Milliseconds that a frame takes.
    pub delay: Range<u64>,
    /// Of 1000 frames, those that come twice or change places with the next.
    pub mangled: u32,
}

impl Default for Condition {
    fn default() -> Condition {
        Condition {
            down: false,
            delay: 1..4,
            mangled: 0,
        }
    }
}

struct Connection {
    hosts: [Host; 2],
    cut: watch::Sender<bool>,
}

struct Inner {
    seed: u64,
    opened: u64,
    listeners: BTreeMap<String, (Host, Arc<dyn Accept>)>,
    links: BTreeMap<[Host; 2], watch::Sender<Condition>>,
    connections: Vec<Connection>,
}

/// The network of all hosts. Clones are the same network.
#[derive(Clone)]
pub struct Network(Arc<Mutex<Inner>>);

impl Network {
    pub fn new(seed: u64) -> Network {
        Network(Arc::new(Mutex::new(Inner {
            seed,
            opened: 0,
            listeners: BTreeMap::new(),
            links: BTreeMap::new(),
            connections: Vec::new(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub fn listen(&self, host: Host, address: &str, accept: Arc<dyn Accept>) {
        let mut inner = self.inner();
        inner.listeners.insert(address.to_owned(), (host, accept));
    }

    /// Addresses at which somebody listens.
    pub fn addresses(&self) -> Vec<(String, Host)> {
        let inner = self.inner();
        let all = inner.listeners.iter();
        all.map(|(address, (host, _))| (address.clone(), *host))
            .collect()
    }

    /// A host dies: nobody listens there, and its streams end.
    pub fn crash(&self, host: Host) {
        self.inner().listeners.retain(|_, (of, _)| *of != host);
        self.cut(|hosts| hosts.contains(&host));
    }

    /// Cuts streams between hosts; the links stay.
    pub fn cut(&self, which: impl Fn([Host; 2]) -> bool) {
        let inner = self.inner();
        for connection in inner.connections.iter().filter(|c| which(c.hosts)) {
            connection.cut.send_replace(true);
        }
    }

    /// Changes the link between two hosts.
    pub fn change(&self, a: Host, b: Host, change: impl FnOnce(&mut Condition)) {
        self.inner().link(a, b).send_modify(change);
    }

    /// Dialer of a host.
    pub fn dial(&self, host: Host) -> Arc<dyn Dial> {
        Arc::new(HostDial {
            network: self.clone(),
            host,
        })
    }
}

impl Inner {
    fn link(&mut self, a: Host, b: Host) -> &watch::Sender<Condition> {
        let hosts = [a.min(b), a.max(b)];
        let link = self.links.entry(hosts);
        link.or_insert_with(|| watch::Sender::new(Condition::default()))
    }
}

struct HostDial {
    network: Network,
    host: Host,
}

impl fmt::Debug for HostDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dialer of host {}", self.host)
    }
}

impl HostDial {
    async fn connect(&self, address: &str, channel: Channel) -> Result<FrameStream, NetError> {
        let unreachable = || NetError::Unreachable {
            peer: address.to_owned(),
            reason: "nothing listens there".to_owned(),
        };
        let to = self
            .network
            .inner()
            .listeners
            .get(address)
            .map(|(host, _)| *host);
        let to = to.ok_or_else(unreachable)?;
        let (mut link, mut random) = {
            let mut inner = self.network.inner();
            inner.opened += 1;
            let random = inner.seed ^ (inner.opened << 32);
            let random = Xoshiro256PlusPlus::seed_from_u64(random);
            (inner.link(self.host, to).subscribe(), random)
        };
        let delay = link.borrow().delay.clone();
        sleep(Duration::from_millis(2 * random.random_range(delay))).await;
        // The network outlives the wait.
        let _ = link.wait_for(|link| !link.down).await;
        let accept = {
            let inner = self.network.inner();
            let accept = inner
                .listeners
                .get(address)
                .map(|(_, accept)| Arc::clone(accept));
            accept.ok_or_else(unreachable)?
        };
        let cut = watch::Sender::new(false);
        let names = [format!("host {}", self.host), address.to_owned()];
        let [ours, theirs] = streams(names, &link, &cut, &mut random);
        tokio::spawn(keep_alive(link, cut.clone()));
        let hosts = [self.host, to];
        let mut inner = self.network.inner();
        inner
            .connections
            .retain(|connection| connection.cut.receiver_count() > 0);
        inner.connections.push(Connection { hosts, cut });
        drop(inner);
        accept.accept(channel, theirs);
        Ok(ours)
    }
}

impl Dial for HostDial {
    fn open<'a>(&'a self, address: &'a str, channel: Channel, limit: Duration) -> Opening<'a> {
        Box::pin(async move {
            match timeout(limit, self.connect(address, channel)).await {
                Ok(stream) => stream,
                Err(_) => Err(NetError::Deadline {
                    peer: address.to_owned(),
                    after: limit,
                }),
            }
        })
    }
}

/// Cuts a stream whose link is down for too long; ends with the stream.
async fn keep_alive(mut link: watch::Receiver<Condition>, cut: watch::Sender<bool>) {
    loop {
        tokio::select! {
            biased;
            () = cut.closed() => return,
            _ = link.wait_for(|link| link.down) => {}
        }
        if timeout(KEEP_ALIVE, link.wait_for(|link| !link.down))
            .await
            .is_err()
        {
            cut.send_replace(true);
            return;
        }
    }
}

type Delivered = Result<Frame, NetError>;

/// Frames as they come.
struct Arriving(mpsc::UnboundedReceiver<Delivered>);

impl shardloom::net::stream::Incoming for Arriving {
    fn poll_frame(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Delivered>> {
        self.0.poll_recv(context)
    }
}

/// The two ends of a stream.
fn streams(
    names: [String; 2],
    link: &watch::Receiver<Condition>,
    cut: &watch::Sender<bool>,
    random: &mut Xoshiro256PlusPlus,
) -> [FrameStream; 2] {
    let mut way = |to: &String, from: &String| {
        let (sender, sent) = mpsc::channel(WAITING);
        let (out, arriving) = mpsc::unbounded_channel();
        let carrier = Carrier {
            from: from.clone(),
            sent,
            out,
            link: link.clone(),
            cut: cut.subscribe(),
            random: Xoshiro256PlusPlus::seed_from_u64(random.random()),
        };
        tokio::spawn(carrier.carry());
        let _ = to;
        (sender, arriving)
    };
    let [first, second] = &names;
    let (to_second, at_second) = way(second, first);
    let (to_first, at_first) = way(first, second);
    [
        FrameStream::new(second.clone(), to_second, Box::new(Arriving(at_first))),
        FrameStream::new(first.clone(), to_first, Box::new(Arriving(at_second))),
    ]
}

/// Carries the frames of one direction of a stream.
struct Carrier {
    from: String,
    sent: mpsc::Receiver<Frame>,
    out: mpsc::UnboundedSender<Delivered>,
    link: watch::Receiver<Condition>,
    cut: watch::Receiver<bool>,
    random: Xoshiro256PlusPlus,
}

impl Carrier {
    async fn carry(mut self) {
        let mut cut = self.cut.clone();
        let lost = NetError::Lost {
            peer: self.from.clone(),
            reason: "the stream was cut".to_owned(),
        };
        let out = self.out.clone();
        tokio::select! {
            biased;
            _ = cut.wait_for(|cut| *cut) => drop(out.send(Err(lost))),
            () = out.closed() => {}
            () = self.deliver() => {}
        }
    }

    async fn deliver(&mut self) {
        let mut held: Option<Frame> = None;
        let mut due = Instant::now();
        while let Some(frame) = self.sent.recv().await {
            let Condition { delay, mangled, .. } = self.link.borrow().clone();
            // Frames overlap on their way, and stay in order.
            let delay = Duration::from_millis(self.random.random_range(delay));
            due = due.max(Instant::now() + delay);
            sleep_until(due).await;
            let _ = self.link.wait_for(|link| !link.down).await;
            let fate = self.random.random_range(0..1000);
            if fate < mangled / 2 && held.is_none() {
                held = Some(frame);
                continue;
            }
            let again = (fate < mangled).then(|| frame.clone());
            for frame in [Some(frame), again, held.take()].into_iter().flatten() {
                let _ = self.out.send(Ok(frame));
            }
        }
        if let Some(frame) = held {
            let _ = self.out.send(Ok(frame));
        }
    }
}
