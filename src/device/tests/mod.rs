//! Tests of devices, most of which need an adapter.

mod buffers;
mod compute;
mod faults;

use super::*;
use bytemuck::{Pod, Zeroable};

/// Adds `step` to `len` values, one a workgroup, so that long lines must fold.
const ADD: &str = "
struct Params { len: u32, step: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> values: array<u32>;

@compute @workgroup_size(1)
fn add(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = wid.y * groups.x + wid.x;
    if i >= params.len { return; }
    values[i] += params.step + i;
}";

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    len: u32,
    step: u32,
}

/// Records one dispatch over `values`.
fn add(
    gpu: &Gpu,
    encoder: &mut CommandEncoder,
    pipeline: &Pipeline,
    bindings: &[Binding<'_>],
    workgroups: u32,
) {
    let group = gpu.bind(pipeline, bindings);
    let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
    gpu.dispatch(&mut pass, pipeline, &group, workgroups);
}

/// A device of one's own, to break.
fn private() -> Option<Gpu> {
    testing::gpu_with(&GpuOptions::default())
}

#[test]
fn choices_open_what_they_say() {
    let adapters = list();
    assert!(matches!(open(DeviceChoice::Cpu), Ok(Device::Cpu)));
    let auto = open_with(DeviceChoice::Auto, &GpuOptions::default()).unwrap();
    let is_real = |adapter: &&AdapterDescription| adapter.kind != AdapterKind::Software;
    let best = adapters.iter().find(is_real);
    match (auto.device, best) {
        (Device::Gpu(gpu), Some(_)) => {
            assert_ne!(gpu.description().kind, AdapterKind::Software);
            assert_eq!(auto.note, None);
        }
        // Software adapters are never taken unasked, and the note gives the reason.
        (Device::Cpu, None) => {
            let why = match adapters.first() {
                Some(only) => format!("the only adapter is software ({})", only.name),
                None => "no GPU adapter found".to_owned(),
            };
            assert_eq!(auto.note, Some(format!("{why}; using the CPU")));
        }
        (device, best) => panic!("{device} was opened, {best:?} is there"),
    }
    let error = open(DeviceChoice::GpuAt(77)).unwrap_err();
    assert_eq!(
        error,
        DeviceError::NoSuchAdapter {
            index: 77,
            count: adapters.len()
        }
    );
    assert!(error.to_string().contains("gpu:77") && error.to_string().contains("adapter"));
    match open(DeviceChoice::Gpu) {
        Ok(Device::Gpu(gpu)) => assert_eq!(gpu.description(), &adapters[0]),
        other => {
            assert_eq!(other.unwrap_err(), DeviceError::NoAdapter);
            assert_eq!(adapters, []);
            // There is nothing more to open: said aloud, or an error where a GPU is required.
            assert!(testing::gpu().is_none());
        }
    }
    for adapter in &adapters {
        let Ok(Device::Gpu(gpu)) = open(DeviceChoice::GpuAt(adapter.index)) else {
            panic!("{adapter} does not open");
        };
        assert_eq!(gpu.description(), adapter);
        assert!(gpu.binding_limit() <= MAX_BINDING);
    }
}
