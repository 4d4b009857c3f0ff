//! Nodes that train to the end.

use std::ops::ControlFlow;

use shardloom::train::{Ending, NoObserver, TrainEvent};

use super::{Cluster, alone, config, tables};

const NEGATIVES: &str = "objective = \"negatives\"\nnegatives = 8\nmodel = \"distmult\"";

#[test]
fn any_number_of_nodes_makes_the_tables_of_one_process() {
    for text in [
        NEGATIVES,
        "objective = \"negatives\"\nnegatives = 8\nmodel = \"transe-l1\"\nsharding = \"hash\"\noptimizer = \"adam\"",
        // Steps that touch few of the rows: nodes pull the rest of the next step's ahead.
        "objective = \"negatives\"\nnegatives = 1\nmodel = \"distmult\"\nbatch_size = 4\nepochs = 1",
    ] {
        let config = config(text);
        let expected = alone(&config);
        for nodes in [1, 3] {
            let cluster = Cluster::new(config.clone());
            let sessions: Vec<_> = (0..nodes).map(|_| cluster.join()).collect();
            let mut trainer = cluster.trainer(nodes);
            let ending = trainer.train(&mut NoObserver).unwrap();
            assert_eq!(ending, Ending::Finished);
            assert!(
                tables(trainer.server()) == expected,
                "{nodes} nodes, {text}"
            );
            for session in sessions {
                let ended = cluster.runtime.block_on(session).unwrap();
                assert!(format!("{ended:?}").contains("finished"), "{ended:?}");
            }
        }
    }
}

#[test]
fn nodes_that_join_and_die_leave_the_tables_as_they_would_be() {
    for replicas in [1, 2] {
        let config = config(&format!("{NEGATIVES}\nepochs = 6\nreplicas = {replicas}"));
        let expected = alone(&config);
        let cluster = Cluster::new(config);
        let own = cluster.join();
        let mut others = vec![cluster.join(), cluster.join()];
        let mut trainer = cluster.trainer(3);
        let (mut steps, mut notes, mut status) = (0, Vec::new(), None);
        let ending = trainer
            .train(&mut |event: TrainEvent<'_>| {
                match event {
                    TrainEvent::StepDone { .. } => {
                        steps += 1;
                        if [5, 14].contains(&steps) {
                            // The session breaks off, as if the process had died; its rows are not served any more.
                            others.remove(0).abort();
                            others.push(cluster.join());
                        }
                    }
                    TrainEvent::Note(note) => notes.push(note.to_owned()),
                    TrainEvent::Workers(now) => status = Some(now.clone()),
                    _ => {}
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(ending, Ending::Finished);
        assert!(tables(trainer.server()) == expected, "{replicas} replicas");
        let workers = status.unwrap().workers;
        let back = notes
            .iter()
            .filter(|note| note.contains("are made again"))
            .count();
        match replicas {
            1 => assert_eq!(back, 2, "{notes:?}, {workers:?}"),
            _ => assert_eq!(back, 0, "{notes:?}, {workers:?}"),
        }
        drop(own);
    }
}
