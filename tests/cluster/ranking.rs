//! Validation by the nodes.

use std::ops::ControlFlow;
use std::sync::Arc;

use shardloom::net::{Channel, Kind, LocalNetwork};
use shardloom::train::{NoObserver, TrainEvent, Trainer};

use super::counting::Counting;
use super::{Cluster, config, family, tables};

/// MRR of every epoch.
fn validated(trainer: &mut Trainer) -> Vec<f64> {
    let mut found = Vec::new();
    trainer
        .train(&mut |event: TrainEvent<'_>| {
            if let TrainEvent::EpochDone { record, .. } = event {
                found.push(record.valid_mrr.unwrap());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

#[test]
fn nodes_rank_as_one_process_does() {
    for text in [
        "objective = \"negatives\"\nnegatives = 8\nmodel = \"distmult\"",
        "objective = \"negatives\"\nnegatives = 8\nmodel = \"transe-l1\"\nsharding = \"hash\"",
        "objective = \"negatives\"\nnegatives = 4\nmodel = \"tucker\"\nrelation_dim = 4",
    ] {
        let config = config(&format!("{text}\nepochs = 2\nvalidate_every = 1"));
        let mut alone = Trainer::open(config.clone(), &family()).unwrap();
        let expected = validated(&mut alone);
        let network = LocalNetwork::default();
        let counting = Arc::new(Counting::new(&network));
        let cluster = Cluster::dialing(config, network, counting.clone());
        let sessions = [cluster.join(), cluster.join(), cluster.join()];
        let mut trainer = cluster.trainer(3);
        assert_eq!(validated(&mut trainer), expected, "{text}");
        assert!(tables(trainer.server()) == tables(alone.server()), "{text}");
        // Steps on sampled candidates have no use for the group of the nodes.
        assert!(counting.bytes(Channel::Collective, Kind::Values) > 0);
        drop(sessions);
    }
}

#[test]
fn ranks_of_queries_that_travel_are_those_of_the_tables() {
    let text = "objective = \"1vsall\"\nmodel = \"complex\"\nepochs = 1\nvalidate_every = 1";
    let config = config(text);
    let cluster = Cluster::new(config);
    let sessions = [cluster.join(), cluster.join()];
    let mut trainer = cluster.trainer(2);
    let found = validated(&mut trainer);
    // The leader has the tables of the last step.
    let valid = family().valid;
    let evaluation = trainer.evaluate(&valid, &mut NoObserver).unwrap().unwrap();
    assert_eq!(found, [evaluation.both.mrr]);
    drop(sessions);
}

#[test]
fn a_node_that_is_lost_before_a_ranking_changes_no_figure() {
    let text = "objective = \"negatives\"\nnegatives = 8\nmodel = \"distmult\"\nepochs = 3\nvalidate_every = 1";
    let config = config(&format!("{text}\nreplicas = 2"));
    let mut alone = Trainer::open(config.clone(), &family()).unwrap();
    let expected = validated(&mut alone);
    let cluster = Cluster::new(config);
    let own = cluster.join();
    let lost = cluster.join();
    let mut trainer = cluster.trainer(2);
    let last = cluster.prepared.sampler.steps();
    let (mut steps, mut found) = (0, Vec::new());
    trainer
        .train(&mut |event: TrainEvent<'_>| {
            match event {
                TrainEvent::StepDone { .. } => {
                    steps += 1;
                    if steps == last {
                        lost.abort();
                    }
                }
                TrainEvent::EpochDone { record, .. } => found.push(record.valid_mrr.unwrap()),
                _ => {}
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(found, expected);
    assert!(tables(trainer.server()) == tables(alone.server()));
    drop(own);
}
