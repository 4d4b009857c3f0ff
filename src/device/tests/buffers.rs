//! Bytes in and out, and room for them.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn bytes_come_back_from_any_offset(
        data in prop::collection::vec(any::<u8>(), 1..9000), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(),
    ) {
        let Some(gpu) = testing::gpu() else { return Ok(()) };
        let buffer = gpu.upload("bytes", &data).unwrap();
        prop_assert_eq!(buffer.size(), (data.len() as u64).next_multiple_of(4));
        prop_assert_eq!(&gpu.read::<u8>(&buffer, 0, data.len()).unwrap(), &data);
        let (a, b) = (from.index(data.len()), to.index(data.len()));
        let (a, b) = (a.min(b), a.max(b));
        prop_assert_eq!(&gpu.read::<u8>(&buffer, a as u64, b - a).unwrap(), &data[a..b]);
    }
}

#[test]
fn large_transfers_go_in_pieces() {
    let Some(gpu) = testing::gpu() else { return };
    let words = 70 * (1 << 20) / 4 + 1;
    if gpu.binding_limit() < words as u64 * 4 {
        return;
    }
    let data: Vec<u32> = (0..words as u32)
        .map(|i| i.wrapping_mul(2_654_435_761))
        .collect();
    let buffer = gpu.upload("large", &data).unwrap();
    assert!(gpu.read::<u32>(&buffer, 0, words).unwrap() == data);
    assert!(gpu.read::<u32>(&buffer, 12, words - 5).unwrap() == data[3..words - 2]);
}

#[test]
fn parts_lie_one_after_the_other() {
    let Some(gpu) = testing::gpu() else { return };
    let large = 40 * (1 << 20) / 4;
    for sizes in [&[][..], &[0, 3, 0, 1, 5], &[2, large, 1]] {
        let words: usize = sizes.iter().sum();
        if gpu.binding_limit() < words as u64 * 4 {
            continue;
        }
        let all: Vec<u32> = (1..=words as u32).collect();
        let mut rest = &all[..];
        let parts: Vec<&[u32]> = (sizes.iter())
            .map(|&size| rest.split_off(..size).unwrap())
            .collect();
        let buffer = gpu.upload("parts", &vec![0u32; words + 2]).unwrap();
        gpu.write_parts(&buffer, &parts).unwrap();
        let read = gpu.read::<u32>(&buffer, 0, words + 2).unwrap();
        assert!(read[..words] == all && read[words..] == [0, 0], "{sizes:?}");
    }
    let two = gpu.storage("two", 8).unwrap();
    let refused = gpu.write_parts(&two, &[[1u32, 2], [3, 4]]);
    assert!(matches!(refused, Err(DeviceError::Range { .. })));
}

#[test]
fn accesses_outside_of_a_buffer_are_refused() {
    let Some(gpu) = testing::gpu() else { return };
    let buffer = gpu.storage("ten", 10).unwrap();
    let refused =
        |result: Result<(), DeviceError>| matches!(result, Err(DeviceError::Range { .. }));
    assert!(refused(gpu.read::<u32>(&buffer, 4, 3).map(drop)));
    assert!(refused(gpu.read::<u64>(&buffer, 0, usize::MAX).map(drop)));
    assert!(refused(gpu.write(&buffer, 8, &[0u32; 2])));
    assert!(refused(gpu.write(&buffer, 2, &[0u32])));
    assert!(refused(gpu.write(&buffer, 0, &[0u8; 3])));
    assert!(refused(gpu.write(&buffer, u64::MAX - 3, &[0u32])));
    gpu.write(&buffer, 8, &[7u8, 9]).unwrap();
    gpu.write::<u32>(&buffer, 4, &[]).unwrap();
    assert_eq!(gpu.read::<u16>(&buffer, 8, 1).unwrap(), [7 | 9 << 8]);
    assert_eq!(gpu.read::<u32>(&buffer, 12, 0).unwrap(), [0; 0]);
    let empty = gpu.upload::<f32>("empty", &[]).unwrap();
    assert_eq!(gpu.read::<u32>(&empty, 0, 1).unwrap(), [0]);
}

#[test]
fn what_never_fits_says_which_limit() {
    let Some(gpu) = testing::gpu_with(&GpuOptions::with_binding_limit(5000)) else {
        return;
    };
    assert_eq!(gpu.binding_limit(), 4864);
    gpu.storage("shard", 4864).unwrap();
    let error = gpu.storage("shard 3", 4865).unwrap_err();
    assert!(
        matches!(
            error,
            DeviceError::NeverFits {
                limit: 4864,
                bytes: 4865,
                ..
            }
        ),
        "{error:?}"
    );
    let error = error.to_string();
    assert!(
        error.contains("shard 3") && error.contains("binding") && error.contains("4.75 KiB"),
        "{error}"
    );
    for bytes in [gpu.limits().max_buffer_size + 1, u64::MAX] {
        let error = gpu
            .buffer("huge", bytes, BufferUsages::COPY_DST)
            .unwrap_err();
        assert!(
            matches!(
                error,
                DeviceError::NeverFits {
                    what: "the largest buffer",
                    ..
                }
            ),
            "{error:?}"
        );
    }
    gpu.check().unwrap();
    let floor = testing::gpu_with(&GpuOptions::with_binding_limit(0)).unwrap();
    assert_eq!(floor.binding_limit(), 256);
}

#[test]
fn threads_share_a_gpu() {
    let Some(gpu) = testing::gpu() else { return };
    std::thread::scope(|scope| {
        for seed in 0..4u32 {
            let gpu = gpu.clone();
            scope.spawn(move || {
                for round in 0..20 {
                    let data: Vec<u32> = (0..1000).map(|i| i * seed + round).collect();
                    let buffer = gpu.upload("mine", &data).unwrap();
                    assert_eq!(gpu.read::<u32>(&buffer, 0, data.len()).unwrap(), data);
                }
            });
        }
    });
}
