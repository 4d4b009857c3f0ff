//! Tables whose rows move to other shards.

use shardloom::kernel::{Column, Dtype, ShardLayout};
use shardloom::model::Model;
use shardloom::rng::{Purpose, stream};
use shardloom::sampler::Objective;

use crate::backends;
use crate::case::{Case, OPTIMIZERS, Pair, plain};
use crate::halves::{NEAREST, STOCHASTIC};

/// Values and states move to other shards, and back.
#[test]
fn rows_are_rearranged() {
    for engine in backends() {
        let dtypes = [Dtype::F32, NEAREST, STOCHASTIC];
        let widths = OPTIMIZERS.into_iter().zip([3, 4, 5, 64]);
        for ((optimizer, width), dtype) in widths.flat_map(|w| dtypes.map(|dtype| (w, dtype))) {
            let case = Case {
                optimizer,
                dtype,
                ..plain(Model::DistMult, Objective::Negatives)
            };
            let rng = &mut stream(11, Purpose::Init, [width as u64, 0]);
            let pair = Pair::new(&engine, rng, &case.table("entities", 50, width, 3));
            let before = pair.read(&engine);
            // The first shard stays, the next is empty, the others swap their rows.
            let first = pair.device.spec().layout.range(0).len();
            let layout = ShardLayout::from_sizes(&[first, 0, 7, 43 - first]);
            let rest = (first as u32..50).rev();
            let from: Vec<u32> = (0..first as u32).chain(rest).collect();
            let moved = engine.rearrange(&pair.device, &layout, &from).unwrap();
            assert_eq!(moved.spec().layout, layout);
            let columns = [Column::Values, Column::First, Column::Second];
            for (column, before) in columns.into_iter().zip(&before) {
                let width = column.width(moved.spec());
                let found = engine.read(&moved, column).unwrap();
                let row = |&row: &u32| &before[row as usize * width..][..width];
                assert!(found == from.iter().map(row).collect::<Vec<_>>().concat());
            }
            // The same order the other way round.
            let old = &pair.device.spec().layout;
            let back = engine.rearrange(&moved, old, &from).unwrap();
            for (column, before) in columns.into_iter().zip(&before) {
                assert!(engine.read(&back, column).unwrap() == *before);
            }
            for from in [&from[1..], &[50; 50]] {
                engine.rearrange(&moved, &layout, from).unwrap_err();
            }
        }
    }
}
