//! Steps against all entities: queries travel, and the entities' rows stay with their holders.

use std::ops::ControlFlow;
use std::sync::Arc;

use shardloom::config::Config;
use shardloom::device::DeviceChoice;
use shardloom::executor::part::lanes;
use shardloom::kernel::Backend;
use shardloom::net::{Channel, Kind, LocalNetwork};
use shardloom::train::{Ending, TrainEvent, Trainer};

use super::counting::Counting;
use super::{Cluster, Session, config, family, tables};

const ONE_VS_ALL: &str = "objective = \"1vsall\"\nregularizer = \"n3\"\nlambda = 0.01";

/// Tables of a run, and the loss of each epoch.
#[derive(Debug, PartialEq)]
struct Made {
    tables: Vec<Vec<u32>>,
    losses: Vec<f64>,
}

/// Trains with an observer that is told of every step.
fn train(mut trainer: Trainer, mut on_step: impl FnMut(usize)) -> (Made, Vec<String>) {
    let (mut steps, mut losses, mut notes) = (0, Vec::new(), Vec::new());
    let ending = trainer
        .train(&mut |event: TrainEvent<'_>| {
            match event {
                TrainEvent::StepDone { .. } => {
                    steps += 1;
                    on_step(steps);
                }
                TrainEvent::EpochDone { record, .. } => losses.push(record.loss),
                TrainEvent::Note(note) => notes.push(note.to_owned()),
                _ => {}
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(ending, Ending::Finished);
    let tables = tables(trainer.server());
    (Made { tables, losses }, notes)
}

/// What some nodes make of a configuration.
fn together(config: &Config, nodes: usize) -> Made {
    together_on(Backend::cpu(), config, nodes)
}

/// What some nodes on the device of an engine make of a configuration.
fn together_on(engine: Backend, config: &Config, nodes: usize) -> Made {
    let cluster = Cluster::on(engine, config.clone());
    let sessions: Vec<Session> = (0..nodes).map(|_| cluster.join()).collect();
    let (made, _) = train(cluster.trainer(nodes), |_| ());
    for session in sessions {
        let ended = cluster.runtime.block_on(session).unwrap();
        assert!(format!("{ended:?}").contains("finished"), "{ended:?}");
    }
    made
}

#[test]
fn any_number_of_nodes_makes_the_same_tables() {
    for text in [
        ONE_VS_ALL,
        "objective = \"kvsall\"\nloss = \"bce\"\nmodel = \"distmult\"\nsharding = \"hash\"\noptimizer = \"adam\"\n\
         entity_dropout = 0.2\ncandidate_dropout = 0.2",
    ] {
        let config = config(text);
        let one = together(&config, 1);
        // Of five, one has no lane.
        for nodes in [2, 5] {
            assert!(together(&config, nodes) == one, "{nodes} nodes, {text}");
        }
        // The step of one process adds up in another order.
        let mut trainer = Trainer::open(config.clone(), &family()).unwrap();
        let mut losses = Vec::new();
        trainer
            .train(&mut |event: TrainEvent<'_>| {
                if let TrainEvent::EpochDone { record, .. } = event {
                    losses.push(record.loss);
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        for (found, wanted) in one.losses.iter().zip(&losses) {
            assert!(
                (found / wanted - 1.0).abs() < 1e-5,
                "{found}, not {wanted}: {text}"
            );
        }
        assert_eq!(one.losses.len(), losses.len());
    }
}

/// On a GPU, where there is one.
#[test]
fn nodes_on_gpus_make_the_same_tables() {
    let Ok((engine, _)) = Backend::open(DeviceChoice::Gpu) else {
        println!("no GPU");
        return;
    };
    let config = config(&format!("{ONE_VS_ALL}\nepochs = 1"));
    let one = together_on(engine.another().unwrap(), &config, 1);
    assert!(together_on(engine, &config, 3) == one);
    let on_cpus = together(&config, 1);
    for (found, wanted) in one.losses.iter().zip(&on_cpus.losses) {
        assert!((found / wanted - 1.0).abs() < 1e-5, "{found}, not {wanted}");
    }
}

#[test]
fn nodes_that_join_and_die_leave_the_tables_as_they_would_be() {
    for replicas in [1, 2] {
        let config = config(&format!("{ONE_VS_ALL}\nepochs = 6\nreplicas = {replicas}"));
        let expected = together(&config, 1);
        let cluster = Cluster::new(config);
        let own = cluster.join();
        let mut others = vec![cluster.join(), cluster.join()];
        let joining = Arc::clone(&cluster);
        let (made, notes) = train(cluster.trainer(3), |step| {
            if [5, 14].contains(&step) {
                // The session breaks off, as if the process had died; its rows are not served any more.
                others.remove(0).abort();
                others.push(joining.join());
            }
        });
        assert!(made.tables == expected.tables, "{replicas} replicas");
        assert_eq!(made.losses, expected.losses);
        let back = notes
            .iter()
            .filter(|note| note.contains("are made again"))
            .count();
        match replicas {
            // A node that a busy machine holds up may be lost too.
            1 => assert!(back >= 2, "{notes:?}"),
            _ => assert_eq!(back, 0, "{notes:?}"),
        }
        drop(own);
    }
}

/// Bytes of query vectors, statistics and sums that `nodes` nodes send each other in a step of `queries` queries of
/// `width` values with a softmax, of which `shards` entity shards are scored.
fn derived(nodes: u64, shards: u64, queries: u64, width: u64) -> u64 {
    (nodes - 1) * queries * (8 * width + 8 * shards + 4 * nodes)
}

#[test]
fn steps_send_the_bytes_that_are_derived() {
    let config = config(&format!(
        "{ONE_VS_ALL}\nepochs = 1\nmodel = \"complex\"\ndim = 16"
    ));
    let (width, shards) = (16, 6);
    for nodes in [2, 3] {
        let network = LocalNetwork::default();
        let counting = Arc::new(Counting::new(&network));
        let cluster = Cluster::dialing(config.clone(), network, counting.clone());
        let sampler = &cluster.prepared.sampler;
        let sessions: Vec<Session> = (0..nodes).map(|_| cluster.join()).collect();
        let (mut collective, mut rows) = (0, 0);
        let order = sampler.order(1);
        for step in 0..sampler.steps() {
            let plan = sampler.plan(&order, step, &mut sampler.scratch());
            let n = plan.queries.len();
            collective += derived(nodes as u64, shards, n as u64, width);
            // As if no lane had a row of its own node: rows down, gradients up, with their numbers.
            for lane in lanes(n, plan.unit(), 4) {
                let lane = plan.lane(lane);
                let read = (lane.entities.len() + lane.relations.len()) as u64;
                rows += 2 * 4 * read * (width + 1);
            }
        }
        train(cluster.trainer(nodes), |_| ());
        let bytes = |channel, kind| counting.bytes(channel, kind);
        assert_eq!(bytes(Channel::Collective, Kind::Values), collective);
        let kinds = [Kind::Pull, Kind::Rows, Kind::Push];
        let sent: u64 = kinds.map(|kind| bytes(Channel::Rows, kind)).iter().sum();
        assert!(sent <= rows, "{sent} bytes, at most {rows}");
        drop(sessions);
    }
    // FB15k-237, dim 200, 1000 queries, 16 shards; rows of the lanes come to some hundred kilobytes.
    assert_eq!(derived(2, 16, 1000, 200), 1_736_000);
}
