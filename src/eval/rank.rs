//! The rank of a right answer among candidates, with ties.

/// Counts from which the rank of a right answer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// Number of candidates with a better score.
    pub better: u32,
    /// Number of other candidates with the same score.
    pub equal: u32,
    /// Number of all candidates, including the answer.
    pub candidates: usize,
}

impl Ranked {
    /// Optimistic rank, from 1: ties are won.
    pub fn optimistic(&self) -> f64 {
        f64::from(self.better) + 1.0
    }

    /// Pessimistic rank, from 1: ties are lost.
    pub fn pessimistic(&self) -> f64 {
        self.optimistic() + f64::from(self.equal)
    }

    /// Realistic rank, from 1 and possibly a half: the mean of the optimistic and the pessimistic rank.
    pub fn rank(&self) -> f64 {
        (self.optimistic() + self.pessimistic()) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tie_takes_the_middle() {
        let ranked = Ranked {
            better: 3,
            equal: 1,
            candidates: 10,
        };
        assert_eq!(ranked.optimistic(), 4.0);
        assert_eq!(ranked.pessimistic(), 5.0);
        assert_eq!(ranked.rank(), 4.5);
    }
}
