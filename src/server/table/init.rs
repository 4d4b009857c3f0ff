//! Initial values of the tables: a function of seed, table and row, independent of the shards.

use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

use crate::rng::{Purpose, stream};
use crate::server::{Shape, TableName};

/// Distribution of initial values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spread {
    /// Uniform between two bounds.
    Uniform(f32, f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
    /// Zero: the values will be overwritten.
    Zero,
}

/// Initializer of new tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Initializer {
    /// The run's seed.
    pub seed: u64,
    /// Distribution of the values.
    pub spread: Spread,
}

impl Initializer {
    /// Initializer of tables whose values are about to be written.
    pub const ZERO: Initializer = Initializer {
        seed: 0,
        spread: Spread::Zero,
    };

    /// Makes an initializer.
    pub fn new(seed: u64, spread: Spread) -> Initializer {
        Initializer { seed, spread }
    }

    /// Writes the values of these rows of a table to `values`, rows × width, row-major.
    pub(in crate::server) fn fill(
        &self,
        shape: &Shape,
        table: TableName,
        rows: impl Iterator<Item = u32>,
        values: &mut [f32],
    ) {
        let angles = table == TableName::Relations && shape.model.relation_angles();
        let width = shape.width(table);
        let in_core = |row: u32| table == TableName::Relations && row as usize >= shape.relations;
        for (row, number) in values.chunks_exact_mut(width).zip(rows) {
            let name = [table as u64, u64::from(number)];
            let mut rng = stream(self.seed, Purpose::Init, name);
            match self.spread {
                Spread::Zero => row.fill(0.0),
                // Angles need the whole circle: any smaller range has a preferred direction.
                _ if angles => {
                    row.fill_with(|| rng.random_range(-std::f32::consts::PI..std::f32::consts::PI))
                }
                // Uniform in [-1, 1) as in TuckER's published code: a relation's matrix is then small if its
                // row is.
                _ if in_core(number) => row.fill_with(|| rng.random::<f32>() * 2.0 - 1.0),
                Spread::Uniform(low, high) => {
                    let (middle, half) = ((low + high) / 2.0, (high - low) / 2.0);
                    row.fill_with(|| middle + (rng.random::<f32>() * 2.0 - 1.0) * half)
                }
                Spread::Normal(deviation) => row.fill_with(|| {
                    let value: f32 = StandardNormal.sample(&mut rng);
                    value * deviation
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;

    const SHAPE: Shape = Shape {
        model: Model::RotatE,
        dim: 100,
        entities: 300,
        relations: 50,
        relation_dim: None,
    };

    fn filled(spread: Spread, table: TableName) -> Vec<f32> {
        let mut rows = vec![f32::NAN; SHAPE.rows(table) * SHAPE.width(table)];
        Initializer::new(5, spread).fill(&SHAPE, table, 0.., &mut rows);
        rows
    }

    #[test]
    fn spreads_have_their_moments() {
        let deviation = |rows: &[f32]| {
            (rows.iter().map(|x| f64::from(x * x)).sum::<f64>() / rows.len() as f64).sqrt()
        };
        let normal = filled(Spread::Normal(0.5), TableName::Entities);
        assert!((deviation(&normal) - 0.5).abs() < 0.01);
        let uniform = filled(Spread::Uniform(-0.3, 0.3), TableName::Entities);
        assert!((deviation(&uniform) - 0.3 / 3f64.sqrt()).abs() < 0.01);
        assert!(uniform.iter().all(|x| x.abs() <= 0.3));
        let above = filled(Spread::Uniform(-0.25, 1.0), TableName::Entities);
        let mean = above.iter().map(|&x| f64::from(x)).sum::<f64>() / above.len() as f64;
        assert!((mean - 0.375).abs() < 0.01, "{mean}");
        assert!(above.iter().all(|x| (-0.25..=1.0).contains(x)));
        let phases = filled(Spread::Normal(0.5), TableName::Relations);
        assert!((deviation(&phases) - std::f64::consts::PI / 3f64.sqrt()).abs() < 0.1);
    }

    #[test]
    fn a_core_fills_its_range_whatever_the_spread() {
        let shape = Shape {
            model: Model::TuckER,
            relation_dim: Some(30),
            ..SHAPE
        };
        let mut rows = vec![f32::NAN; shape.rows(TableName::Relations) * 30];
        let init = Initializer::new(5, Spread::Normal(1e-3));
        init.fill(&shape, TableName::Relations, 0.., &mut rows);
        let largest = |rows: &[f32]| rows.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let (relations, core) = rows.split_at(50 * 30);
        assert_eq!(core.len(), 100 * 100 * 30);
        assert!(largest(relations) < 0.01 && (0.99..=1.0).contains(&largest(core)));
    }

    #[test]
    fn rows_do_not_depend_on_the_shard_they_are_in() {
        let whole = filled(Spread::Normal(1.0), TableName::Entities);
        let mut part = vec![0.0; 7 * 100];
        let rows = [13, 14, 299, 3, 0, 40, 41];
        Initializer::new(5, Spread::Normal(1.0)).fill(
            &SHAPE,
            TableName::Entities,
            rows.into_iter(),
            &mut part,
        );
        for (row, part) in rows.into_iter().zip(part.chunks_exact(100)) {
            assert_eq!(part, &whole[row as usize * 100..][..100]);
        }
    }
}
