//! Assignment of workers to devices.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::device::{AdapterDescription, AdapterKind, DeviceChoice, DeviceError};
use crate::ids::WorkerId;

/// A worker's device, or part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceSlot {
    /// A GPU, alone or shared with other workers.
    Gpu {
        /// The N of `gpu:N`.
        index: usize,
        /// Number of the worker among those on this GPU, from 1.
        share: usize,
        /// Number of workers on this GPU.
        of: usize,
    },
    /// Some cores of the CPU.
    Cpu {
        /// Threads of the worker, at least one.
        threads: usize,
    },
}

impl fmt::Display for DeviceSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceSlot::Gpu { index, of: 1, .. } => write!(f, "gpu:{index}"),
            DeviceSlot::Gpu { index, share, of } => write!(f, "gpu:{index} ({share} of {of})"),
            DeviceSlot::Cpu { threads: 1 } => f.write_str("cpu (1 thread)"),
            DeviceSlot::Cpu { threads } => write!(f, "cpu ({threads} threads)"),
        }
    }
}

/// The devices that the workers of a run share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    /// Indices of adapters, best first; empty: workers use the CPU.
    gpus: Vec<usize>,
    cores: usize,
}

impl Devices {
    /// The devices that a choice allows, of the adapters of this machine and `cores` CPU cores.
    ///
    /// `auto` allows all real GPUs, and the CPU where there is none; `gpu` all real GPUs, and
    /// software ones where there is none; `gpu:N` that one; `cpu` the CPU. An adapter listed
    /// twice, with the same PCI id, is one device; the same name is not: identical cards share it.
    ///
    /// # Errors
    /// [`DeviceError::NoAdapter`] and [`DeviceError::NoSuchAdapter`] where a GPU is asked for
    /// that is not there.
    pub fn new(
        adapters: &[AdapterDescription],
        cores: usize,
        choice: DeviceChoice,
    ) -> Result<Devices, DeviceError> {
        let mut distinct: Vec<&AdapterDescription> = Vec::new();
        for adapter in adapters {
            if !distinct.iter().any(|known| same_card(known, adapter)) {
                distinct.push(adapter);
            }
        }
        let which = |software: bool| -> Vec<usize> {
            let of_kind = |a: &&&AdapterDescription| (a.kind == AdapterKind::Software) == software;
            let found = distinct.iter().filter(of_kind);
            found.map(|adapter| adapter.index).collect()
        };
        let gpus = match choice {
            DeviceChoice::Cpu => Vec::new(),
            DeviceChoice::Auto => which(false),
            DeviceChoice::Gpu if adapters.is_empty() => return Err(DeviceError::NoAdapter),
            DeviceChoice::Gpu => Some(which(false))
                .filter(|real| !real.is_empty())
                .unwrap_or_else(|| which(true)),
            DeviceChoice::GpuAt(index) => {
                let count = adapters.len();
                if !adapters.iter().any(|adapter| adapter.index == index) {
                    return Err(DeviceError::NoSuchAdapter { index, count });
                }
                vec![index]
            }
        };
        Ok(Devices { gpus, cores })
    }

    /// A slot for each worker. Workers that have one in `before` keep their GPU. New workers, in the
    /// order given, get the GPU with the fewest workers, so that each GPU is used once before any is
    /// used twice. CPU cores are split anew, to within one thread, at least one each.
    pub fn assign(
        &self,
        workers: &[WorkerId],
        before: &BTreeMap<WorkerId, DeviceSlot>,
    ) -> BTreeMap<WorkerId, DeviceSlot> {
        if self.gpus.is_empty() {
            return self.split_cores(workers);
        }
        let mut on_gpu: Vec<Vec<WorkerId>> = vec![Vec::new(); self.gpus.len()];
        let kept = |worker: WorkerId| match before.get(&worker) {
            Some(DeviceSlot::Gpu { index, .. }) => self.gpus.iter().position(|gpu| gpu == index),
            _ => None,
        };
        for &worker in workers {
            if let Some(gpu) = kept(worker) {
                on_gpu[gpu].push(worker);
            }
        }
        for &worker in workers.iter().filter(|&&worker| kept(worker).is_none()) {
            if let Some(emptiest) = on_gpu.iter_mut().min_by_key(|workers| workers.len()) {
                emptiest.push(worker);
            }
        }
        let mut slots = BTreeMap::new();
        for (&index, mut workers) in self.gpus.iter().zip(on_gpu) {
            workers.sort_unstable();
            let of = workers.len();
            let shares = workers.into_iter().zip(1..);
            slots.extend(
                shares.map(|(worker, share)| (worker, DeviceSlot::Gpu { index, share, of })),
            );
        }
        slots
    }

    fn split_cores(&self, workers: &[WorkerId]) -> BTreeMap<WorkerId, DeviceSlot> {
        let mut workers = workers.to_vec();
        workers.sort_unstable();
        let count = workers.len().max(1);
        let slots = workers.into_iter().enumerate().map(|(i, worker)| {
            let threads = self.cores / count + usize::from(i < self.cores % count);
            let threads = threads.max(1);
            (worker, DeviceSlot::Cpu { threads })
        });
        slots.collect()
    }
}

fn same_card(a: &AdapterDescription, b: &AdapterDescription) -> bool {
    match (&a.pci, &b.pci) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        // Without an address, every entry of the list is a card of its own.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn adapter(index: usize, kind: AdapterKind, pci: Option<&str>) -> AdapterDescription {
        AdapterDescription {
            index,
            name: "twin".into(),
            backend: "vulkan",
            kind,
            pci: pci.map(str::to_owned),
            vendor_id: 0x10de,
            device_id: 7,
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

    fn cards(pcis: &[Option<&str>]) -> Vec<AdapterDescription> {
        let cards = pcis.iter().enumerate();
        cards
            .map(|(i, pci)| adapter(i, AdapterKind::Discrete, *pci))
            .collect()
    }

    fn workers(count: u32) -> Vec<WorkerId> {
        (0..count).map(WorkerId).collect()
    }

    fn show(places: &BTreeMap<WorkerId, DeviceSlot>) -> Vec<String> {
        places.values().map(ToString::to_string).collect()
    }

    #[test]
    fn identical_cards_are_told_apart_by_pci_id() {
        let twins = cards(&[Some("0000:01:00.0"), Some("0000:02:00.0")]);
        let devices = Devices::new(&twins, 8, DeviceChoice::Auto).unwrap();
        let places = devices.assign(&workers(3), &BTreeMap::new());
        assert_eq!(show(&places), ["gpu:0 (1 of 2)", "gpu:1", "gpu:0 (2 of 2)"]);

        // One card, listed twice; and two cards without an address.
        let once = cards(&[Some("0000:0A:00.0"), Some("0000:0a:00.0"), None, None]);
        let devices = Devices::new(&once, 8, DeviceChoice::Auto).unwrap();
        let places = devices.assign(&workers(3), &BTreeMap::new());
        assert_eq!(show(&places), ["gpu:0", "gpu:2", "gpu:3"]);
    }

    #[test]
    fn the_choice_decides() {
        use AdapterKind::*;
        let show = |adapters: &[AdapterDescription], choice: &str| {
            let devices = Devices::new(adapters, 5, choice.parse().unwrap());
            devices.map(|devices| show(&devices.assign(&workers(2), &BTreeMap::new())))
        };
        let shown = |places: [&str; 2]| Ok(places.map(str::to_owned).to_vec());
        let mixed = [
            adapter(0, Discrete, Some("1")),
            adapter(1, Integrated, Some("2")),
            adapter(2, Software, None),
        ];
        let cores = ["cpu (3 threads)", "cpu (2 threads)"];
        assert_eq!(show(&mixed, "auto"), shown(["gpu:0", "gpu:1"]));
        assert_eq!(show(&mixed, "gpu"), shown(["gpu:0", "gpu:1"]));
        let both = ["gpu:2 (1 of 2)", "gpu:2 (2 of 2)"];
        assert_eq!(show(&mixed, "gpu:2"), shown(both));
        assert_eq!(show(&mixed, "cpu"), shown(cores));
        let software = [adapter(0, Software, None)];
        assert_eq!(show(&software, "auto"), shown(cores));
        let both = ["gpu:0 (1 of 2)", "gpu:0 (2 of 2)"];
        assert_eq!(show(&software, "gpu"), shown(both));
        assert_eq!(show(&[], "auto"), shown(cores));
        assert_eq!(show(&[], "gpu"), Err(DeviceError::NoAdapter));
        let missing = DeviceError::NoSuchAdapter { index: 3, count: 3 };
        assert_eq!(show(&mixed, "gpu:3"), Err(missing));
    }

    #[test]
    fn a_joiner_takes_the_place_that_became_free() {
        let devices = Devices::new(&cards(&[None, None]), 8, DeviceChoice::Gpu).unwrap();
        let before = devices.assign(&workers(2), &BTreeMap::new());
        let after = devices.assign(&[WorkerId(1), WorkerId(2)], &before);
        assert_eq!(after[&WorkerId(1)], before[&WorkerId(1)]);
        assert_eq!(after[&WorkerId(2)].to_string(), "gpu:0");
    }

    proptest! {
        #[test]
        fn each_adapter_once_before_any_twice(gpus in 1usize..9, count in 0u32..40) {
            let devices = Devices::new(&cards(&vec![None; gpus]), 4, DeviceChoice::Auto).unwrap();
            let places = devices.assign(&workers(count), &BTreeMap::new());
            prop_assert_eq!(places.len(), count as usize);
            let mut shares = vec![Vec::new(); gpus];
            for place in places.values() {
                let DeviceSlot::Gpu { index, share, of } = *place else { panic!("{place}") };
                shares[index].push((share, of));
            }
            let (least, most) = (count as usize / gpus, (count as usize).div_ceil(gpus));
            for shares in shares {
                prop_assert!((least..=most).contains(&shares.len()));
                let want: Vec<_> = (1..=shares.len()).map(|k| (k, shares.len())).collect();
                prop_assert_eq!(shares, want);
            }
        }

        #[test]
        fn cores_are_split_to_within_one_thread(cores in 0usize..200, count in 1u32..40) {
            let devices = Devices::new(&[], cores, DeviceChoice::Auto).unwrap();
            let threads: Vec<usize> = devices.assign(&workers(count), &BTreeMap::new()).values()
                .map(|place| match place {
                    DeviceSlot::Cpu { threads } => *threads,
                    DeviceSlot::Gpu { .. } => 0,
                }).collect();
            prop_assert_eq!(threads.len(), count as usize);
            prop_assert!(threads.iter().all(|&t| t >= 1));
            prop_assert!(threads[0] - threads[threads.len() - 1] <= 1);
            prop_assert_eq!(threads.iter().sum::<usize>(), cores.max(count as usize));
        }

        #[test]
        fn who_stays_keeps_the_gpu_and_joiners_go_where_fewest_are(
            gpus in 1usize..5, count in 1u32..12, gone in prop::collection::vec(any::<bool>(), 12),
            joiners in 0u32..6,
        ) {
            let devices = Devices::new(&cards(&vec![None; gpus]), 4, DeviceChoice::Gpu).unwrap();
            let before = devices.assign(&workers(count), &BTreeMap::new());
            let stay = workers(count).into_iter().filter(|w| !gone[w.0 as usize]);
            let mut present: Vec<WorkerId> = stay.collect();
            present.extend((count..count + joiners).map(WorkerId));
            let after = devices.assign(&present, &before);
            prop_assert_eq!(after.len(), present.len());
            let gpu = |place: &DeviceSlot| match place {
                DeviceSlot::Gpu { index, .. } => *index,
                DeviceSlot::Cpu { .. } => usize::MAX,
            };
            let mut used = vec![0; gpus];
            for worker in present {
                match before.get(&worker) {
                    Some(place) => prop_assert_eq!(gpu(place), gpu(&after[&worker])),
                    None => prop_assert_eq!(Some(&used[gpu(&after[&worker])]), used.iter().min()),
                }
                used[gpu(&after[&worker])] += 1;
            }
        }
    }
}
