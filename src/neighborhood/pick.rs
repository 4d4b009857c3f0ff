//! Choice among the facts of a row, by position.

use std::ops::Range;

use super::draw::Draws;

/// Largest number of facts that are looked for one by one in those chosen before.
const SCANNED: usize = 48;

/// Facts of a part of a row chosen uniformly, `most` of them or all, appended in rising order. `left_out` are the positions
/// of the part that are never chosen, ascending, each with its node.
pub(super) fn uniformly(
    part: Range<u32>,
    left_out: &[(u32, u32)],
    most: Option<u32>,
    replace: bool,
    draws: &mut Draws,
    chosen: &mut Vec<u32>,
) {
    let first = chosen.len();
    // A file that changes while it is mapped may have a shorter row by now.
    let count = (part.len() as u32).saturating_sub(left_out.len() as u32);
    match most {
        Some(most) if replace && count > 0 => with_replacement(count, most, draws, chosen),
        Some(most) if !replace && count > most => without_replacement(count, most, draws, chosen),
        Some(_) if replace => {}
        _ => chosen.extend(0..count),
    }
    // The fact at a place among those that may be chosen stands behind all that are left out before it.
    let mut passed = 0;
    for position in &mut chosen[first..] {
        *position += part.start;
        while left_out
            .get(passed)
            .is_some_and(|&(_, left_out)| left_out <= *position + passed as u32)
        {
            passed += 1;
        }
        *position += passed as u32;
    }
}

/// Facts chosen by Floyd's algorithm: `most` of `count`, fewer than `count`, appended to `chosen` in rising order.
#[inline]
pub(super) fn without_replacement(count: u32, most: u32, draws: &mut Draws, chosen: &mut Vec<u32>) {
    let first = chosen.len();
    if most as usize <= SCANNED {
        for last in count - most..count {
            let drawn = draws.below(last + 1);
            let known = chosen[first..].contains(&drawn);
            let fact = if known { last } else { drawn };
            // Sorted as they come: `last` is above all others, and few are below a number drawn.
            let mut at = chosen.len();
            chosen.push(fact);
            while at > first && chosen[at - 1] > fact {
                chosen[at] = chosen[at - 1];
                at -= 1;
            }
            chosen[at] = fact;
        }
        return;
    }
    let mut words = vec![0u64; (count as usize).div_ceil(64)];
    for last in count - most..count {
        let drawn = draws.below(last + 1);
        let known = words[drawn as usize / 64] >> (drawn % 64) & 1 == 1;
        let fact = if known { last } else { drawn };
        words[fact as usize / 64] |= 1 << (fact % 64);
    }
    for (word, first) in words.into_iter().zip((0..).step_by(64)) {
        let mut rest = word;
        while rest != 0 {
            chosen.push(first + rest.trailing_zeros());
            rest &= rest - 1;
        }
    }
}

/// Facts chosen with replacement: `most` of `count`, appended in rising order.
pub(super) fn with_replacement(count: u32, most: u32, draws: &mut Draws, chosen: &mut Vec<u32>) {
    let first = chosen.len();
    chosen.extend((0..most).map(|_| draws.below(count)));
    chosen[first..].sort_unstable();
}

/// Facts chosen by weight, each at most once: the `most` smallest of −ln(u)/weight, appended in rising order. Facts of
/// weight 0 are never chosen. Every fact takes one number.
pub(super) fn by_weight(
    weights: impl Iterator<Item = f32>,
    most: u32,
    draws: &mut Draws,
    chosen: &mut Vec<u32>,
) {
    let mut keys: Vec<(f64, u32)> = Vec::new();
    for (weight, fact) in weights.zip(0..) {
        // libm's logarithm has the same bits on all systems.
        let key = -libm::log(draws.unit()) / f64::from(weight);
        if weight > 0.0 {
            keys.push((key, fact));
        }
    }
    if keys.len() > most as usize {
        let order = |a: &(f64, u32), b: &(f64, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        if most > 0 {
            keys.select_nth_unstable_by(most as usize - 1, order);
        }
        keys.truncate(most as usize);
    }
    let first = chosen.len();
    chosen.extend(keys.into_iter().map(|(_, fact)| fact));
    chosen[first..].sort_unstable();
}

/// Facts chosen by weight with replacement: `most`, appended in rising order; none if all weights are 0.
pub(super) fn by_weight_with_replacement(
    weights: impl Iterator<Item = f32>,
    most: u32,
    draws: &mut Draws,
    chosen: &mut Vec<u32>,
) {
    let mut sum = 0.0;
    let sums: Vec<f64> = weights
        .map(|weight| {
            sum += f64::from(weight);
            sum
        })
        .collect();
    if sum == 0.0 {
        return;
    }
    let first = chosen.len();
    for _ in 0..most {
        let drawn = draws.unit() * sum;
        // The first fact whose sum is beyond: never one of weight 0. Rounding may draw the sum of all.
        let fact = sums.partition_point(|&sum| sum <= drawn);
        let last = || sums.partition_point(|&before| before < sum);
        chosen.push(if fact < sums.len() { fact } else { last() } as u32);
    }
    chosen[first..].sort_unstable();
}
