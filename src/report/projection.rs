//! Projection of rows to the plane, by principal components.

/// Most rows that the components are fitted to.
const FITTED: usize = 5000;
/// Most rounds of a power iteration.
const ROUNDS: usize = 200;

/// Projects the sampled rows of a `rows` × `width` table on their first two principal components.
///
/// The components are fitted to at most 5000 of the sampled rows, evenly chosen. The largest
/// coordinate of a component is positive, so that the same table gives the same picture. A row that
/// does not exist or has a value that is not finite gives NaN.
pub fn project(rows: usize, width: usize, data: &[f32], sample: &[u32]) -> Vec<[f32; 2]> {
    let row = |&id: &u32| {
        let id = id as usize;
        let row = data.get(id.checked_mul(width)?..)?.get(..width)?;
        (id < rows && row.iter().all(|value| value.is_finite())).then_some(row)
    };
    let usable: Vec<&[f32]> = sample.iter().filter_map(row).collect();
    let stride = usable.len().div_ceil(FITTED).max(1);
    let fitted: Vec<&[f32]> = usable.into_iter().step_by(stride).collect();
    let mut mean = vec![0.0; width];
    for row in &fitted {
        for (sum, &value) in mean.iter_mut().zip(*row) {
            *sum += f64::from(value) / fitted.len() as f64;
        }
    }
    let components = components(&fitted, &mean);
    let along = |row: &[f32], component: &[f64]| {
        let centred = row.iter().zip(&mean).map(|(&x, mean)| f64::from(x) - mean);
        centred.zip(component).map(|(x, c)| x * c).sum::<f64>() as f32
    };
    sample
        .iter()
        .map(|id| match row(id) {
            Some(row) => [along(row, &components[0]), along(row, &components[1])],
            None => [f32::NAN; 2],
        })
        .collect()
}

/// Returns the first two principal components, of length 1, or 0 where the rows vary in fewer
/// directions.
///
/// Each round of the power iteration multiplies a direction by XᵀX, of the centred rows X. If two
/// variances are so close that [`ROUNDS`] do not separate their directions, the result lies between
/// these, and the rows vary about as much along it.
fn components(rows: &[&[f32]], mean: &[f64]) -> [Vec<f64>; 2] {
    let first = component(rows, mean, None);
    let second = component(rows, mean, Some(&first));
    [first.0, second.0]
}

/// Direction, and its variance times the number of rows.
type Component = (Vec<f64>, f64);

/// Returns the direction of the largest variance that is orthogonal to the component `before`.
fn component(rows: &[&[f32]], mean: &[f64], before: Option<&Component>) -> Component {
    let width = mean.len();
    let across = |direction: &mut [f64]| {
        if let Some((other, _)) = before {
            let along = dot(direction, other);
            direction
                .iter_mut()
                .zip(other)
                .for_each(|(d, o)| *d -= along * o);
        }
        let length = dot(direction, direction).sqrt();
        if length > 0.0 {
            direction.iter_mut().for_each(|d| *d /= length);
        }
        length
    };
    let mut row_less_mean = vec![0.0; width];
    let mut centred = |row: &[f32], run: &mut dyn FnMut(&[f64])| {
        let values = row_less_mean.iter_mut().zip(row).zip(mean);
        values.for_each(|((out, &x), mean)| *out = f64::from(x) - mean);
        run(&row_less_mean);
    };
    // The row that is farthest out is not orthogonal to the direction sought, so the iteration
    // starts there.
    let (mut direction, mut farthest) = (vec![0.0; width], 0.0);
    for row in rows {
        centred(row, &mut |row| {
            let mut way = row.to_vec();
            let length = across(&mut way);
            if length > farthest {
                (direction, farthest) = (way, length);
            }
        });
    }
    let mut variance = 0.0;
    for _ in 0..ROUNDS {
        let mut next = vec![0.0; width];
        for row in rows {
            centred(row, &mut |row| {
                let along = dot(row, &direction);
                next.iter_mut().zip(row).for_each(|(n, x)| *n += along * x);
            });
        }
        variance = across(&mut next);
        let turned = 1.0 - dot(&next, &direction).abs();
        direction = next;
        if turned < 1e-14 {
            break;
        }
    }
    // In a direction without variance, only rounding remains.
    let largest = before.map_or(variance, |(_, variance)| *variance);
    if variance <= largest * 1e-12 {
        return (vec![0.0; width], variance);
    }
    let farther = |peak: f64, &v: &f64| if v.abs() > peak.abs() { v } else { peak };
    if direction.iter().fold(0.0, farther) < 0.0 {
        direction.iter_mut().for_each(|d| *d = -*d);
    }
    (direction, variance)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows along (3, 4)/5, with a little of (−4, 3)/5, around (10, −10), in a wider table.
    fn table(rows: usize, width: usize) -> Vec<f32> {
        let mut data = vec![0.5; rows * width];
        for (i, row) in data.chunks_mut(width).enumerate() {
            let a = i as f32 - (rows - 1) as f32 / 2.0;
            let b = if i % 4 == 0 || i % 4 == 3 { 1.0 } else { -1.0 };
            row[0] = 10.0 + 0.6 * a - 0.8 * b;
            row[1] = -10.0 + 0.8 * a + 0.6 * b;
        }
        data
    }

    #[test]
    fn finds_the_directions_of_variance_whatever_the_shape() {
        for (rows, width) in [(16, 2), (16, 5), (8, 40)] {
            let data = table(rows, width);
            let ids: Vec<u32> = (0..rows as u32).collect();
            for (i, [x, y]) in project(rows, width, &data, &ids).into_iter().enumerate() {
                let a = i as f32 - (rows - 1) as f32 / 2.0;
                assert!(
                    (x - a).abs() < 1e-4,
                    "{rows} × {width}, row {i}: {x} for {a}"
                );
                // The largest coordinate of (−4, 3) is made positive.
                let b = if i % 4 == 0 || i % 4 == 3 { -1.0 } else { 1.0 };
                assert!(
                    (y - b).abs() < 1e-4,
                    "{rows} × {width}, row {i}: {y} for {b}"
                );
            }
        }
    }

    #[test]
    fn the_sign_is_fixed() {
        let data = table(16, 3);
        let flipped: Vec<f32> = data.iter().map(|v| -v).collect();
        let ids: Vec<u32> = (0..16).collect();
        let (a, b) = (project(16, 3, &data, &ids), project(16, 3, &flipped, &ids));
        for (a, b) in a.iter().zip(b) {
            assert!((a[0] + b[0]).abs() < 1e-4 && (a[1] + b[1]).abs() < 1e-4);
        }
    }

    #[test]
    fn rows_without_a_place_are_nan() {
        let mut data = table(8, 2);
        data[6] = f32::INFINITY;
        let places = project(8, 2, &data, &[0, 3, 8, u32::MAX, 7]);
        let lost: Vec<bool> = places.iter().map(|place| place[0].is_nan()).collect();
        assert_eq!(lost, [false, true, true, true, false]);
    }

    #[test]
    fn less_than_a_plane_is_zero() {
        assert_eq!(project(2, 0, &[], &[0, 1]), [[0.0; 2]; 2]);
        assert_eq!(project(3, 2, &[1.0; 6], &[0, 1, 2]), [[0.0; 2]; 3]);
        assert_eq!(project(1, 3, &[1.0, 2.0, 3.0], &[0]), [[0.0; 2]]);
        assert_eq!(
            project(2, 1, &[1.0, 3.0], &[0, 1]),
            [[-1.0, 0.0], [1.0, 0.0]]
        );
        assert!(project(5, 2, &[0.0; 10], &[]).is_empty());
        assert_eq!(
            project(2, 1, &[f32::MAX, -f32::MAX], &[0, 1])[0],
            [f32::MAX, 0.0]
        );
    }

    #[test]
    fn a_large_sample_is_thinned_for_the_fit_only() {
        let data = table(12_000, 2);
        let ids: Vec<u32> = (0..12_000).collect();
        let places = project(12_000, 2, &data, &ids);
        assert_eq!(places.len(), 12_000);
        assert!((places[11_999][0] - places[0][0] - 11_999.0).abs() < 1.0);
    }
}
