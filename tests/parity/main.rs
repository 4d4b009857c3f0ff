//! Every stage on the CPU and on whatever adapter there is, against the `f64` oracle.

mod averages;
mod calls;
mod case;
mod compare;
mod cores;
mod dropout;
mod halves;
mod nan;
mod oracle;
mod parts;
mod pushes;
mod ranks;
mod relations;
mod rows;
mod slices;
mod steps;

use shardloom::device::testing;
use shardloom::kernel::Backend;

/// The CPU and, where there is an adapter, the GPU.
fn backends() -> Vec<Backend> {
    let gpu = testing::gpu().map(|gpu| Backend::gpu(gpu).unwrap());
    [Backend::cpu()].into_iter().chain(gpu).collect()
}
