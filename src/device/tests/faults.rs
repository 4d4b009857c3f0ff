//! Mistakes, losses and deadlines.

use std::time::Duration;

use super::*;

#[test]
fn a_mistake_surfaces_once_at_the_next_check_or_read() {
    let Some(gpu) = private() else { return };
    let sink = gpu.buffer("sink", 16, BufferUsages::COPY_DST).unwrap();
    let error = gpu.read::<u32>(&sink, 0, 1).unwrap_err();
    assert!(
        matches!(&error, DeviceError::Validation(words) if words.contains("sink")),
        "{error:?}"
    );
    gpu.check().unwrap();

    let pipeline = gpu.pipeline("add", ADD, "add").unwrap();
    gpu.bind(&pipeline, &[(&sink).into()]);
    assert!(matches!(gpu.check(), Err(DeviceError::Validation(_))));
    gpu.check().unwrap();
}

#[test]
fn a_lost_device_is_an_error_everywhere() {
    let Some(gpu) = private() else { return };
    let values = gpu.upload("values", &[1u32, 2, 3]).unwrap();
    let pipeline = gpu.pipeline("add", ADD, "add").unwrap();
    let mut arena = ParamsArena::new(&gpu);
    let slot = arena.push(&Params { len: 3, step: 1 }).unwrap();
    gpu.device().destroy();
    let lost = |result: Result<(), DeviceError>| {
        assert!(
            matches!(result, Err(DeviceError::Lost { .. })),
            "{result:?}"
        );
    };
    let mut encoder = gpu.encoder("late");
    add(
        &gpu,
        &mut encoder,
        &pipeline,
        &[(&slot).into(), (&values).into()],
        3,
    );
    gpu.submit_with(encoder, &mut arena);
    lost(gpu.read::<u32>(&values, 0, 3).map(drop));
    lost(gpu.check());
    lost(gpu.finish());
    lost(gpu.write(&values, 0, &[1u32]));
    lost(gpu.storage("more", 4).map(drop));
    lost(gpu.pipeline("late", ADD, "add").map(drop));
    let reason = gpu.check().unwrap_err().to_string();
    assert!(reason.contains("destroyed"), "{reason}");
}

#[test]
fn waits_end_at_the_deadline() {
    let spin = "
@group(0) @binding(0) var<storage, read_write> value: u32;
@compute @workgroup_size(1)
fn spin(@builtin(workgroup_id) wid: vec3<u32>) {
    var x = wid.x;
    for (var i = 0u; i < 10000u; i++) { x = x * 1664525u + 1013904223u; x ^= x >> 7u; }
    if x != 0u { value = 1u; }
}";
    let options = GpuOptions {
        deadline: Duration::from_millis(2),
        ..GpuOptions::default()
    };
    let Some(gpu) = testing::gpu_with(&options) else {
        return;
    };
    // llvmpipe does the work inside of the wait, whatever the deadline.
    if gpu.description().kind == AdapterKind::Software {
        return;
    }
    let pipeline = gpu.pipeline("spin", spin, "spin").unwrap();
    let value = gpu.storage("value", 4).unwrap();
    // However fast the device, some amount of work takes it longer.
    let late = (6..30).find_map(|power| {
        let mut encoder = gpu.encoder("spin");
        add(
            &gpu,
            &mut encoder,
            &pipeline,
            &[(&value).into()],
            1 << power,
        );
        gpu.submit(encoder);
        gpu.read::<u32>(&value, 0, 1).err()
    });
    assert_eq!(
        late,
        Some(DeviceError::Timeout {
            after: options.deadline
        })
    );
    // The device is alive, and the answer comes in the end.
    let answer = (0..10_000).find_map(|_| gpu.read::<u32>(&value, 0, 1).ok());
    assert_eq!(answer.as_deref(), Some(&[1][..]));
}
