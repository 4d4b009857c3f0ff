//! All-reduces of workers.

use std::time::Duration;

use super::collectives::Group;
use super::push::runtime;
use super::{Bench, BenchError, Op, Prepared, Work};
use crate::collective::{Call, CollectiveError, CollectiveExt, Reduce};
use crate::ids::Generation;
use crate::kernel::Dtype;

/// The longest wait of a rank.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Prepares sums over `world` ranks.
pub(super) fn all_reduce(bench: &Bench, world: usize) -> Result<Prepared, BenchError> {
    let (runtime, values) = (runtime()?, bench.options.reduce_values);
    let group = Group::new(bench.options.collective, world)?;
    // Sums of zeros stay finite after any number of repetitions.
    let mut buffers = vec![vec![0.0f32; values]; world];
    let mut sequence = 0;
    let repeat = move |times| {
        // All of the group: its connections end with their runtime.
        let group = &group;
        runtime.block_on(async {
            let tasks: Vec<_> = (group.members.iter().cloned().zip(buffers.drain(..)))
                .map(|(member, mut values)| {
                    tokio::spawn(async move {
                        for i in 0..times as u64 {
                            let call = Call::new(Generation(0), sequence + i, TIMEOUT);
                            values = member.all_reduce(call, values, Reduce::Sum).await?;
                        }
                        Ok::<Vec<f32>, CollectiveError>(values)
                    })
                })
                .collect();
            sequence += times as u64;
            for task in tasks {
                match task.await {
                    Ok(values) => buffers.push(values?),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                }
            }
            Ok(None)
        })
    };
    Ok(Prepared {
        work: Work {
            dtype: Dtype::F32,
            op: Op::AllReduce,
            optimizer: None,
            rows: values,
            dim: 1,
            batch: values,
            workers: world,
            calls: 1.0,
            items: values as f64,
            bytes: 8.0 * (values * world) as f64,
        },
        repeat: Box::new(repeat),
    })
}
