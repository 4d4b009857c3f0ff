//! Gathers and updates of random rows, as the kernels do them.

use super::{Bench, BenchError, Op, Records, Samples, Work, draw};
use crate::kernel::{KernelError, RowBatch, ShardLayout, Table, TableSpec};
use crate::optim::{OptimizerKind, OptimizerStep};

/// Small enough to leave the values finite, whatever the repetitions.
const RATE: f64 = 1e-6;

pub(super) fn gather(
    bench: &Bench,
    records: &mut Records,
    observe: &mut dyn FnMut(&str),
) -> Result<(), BenchError> {
    observe(Op::Gather.name());
    let (table, mut batches) = prepare(bench, OptimizerKind::Sgd)?;
    let samples = Samples::take(bench.options.limits(), |times| {
        bench.backend.repeat_gather(&table, &mut batches, times)
    })?;
    let bytes = 8.0 * bench.options.dim as f64;
    let work = work(bench, Op::Gather, None, bytes);
    drop((table, batches));
    Ok(records.add(bench, work, samples)?)
}

pub(super) fn update(
    bench: &Bench,
    op: Op,
    records: &mut Records,
    observe: &mut dyn FnMut(&str),
) -> Result<(), BenchError> {
    observe(op.name());
    let kind = op.optimizer().unwrap_or(OptimizerKind::Sgd);
    let (table, batches) = prepare(bench, kind)?;
    let step = OptimizerStep::new(kind, RATE, 1);
    let samples = Samples::take(bench.options.limits(), |times| {
        bench.backend.repeat_update(step, &table, &batches, times)
    })?;
    let work = work(bench, op, Some(kind), row_bytes(kind, bench.options.dim));
    drop((table, batches));
    Ok(records.add(bench, work, samples)?)
}

/// The least bytes of one row's update: row and gradient read, row written; states read and
/// written.
pub(super) fn row_bytes(kind: OptimizerKind, dim: usize) -> f64 {
    let states: usize = kind.state_widths(dim).iter().sum();
    (12 * dim + 8 * states) as f64
}

/// A table as large as asked for, in as few shards as the device allows, and batches of its rows.
fn prepare(bench: &Bench, kind: OptimizerKind) -> Result<(Table, Vec<RowBatch>), KernelError> {
    let options = &bench.options;
    let spec = TableSpec {
        name: "entities",
        width: options.dim,
        layout: ShardLayout::new(options.rows, 1, bench.backend.most_rows(options.dim)),
        optimizer: kind,
    };
    let table = bench.backend.create_table(&spec, &mut |_, rows| {
        rows.fill(0.125);
    })?;
    let batches = draw(
        options.distribution,
        0,
        options.rows,
        options.batch,
        options.batches(),
    );
    let batches = (batches.iter()).map(|rows| bench.backend.row_batch(&table, rows));
    let batches = batches.collect::<Result<_, _>>()?;
    Ok((table, batches))
}

fn work(bench: &Bench, op: Op, optimizer: Option<OptimizerKind>, row_bytes: f64) -> Work {
    let options = &bench.options;
    Work {
        op,
        optimizer,
        rows: options.rows,
        dim: options.dim,
        batch: options.batch,
        workers: 1,
        items: options.batch as f64,
        bytes: options.batch as f64 * row_bytes,
    }
}
