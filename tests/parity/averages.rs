//! Averages of gradient rows, against sums in f64.

use rand::RngExt;
use shardloom::device::{GpuOptions, testing};
use shardloom::kernel::{Backend, GradientRows, KernelError};
use shardloom::rng::{Purpose, Stream, stream};

use crate::backends;
use crate::case::{pick, values};

/// The parts' values, their weights, and the divisor.
struct Case {
    parts: Vec<(Vec<f32>, f32)>,
    divisor: f32,
}

impl Case {
    fn draw(rng: &mut Stream, len: usize, parts: usize) -> Case {
        let plain = rng.random_range(0..3) == 0;
        let parts: Vec<_> = (0..parts)
            .map(|_| {
                let weight = if plain {
                    1.0
                } else {
                    rng.random_range(0.0..9.0)
                };
                (values(rng, len, -1.0, 1.0), weight)
            })
            .collect();
        let weights = parts.iter().map(|part| part.1).sum();
        let divisor = pick(rng, &[1.0, weights, 3.0]);
        Case { parts, divisor }
    }

    fn run(&self, engine: &Backend, old: Option<GradientRows>) -> Vec<f32> {
        let rows = self
            .parts
            .iter()
            .map(|part| engine.upload(&part.0, None).unwrap());
        let rows: Vec<_> = rows.collect();
        let parts: Vec<_> = rows
            .iter()
            .zip(self.parts.iter().map(|part| part.1))
            .collect();
        let average = engine.average(&parts, self.divisor, old).unwrap();
        let mut found = vec![f32::NAN; 5];
        engine.download(&average, &mut found).unwrap();
        assert_eq!(found.len(), average.len());
        for (rows, (values, _)) in rows.iter().zip(&self.parts) {
            engine.download(rows, &mut found).unwrap();
            assert_eq!(bits(&found), bits(values), "a part has changed");
        }
        engine.download(&average, &mut found).unwrap();
        found
    }

    /// How far from the sum in f64, in roundings of its terms.
    fn roundings(&self, found: &[f32]) -> f64 {
        let divisor = f64::from(self.divisor);
        let one = |i: usize| {
            let terms = self
                .parts
                .iter()
                .map(|(x, w)| f64::from(x[i]) * f64::from(*w));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
            let bound = (size / divisor * f64::from(f32::EPSILON)).max(f64::MIN_POSITIVE);
            (sum / divisor - f64::from(found[i])).abs() / bound
        };
        (0..found.len()).map(one).fold(0.0, f64::max)
    }
}

/// Because equality of floats would forgive zeros their signs, and NaN nothing.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn averages_of_rows_match_f64() {
    for engine in backends() {
        let rng = &mut stream(5, Purpose::Init, [1, 2]);
        let mut worst = 0.0f64;
        for len in [1, 2, 3, 4, 5, 255, 1024, 4095, 4097, 70_000, 262_147] {
            for parts in 1..=13 {
                let case = Case::draw(rng, len, parts);
                let found = case.run(&engine, None);
                assert_eq!(found.len(), len);
                // What was there before does not show, whether it is enough room or not.
                for room in [len, len + 9, len / 2] {
                    let old = engine.upload(&vec![f32::NAN; room], None).unwrap();
                    assert!(
                        case.run(&engine, Some(old)) == found,
                        "other bits, {engine}"
                    );
                }
                worst = worst.max(case.roundings(&found) / (parts + 2) as f64);
            }
        }
        assert!(worst <= 1.0, "{engine}: {worst}");
        println!("{engine}: at most {worst:.2} roundings an operation");
    }
}

/// Sums of whole numbers, and their means over a power of two, are exact on every device; zeros
/// keep their signs, and what is not finite stays so.
#[test]
fn what_is_exact_stays_exact() {
    for engine in backends() {
        let parts = |values: &[&[f32]]| Case {
            parts: values.iter().map(|values| (values.to_vec(), 1.0)).collect(),
            divisor: values.len() as f32,
        };
        let case = parts(&[&[1.0, -0.0, 8.0, 1e30], &[3.0, -0.0, -8.0, 1e30]]);
        let found = case.run(&engine, None);
        assert_eq!(bits(&found), bits(&[2.0, -0.0, 0.0, 1e30]), "{engine}");
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let case = parts(&[&[inf, nan, inf, 1.0], &[1.0, 1.0, -inf, 1.0]]);
        let found = case.run(&engine, None);
        let finite: Vec<_> = found.iter().map(|x| x.is_finite()).collect();
        assert_eq!(finite, [false, false, false, true], "{engine}: {found:?}");
    }
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let gpu = testing::gpu_with(&GpuOptions::default()).map(|gpu| Backend::gpu(gpu).unwrap());
    // The CPU, a GPU, and the same adapter opened again, which is another device.
    let engines: Vec<_> = backends().into_iter().chain(gpu).collect();
    for (i, engine) in engines.iter().enumerate() {
        let three = engine.upload(&[1.0; 3], None).unwrap();
        let four = engine.upload(&[1.0; 4], None).unwrap();
        let error = engine
            .average(&[(&three, 1.0), (&four, 1.0)], 1.0, None)
            .unwrap_err();
        let shape = matches!(
            error,
            KernelError::Shape {
                expected: 3,
                found: 4,
                ..
            }
        );
        assert!(shape, "{error}");
        let none = engine.average(&[], 1.0, Some(four)).unwrap();
        assert!(none.is_empty());
        for (j, other) in engines.iter().enumerate() {
            let rows = other.upload(&[1.0; 3], None).unwrap();
            let errors = [
                engine
                    .average(&[(&three, 1.0), (&rows, 1.0)], 1.0, None)
                    .err(),
                engine.download(&rows, &mut Vec::new()).err(),
                engine.check_rows(&rows).err(),
            ];
            for error in errors {
                let foreign = matches!(error, Some(KernelError::ForeignRows { .. }));
                assert!(
                    if i == j { error.is_none() } else { foreign },
                    "{i} {j} {error:?}"
                );
            }
            // Room on another device is no room here.
            let back = engine.upload(&[2.0; 3], Some(rows)).unwrap();
            engine.check_rows(&back).unwrap();
        }
    }
}
