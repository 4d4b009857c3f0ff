//! Gathers and updates of random rows, by the kernels themselves.

use super::{Bench, BenchError, Op, Prepared, Work, draw};
use crate::kernel::measure::{RowBatch, repeat_gather, repeat_update};
use crate::kernel::{Backend, Dtype, KernelError, ShardLayout, Table, TableSpec};
use crate::optim::{OptimizerKind, OptimizerStep};

/// Learning rate. So small that values stay finite after any number of repetitions.
const RATE: f64 = 1e-6;

pub(super) fn gather(bench: &Bench, dtype: Dtype) -> Result<Prepared, BenchError> {
    let (backend, table, mut batches) = prepare(bench, OptimizerKind::Sgd, dtype)?;
    let bytes = ((dtype.size() + 4) * bench.options.dim) as f64;
    Ok(Prepared {
        work: work(bench, Op::Gather, None, dtype, bytes),
        repeat: Box::new(move |times| Ok(repeat_gather(&backend, &table, &mut batches, times)?)),
    })
}

pub(super) fn update(
    bench: &Bench,
    op: Op,
    kind: OptimizerKind,
    dtype: Dtype,
) -> Result<Prepared, BenchError> {
    let (backend, table, batches) = prepare(bench, kind, dtype)?;
    let step = OptimizerStep::new(kind, RATE, 1);
    let bytes = row_bytes(kind, bench.options.dim, dtype);
    Ok(Prepared {
        work: work(bench, op, Some(kind), dtype, bytes),
        repeat: Box::new(move |times| Ok(repeat_update(&backend, step, &table, &batches, times)?)),
    })
}

/// The least bytes of one row's update: row and gradient are read, the row is written; states are read
/// and written.
pub(super) fn row_bytes(kind: OptimizerKind, dim: usize, dtype: Dtype) -> f64 {
    let states: usize = kind.state_widths(dim).iter().sum();
    ((2 * dtype.size() + 4) * dim + 8 * states) as f64
}

/// A table of the options' size, in as few shards as the device allows, and batches of its rows.
fn prepare(
    bench: &Bench,
    kind: OptimizerKind,
    dtype: Dtype,
) -> Result<(Backend, Table, Vec<RowBatch>), KernelError> {
    let (options, backend) = (&bench.options, bench.target.backend.another()?);
    let spec = TableSpec {
        name: "entities",
        width: options.dim,
        layout: ShardLayout::new(options.rows, 1, backend.most_rows(options.dim)),
        optimizer: kind,
        dtype,
    };
    let table = backend.create_table(&spec, &mut |_, rows| rows.fill(0.125))?;
    let batches = draw(
        options.distribution,
        0,
        options.rows,
        options.batch,
        options.disjoint(),
    );
    let batches = (batches.iter()).map(|rows| RowBatch::new(&backend, &table, rows));
    let batches = batches.collect::<Result<_, _>>()?;
    Ok((backend, table, batches))
}

fn work(
    bench: &Bench,
    op: Op,
    optimizer: Option<OptimizerKind>,
    dtype: Dtype,
    row_bytes: f64,
) -> Work {
    let options = &bench.options;
    Work {
        op,
        optimizer,
        dtype,
        rows: options.rows,
        dim: options.dim,
        batch: options.batch,
        workers: 1,
        calls: 1.0,
        items: options.batch as f64,
        bytes: options.batch as f64 * row_bytes,
    }
}
