//! The rows of `shardloom bench` at sizes that are quick: `cargo bench`, or with a filter,
//! `cargo bench -- sync_push`. Figures to publish come from `shardloom bench`.

use divan::Bencher;
use divan::counter::ItemsCount;
use shardloom::bench::{Bench, Op, Options};
use shardloom::device::Device;
use shardloom::kernel::Dtype;

fn main() {
    divan::main();
}

const UPDATES: [Op; 4] = [
    Op::UpdateSgd,
    Op::UpdateAdagrad,
    Op::UpdateAdam,
    Op::UpdateRowAdagrad,
];

/// One repetition is one iteration.
fn measure(bencher: Bencher<'_, '_>, op: Op, workers: usize, dtype: Dtype) {
    let options = Options {
        rows: 65_536,
        dim: 64,
        batch: 4096,
        push_batch: 512,
        ops: vec![op],
        workers: vec![workers],
        reduce_values: 1_000_000,
        copy_bytes: 1 << 20,
        ..Options::default()
    };
    let mut prepared = Bench::new(Device::Cpu, &options)
        .and_then(|bench| bench.prepare(op, workers, dtype))
        .expect("these sizes fit any machine");
    bencher
        .counter(ItemsCount::new(prepared.items()))
        .bench_local(|| prepared.repeat(1).expect("the CPU does not fail"));
}

#[divan::bench(args = UPDATES)]
fn update(bencher: Bencher<'_, '_>, op: &Op) {
    measure(bencher, *op, 1, Dtype::F32);
}

#[divan::bench(args = UPDATES)]
fn update_f16(bencher: Bencher<'_, '_>, op: &Op) {
    measure(bencher, *op, 1, Dtype::F16 { stochastic: false });
}

#[divan::bench]
fn gather(bencher: Bencher<'_, '_>) {
    measure(bencher, Op::Gather, 1, Dtype::F32);
}

#[divan::bench(args = [1, 2, 4, 8])]
fn sync_push(bencher: Bencher<'_, '_>, workers: usize) {
    measure(bencher, Op::SyncPush, workers, Dtype::F32);
}

#[divan::bench(args = [1, 2, 4, 8])]
fn async_push(bencher: Bencher<'_, '_>, workers: usize) {
    measure(bencher, Op::AsyncPush, workers, Dtype::F32);
}

#[divan::bench]
fn pull(bencher: Bencher<'_, '_>) {
    measure(bencher, Op::Pull, 1, Dtype::F32);
}

#[divan::bench(args = [2, 4, 8])]
fn all_reduce(bencher: Bencher<'_, '_>, workers: usize) {
    measure(bencher, Op::AllReduce, workers, Dtype::F32);
}
