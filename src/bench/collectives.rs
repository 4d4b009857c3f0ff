//! Groups whose collectives are measured.

use std::sync::Arc;

#[cfg(feature = "net")]
use tokio::runtime::Runtime;

use super::BenchError;
use crate::collective::{Collective, local};

/// Backend of collectives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CollectiveBackend {
    /// Memory of this process.
    #[default]
    Local,
    /// Connections over gRPC between ranks, as if each were a process.
    #[cfg(feature = "net")]
    Grpc,
}

/// A group of ranks.
pub(super) struct Group {
    /// Members, by rank.
    pub members: Vec<Arc<dyn Collective>>,
    /// Threads of the connections.
    #[cfg(feature = "net")]
    _network: Option<Runtime>,
}

impl Group {
    /// Makes a group of `world` ranks of generation 0.
    ///
    /// # Errors
    /// [`BenchError::Runtime`] and [`BenchError::Net`] if the ranks cannot be connected.
    pub(super) fn new(backend: CollectiveBackend, world: usize) -> Result<Group, BenchError> {
        match backend {
            CollectiveBackend::Local => Ok(Group {
                members: by_rank(local::group(world)),
                #[cfg(feature = "net")]
                _network: None,
            }),
            #[cfg(feature = "net")]
            CollectiveBackend::Grpc => {
                let network = crate::net::transport::runtime().map_err(BenchError::Runtime)?;
                let members = grpc::connect(&network, world)?;
                Ok(Group {
                    members: by_rank(members),
                    _network: Some(network),
                })
            }
        }
    }
}

fn by_rank<C: Collective + 'static>(members: Vec<C>) -> Vec<Arc<dyn Collective>> {
    let member = |member| -> Arc<dyn Collective> { Arc::new(member) };
    members.into_iter().map(member).collect()
}

#[cfg(feature = "net")]
mod grpc {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::runtime::{Handle, Runtime};

    use super::BenchError;
    use crate::ids::Generation;
    use crate::net::Accept;
    use crate::net::collective::{Join, Joins, Member, Membership, Peer, ask};
    use crate::net::transport::{Dialer, Listener, Security, Settings};
    use crate::net::{Channel, FrameStream, NetError};

    /// Longest wait for a connection.
    const LIMIT: Duration = Duration::from_secs(20);
    const GENERATION: Generation = Generation(0);

    /// Streams to a rank's listener.
    struct Accepted {
        joins: Arc<Joins>,
        runtime: Handle,
    }

    impl Accept for Accepted {
        fn accept(&self, _: Channel, stream: FrameStream) {
            let joins = self.joins.clone();
            // The other end hears of a refusal, and this one of a missing stream.
            self.runtime
                .spawn(async move { joins.accept(stream, LIMIT).await });
        }
    }

    /// Connects ranks over loopback. Each has a listener of its own.
    pub(super) fn connect(network: &Runtime, world: usize) -> Result<Vec<Member>, BenchError> {
        let runtime = network.handle();
        let (security, settings) = (Security::default(), Settings::default());
        let mut all = Vec::new();
        for _ in 0..world {
            let joins = Arc::<Joins>::default();
            let accept = Arc::new(Accepted {
                joins: joins.clone(),
                runtime: runtime.clone(),
            });
            let listener = Listener::bind("127.0.0.1:0", &security, &settings, accept, runtime)?;
            all.push((joins, listener));
        }
        let dialer = Dialer::new(security, settings, runtime.clone());
        let connect = async {
            let collected: Vec<_> = (all.iter().enumerate())
                .map(|(rank, (joins, _))| {
                    let (joins, later) = (joins.clone(), rank + 1..world);
                    let later = later.map(|rank| vec![rank]).collect();
                    runtime
                        .spawn(async move { joins.collect(GENERATION, world, later, LIMIT).await })
                })
                .collect();
            let mut peers: Vec<Vec<Peer>> = all.iter().map(|_| Vec::new()).collect();
            for (rank, peers) in peers.iter_mut().enumerate() {
                for (earlier, (_, listener)) in all[..rank].iter().enumerate() {
                    let address = listener.local_address().to_string();
                    let stream = dialer.open(&address, Channel::Collective, LIMIT).await?;
                    let join = Join {
                        generation: GENERATION,
                        world,
                        ranks: vec![rank],
                    };
                    peers.push(Peer {
                        ranks: vec![earlier],
                        stream: ask(stream, &join, LIMIT).await?,
                    });
                }
            }
            for (peers, collected) in peers.iter_mut().zip(collected) {
                match collected.await {
                    Ok(collected) => peers.extend(collected?),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                }
            }
            let mut members = Vec::new();
            for (rank, peers) in peers.into_iter().enumerate() {
                let membership = Membership {
                    generation: GENERATION,
                    world,
                    ranks: vec![rank],
                    peers,
                };
                members.extend(membership.join()?);
            }
            Ok::<_, NetError>(members)
        };
        Ok(network.block_on(connect)?)
    }
}
