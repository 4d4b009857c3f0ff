//! Tests of packed batches.

use proptest::prelude::*;

use super::super::packed::{
    HEADER_BYTES, PackedError, decode, decode_pieces, digest, encode, encode_pieces,
};
use super::*;
use crate::neighborhood::Hop;

/// A batch with everything that batches can have.
fn full_batch(seed: u64) -> SampledBatch {
    let graph = circle(90);
    let facts: Vec<Triple> = (0..5)
        .map(|at| Triple {
            head: (seed as u32 + at * 11) % 90,
            relation: 0,
            tail: (seed as u32 + at * 11 + 1) % 90,
        })
        .collect();
    let draw = Draw {
        seed,
        epoch: 2,
        index: 3,
    };
    let batch = Sampler::new().sample(&graph, &Seeds::Facts(&facts), &plan(), draw);
    SampledBatch {
        draw,
        batch: batch.unwrap(),
        labels: Some(Labels {
            bounds: vec![0, 2, 2, 3],
            nodes: vec![4, 5, 6],
        }),
        negatives: Some(vec![1, 2, 89, 3, 2]),
    }
}

#[test]
fn packed_batches_are_the_same() {
    for seed in 0..50 {
        let full = full_batch(seed);
        assert_eq!(decode(&encode(&full)).unwrap(), full);
        let plain = SampledBatch {
            labels: None,
            negatives: None,
            ..full
        };
        assert_eq!(decode(&encode(&plain)).unwrap(), plain);
    }
    // Wide numbers.
    let mut wide = full_batch(1);
    for hop in &mut wide.batch.hops {
        for (at, relation) in hop.relations.iter_mut().enumerate() {
            *relation = [300, 40_000, 7][at % 3] | if at % 2 == 0 { 1 << 31 } else { 0 };
        }
    }
    assert_eq!(decode(&encode(&wide)).unwrap(), wide);
    for hop in &mut wide.batch.hops {
        for relation in &mut hop.relations {
            *relation = ((*relation & !Hop::REVERSED) % 301) | (*relation & Hop::REVERSED);
        }
    }
    assert_eq!(decode(&encode(&wide)).unwrap(), wide);
}

#[test]
fn the_layout_of_packed_batches_is_stable() {
    let sampled = SampledBatch {
        draw: Draw {
            seed: 1,
            epoch: 2,
            index: 3,
        },
        batch: Batch {
            nodes: vec![7, 9],
            seeds: vec![0],
            hops: vec![Hop {
                expanded: 0..1,
                counts: vec![1],
                sources: vec![1],
                relations: vec![5 | Hop::REVERSED],
                facts: vec![],
            }],
        },
        labels: None,
        negatives: None,
    };
    let bytes = encode(&sampled);
    let payload = [7, 9, 0, 0, 1, 1, 1, 1, 1, 0x85];
    let expected: Vec<u8> = payload.into_iter().flat_map(u32::to_le_bytes).collect();
    assert_eq!(bytes[..8], *b"SLGB\x01\0\x01\0");
    assert_eq!(bytes[HEADER_BYTES..], expected);
    assert_eq!(
        bytes[32..48],
        [2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]
    );
    // The digest must stay the same on every machine and in every version.
    assert_eq!(bytes[56..64], DIGEST.to_le_bytes());
}
const DIGEST: u64 = 0x2ade_7fe5_d255_fb4e;

#[test]
fn every_truncation_of_a_packed_batch_is_refused() {
    let bytes = encode(&full_batch(3));
    for end in 0..bytes.len() {
        decode(&bytes[..end]).unwrap_err();
    }
    let mut longer = bytes.clone();
    longer.extend([0; 4]);
    assert!(matches!(decode(&longer), Err(PackedError::Length { .. })));
}

/// Replaces the payload's length and the digest by the right ones.
fn seal(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let payload = (bytes.len() - HEADER_BYTES) as u64;
    bytes[48..56].copy_from_slice(&payload.to_le_bytes());
    let digest = digest(&[&*bytes]);
    bytes[56..64].copy_from_slice(&digest.to_le_bytes());
}

#[test]
fn pieces_of_any_size_are_one_batch() {
    let mut narrow = full_batch(4);
    for hop in &mut narrow.batch.hops {
        for (at, relation) in hop.relations.iter_mut().enumerate() {
            *relation = [300, 7][at % 2] | if at % 3 == 0 { Hop::REVERSED } else { 0 };
        }
    }
    for full in [full_batch(3), narrow] {
        let bytes = encode(&full);
        for size in (HEADER_BYTES..bytes.len() + 8).step_by(4) {
            let pieces = encode_pieces(&full, size);
            let (last, whole) = pieces.split_last().unwrap();
            assert!(whole.iter().all(|piece| piece.len() == size) && last.len() <= size);
            assert_eq!(pieces.concat(), bytes);
        }
        for size in 1..=bytes.len() {
            let mut pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            pieces.insert(size % pieces.len(), &[]);
            assert_eq!(decode_pieces(&pieces).unwrap(), full);
            let (_, cut) = pieces.split_last().unwrap();
            assert!(size >= bytes.len() || decode_pieces(cut).is_err());
        }
    }
    assert_eq!(decode_pieces::<&[u8]>(&[]), decode(&[]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes).is_err());
        // With a header that promises a batch, and the right digest, decoding reaches every check.
        let mut sealed = bytes;
        if sealed.len() >= HEADER_BYTES {
            sealed[..6].copy_from_slice(b"SLGB\x01\0");
            sealed[7] = 0;
            seal(&mut sealed);
            if let Ok(sampled) = decode(&sealed) {
                prop_assert!(sampled.bytes() <= 8 * sealed.len() as u64);
            }
        }
    }

    #[test]
    fn altered_batches_are_refused_or_sound(
        seed in 0u64..20,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = encode(&full_batch(seed));
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let unsealed = decode(&bytes);
        prop_assert!(unsealed.is_err() || bytes == encode(&full_batch(seed)));
        seal(&mut bytes);
        if let Ok(sampled) = decode(&bytes) {
            // Numbers of a batch that was accepted name what is there.
            let batch = &sampled.batch;
            let nodes = batch.nodes.len() as u32;
            prop_assert!(batch.seeds.iter().all(|&seed| seed < nodes));
            for hop in &batch.hops {
                prop_assert!(hop.expanded.start <= hop.expanded.end && hop.expanded.end <= nodes);
                prop_assert_eq!(hop.counts.len(), hop.expanded.len());
                prop_assert_eq!(hop.counts.iter().sum::<u32>() as usize, hop.sources.len());
                prop_assert!(hop.sources.iter().all(|&source| source < nodes));
            }
            prop_assert!(sampled.bytes() <= 8 * bytes.len() as u64);
        }
    }
}
