//! Memory that the process has freed.

/// Bytes of one allocation up to which its memory is kept.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGEST: libc::c_int = 32 << 20;
/// Free bytes that are kept, at the end of the memory that a thread allocates from.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 256 << 20;

/// Keeps memory that is freed for later allocations, rather than give it back to the system. Without effect on systems
/// with another allocator than that of glibc.
pub(super) fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the calls set numbers of the allocator, which locks them; it goes on as before if it refuses them.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}
