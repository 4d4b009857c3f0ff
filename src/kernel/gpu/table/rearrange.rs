//! Moves of rows between shards.

use super::{Shard, Table};
use crate::kernel::gpu::Engine;
use crate::kernel::gpu::stages::rows;
use crate::kernel::gpu::workspace::Scratch;
use crate::kernel::{KernelError, TableSpec};

/// Rows whose places are uploaded at a time.
const BLOCK: usize = 1 << 20;

/// A row on its way from one shard to another.
struct Move {
    /// The shard that the row comes from.
    shard: usize,
    /// Place of the row there, and its place in the new shard.
    places: [u32; 2],
}

impl Engine {
    /// Fills a new shard with the rows `from` of a table.
    pub(super) fn gather_shard(
        &self,
        table: &Table,
        spec: &TableSpec,
        shard: &Shard,
        from: &[u32],
        uploaded: &mut Scratch,
    ) -> Result<(), KernelError> {
        let mut moves: Vec<Move> = (0..)
            .zip(from)
            .map(|(to, &row)| {
                let (shard, place) = table.spec.layout.locate(row);
                let places = [place as u32, to];
                Move { shard, places }
            })
            .collect();
        moves.sort_by_key(|moved| moved.shard);
        for block in moves.chunks(BLOCK) {
            let places: Vec<[u32; 2]> = block.iter().map(|moved| moved.places).collect();
            let mut recorder = self.recorder();
            // Commands that were recorded before still read the places of the block before.
            recorder.submit()?;
            uploaded.room(&self.gpu, 2 * places.len())?;
            self.gpu.write(uploaded.buffer(), 0, &places)?;
            let mut first = 0;
            for run in block.chunk_by(|a, b| a.shard == b.shard) {
                let moves = first..first + run.len();
                first = moves.end;
                let old = table.shards[run[0].shard].columns(spec);
                for (from, to) in old.into_iter().zip(shard.columns(spec)) {
                    rows::rearrange(
                        &mut recorder,
                        uploaded.buffer(),
                        moves.clone(),
                        from.words,
                        from.buffer,
                        to.buffer,
                    )?;
                }
            }
            recorder.submit()?;
        }
        Ok(())
    }
}
