//! The copy bandwidth of the device, which every other figure is compared with.

use rayon::prelude::*;

use super::{Limits, Options, Samples};
use crate::kernel::gpu::CopyPair;
use crate::kernel::{Backend, KernelError};

/// Two buffers; the first is copied to the second.
#[derive(Debug)]
pub(super) enum Copier {
    Cpu(std::sync::Mutex<(Vec<u8>, Vec<u8>)>),
    Gpu(CopyPair),
}

impl Copier {
    pub fn new(backend: &Backend, bytes: usize) -> Result<Copier, KernelError> {
        Ok(match backend {
            // Written once, so that the system maps every page.
            Backend::Cpu(_) => Copier::Cpu((vec![1; bytes], vec![2; bytes]).into()),
            Backend::Gpu(engine) => Copier::Gpu(CopyPair::new(engine.gpu(), bytes as u64)?),
        })
    }

    /// Size of a buffer in bytes.
    pub fn bytes(&self) -> f64 {
        match self {
            Copier::Cpu(pair) => lock(pair).0.len() as f64,
            Copier::Gpu(pair) => pair.bytes() as f64,
        }
    }

    /// Times the copy. It is repeated between all operations, so it is short.
    pub fn measure(&self, backend: &Backend, options: &Options) -> Result<Samples, KernelError> {
        let limits = Limits {
            seconds: options.seconds / 4.0,
            samples: options.repeat.min(7),
        };
        Samples::take(limits, |times| match (self, backend) {
            (Copier::Cpu(pair), _) => {
                let (from, to) = &mut *lock(pair);
                (0..times).for_each(|_| copy(from, to));
                Ok(None)
            }
            (Copier::Gpu(pair), Backend::Gpu(engine)) => engine.repeat_copy(pair, times),
            (Copier::Gpu(_), Backend::Cpu(_)) => Err(KernelError::ForeignTable { engine: "CPU" }),
        })
    }
}

/// Copies a part on every core.
fn copy(from: &[u8], to: &mut [u8]) {
    let part = from.len().div_ceil(rayon::current_num_threads()).max(1);
    let parts = to.par_chunks_mut(part).zip(from.par_chunks(part));
    parts.for_each(|(to, from)| to.copy_from_slice(from));
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
