//! Scratch memory of threads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::kernel::cpu::table::AlignedVec;

/// Scratch memory of a thread.
#[derive(Debug, Default)]
pub struct Scratch {
    pub left: AlignedVec,
    pub right: AlignedVec,
    pub sums: AlignedVec,
}

/// Scratch memory of all threads.
#[derive(Debug, Default)]
pub struct Pool(Vec<Mutex<Scratch>>);

impl Pool {
    /// Makes memory for every thread of the pool.
    pub fn grow(&mut self) {
        self.0
            .resize_with(rayon::current_num_threads(), Mutex::default);
    }

    /// The memory of this thread. No other thread locks it.
    pub fn own(&self) -> MutexGuard<'_, Scratch> {
        let own = &self.0[rayon::current_thread_index().unwrap_or(0)];
        own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills it with values that are not numbers.
    pub fn poison(&mut self) {
        for scratch in &mut self.0 {
            let scratch = scratch.get_mut().unwrap_or_else(PoisonError::into_inner);
            for buffer in [&mut scratch.left, &mut scratch.right, &mut scratch.sums] {
                buffer.fill(f32::NAN);
            }
        }
    }
}
