//! Pushed gradients, and rows that the host reads or replaces.

use std::sync::{MutexGuard, PoisonError};

use bytemuck::Pod;

use super::params::{NONE, Params};
use super::recorder::ValuesAt;
use super::source::Pushed;
use super::stages::rows::{pull, write_rows};
use super::stages::updates::{Pushes, update};
use super::workspace::Scratch;
use super::{Engine, GradientRows, Recorder, Table};
use crate::device::{Buffer, DeviceError, Gpu};
use crate::kernel::{self, KernelError, Places, Push};
use crate::optim::OptimizerStep;

/// Buffers that successive pushes reuse.
#[derive(Debug)]
pub(super) struct PushWork {
    /// Places, lists and weights of a push.
    words: Scratch,
    /// Gradients of one push, or of several one after the other.
    gradients: Scratch,
    /// Parts of Σ x², see `square_sum`.
    pub sums: Scratch,
    /// Memory of the last average of pushes of all rows.
    average: Option<GradientRows>,
}

impl PushWork {
    pub fn new(gpu: &Gpu) -> Result<PushWork, DeviceError> {
        Ok(PushWork {
            words: Scratch::new(gpu, "pushed places")?,
            gradients: Scratch::new(gpu, "pushed gradients")?,
            sums: Scratch::new(gpu, "square sums")?,
            average: None,
        })
    }

    /// Uploads words and returns their buffer.
    pub fn words<T: Pod>(&mut self, gpu: &Gpu, words: &[T]) -> Result<&Buffer, DeviceError> {
        self.words.room(gpu, words.len())?;
        gpu.write(self.words.buffer(), 0, words)?;
        Ok(self.words.buffer())
    }
}

/// Words of an update, and the parameters that say where its lists are among them.
struct Lists {
    words: Vec<u32>,
    params: Params,
    pushed: Pushed,
}

impl Engine {
    pub(super) fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies gradient rows to the device, into the memory of `old` if it is large enough.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn upload(
        &self,
        values: &[f32],
        old: Option<GradientRows>,
    ) -> Result<GradientRows, KernelError> {
        let rows = GradientRows::room(&self.gpu, values.len(), old)?;
        // Recorded commands may still read the old contents of the buffer.
        self.flush()?;
        self.gpu.write(rows.buffer(), 0, values)?;
        Ok(rows)
    }

    /// Applies the optimizer once to every row that was pushed, with the weighted sum of its gradients in
    /// the order of `pushes`.
    ///
    /// # Errors
    /// [`KernelError::Shape`], [`KernelError::Row`], [`KernelError::ForeignRows`]: nothing has
    /// changed then. If the device is lost or full.
    pub fn push(
        &self,
        step: OptimizerStep,
        table: &Table,
        shard: usize,
        pushes: &[Push<'_>],
    ) -> Result<(), KernelError> {
        let dense = pushes.iter().all(|push| push.places == Places::All);
        if dense && !matches!(pushes, [Push { weight: 1.0, .. }]) {
            return self.push_dense(step, table, shard, pushes);
        }
        let rows = pushes.iter().map(|push| self.own_rows(push.gradients));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let parts: Vec<_> = (pushes.iter())
            .map(|push| PushedRows {
                places: push.places,
                values: push.gradients.len(),
                weight: push.weight,
            })
            .collect();
        let lists = lists(table, shard, &parts)?;
        let mut work = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recorder = self.recorder();
        recorder.submit()?;
        let gradients = match (&lists.pushed, &rows[..]) {
            (Pushed::Rows, [one]) => one.buffer(),
            _ => {
                let values = rows.iter().map(|rows| rows.len()).sum();
                work.gradients.room(&self.gpu, values)?;
                let mut at = 0;
                for rows in &rows {
                    let from = ValuesAt {
                        buffer: rows.buffer(),
                        first: 0,
                    };
                    let to = ValuesAt {
                        buffer: work.gradients.buffer(),
                        first: at,
                    };
                    recorder.copy(from, to, rows.len())?;
                    at += rows.len();
                }
                &work.gradients.buffer().clone()
            }
        };
        let words = work.words(&self.gpu, &lists.words)?;
        let pushes = Pushes {
            plan: words,
            gradients,
            pushed: lists.pushed,
        };
        let (width, shard) = (table.spec.width, &table.shards[shard]);
        update(&mut recorder, lists.params, step, width, shard, pushes)?;
        Ok(recorder.submit()?)
    }

    /// [`Engine::push`] for pushes of all rows. They are averaged first, so that none is copied and each may fill a
    /// whole binding.
    fn push_dense(
        &self,
        step: OptimizerStep,
        table: &Table,
        shard: usize,
        pushes: &[Push<'_>],
    ) -> Result<(), KernelError> {
        let expected = table.spec.layout.range(shard).len() * table.spec.width;
        for push in pushes {
            KernelError::check_shape("gradients", expected, push.gradients.len())?;
        }
        if pushes.is_empty() {
            return Ok(());
        }
        let parts: Vec<_> = (pushes.iter())
            .map(|push| (push.gradients, push.weight))
            .collect();
        let work = || self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        let old = work().average.take();
        let average = kernel::GradientRows::Gpu(self.average(&parts, 1.0, old)?);
        let push = Push {
            places: Places::All,
            gradients: &average,
            weight: 1.0,
        };
        let pushed = self.push(step, table, shard, &[push]);
        if let kernel::GradientRows::Gpu(average) = average {
            work().average = Some(average);
        }
        pushed
    }

    /// Copies the values of a shard's rows to the host. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn read_shard(
        &self,
        table: &Table,
        shard: usize,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        self.flush()?;
        table.shards[shard].read_values(&self.gpu, table.spec.width, 0, out)
    }

    /// Copies the values of some rows to the host. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn read_rows(
        &self,
        table: &Table,
        rows: &[u32],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let mut work = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut recorder = self.recorder();
            recorder.submit()?;
            work.words.room(&self.gpu, rows.len())?;
            work.gradients.room(&self.gpu, out.len())?;
            self.gpu.write(work.words.buffer(), 0, rows)?;
            let params = &Params::default();
            let [words, gathered] = [&work.words, &work.gradients].map(|s| s.buffer());
            pull(&mut recorder, params, table, rows, words, gathered)?;
            recorder.submit()?;
        }
        Ok(self.gpu.read_into(work.gradients.buffer(), 0, out)?)
    }

    /// Replaces the values of some rows.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn write_rows(
        &self,
        table: &Table,
        rows: &[u32],
        values: &[f32],
    ) -> Result<(), KernelError> {
        let mut work = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recorder = self.recorder();
        recorder.submit()?;
        work.words.room(&self.gpu, rows.len())?;
        work.gradients.room(&self.gpu, values.len())?;
        self.gpu.write(work.words.buffer(), 0, rows)?;
        self.gpu.write(work.gradients.buffer(), 0, values)?;
        let [words, values] = [&work.words, &work.gradients].map(|s| s.buffer());
        write_rows(&mut recorder, table, rows.len(), words, values)?;
        Ok(recorder.submit()?)
    }

    /// Applies the optimizer to rows of a shard, a gradient row for each.
    ///
    /// # Errors
    /// [`KernelError::Shape`], [`KernelError::Row`]: nothing has changed then. If the device is
    /// lost or full.
    pub fn push_rows(
        &self,
        step: OptimizerStep,
        table: &Table,
        shard: usize,
        places: Places<'_>,
        gradients: &[f32],
    ) -> Result<(), KernelError> {
        let pushed = PushedRows {
            places,
            values: gradients.len(),
            weight: 1.0,
        };
        let lists = lists(table, shard, &[pushed])?;
        let mut work = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recorder = self.recorder();
        recorder.submit()?;
        work.words.room(&self.gpu, lists.words.len())?;
        work.gradients.room(&self.gpu, gradients.len())?;
        self.gpu.write(work.words.buffer(), 0, &lists.words)?;
        self.gpu.write(work.gradients.buffer(), 0, gradients)?;
        let pushes = Pushes {
            plan: work.words.buffer(),
            gradients: work.gradients.buffer(),
            pushed: lists.pushed,
        };
        let (width, shard) = (table.spec.width, &table.shards[shard]);
        update(&mut recorder, lists.params, step, width, shard, pushes)?;
        Ok(recorder.submit()?)
    }
}

/// Rows of a push, without their gradients.
#[derive(Clone, Copy)]
struct PushedRows<'a> {
    places: Places<'a>,
    /// Number of gradient values.
    values: usize,
    weight: f32,
}

/// Checks pushes and merges their rows into one list.
fn lists(table: &Table, shard: usize, pushes: &[PushedRows<'_>]) -> Result<Lists, KernelError> {
    let spec = &table.spec;
    let rows = spec.layout.range(shard).len();
    for push in pushes {
        let expected = push.places.count(rows) * spec.width;
        KernelError::check_shape("gradients", expected, push.values)?;
    }
    let merger = &table.shards[shard].merger;
    let mut merger = merger.lock().unwrap_or_else(PoisonError::into_inner);
    let mut lists = Lists {
        words: Vec::new(),
        params: Params {
            at_ids: NONE,
            items: rows as u32,
            extra: pushes.len() as u32,
            ..Params::default()
        },
        pushed: Pushed::Rows,
    };
    let (words, params) = (&mut lists.words, &mut lists.params);
    match *pushes {
        [
            PushedRows {
                places: Places::All,
                weight: 1.0,
                ..
            },
        ] => {}
        [
            PushedRows {
                places: Places::Listed(places),
                weight: 1.0,
                ..
            },
        ] if merger.distinct(spec.name, rows, places)? => {
            words.extend_from_slice(places);
            params.at_ids = 0;
            params.items = places.len() as u32;
        }
        _ => {
            let places: Vec<Places<'_>> = pushes.iter().map(|push| push.places).collect();
            let merge = merger.merge(spec.name, rows, &places)?;
            // Pushed rows lie one after the other in one buffer.
            let mut first = 0;
            let starts: Vec<u32> = (pushes.iter())
                .map(|push| {
                    let start = first;
                    first += push.places.count(rows) as u32;
                    start
                })
                .collect();
            let row = |push: u32| starts[push as usize];
            words.extend_from_slice(&merge.places);
            params.at_ids = 0;
            params.items = merge.places.len() as u32;
            params.at_lists = words.len() as u32;
            words.extend_from_slice(&merge.offsets);
            params.at_places = words.len() as u32;
            words.extend(merge.sources.iter().map(|s| row(s.push) + s.row));
            params.at_weights = words.len() as u32;
            let weight = |push: u32| pushes[push as usize].weight.to_bits();
            words.extend(merge.sources.iter().map(|s| weight(s.push)));
            lists.pushed = Pushed::Lists;
        }
    }
    Ok(lists)
}
