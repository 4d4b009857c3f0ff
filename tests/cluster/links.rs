//! Nodes that reach the leader and not one another.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shardloom::cluster::node::{NodeEnding, NodeError};
use shardloom::coordinator::MemberInfo;
use shardloom::kernel::Backend;
use shardloom::net::dial::Opening;
use shardloom::net::{Channel, Dial, LocalNetwork, NetError};
use shardloom::train::{Ending, NoObserver, NodePlace, node};

use super::{Cluster, LEADER, Session, alone, config, tables};

/// Pairs of addresses without a link.
type Broken = Arc<Mutex<BTreeSet<[String; 2]>>>;

/// Dialer of one address.
#[derive(Debug)]
struct Links {
    from: String,
    network: LocalNetwork,
    broken: Broken,
}

impl Dial for Links {
    fn open<'a>(&'a self, address: &'a str, channel: Channel, limit: Duration) -> Opening<'a> {
        let pair = [self.from.clone(), address.to_owned()];
        let mirrored = [address.to_owned(), self.from.clone()];
        let broken = self.broken.lock().unwrap();
        if broken.contains(&pair) || broken.contains(&mirrored) {
            return Box::pin(async move {
                Err(NetError::Unreachable {
                    peer: address.to_owned(),
                    reason: "there is no link".to_owned(),
                })
            });
        }
        drop(broken);
        self.network.open(address, channel, limit)
    }
}

/// Starts a node that joins again and again while the leader lets it go for now.
fn join(cluster: &Cluster, broken: &Broken, address: &str) -> Session {
    let links = Arc::new(Links {
        from: address.to_owned(),
        network: cluster.network.clone(),
        broken: Arc::clone(broken),
    });
    let place = NodePlace {
        address: address.to_owned(),
        dial: links.clone(),
        info: MemberInfo::default(),
        directory: None,
        threads: Some(1),
        memory: None,
    };
    let node = node(
        &cluster.config,
        &cluster.dataset,
        &cluster.prepared,
        Backend::cpu(),
        place,
    );
    cluster.network.listen(address, Arc::new(node.accept(None)));
    cluster.runtime.spawn(async move {
        loop {
            let limit = Duration::from_secs(2);
            let stream = links.open(LEADER, Channel::Session, limit).await;
            let ended = node.join(stream.map_err(NodeError::LeaderLost)?).await;
            match ended {
                Ok(NodeEnding::LetGo(_)) => tokio::time::sleep(Duration::from_secs(60)).await,
                ended => return ended,
            }
        }
    })
}

#[test]
fn the_node_that_most_others_do_not_reach_goes() {
    let config = config("objective = \"negatives\"\nnegatives = 8\nmodel = \"distmult\"");
    let expected = alone(&config);
    let cluster = Cluster::new(config);
    let pair = |other: &str| ["lonely".to_owned(), other.to_owned()];
    let broken: Broken = Arc::new(Mutex::new([pair("first"), pair("second")].into()));
    let own = cluster.join();
    // The lonely node is neither the first nor the last to join.
    let sessions = ["first", "lonely", "second"].map(|address| {
        let session = join(&cluster, &broken, address);
        std::thread::sleep(Duration::from_millis(50));
        session
    });
    let mut trainer = cluster.trainer(4);
    let ending = trainer.train(&mut NoObserver).unwrap();
    assert_eq!(ending, Ending::Finished);
    assert!(tables(trainer.server()) == expected);
    let [first, lonely, second] = sessions;
    for session in [own, first, second] {
        let ended = cluster.runtime.block_on(session).unwrap();
        assert!(format!("{ended:?}").contains("finished"), "{ended:?}");
    }
    assert!(!lonely.is_finished(), "waits to join again");
    lonely.abort();
}
