//! Peak memory of this process.

/// The most memory this process has had resident, in bytes; `None` where the system does not tell.
pub fn peak_memory_bytes() -> Option<u64> {
    peak()
}

#[cfg(unix)]
fn peak() -> Option<u64> {
    // SAFETY: getrusage fills the struct it is given; zeroed memory is a valid value of it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::getrusage(libc::RUSAGE_SELF, &mut usage) == 0).then_some(usage)
    }?;
    // Linux counts in KiB, macOS in bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    u64::try_from(usage.ru_maxrss).ok().map(|n| n * unit)
}

#[cfg(not(unix))]
fn peak() -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    #[test]
    fn the_peak_covers_what_was_touched() {
        let block = vec![1u8; 64 << 20];
        assert!(block.iter().map(|&b| u64::from(b)).sum::<u64>() == 64 << 20);
        assert!(super::peak_memory_bytes().is_some_and(|bytes| bytes >= 64 << 20));
    }
}
