//! Nodes that may not take part: the leader says why, with both values.

use std::time::Duration;

use shardloom::cluster::messages::{Hello, Opening, ToNode, receive, send};
use shardloom::coordinator::MemberInfo;
use shardloom::ids::Incarnation;
use shardloom::net::registry::RELEASE;
use shardloom::net::{Channel, Dial};
use shardloom::train::run_digest;

use super::{Cluster, LEADER, config};

const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn another_release_and_another_run_are_refused_with_both_values() {
    let cluster = Cluster::new(config(""));
    let own = cluster.join();
    let digest = run_digest(&cluster.config, &cluster.dataset);
    let other = run_digest(&config("dim = 12"), &cluster.dataset);
    assert_ne!(digest, other);
    let hello = |release: &str, run: &str| Hello {
        release: release.to_owned(),
        incarnation: Incarnation(7),
        address: "elsewhere".to_owned(),
        info: MemberInfo::default(),
        directory: false,
        run: run.to_owned(),
    };
    let cases = [
        (hello("0.0.7", &digest), ["0.0.7", RELEASE]),
        (hello(RELEASE, &other), [&*other, &*digest]),
    ];
    for (hello, both) in cases {
        let answer = cluster.runtime.block_on(async {
            let opened = cluster.network.open(LEADER, Channel::Session, LIMIT).await;
            let mut stream = opened.unwrap();
            let sent = send(&stream.sender, &Opening::Hello(hello), LIMIT).await;
            sent.unwrap();
            receive::<ToNode>(&mut stream.receiver, LIMIT).await
        });
        let Ok(Some(ToNode::Refused { reason })) = answer else {
            panic!("{answer:?}");
        };
        assert!(both.iter().all(|value| reason.contains(value)), "{reason}");
    }
    own.abort();
}
