//! Random reads a second: the limit of samplers on this machine.

use std::hint::black_box;
use std::time::Instant;

use super::bench::processor_seconds;

/// Reads of each measurement.
const READS: usize = 8_000_000;
/// Reads that are asked for ahead of the one that is waited for.
const AHEAD: usize = 64;

/// Random reads of single numbers, each independent of the others, a core-second.
pub fn rate(numbers: &[u32]) -> f64 {
    if numbers.is_empty() {
        return f64::INFINITY;
    }
    let mut places = vec![0u32; AHEAD + READS];
    let mut state = 1u64;
    for place in &mut places {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *place = (((state >> 32) * numbers.len() as u64) >> 32) as u32;
    }
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let (cpu, clock) = (processor_seconds(), Instant::now());
        let mut sum = 0u32;
        for at in 0..READS {
            prefetch(numbers, places[at + AHEAD] as usize);
            sum = sum.wrapping_add(numbers[places[at] as usize]);
        }
        black_box(sum);
        let cpu = cpu.and_then(|cpu| Some(processor_seconds()? - cpu));
        best = best.min(cpu.unwrap_or_else(|| clock.elapsed().as_secs_f64()));
    }
    READS as f64 / best
}

/// Asks the processor to fetch a number.
#[inline(always)]
fn prefetch(of: &[u32], at: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch(of.as_ptr().wrapping_add(at).cast(), _MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (of, at);
}
