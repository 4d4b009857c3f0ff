//! Warm starts: rows that another run has learned already.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Run, RunError, column_name};
use crate::checkpoint::{self, Checkpoint};
use crate::config::Config;
use crate::dataset::{Dataset, Vocabulary};
use crate::kernel::Column;
use crate::optim::OptimizerKind;
use crate::server::{ParameterServer, TableName};
use crate::train::{Observer, TrainState, Trainer, rule};

/// Counts of a vocabulary's names that a warm start knows, and does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// Known to both runs: their rows are taken over.
    pub kept: usize,
    /// Known to the new run alone: their rows are initialised as usual.
    pub new: usize,
    /// Known to the old run alone.
    pub unused: usize,
}

/// The rows of a run's best checkpoint, matched to a new run's by name.
///
/// With `init_optimizer`, and the same optimizer, its state of these rows is taken over, too; else it
/// starts fresh, and so does everything else.
#[derive(Debug)]
pub struct WarmStart {
    /// The run that the rows come from, or the vectors.
    pub from: PathBuf,
    /// The epoch of its checkpoint, if it is a run.
    pub epoch: Option<u32>,
    /// Entities.
    pub entities: Overlap,
    /// Relations; with reciprocal ones, each has two rows. A core is always taken over.
    pub relations: Overlap,
    /// Whether the optimizer's state of these rows is taken over.
    pub optimizer: bool,
    /// Updates that the optimizer has made, where its state is taken over and depends on them.
    pub updates: u64,
    /// For each column that is taken over: the new row, and the values of the old one.
    pub(super) rows: Vec<Matched>,
}

#[derive(Debug)]
pub(super) struct Matched {
    pub table: TableName,
    pub column: Column,
    /// New row and old row, ascending by new row.
    pub pairs: Vec<(u32, u32)>,
    pub width: usize,
    pub values: Vec<f32>,
}

impl WarmStart {
    /// Reads the best checkpoint (the latest, if none was validated) of the run in `from`, or
    /// vectors that lie there (an export, or other files with names), to start a run with this configuration on this graph.
    ///
    /// # Errors
    /// [`RunError::Vectors`] if neither is there, or vectors do not fit; [`RunError::Unlike`] if model, dim, `relation_dim` or reciprocal differ;
    /// and if the run or its checkpoint is damaged.
    pub fn open(from: &Path, config: &Config, dataset: &Dataset) -> Result<WarmStart, RunError> {
        if let Some(files) = super::vectors::find(from)? {
            return super::vectors::start(from, files, config, dataset);
        }
        let run = Run::open(from)?;
        let old = &run.config;
        let differences: Vec<String> = [
            ("model", old.model.to_string(), config.model.to_string()),
            ("dim", old.dim.to_string(), config.dim.to_string()),
            ("relation_dim", relation_dim(old), relation_dim(config)),
            (
                "reciprocal",
                old.reciprocal.to_string(),
                config.reciprocal.to_string(),
            ),
        ]
        .into_iter()
        .filter(|(_, found, expected)| found != expected)
        .map(|(key, found, expected)| format!("`{key}`: found {found} there, expected {expected}"))
        .collect();
        if !differences.is_empty() {
            return Err(RunError::Unlike {
                path: from.to_owned(),
                differences: differences.join("; "),
            });
        }
        let latest = checkpoint::read_latest::<TrainState>(from)?;
        let mut checkpoint = match run.best(&latest.state)? {
            Some(epoch) if epoch != latest.epoch => checkpoint::read(from, epoch)?,
            _ => latest,
        };
        let (entity_pairs, entities) = matched(&dataset.entities, &run.entities);
        let (mut relation_pairs, relations) = matched(&dataset.relations, &run.relations);
        if config.reciprocal {
            let [new, old] = [&dataset.relations, &run.relations].map(|v| v.len() as u32);
            let more: Vec<_> = relation_pairs
                .iter()
                .map(|&(n, o)| (n + new, o + old))
                .collect();
            relation_pairs.extend(more);
        }
        // Relations share a core, whatever their names.
        let core = run.shape().core_rows() as u32;
        let [new, old] = [rule(config, dataset), run.rule()].map(|r| r.relation_rows() as u32);
        relation_pairs.extend((0..core).map(|row| (new + row, old + row)));
        // Another optimizer's state means something else.
        let optimizer = config.init_optimizer && config.optimizer == run.config.optimizer;
        let columns: &[Column] = match optimizer {
            true => &[Column::Values, Column::First, Column::Second],
            false => &[Column::Values],
        };
        let mut rows = Vec::new();
        for (table, pairs) in [
            (TableName::Entities, entity_pairs),
            (TableName::Relations, relation_pairs),
        ] {
            for &column in columns {
                rows.extend(run.matched(&mut checkpoint, table, column, &pairs)?);
            }
        }
        // Adam's moments are told from their start by the number of updates.
        let counts = optimizer && config.optimizer == OptimizerKind::Adam;
        Ok(WarmStart {
            rows,
            from: from.to_owned(),
            epoch: Some(checkpoint.epoch),
            entities,
            relations,
            optimizer,
            updates: if counts { checkpoint.state.updates } else { 0 },
        })
    }

    /// Writes the rows that are taken over into new tables, wherever their shards keep them. Other
    /// rows, and an optimizer's state that is not taken over, stay as they are.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn apply(&self, server: &ParameterServer) -> Result<(), RunError> {
        for matched in self.rows.iter().filter(|rows| !rows.pairs.is_empty()) {
            let width = matched.width;
            let mut values = server.read(matched.table, matched.column)?;
            for &(new, old) in &matched.pairs {
                let old = &matched.values[old as usize * width..][..width];
                values[new as usize * width..][..width].copy_from_slice(old);
            }
            server.write(matched.table, matched.column, &values)?;
        }
        Ok(())
    }

    /// Takes what the start brings into a trainer whose tables it was applied to: validates them, so that
    /// the start can be the best, and writes that as the checkpoint of epoch 0. The MRR, if there is
    /// something to validate and the observer did not stop it.
    ///
    /// # Errors
    /// If the device fails or the disk refuses.
    pub fn begin(
        &self,
        run: &Run,
        trainer: &mut Trainer,
        observer: &mut dyn Observer,
    ) -> Result<Option<f64>, RunError> {
        trainer.state.updates = self.updates;
        let mrr = trainer.validate_start(observer)?;
        if mrr.is_some() {
            run.save(trainer.server(), &trainer.state)?;
        }
        Ok(mrr)
    }
}

/// One line: the source, and counts of rows taken over.
impl fmt::Display for WarmStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (e, r) = (self.entities, self.relations);
        match self.epoch {
            None => write!(f, "starting from the vectors in {}", self.from.display())?,
            Some(epoch) => write!(f, "starting from {}, epoch {epoch}", self.from.display())?,
        }
        write!(
            f,
            ": entities: {} kept, {} new, {} of the old ones unused; \
             relations: {} kept, {} new, {} unused; the optimizer's state {}",
            e.kept,
            e.new,
            e.unused,
            r.kept,
            r.new,
            r.unused,
            match self.optimizer {
                true => "kept",
                false => "starts fresh",
            }
        )
    }
}

impl Run {
    /// A column of a table, checked against the run's own shape; `None` for one that its optimizer does
    /// not keep.
    fn matched(
        &self,
        checkpoint: &mut Checkpoint<TrainState>,
        table: TableName,
        column: Column,
        pairs: &[(u32, u32)],
    ) -> Result<Option<Matched>, RunError> {
        let shape = self.shape();
        let name = column_name(table, column);
        if column != Column::Values && !checkpoint.names().any(|kept| kept == name) {
            return Ok(None);
        }
        let found = checkpoint.table(&name)?;
        let rows = shape.rows(table);
        let width = match column {
            Column::Values => shape.width(table),
            // As wide as the optimizer makes it.
            _ => found.width,
        };
        if (found.rows, found.width) != (rows, width) {
            let reason = format!(
                "table {name} of epoch {} is {} × {}, expected {rows} × {width}",
                checkpoint.epoch, found.rows, found.width
            );
            return Err(self.damaged("checkpoints", reason));
        }
        Ok(Some(Matched {
            table,
            column,
            pairs: pairs.to_vec(),
            width,
            values: found.data,
        }))
    }
}

/// As wide as an entity's row is the same whether it is said or not.
fn relation_dim(config: &Config) -> String {
    let other = config.relation_dim.filter(|&width| width != config.dim);
    other.map_or_else(|| "dim".to_owned(), |width| width.to_string())
}

/// The new and the old number of every name that both know.
pub(super) fn matched(new: &Vocabulary, old: &Vocabulary) -> (Vec<(u32, u32)>, Overlap) {
    let pairs: Vec<(u32, u32)> = (0..)
        .zip(new.iter())
        .filter_map(|(row, name)| Some((row, old.id(name)?)))
        .collect();
    let overlap = Overlap {
        kept: pairs.len(),
        new: new.len() - pairs.len(),
        unused: old.len() - pairs.len(),
    };
    (pairs, overlap)
}
