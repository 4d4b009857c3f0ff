//! The measurements of `cargo bench --bench training`, `--bench scale` and `--bench rows`, at tiny sizes.

// The programs around the measurements use the rest.
#[allow(dead_code)]
#[path = "../benches/common/mod.rs"]
mod common;
#[path = "../benches/scale/growth.rs"]
mod growth;
#[cfg(feature = "net")]
#[path = "../benches/rows/measure.rs"]
mod rows;
#[path = "../benches/training/suite/mod.rs"]
mod suite;

use shardloom::bench::{BenchError, Limits, json};
use shardloom::config::ConfigError;
use shardloom::dataset::DatasetError;
use shardloom::device::{Device, GpuOptions, testing};
use shardloom::kernel::MatmulPrecision;

use growth::{Measurement, Parts, Scale};
use suite::{Suite, Work};

const ONE_SAMPLE: Limits = Limits {
    seconds: 0.0,
    samples: 1,
};

#[test]
fn a_step_and_a_ranking_have_the_rates_of_their_medians() {
    let suite = Suite::new(Device::Cpu, ONE_SAMPLE).unwrap();
    let suite = suite.with_products(MatmulPrecision::F32);
    let smallest = |name: &str| {
        let found = Work::ALL.iter().filter(|work| work.name == name);
        *found.min_by_key(|work| work.dim * work.batch).unwrap()
    };
    for (name, rate, products) in [
        ("complex_1vsall", "queries_s", Some("f32")),
        ("negsamp_rotate", "triples_s", None),
        ("rank_complex", "queries_s", None),
    ] {
        let work = Work {
            dim: 8,
            batch: 16,
            ..smallest(name)
        };
        let result = suite.measure(&work).unwrap();
        let line: serde_json::Value = serde_json::from_str(&json(&result)).unwrap();
        assert_eq!(
            (&line["name"], &line["device"]),
            (&name.into(), &suite.device().into())
        );
        let expected = 16.0 / line["median_s"].as_f64().unwrap();
        assert_eq!(line[rate].as_f64().unwrap(), expected);
        assert_eq!(line["products"].as_str(), products, "{name}");
    }
}

/// Every step takes one submission, makes no buffer, and reads nothing from the device.
#[test]
fn steps_that_follow_each_other_make_nothing_anew() {
    // A device of its own: requests are counted for the whole device.
    let Some(gpu) = testing::gpu_with(&GpuOptions::default()) else {
        return;
    };
    if !gpu.description().timestamps {
        return;
    }
    let suite = Suite::new(Device::Gpu(gpu), ONE_SAMPLE).unwrap();
    let suite = suite.with_stages(true);
    for (negatives, stages) in [
        (0, ["score_all", "grad_candidates_all"]),
        (4, ["score", "grad_query"]),
    ] {
        let work = Work {
            dim: 16,
            batch: 16,
            negatives,
            ..Work::ALL[0]
        };
        let result = suite.measure(&work).unwrap();
        let found = result.on_device.as_ref().unwrap();
        assert!(found.device_busy > 0.0 && found.device_busy <= 1.0);
        for name in stages {
            let stage = found.stages.iter().find(|s| s.stage == name).unwrap();
            assert_eq!(stage.runs, 1.0);
        }
        let per_step = |name: &str| found.per_step[name];
        assert!(per_step("dispatches") >= found.stages.len() as f64 - 1.0);
        // The losses are read at the end, in a submission of their own.
        let submissions = per_step("submissions") - per_step("reads");
        assert!((submissions - 1.0).abs() < 1e-9, "{found:?}");
        assert!(per_step("reads") <= 1.0, "{found:?}");
        assert_eq!(per_step("buffers"), 0.0, "{found:?}");
        assert!(per_step("bind_groups") < 1.0, "{found:?}");
        let line: serde_json::Value = serde_json::from_str(&json(&result)).unwrap();
        assert_eq!(line["device_busy"].as_f64().unwrap(), found.device_busy);
        assert_eq!(line["stages"].as_array().unwrap().len(), found.stages.len());
    }
}

const TINY: Scale = Scale {
    entities: 300,
    dim: 8,
    facts: 4000,
};

#[test]
fn the_formula_is_the_memory_of_the_parts() {
    let result = TINY.measure(Device::Cpu).unwrap();
    assert_eq!((result.entities, result.triples), (300, 3000));
    let rows = 300 + 2 * 3;
    let Parts {
        table_bytes,
        optimizer_bytes,
        triple_bytes,
        filter_bytes,
    } = result.parts;
    assert_eq!((table_bytes, optimizer_bytes), (rows * 8 * 4, rows * 8 * 4));
    assert_eq!(triple_bytes, 3000 * 12);
    // Held-out facts count, repeats do not.
    assert!(
        (30_000..=16 * 3300 + 8 * 301).contains(&filter_bytes),
        "{filter_bytes}"
    );
    assert_eq!(result.formula_bytes, result.parts.sum());
    assert!(result.facts >= 4000 && result.seconds_per_million > 0.0);
    if cfg!(unix) {
        assert!(result.peak_bytes >= result.program_bytes);
        let per_entity = result.peak_bytes as f64 / 300.0;
        assert_eq!(result.bytes_per_entity, per_entity);
    }
    let read: Measurement = serde_json::from_str(&json(&result)).unwrap();
    assert_eq!(read, result);
}

#[test]
fn wrong_sizes_are_refused_before_a_graph_is_made() {
    let error = |wrong: Scale| wrong.measure(Device::Cpu).unwrap_err();
    let no_facts = error(Scale { facts: 0, ..TINY });
    assert_eq!(no_facts.to_string(), "--facts must be at least 1");
    assert!(matches!(
        no_facts.downcast_ref(),
        Some(BenchError::Zero("facts"))
    ));
    let one_entity = error(Scale {
        entities: 1,
        ..TINY
    });
    assert!(one_entity.is::<DatasetError>(), "{one_entity:?}");
    assert!(
        one_entity
            .to_string()
            .contains("1 entities are outside 2..="),
        "{one_entity}"
    );
    let no_dim = error(Scale { dim: 0, ..TINY });
    assert!(no_dim.is::<ConfigError>(), "{no_dim:?}");
    assert!(no_dim.to_string().contains("dim"), "{no_dim}");
    if cfg!(target_os = "linux") {
        let huge = error(Scale {
            entities: 100_000_000,
            dim: 1 << 14,
            ..TINY
        });
        assert!(
            matches!(huge.downcast_ref(), Some(BenchError::Memory { .. })),
            "{huge:?}"
        );
    }
}

#[cfg(feature = "net")]
#[test]
fn rows_and_copies_are_measured_in_turn() {
    let options = rows::Options {
        rows: 64,
        dim: 4,
        batch: 8,
        clients: vec![1, 2],
        rounds: 1,
        time: std::time::Duration::from_millis(1),
        ..rows::Options::default()
    };
    let results = rows::run(&options).unwrap();
    let works: Vec<_> = (results.iter())
        .map(|result| (result.work, result.clients, result.rows))
        .collect();
    let of = |clients, rows| [("pull", clients, rows), ("push", clients, rows)];
    assert_eq!(works, [of(1, 8), of(2, 8), of(1, 1)].concat());
    for result in &results {
        assert!(
            result.median_s > 0.0 && result.gb_per_second > 0.0,
            "{result:?}"
        );
        // Of one round, the medians are its own figures.
        let share = result.gb_per_second / result.copy_gb_per_second;
        assert_eq!(result.share_of_copy, share, "{result:?}");
    }
}
