use super::*;
use crate::device;

fn tiny() -> Options {
    Options {
        rows: 256,
        dim: 8,
        batch: 64,
        batches: 3,
        push_batch: 16,
        workers: vec![1, 3],
        shards: 4,
        reduce_values: 100,
        copy_bytes: 1 << 16,
        seconds: 0.0,
        repeat: 1,
        ..Options::default()
    }
}

fn measured(device: Device, options: &Options) -> Vec<Measurement> {
    let mut heard = Vec::new();
    let bench = Bench::new(device, options).unwrap();
    let results = bench.run(&mut |op| heard.push(op.to_owned())).unwrap();
    assert_eq!(heard[0], "copy");
    results
}

fn everything_is_measured(device: Device) {
    let has_clock = matches!(&device, Device::Gpu(gpu) if gpu.description().timestamps);
    let results = measured(device, &tiny());
    let halves = results.iter().filter(|r| r.dtype == "f16");
    let halves: Vec<Op> = halves.map(|r| r.op).collect();
    let both = [
        Op::Gather,
        Op::UpdateSgd,
        Op::UpdateAdagrad,
        Op::UpdateAdam,
        Op::UpdateRowAdagrad,
    ];
    assert_eq!(halves, both);
    let singles = results.iter().filter(|r| r.dtype == "f32");
    let ops: Vec<(Op, usize)> = singles.map(|r| (r.op, r.workers)).collect();
    assert_eq!(
        ops,
        [
            (Op::Copy, 1),
            (Op::Gather, 1),
            (Op::UpdateSgd, 1),
            (Op::UpdateAdagrad, 1),
            (Op::UpdateAdam, 1),
            (Op::UpdateRowAdagrad, 1),
            (Op::SyncPush, 1),
            (Op::SyncPush, 3),
            (Op::AsyncPush, 1),
            (Op::AsyncPush, 3),
            (Op::Pull, 1),
            (Op::AllReduce, 3),
        ]
    );
    for result in &results {
        // Options ask for one sample.
        assert_eq!(result.samples, 1, "{result:?}");
        assert_eq!(
            (result.min_s, result.max_s),
            (result.median_s, result.median_s)
        );
        let rows = (result.rows_per_second * result.median_s).round() as usize;
        let expected = match result.op {
            Op::Copy => (1 << 16) / (8 * 4),
            Op::SyncPush | Op::AsyncPush => 16 * result.workers,
            Op::Pull => 256 / 4,
            Op::AllReduce => 100,
            _ => 64,
        };
        assert_eq!(rows, expected, "{result:?}");
        let share = result.gb_per_second / result.copy_gb_per_second;
        assert_eq!(result.share_of_copy, share, "{result:?}");
        let by_host = matches!(
            result.op,
            Op::SyncPush | Op::AsyncPush | Op::Pull | Op::AllReduce
        );
        if by_host || !has_clock {
            assert_eq!(result.timed_by, TimedBy::Host, "{result:?}");
        }
    }
    assert_eq!(results[0].share_of_copy, 1.0);
    let bytes_of = |op: Op, dtype: &str| {
        let mut found = results.iter().filter(|r| r.dtype == dtype);
        let result = found.find(|r| r.op == op).unwrap();
        (result.gb_per_second * 1e9 / result.rows_per_second).round() as usize
    };
    let bytes = |op: Op| bytes_of(op, "f32");
    assert_eq!(bytes_of(Op::Gather, "f16"), 6 * 8);
    assert_eq!(bytes_of(Op::UpdateSgd, "f16"), 8 * 8);
    assert_eq!(bytes_of(Op::UpdateAdagrad, "f16"), 16 * 8);
    assert_eq!(bytes(Op::Copy), 8 * 8);
    assert_eq!(bytes(Op::Gather), 8 * 8);
    assert_eq!(bytes(Op::UpdateSgd), 12 * 8);
    assert_eq!(bytes(Op::UpdateAdagrad), 20 * 8);
    assert_eq!(bytes(Op::UpdateAdam), 28 * 8);
    assert_eq!(bytes(Op::UpdateRowAdagrad), 12 * 8 + 8);
    assert_eq!(bytes(Op::SyncPush), 12 * 8);
    assert_eq!(bytes(Op::AsyncPush), 12 * 8);
    assert_eq!(bytes(Op::Pull), 4 * 8);
    assert_eq!(bytes(Op::AllReduce), 8 * 3);
}

#[test]
fn everything_is_measured_on_the_cpu() {
    everything_is_measured(Device::Cpu);
}

#[test]
fn everything_is_measured_on_a_gpu() {
    if let Some(gpu) = device::testing::gpu() {
        everything_is_measured(Device::Gpu(gpu));
    }
}

#[test]
fn hot_rows_can_be_measured() {
    let options = Options {
        distribution: Distribution::Zipf,
        ops: vec![Op::UpdateAdagrad, Op::SyncPush],
        push_optimizer: OptimizerKind::Adagrad,
        ..tiny()
    };
    let results = measured(Device::Cpu, &options);
    // Updates of f32 and f16, and pushes of one and of three workers; no copy.
    assert_eq!(results.len(), 4);
    assert_eq!(results[1].optimizer, Some(OptimizerKind::Adagrad));
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let refused = |change: &dyn Fn(&mut Options), words: &str| {
        let mut options = tiny();
        change(&mut options);
        let error = Bench::new(Device::Cpu, &options).unwrap_err().to_string();
        assert!(error.contains(words), "{words:?} is not in: {error}");
    };
    refused(&|o| o.rows = 0, "--rows must be at least 1");
    refused(&|o| o.dim = 0, "--dim");
    refused(&|o| o.batches = 0, "--batches");
    refused(&|o| o.workers = vec![2, 0], "--workers");
    refused(&|o| o.workers.clear(), "--workers is empty");
    refused(&|o| o.batch = 257, "--batch 257 is too large: at most 256");
    refused(
        &|o| o.push_batch = 65,
        "--push-batch 65 is too large: at most 64",
    );
    refused(&|o| o.shards = 257, "--shards");
    refused(&|o| o.seconds = f64::NAN, "--seconds");
    refused(&|o| o.rows = 1 << 40, "--rows");
    refused(&|o| o.dim = usize::MAX, "--dim");
    refused(&|o| o.workers = vec![1 << 20], "--workers");
    refused(&|o| o.ops.clear(), "--only");
    if cfg!(target_os = "linux") {
        refused(
            &|o| (o.rows, o.dim) = (u32::MAX as usize, 1 << 20),
            "main memory are free",
        );
        refused(&|o| o.copy_bytes = usize::MAX / 4, "main memory are free");
    }
}

/// Sums over connections of the network.
#[cfg(feature = "net")]
#[test]
fn workers_reduce_over_connections() {
    let options = Options {
        ops: vec![Op::AllReduce],
        collective: super::CollectiveBackend::Grpc,
        reduce_values: 40_000,
        ..tiny()
    };
    let results = measured(Device::Cpu, &options);
    assert_eq!(results[0].op, Op::AllReduce);
    assert_eq!((results[0].workers, results[0].rows), (3, 40_000));
}
