//! Cuts: written by the holders, followed by a later leader, and failing.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;

use shardloom::cluster::leader::FirstRows;
use shardloom::ids::ShardId;
use shardloom::kernel::Column;
use shardloom::net::cut::{Check, Latest, SavedCut};
use shardloom::train::{Ending, NoObserver, TablesAt, TrainEvent, TrainState, Trainer};

use super::{Cluster, alone, config, tables};

const NEGATIVES: &str =
    "objective = \"negatives\"\nnegatives = 8\nmodel = \"distmult\"\ncut_seconds = 0.0";

/// A trainer that leads, and the sessions of its nodes.
fn start(cluster: &Arc<Cluster>, nodes: usize) -> (Trainer, Vec<super::Session>) {
    let sessions = (0..nodes).map(|_| cluster.join()).collect();
    (cluster.trainer(nodes), sessions)
}

#[test]
fn a_later_leader_goes_on_from_the_newest_cut() {
    for text in [
        "",
        "dtype = \"f16\"\nsharding = \"hash\"\noptimizer = \"adam\"",
    ] {
        let config = config(&format!("{NEGATIVES}\n{text}"));
        let expected = alone(&config);
        let cluster = Cluster::new(config.clone());
        let (mut trainer, sessions) = start(&cluster, 3);
        let mut steps = 0;
        let ending = trainer.train(&mut |event: TrainEvent<'_>| {
            steps += usize::from(matches!(event, TrainEvent::StepDone { .. }));
            match steps {
                ..7 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        });
        assert_eq!(ending.unwrap(), Ending::Interrupted);
        drop((trainer, sessions));
        let cluster = Arc::into_inner(cluster).unwrap();
        let directory = cluster.directory;
        cluster.runtime.shutdown_background();

        let cluster = Cluster::led(config, 2, directory);
        let Latest { cut, faults } = cluster.cuts().latest(Check::Everything).unwrap();
        let manifest = cut.unwrap();
        assert_eq!((manifest.epoch, manifest.step.0, faults), (1, 7, vec![]));
        let (mut trainer, _sessions) = start(&cluster, 2);
        trainer.state = serde_json::from_value::<TrainState>(manifest.state.clone()).unwrap();
        if let Some(lead) = &mut trainer.lead {
            let cuts = cluster.cuts();
            lead.first = FirstRows::Cut(SavedCut { cuts, manifest });
        }
        assert_eq!(trainer.train(&mut NoObserver).unwrap(), Ending::Finished);
        assert!(tables(trainer.server()) == expected, "{text}");
    }
}

#[test]
fn tables_of_a_cut_are_those_of_the_run() {
    for sharding in ["range", "hash", "round-robin"] {
        let config = config(&format!("{NEGATIVES}\nsharding = \"{sharding}\""));
        let expected = alone(&config);
        let cluster = Cluster::new(config);
        let (mut trainer, _sessions) = start(&cluster, 2);
        let mut found = Vec::new();
        let mut observer = |event: TrainEvent<'_>| {
            if let TrainEvent::EpochDone {
                tables: TablesAt::Cut(cut),
                record,
                ..
            } = event
                && record.epoch == 3
            {
                let mut tables = cut.tables().unwrap();
                for table in shardloom::kernel::TableName::ALL {
                    for column in [Column::Values, Column::First, Column::Second] {
                        let rows = tables.rows(table);
                        let (mut all, mut part) = (Vec::new(), Vec::new());
                        if tables.width(table, column).unwrap() > 0 {
                            for first in (0..rows).step_by(7) {
                                let rows = first..rows.min(first + 7);
                                tables.read(table, column, rows, &mut part).unwrap();
                                all.extend(part.iter().map(|value| value.to_bits()));
                            }
                        }
                        found.push(all);
                    }
                }
            }
            ControlFlow::Continue(())
        };
        trainer.train(&mut observer).unwrap();
        assert!(found == expected, "{sharding}");
    }
}

#[test]
fn a_cut_that_cannot_be_written_is_a_warning() {
    let config = config(NEGATIVES);
    let expected = alone(&config);
    let cluster = Cluster::new(config);
    let (mut trainer, _sessions) = start(&cluster, 3);
    let folder = cluster.directory.path().join("cuts");
    let aside = cluster.directory.path().join("aside");
    let (mut steps, mut warnings) = (0, Vec::new());
    let mut observer = |event: TrainEvent<'_>| {
        match event {
            TrainEvent::StepDone { .. } => {
                steps += 1;
                if steps == 4 {
                    // A file in the place of the folder: nothing can be written there.
                    fs::rename(&folder, &aside).unwrap();
                    fs::write(&folder, "").unwrap();
                }
                if steps == 8 {
                    fs::remove_file(&folder).unwrap();
                    fs::rename(&aside, &folder).unwrap();
                    let cut = cluster.cuts().latest(Check::Everything).unwrap().cut;
                    assert_eq!(cut.unwrap().step.0, 3);
                }
            }
            TrainEvent::Warning(line) => warnings.push(line.to_owned()),
            _ => {}
        }
        ControlFlow::Continue(())
    };
    assert_eq!(trainer.train(&mut observer).unwrap(), Ending::Finished);
    assert!(tables(trainer.server()) == expected);
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    for (warning, step) in warnings.iter().zip(4..) {
        assert!(
            warning.starts_with(&format!("step {step} is not saved: cannot "))
                && warning.ends_with("training goes on, and the cut of step 3 stays"),
            "{warning}"
        );
    }
    let cut = cluster.cuts().latest(Check::Everything).unwrap().cut;
    assert_eq!(cut.unwrap().step.0, trainer.state.updates);
}

#[test]
fn holders_with_different_rows_are_an_error() {
    let cluster = Cluster::new(config(&format!("{NEGATIVES}\nreplicas = 2")));
    let (mut trainer, _sessions) = start(&cluster, 2);
    let mut steps = 0;
    let mut observer = |event: TrainEvent<'_>| {
        if let TrainEvent::StepDone { .. } = event {
            steps += 1;
            if steps == 4 {
                let shards = cluster.shards.lock().unwrap();
                let (held, _) = shards[1].committed().unwrap();
                let shard = ShardId::entities(2);
                let mut row = Vec::new();
                held.read_column(shard, Column::Values, 0..1, &mut row)
                    .unwrap();
                row[3] += 1.0;
                held.write_column(shard, Column::Values, 0..1, &row)
                    .unwrap();
            }
        }
        ControlFlow::Continue(())
    };
    let error = trainer.train(&mut observer).unwrap_err().to_string();
    assert!(
        error.starts_with("shard 2 of entities has digest ")
            && error.contains("at worker 0 and ")
            && error.contains("at worker 1 after step "),
        "{error}"
    );
}
