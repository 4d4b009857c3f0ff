//! `rearrange`: the rows of a table, states included, in another order and other shards.

use super::params::Params;
use super::recorder::workgroups;
use super::shape::Values;
use super::source::{GROUP, Stage};
use super::table::Shard;
use super::workspace::Scratch;
use super::{Engine, Table};
use crate::kernel::{KernelError, ShardLayout, TableSpec};

/// Rows whose places go up at a time.
const BLOCK: usize = 1 << 20;

impl Engine {
    /// A table whose row `i` is row `from[i]` of another; no row leaves the device. Shards that
    /// stay as they are are shared.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn rearrange(
        &self,
        table: &Table,
        layout: &ShardLayout,
        from: &[u32],
    ) -> Result<Table, KernelError> {
        let spec = TableSpec {
            layout: layout.clone(),
            ..table.spec.clone()
        };
        let mut words = Scratch::new(&self.gpu, "places of moved rows")?;
        let mut shards = Vec::with_capacity(layout.shards());
        for s in 0..layout.shards() {
            let from = &from[layout.range(s)];
            shards.push(match table.spec.layout.shard_of_all(from) {
                Some(kept) => table.shards[kept].shared(),
                None => self.gathered(table, (&spec, s), from, &mut words)?,
            });
        }
        // The old table may be dropped now.
        self.recorder().forget();
        Ok(Table { spec, shards })
    }

    /// A shard of these rows of a table.
    fn gathered(
        &self,
        table: &Table,
        (spec, shard): (&TableSpec, usize),
        from: &[u32],
        places_of: &mut Scratch,
    ) -> Result<Shard, KernelError> {
        let shard = Shard::new(&self.gpu, spec, shard)?;
        let mut moves: Vec<(usize, [u32; 2])> = (0..)
            .zip(from)
            .map(|(to, &row)| {
                let (old, place) = table.spec.layout.locate(row);
                (old, [place as u32, to])
            })
            .collect();
        moves.sort_by_key(|(old, _)| *old);
        for block in moves.chunks(BLOCK) {
            let places: Vec<[u32; 2]> = block.iter().map(|(_, places)| *places).collect();
            let mut recorder = self.recorder();
            // What was recorded may still want the places before.
            recorder.submit()?;
            places_of.room(&self.gpu, 2 * places.len())?;
            self.gpu.write(places_of.buffer(), 0, &places)?;
            let mut first = 0;
            for run in block.chunk_by(|a, b| a.0 == b.0) {
                let old = &table.shards[run[0].0];
                for ((from, words), (to, _)) in
                    old.buffers(spec).into_iter().zip(shard.buffers(spec))
                {
                    let values = Values::of(words);
                    let params = Params {
                        cells: values.count(words),
                        item_first: first as u32,
                        items: run.len() as u32,
                        ..Params::default()
                    };
                    recorder.dispatch(
                        Stage::Rearrange(values),
                        &params,
                        &[places_of.buffer(), from, to],
                        workgroups(run.len() as u64 * u64::from(params.cells), GROUP),
                    )?;
                }
                first += run.len();
            }
            recorder.submit()?;
        }
        Ok(shard)
    }
}
