//! The adapters of this machine, in a stable order.

use std::fmt;
#[cfg(feature = "gpu")]
use std::sync::OnceLock;

use serde::Serialize;
#[cfg(feature = "gpu")]
use wgpu::{Backends, DeviceType, Features};

/// The kind of hardware behind an adapter; better kinds order first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A card with its own memory.
    Discrete,
    /// A GPU that shares the memory of the CPU.
    Integrated,
    /// A GPU lent by a hypervisor.
    Virtual,
    /// The driver does not say.
    Other,
    /// A driver that computes on the CPU (llvmpipe, WARP); `auto` never chooses it.
    Software,
}

impl AdapterKind {
    /// The lower-case name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Other => "other",
            Self::Software => "software",
        }
    }
}

#[cfg(feature = "gpu")]
impl From<DeviceType> for AdapterKind {
    fn from(kind: DeviceType) -> Self {
        match kind {
            DeviceType::DiscreteGpu => Self::Discrete,
            DeviceType::IntegratedGpu => Self::Integrated,
            DeviceType::VirtualGpu => Self::Virtual,
            DeviceType::Other => Self::Other,
            DeviceType::Cpu => Self::Software,
        }
    }
}

/// One adapter as its driver describes it. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdapterDescription {
    /// The N of `gpu:N`: the position in [`list`].
    pub index: usize,
    /// Name that the driver gives; identical cards have the same.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: &'static str,
    /// Kind of hardware.
    pub kind: AdapterKind,
    /// PCI address (`domain:bus:device.function`), which tells identical cards apart.
    pub pci: Option<String>,
    /// PCI vendor id.
    pub vendor_id: u32,
    /// PCI device id.
    pub device_id: u32,
    /// The driver and its version.
    pub driver: String,
    /// The most that one shader binding may cover: the bound on a shard.
    pub max_storage_buffer_binding_size: u64,
    /// The largest buffer.
    pub max_buffer_size: u64,
    /// The most invocations of a workgroup in x, y and z.
    pub max_workgroup_size: [u32; 3],
    /// The most invocations of a workgroup altogether.
    pub max_workgroup_invocations: u32,
    /// Memory shared by a workgroup.
    pub workgroup_memory: u32,
    /// Subgroup operations in shaders.
    pub subgroups: bool,
    /// Fewest and most invocations of a subgroup.
    pub subgroup_sizes: [u32; 2],
    /// Half-precision arithmetic in shaders.
    pub f16: bool,
    /// Timing on the device.
    pub timestamps: bool,
}

impl fmt::Display for AdapterDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu:{} {} ({})", self.index, self.name, self.backend)
    }
}

#[cfg(feature = "gpu")]
impl AdapterDescription {
    fn new(adapter: &wgpu::Adapter) -> Self {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        Self {
            index: 0,
            name: info.name,
            backend: info.backend.to_str(),
            kind: info.device_type.into(),
            pci: Some(info.device_pci_bus_id).filter(|id| !id.is_empty()),
            vendor_id: info.vendor,
            device_id: info.device,
            driver: format!("{} {}", info.driver, info.driver_info)
                .trim()
                .to_owned(),
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            max_buffer_size: limits.max_buffer_size,
            max_workgroup_size: [
                limits.max_compute_workgroup_size_x,
                limits.max_compute_workgroup_size_y,
                limits.max_compute_workgroup_size_z,
            ],
            max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            subgroups: features.contains(Features::SUBGROUP),
            subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
            f16: features.contains(Features::SHADER_F16),
            timestamps: features.contains(Features::TIMESTAMP_QUERY),
        }
    }
}

/// Lists the adapters of this machine: discrete, integrated, virtual, others, then software;
/// equal kinds by PCI address. A GPU that two backends show appears once. None in a build without GPU
/// support.
#[cfg(feature = "gpu")]
pub fn list() -> Vec<AdapterDescription> {
    adapters()
        .iter()
        .map(|(_, description)| description.clone())
        .collect()
}

/// The adapters that this build can use: none.
#[cfg(not(feature = "gpu"))]
pub fn list() -> Vec<AdapterDescription> {
    Vec::new()
}

/// The adapters, listed once in the life of the process: drivers are slow to load, some crash when they
/// are loaded again, and `gpu:N` must keep its meaning.
#[cfg(feature = "gpu")]
pub(super) fn adapters() -> &'static [(wgpu::Adapter, AdapterDescription)] {
    static ADAPTERS: OnceLock<Vec<(wgpu::Adapter, AdapterDescription)>> = OnceLock::new();
    ADAPTERS.get_or_init(|| {
        let backends = Backends::VULKAN | Backends::METAL | Backends::DX12;
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let found = pollster::block_on(instance.enumerate_adapters(backends));
        let described = found.into_iter().map(|adapter| {
            let description = AdapterDescription::new(&adapter);
            (adapter, description)
        });
        arrange(described.collect())
    })
}

/// Drops adapters that a preferred backend shows too, sorts the rest and numbers them.
#[cfg(feature = "gpu")]
fn arrange<A>(mut found: Vec<(A, AdapterDescription)>) -> Vec<(A, AdapterDescription)> {
    let rank = |d: &AdapterDescription| match d.backend {
        "metal" => 0,
        "vulkan" => 1,
        _ => 2,
    };
    // PCI addresses are written differently by different backends and may be missing, so ids
    // decide: a backend that shows one card of a model shows them all.
    let id = |d: &AdapterDescription| (d.vendor_id, d.device_id);
    let all: Vec<_> = found.iter().map(|(_, d)| (rank(d), id(d))).collect();
    found.retain(|(_, d)| !all.iter().any(|&(r, i)| r < rank(d) && i == id(d)));
    found.sort_by(|(_, a), (_, b)| {
        (a.kind, &a.pci, rank(a), &a.name).cmp(&(b.kind, &b.pci, rank(b), &b.name))
    });
    for (index, (_, description)) in found.iter_mut().enumerate() {
        description.index = index;
    }
    found
}

#[cfg(all(test, feature = "gpu"))]
pub(super) mod tests {
    use super::*;

    pub fn description(
        backend: &'static str,
        name: &str,
        kind: AdapterKind,
        device_id: u32,
        pci: &str,
    ) -> AdapterDescription {
        AdapterDescription {
            index: 0,
            name: name.into(),
            backend,
            kind,
            pci: Some(pci.to_owned()).filter(|p| !p.is_empty()),
            vendor_id: 0x10de,
            device_id,
            driver: "driver 1".into(),
            max_storage_buffer_binding_size: 1 << 31,
            max_buffer_size: 1 << 32,
            max_workgroup_size: [1024, 1024, 64],
            max_workgroup_invocations: 1024,
            workgroup_memory: 49152,
            subgroups: true,
            subgroup_sizes: [32, 32],
            f16: true,
            timestamps: true,
        }
    }

    #[test]
    fn arranges_best_first_and_each_card_once() {
        use AdapterKind::*;
        let found = vec![
            ((), description("vulkan", "pipe", Software, 1, "")),
            ((), description("dx12", "twin", Discrete, 7, "1")),
            ((), description("dx12", "twin", Discrete, 7, "2")),
            (
                (),
                description("vulkan", "small", Integrated, 3, "0000:00:02.0"),
            ),
            (
                (),
                description("vulkan", "twin", Discrete, 7, "0000:02:00.0"),
            ),
            (
                (),
                description("vulkan", "twin", Discrete, 7, "0000:01:00.0"),
            ),
            ((), description("dx12", "only here", Discrete, 9, "")),
        ];
        let arranged: Vec<_> = (arrange(found).into_iter())
            .map(|(_, d)| (d.index, d.name, d.pci.unwrap_or_default()))
            .collect();
        let expected = [
            (0, "only here", ""),
            (1, "twin", "0000:01:00.0"),
            (2, "twin", "0000:02:00.0"),
            (3, "small", "0000:00:02.0"),
            (4, "pipe", ""),
        ];
        assert_eq!(
            arranged,
            expected.map(|(i, name, pci)| (i, name.to_owned(), pci.to_owned()))
        );
    }

    #[test]
    fn the_list_is_numbered_and_repeatable() {
        let list = list();
        assert!(list.iter().enumerate().all(|(i, d)| d.index == i));
        assert!(list.is_sorted_by_key(|d| d.kind));
        assert_eq!(list, super::list());
    }

    #[test]
    fn describes_itself_in_json() {
        let json = serde_json::to_value(description("metal", "card", AdapterKind::Discrete, 7, ""))
            .unwrap();
        assert_eq!(json["kind"], "discrete");
        assert_eq!(json["pci"], serde_json::Value::Null);
        assert_eq!(json["max_buffer_size"], 1u64 << 32);
    }
}
