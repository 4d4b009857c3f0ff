use std::collections::BTreeSet;

use super::*;

mod browser;
mod composing;
mod rules;
mod stages;
mod translations;

use stages::{module, stages};

/// Every stage is the shader of its folder and name, and every shader is a stage. tests/architecture
/// compares the shaders with the files of the two engines.
#[test]
fn every_stage_has_one_name() {
    let stages: BTreeSet<&str> = stages().into_iter().map(Stage::path).collect();
    let files = files::FILES.iter().map(|file| file.path);
    let files: BTreeSet<&str> = files.filter(|path| !path.starts_with("shared/")).collect();
    assert_eq!(stages, files);
}

/// Core WGSL within the limits of every adapter, whatever runs these tests.
#[test]
fn every_variant_of_every_stage_is_valid() {
    for stage in stages() {
        let (module, _) = module(stage);
        assert_eq!(module.entry_points.len(), 1);
        assert_eq!(module.entry_points[0].name, stage.name());
        assert!(
            module.entry_points[0]
                .workgroup_size
                .iter()
                .product::<u32>()
                <= 256
        );
        let mut layout = wgpu::naga::proc::Layouter::default();
        layout.update(module.to_ctx()).expect("validated");
        let (mut storage, mut workgroup) = (0, 0);
        for (_, variable) in module.global_variables.iter() {
            match variable.space {
                wgpu::naga::AddressSpace::Storage { .. } => storage += 1,
                wgpu::naga::AddressSpace::WorkGroup => workgroup += layout[variable.ty].size,
                _ => {}
            }
        }
        assert!(storage <= 8, "{stage:?} binds {storage} storage buffers");
        assert!(
            workgroup <= 16 << 10,
            "{stage:?} takes {workgroup} bytes of workgroup memory"
        );
    }
}

#[test]
fn tiles_are_wide_where_there_is_much_to_do() {
    let of = |rows, columns| Tile::of_scores(Tile::BUSY, Similarity::Dot, rows, columns);
    assert_eq!(of(1000, 14_541), Tile::Wide);
    assert_eq!(of(100, 40_943), Tile::Wide);
    assert_eq!(of(64, 1_000_000), Tile::Narrow);
    assert_eq!(of(1000, 135), Tile::Narrow);
    assert_eq!(
        Tile::of_scores(Tile::BUSY, Similarity::NegativeModulus, 1000, 14_541),
        Tile::Narrow
    );
    assert_eq!(
        Tile::of_gradients(Tile::BUSY, Similarity::Dot, 14_541, 2000, 1),
        Tile::Wide
    );
    assert_eq!(
        Tile::of_gradients(Tile::BUSY, Similarity::NegativeL1, 14_541, 2000, 1),
        Tile::Narrow
    );
}
