//! Pipelines, dispatches and their parameters.

use super::*;

#[test]
fn a_line_longer_than_one_dimension_is_covered_once() {
    let Some(gpu) = testing::gpu() else { return };
    let len = 2 * MAX_WORKGROUPS + 3;
    let values = gpu.storage("values", u64::from(len) * 4).unwrap();
    let params = gpu.uniform("params", &Params { len, step: 5 }).unwrap();
    let pipeline = gpu.pipeline("add", ADD, "add").unwrap();
    let mut encoder = gpu.encoder("test");
    add(
        &gpu,
        &mut encoder,
        &pipeline,
        &[(&params).into(), (&values).into()],
        len,
    );
    add(
        &gpu,
        &mut encoder,
        &pipeline,
        &[(&params).into(), (&values).into()],
        0,
    );
    gpu.submit(encoder);
    let read = gpu.read::<u32>(&values, 0, len as usize).unwrap();
    assert!((0..).zip(&read).all(|(i, &v): (u32, _)| v == 5 + i));
}

#[test]
fn pipelines_are_cached_by_label_and_source() {
    let Some(gpu) = private() else { return };
    let count = || gpu.0.pipelines.lock().unwrap().len();
    gpu.pipeline("add", ADD, "add").unwrap();
    gpu.pipeline("add", ADD, "add").unwrap();
    assert_eq!(count(), 1);
    gpu.pipeline("sum", ADD, "add").unwrap();
    gpu.pipeline("add", &ADD.replace("+ i", "- i"), "add")
        .unwrap();
    assert_eq!(count(), 3);
}

#[test]
fn a_bad_shader_is_an_error_that_names_it_and_the_line() {
    let Some(gpu) = testing::gpu() else { return };
    let message = |source: &str, entry: &str| {
        let error = gpu.pipeline("my_stage", source, entry).unwrap_err();
        assert!(
            matches!(&error, DeviceError::Shader { label, .. } if label == "my_stage"),
            "{error:?}"
        );
        error.to_string()
    };
    let syntax = message("\n@compute @workgroup_size(1)\nfn f() { let x = ; }", "f");
    assert!(
        syntax.contains("my_stage") && syntax.contains("wgsl:3:18"),
        "{syntax}"
    );
    let types = message(
        "@compute @workgroup_size(1)\nfn f() { var x: u32 = 1.5f; }",
        "f",
    );
    assert!(types.contains("wgsl:2"), "{types}");
    assert!(message(ADD, "missing").contains("missing"));
    gpu.pipeline("my_stage", ADD, "add").unwrap();
}

#[test]
fn params_are_aligned_and_steps_do_not_mix() {
    let Some(gpu) = testing::gpu() else { return };
    let align = u64::from(gpu.limits().min_uniform_buffer_offset_alignment);
    let len = 8;
    let values = gpu.storage("values", u64::from(len) * 4).unwrap();
    let pipeline = gpu.pipeline("add", ADD, "add").unwrap();
    let mut arena = ParamsArena::new(&gpu);
    // Enough slots for several pages, and a second step submitted before the first has run.
    let (steps, pushes) = (2, 150);
    for step in 1..=steps {
        let mut encoder = gpu.encoder("step");
        let mut seen = Vec::new();
        for _ in 0..pushes {
            let slot = arena.push(&Params { len, step }).unwrap();
            assert_eq!((slot.offset % align, slot.bytes), (0, 16));
            assert!(!seen.contains(&(slot.buffer.clone(), slot.offset)));
            seen.push((slot.buffer.clone(), slot.offset));
            add(
                &gpu,
                &mut encoder,
                &pipeline,
                &[(&slot).into(), (&values).into()],
                len,
            );
        }
        gpu.submit_with(encoder, &mut arena);
    }
    let read = gpu.read::<u32>(&values, 0, len as usize).unwrap();
    let expected = |i| pushes * (1 + 2) + steps * pushes * i;
    assert_eq!(read, (0..len).map(expected).collect::<Vec<_>>());
}
