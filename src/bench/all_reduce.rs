//! The sum over all workers of this process.

use std::time::Duration;

use super::push::runtime;
use super::{Bench, BenchError, Op, Records, Samples, Work};
use crate::collective::{Call, Collective, CollectiveError, Reduce, local};

const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn all_reduce(
    bench: &Bench,
    records: &mut Records,
    observe: &mut dyn FnMut(&str),
) -> Result<(), BenchError> {
    let options = &bench.options;
    let runtime = runtime()?;
    for world in options.worlds() {
        observe(&format!("{} of {world}", Op::AllReduce.name()));
        let members = local::group(world);
        // Zeros stay what they are, however often they are added up.
        let mut buffers = vec![vec![0.0f32; options.reduce_values]; world];
        let mut sequence = 0;
        let samples = Samples::take(options.limits(), |times| {
            runtime.block_on(async {
                let tasks: Vec<_> = (members.iter().cloned().zip(buffers.drain(..)))
                    .map(|(member, mut values)| {
                        tokio::spawn(async move {
                            for i in 0..times as u64 {
                                let call = Call::new(0, sequence + i, TIMEOUT);
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
                Ok::<(), BenchError>(())
            })
        })?;
        let values = options.reduce_values;
        let work = Work {
            op: Op::AllReduce,
            optimizer: None,
            rows: values,
            dim: 1,
            batch: values,
            workers: world,
            items: values as f64,
            bytes: 8.0 * (values * world) as f64,
        };
        drop(buffers);
        records.add(bench, work, samples)?;
    }
    Ok(())
}
