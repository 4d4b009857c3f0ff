use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;

use super::{Strategy, *};

const THREE: Strategy = Strategy::Halving {
    eta: 3,
    min_epochs: 1,
};

fn rungs(halving: &SuccessiveHalving) -> Vec<(usize, Option<u32>)> {
    halving
        .rungs()
        .iter()
        .map(|r| (r.trials, r.epochs))
        .collect()
}

#[test]
fn rungs_are_those_of_the_literature() {
    // Table 1 of Li et al. 2018: bracket 4 of R = 81, eta = 3, but for the rung of 81 trials.
    let halving = SuccessiveHalving::new(THREE, 81, 81, 1);
    let want = [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)];
    assert_eq!(rungs(&halving), want.map(|(n, r)| (n, Some(r))));
    // Trials or epochs decide how many rungs there are.
    let few = SuccessiveHalving::new(THREE, 8, 81, 1);
    assert_eq!(rungs(&few), [(8, Some(27)), (2, Some(81))]);
    let short = SuccessiveHalving::new(THREE, 27, 10, 1);
    assert_eq!(rungs(&short), [(27, Some(2)), (9, Some(4)), (3, Some(10))]);
    let patient = Strategy::Halving {
        eta: 3,
        min_epochs: 9,
    };
    let patient = SuccessiveHalving::new(patient, 81, 81, 5);
    assert_eq!(
        rungs(&patient),
        [(81, Some(9)), (27, Some(27)), (9, Some(81))]
    );
    let alone = SuccessiveHalving::new(THREE, 1, 50, 5);
    assert_eq!(rungs(&alone), [(1, Some(50))]);
    let random = SuccessiveHalving::new(Strategy::Random, 7, 50, 5);
    assert_eq!(rungs(&random), [(7, None)]);
    assert_eq!(random.validate_every(50), 5);
    assert_eq!(random.validate_every(3), 3);
}

#[test]
fn rungs_end_with_validations() {
    // The first rung would have three epochs, but five between validations.
    let halving = SuccessiveHalving::new(THREE, 27, 20, 5);
    let every = halving.validate_every(20);
    assert_eq!(every, 2);
    assert_eq!(
        rungs(&halving),
        [(27, Some(4)), (9, Some(8)), (3, Some(20))]
    );
    // 23 is a prime: its last epochs are not judged by, rather than each epoch.
    let halving = SuccessiveHalving::new(THREE, 9, 23, 0);
    assert_eq!(halving.validate_every(23), 3);
    assert_eq!(rungs(&halving), [(9, Some(3)), (3, Some(9)), (1, Some(23))]);
}

/// Runs a search with these outcomes to the end; the jobs in their order and the scores.
fn searched(
    halving: &SuccessiveHalving,
    trials: usize,
    score: impl Fn(usize, usize) -> Option<f64>,
) -> (Vec<Job>, Vec<TrialScores>) {
    let mut scores = vec![TrialScores::default(); trials];
    let mut jobs = Vec::new();
    while let Some(job) = halving.next_job(&scores) {
        assert!(jobs.len() < 10_000, "it never ends");
        let trial = &mut scores[job.trial];
        assert!(!trial.failed && trial.scores.len() == job.rung);
        match score(job.trial, job.rung) {
            Some(score) => trial.scores.push(score),
            None => trial.failed = true,
        }
        jobs.push(job);
    }
    (jobs, scores)
}

#[test]
fn the_best_go_on_and_the_first_of_equals() {
    let halving = SuccessiveHalving::new(THREE, 9, 9, 1);
    let (jobs, scores) = searched(&halving, 9, |trial, _| Some(f64::from((trial % 3) as u8)));
    let went_on = |rung| -> Vec<usize> {
        jobs.iter()
            .filter(|j| j.rung == rung)
            .map(|j| j.trial)
            .collect()
    };
    assert_eq!(went_on(0), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(went_on(1), [2, 5, 8]);
    assert_eq!(went_on(2), [2]);
    assert_eq!(halving.dropped(&scores).len(), 8);
}

#[test]
fn who_fails_makes_room_only_before_the_choice() {
    let halving = SuccessiveHalving::new(THREE, 9, 9, 1);
    // The two best fail at once: others go on in their place. Then one fails on its second rung.
    let (jobs, scores) = searched(&halving, 9, |trial, rung| match (trial, rung) {
        (8 | 7, _) | (6, 1) => None,
        _ => Some(trial as f64),
    });
    let second: Vec<usize> = jobs
        .iter()
        .filter(|j| j.rung == 1)
        .map(|j| j.trial)
        .collect();
    assert_eq!(second, [4, 5, 6]);
    assert_eq!(jobs.last().map(|j| (j.trial, j.rung)), Some((5, 2)));
    assert!(scores[6].failed);
    let (jobs, _) = searched(&halving, 9, |_, _| None);
    assert_eq!(jobs.len(), 9);
}

fn halvings() -> impl Generator<Value = (SuccessiveHalving, usize, u32, u32)> {
    (1..90usize, 1..200u32, 0..12u32, 2..6u32, 1..20u32).prop_map(
        |(trials, epochs, every, eta, min_epochs)| {
            let strategy = Strategy::Halving { eta, min_epochs };
            let halving = SuccessiveHalving::new(strategy, trials, epochs, every);
            (halving, trials, epochs, eta)
        },
    )
}

proptest! {
    #[test]
    fn rungs_have_fewer_trials_and_more_epochs((halving, trials, epochs, eta) in halvings()) {
        let rungs = halving.rungs();
        prop_assert_eq!(rungs[0].trials, trials);
        prop_assert_eq!(rungs[rungs.len() - 1].epochs, Some(epochs));
        let every = halving.validate_every(epochs);
        prop_assert!(rungs[0].epochs >= Some(every), "a score on the first rung");
        for pair in rungs.windows(2) {
            prop_assert!(pair[0].epochs < pair[1].epochs);
            prop_assert!(pair[1].trials <= pair[0].trials / eta as usize);
            prop_assert!(pair[1].trials >= 1);
            prop_assert!(pair[0].epochs.unwrap().is_multiple_of(every));
        }
    }

    #[test]
    fn every_search_ends_and_keeps_its_promises(
        (halving, trials, _, _) in halvings(),
        outcomes in prop::collection::vec((prop::num::f64::NORMAL, 0..8u8), 90 * 9),
    ) {
        // Now and then a trial fails, now and then one scores what makes no sense.
        let score = |trial: usize, rung: usize| {
            let (score, luck) = outcomes[trial * 9 + rung];
            match luck { 0 => None, 1 => Some(f64::NAN), _ => Some(score) }
        };
        let (jobs, scores) = searched(&halving, trials, score);
        for (rung, Rung { trials: most, epochs }) in halving.rungs().iter().enumerate() {
            let here: Vec<&Job> = jobs.iter().filter(|job| job.rung == rung).collect();
            prop_assert!(here.len() <= *most);
            prop_assert!(here.iter().all(|job| job.epochs == *epochs));
            // Nobody was left behind who had done better than one that went on.
            let went_on = |trial: usize| jobs.iter().any(|j| (j.trial, j.rung) == (trial, rung + 1));
            let scored = (0..trials).filter(|&t| scores[t].scores.len() > rung);
            let (above, below): (Vec<usize>, Vec<usize>) = scored.partition(|&t| went_on(t));
            let of = |t: &usize| scores[*t].scores[rung];
            if rung + 1 < halving.rungs().len() {
                let all = above.len() + below.len();
                prop_assert_eq!(above.len(), all.min(halving.rungs()[rung + 1].trials));
                for better in &above {
                    prop_assert!(below.iter().all(|t| of(t).total_cmp(&of(better)).is_le()));
                }
            }
        }
        // Stopped after any job, the same jobs follow: they depend on the scores alone.
        for stop in 0..jobs.len() {
            let mut before = vec![TrialScores::default(); trials];
            for job in &jobs[..stop] {
                match score(job.trial, job.rung) {
                    Some(score) => before[job.trial].scores.push(score),
                    None => before[job.trial].failed = true,
                }
            }
            prop_assert_eq!(halving.next_job(&before), Some(jobs[stop]));
        }
    }
}
