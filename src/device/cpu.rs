//! The CPU of this machine.

use std::fmt;

use serde::Serialize;

/// The CPU as the CPU kernels see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CpuDescription {
    /// The model's name, where it is cheaply known.
    pub name: Option<String>,
    /// The architecture that this binary was compiled for, such as `x86_64`.
    pub architecture: &'static str,
    /// Logical cores available to this process, control groups and affinity included.
    pub cores: usize,
    /// The instruction set that the kernels dispatch to: `AVX-512`, `AVX2+FMA`, `NEON`,
    /// `SIMD-128` or `scalar`.
    pub simd: &'static str,
}

impl fmt::Display for CpuDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or(self.architecture);
        let s = if self.cores == 1 { "" } else { "s" };
        write!(f, "{name}, {} core{s}, {}", self.cores, self.simd)
    }
}

/// Describes the CPU of this machine.
pub fn cpu() -> CpuDescription {
    CpuDescription {
        name: name(),
        architecture: std::env::consts::ARCH,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        simd: match pulp::Arch::new().dispatch(Lanes) {
            16 => "AVX-512",
            8 => "AVX2+FMA",
            4 if cfg!(target_arch = "aarch64") => "NEON",
            4 => "SIMD-128",
            _ => "scalar",
        },
    }
}

/// The width that pulp runs at, in f32 lanes. Flags of the CPU would not do: pulp may have been built
/// without the widest instruction set.
struct Lanes;

impl pulp::WithSimd for Lanes {
    type Output = usize;

    fn with_simd<S: pulp::Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Bytes of main memory that are available to programs, where the system reports them.
pub fn available_memory() -> Option<u64> {
    // Linux. Others have no such figure, or none that is the same thing.
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(target_os = "linux")]
fn name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, name) = info
        .lines()
        .find(|l| l.starts_with("model name"))?
        .split_once(':')?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(not(target_os = "linux"))]
fn name() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_cpu_describes_itself() {
        let cpu = super::cpu();
        assert!(cpu.cores >= 1);
        assert_eq!(cpu.architecture, std::env::consts::ARCH);
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            assert_ne!(cpu.simd, "scalar");
        }
        #[cfg(target_arch = "aarch64")]
        assert_eq!(cpu.simd, "NEON");
    }
}
