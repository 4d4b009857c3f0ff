//! Cuts of several processes, for a run that goes on.

use super::{Run, RunError, all_columns, checkpoint};
use crate::cluster::leader::FirstRows;
use crate::executor::Executor;
use crate::kernel::Backend;
use crate::net::cut::{Check, Cuts, SavedCut};
use crate::server::Initializer;
use crate::train::{TrainState, initializer, open_executor};

/// Folder of the records of leaders.
const LEADERS: &str = "leaders";

/// A run that goes on.
#[derive(Debug)]
pub struct Resumed {
    /// Computes on the tables.
    pub executor: Executor,
    /// Progress of the run.
    pub state: TrainState,
    /// Origin of the tables, for several processes.
    pub first: FirstRows,
    /// Sentences about cuts that cannot be used.
    pub notes: Vec<String>,
}

impl Run {
    /// Cuts of the run, whether there are any or not.
    pub fn cuts(&self) -> Cuts {
        let name = self.path.file_name();
        let name = name.map(|name| name.to_string_lossy().into_owned());
        Cuts::new(&self.path, name.unwrap_or_else(|| "run".to_owned()))
    }

    /// Loads what has made the most steps: the latest checkpoint, or the latest cut of several processes. `digest` is
    /// the digest of configuration and graph that a cut must have.
    ///
    /// # Errors
    /// See [`Run::resume`].
    pub fn resume_newest(&self, backend: Backend, digest: &str) -> Result<Resumed, RunError> {
        let mut notes = Vec::new();
        let cut = self.newest_cut(digest, &mut notes)?;
        let checkpoints = checkpoint::list(&self.path)?;
        let Some((cut, mut state)) = cut else {
            // A leader that was lost before its first cut leaves nothing.
            let unsaved = checkpoints.is_empty() && self.path.join(LEADERS).is_dir();
            if unsaved && self.config.init_from.is_none() {
                let (shape, init) = (self.shape(), initializer(&self.config));
                return Ok(Resumed {
                    executor: open_executor(&self.config, backend, shape, &init)?,
                    state: TrainState::default(),
                    first: FirstRows::Initial,
                    notes,
                });
            }
            return self.resume_checkpoint(backend, notes);
        };
        if !checkpoints.is_empty() {
            let saved = checkpoint::read_latest::<TrainState>(&self.path)?.state;
            if saved.updates > state.updates {
                return self.resume_checkpoint(backend, notes);
            }
            // The checkpoint at the end of an epoch has its validation, too.
            if saved.updates == state.updates {
                state = saved;
            }
        }
        let executor = open_executor(&self.config, backend, self.shape(), &Initializer::ZERO)?;
        let mut tables = cut.tables()?;
        let server = executor.server();
        for (table, column) in all_columns() {
            if column.width(&server.spec(table)) > 0 {
                server.fill(table, column, |rows, out| {
                    Ok::<_, RunError>(tables.read(table, column, rows, out)?)
                })?;
            }
        }
        Ok(Resumed {
            executor,
            state,
            first: FirstRows::Cut(cut),
            notes,
        })
    }

    fn resume_checkpoint(&self, backend: Backend, notes: Vec<String>) -> Result<Resumed, RunError> {
        let (executor, state) = self.resume(backend, None)?;
        Ok(Resumed {
            executor,
            state,
            first: FirstRows::Server,
            notes,
        })
    }

    /// The latest complete cut of this configuration and graph, with the progress of the run.
    fn newest_cut(
        &self,
        digest: &str,
        notes: &mut Vec<String>,
    ) -> Result<Option<(SavedCut, TrainState)>, RunError> {
        let cuts = self.cuts();
        let latest = cuts.latest(Check::Everything)?;
        notes.extend(
            latest
                .faults
                .iter()
                .map(|fault| format!("a cut is not used: {fault}")),
        );
        let Some(manifest) = latest.cut else {
            return Ok(None);
        };
        let step = manifest.step;
        if manifest.configuration != digest {
            notes.push(format!(
                "the cut of {step} is not used: it is of another configuration or graph"
            ));
            return Ok(None);
        }
        match serde_json::from_value(manifest.state.clone()) {
            Ok(state) => Ok(Some((SavedCut { cuts, manifest }, state))),
            Err(error) => {
                notes.push(format!("the cut of {step} is not used: {error}"));
                Ok(None)
            }
        }
    }
}
