//! The pure rules: examples, and random schedules.

mod schedules;

use proptest::prelude::*;

use super::*;
use crate::ids::{Incarnation, Step};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn a_fence_serves_the_highest_epoch_while_its_leader_speaks() {
    let mut fence = Fence::new(ms(100));
    let silent = fence.request(ms(0), 0).unwrap_err();
    assert!(
        matches!(silent, FenceError::Silent { epoch: 0, .. }),
        "{silent}"
    );
    fence.leader(ms(10), 7).unwrap();
    assert_eq!(fence.serves_until(), Some(ms(110)));
    fence.request(ms(110), 7).unwrap();
    let silent = fence.request(ms(111), 7).unwrap_err();
    assert_eq!(
        silent.to_string(),
        "the leader of epoch 7 is silent for 101ms, of at most 100ms: nothing is served until it speaks"
    );
    assert_eq!(fence.serves_until(), None);
    fence.leader(ms(120), 7).unwrap();
    fence.request(ms(121), 7).unwrap();
    // A worker knows of epoch 8 first: epoch 7 is over, and epoch 8 has to speak.
    assert!(matches!(
        fence.request(ms(122), 8),
        Err(FenceError::Silent { epoch: 8, .. })
    ));
    let old = fence.leader(ms(123), 7).unwrap_err();
    assert_eq!(
        old.to_string(),
        "leadership epoch 7 has ended: epoch 8 leads"
    );
    assert_eq!(fence.request(ms(123), 7).unwrap_err(), old);
    fence.leader(ms(124), 8).unwrap();
    fence.request(ms(124), 8).unwrap();
    // Times that come late neither shorten nor lengthen a silence.
    fence.leader(ms(1), 8).unwrap();
    assert_eq!(fence.serves_until(), Some(ms(224)));
}

#[test]
fn a_leader_stops_at_the_first_newer_epoch() {
    let [a, b, stranger] = [1, 2, 3].map(Incarnation);
    let mut leader = Leadership::new(7, [a, b]);
    let step = Step(4);
    assert_eq!(leader.commit(step), Err(NotLeading::NotRunning { step }));
    leader.begin(step).unwrap();
    let (staged, applied) = (Phase::Staged, Phase::Applied);
    leader.acknowledge(a, 7, step, staged).unwrap();
    leader.acknowledge(a, 7, step, staged).unwrap();
    leader.acknowledge(stranger, 7, step, staged).unwrap();
    leader.acknowledge(b, 6, step, staged).unwrap();
    leader.acknowledge(b, 7, Step(3), applied).unwrap();
    let missing = leader.may_apply(step).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "1 of 2 holders of shards have not staged step 4"
    );
    leader.acknowledge(b, 7, step, staged).unwrap();
    leader.may_apply(step).unwrap();
    leader.acknowledge(a, 7, step, applied).unwrap();
    let missing = leader.commit(step).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "1 of 2 holders of shards have not applied step 4"
    );
    leader.acknowledge(b, 7, step, applied).unwrap();
    let mut other = leader.clone();
    leader.commit(step).unwrap();
    assert_eq!(leader.commit(step), Err(NotLeading::NotRunning { step }));

    let deposed = NotLeading::Deposed { epoch: 7, newer: 9 };
    assert_eq!(other.saw(9), Err(deposed.clone()));
    for refused in [
        other.commit(step),
        other.begin(step),
        other.saw(7),
        other.leads(),
    ] {
        assert_eq!(refused, Err(deposed.clone()));
    }
    let mut alone = Leadership::new(1, []);
    alone.begin(step).unwrap();
    assert!(alone.commit(step).is_err(), "nobody can acknowledge");
}

#[test]
fn a_standby_tries_after_silence_or_at_once_after_the_end_of_a_stream() {
    let config = StandbyConfig {
        timeout: ms(2000),
        back_off: ms(100),
        most_back_off: ms(400),
    };
    let mut standby = Standby::new(config, 5, ms(0), 7);
    standby.heard(ms(500), 7);
    standby.heard(ms(600), 6);
    assert_eq!(
        standby.decide(ms(600)),
        Decision::Wait(ms(2500)),
        "epoch 6 counts for nothing"
    );
    let Decision::Wait(first) = standby.decide(ms(2500)) else {
        panic!("no jitter");
    };
    assert!((ms(2550)..ms(2600)).contains(&first), "{first:?}");
    assert_eq!(standby.decide(first), Decision::Acquire { after: 7 });
    standby.lost(ms(2600), 6);
    standby.saw(ms(2600), 8);
    assert_eq!(
        standby.decide(ms(2600)),
        Decision::Wait(ms(4600)),
        "epoch 8 gets its time"
    );
    standby.lost(ms(2700), 8);
    let Decision::Wait(soon) = standby.decide(ms(2700)) else {
        panic!("no jitter");
    };
    assert!((ms(2750)..ms(2800)).contains(&soon), "{soon:?}");
    standby.heard(ms(2760), 8);
    assert_eq!(
        standby.decide(ms(2800)),
        Decision::Wait(ms(4760)),
        "the leader is back"
    );
}

proptest! {
    #[test]
    fn waits_double_up_to_a_bound(seed in any::<u64>(), failures in 1..80u32) {
        let config = StandbyConfig { timeout: ms(0), back_off: ms(100), most_back_off: ms(1500) };
        let mut standby = Standby::new(config, seed, ms(0), 1);
        for _ in 0..failures {
            standby.failed(ms(10));
        }
        let Decision::Wait(at) = standby.decide(ms(10)) else {
            return Err(TestCaseError::fail("no wait"));
        };
        let bound = ms(100 * 2u64.pow(failures.min(10))).min(ms(1500));
        prop_assert!(at >= ms(10) + bound / 2 && at <= ms(10) + bound, "{at:?} of {bound:?}");
        prop_assert_eq!(standby.decide(at), Decision::Acquire { after: 1 });
    }

    #[test]
    fn a_standby_whose_leader_speaks_in_time_never_tries(
        seed in any::<u64>(), gaps in prop::collection::vec(0..2000u64, 1..60),
    ) {
        let mut standby = Standby::new(StandbyConfig::default(), seed, ms(0), 3);
        let mut now = 0;
        for gap in gaps {
            now += gap;
            prop_assert!(matches!(standby.decide(ms(now)), Decision::Wait(at) if at > ms(now)));
            standby.heard(ms(now), 3);
        }
    }
}

#[test]
fn seeds_spread_the_first_attempts() {
    let first = |seed| match Standby::new(StandbyConfig::default(), seed, ms(0), 1).decide(ms(2000))
    {
        Decision::Wait(at) => at,
        Decision::Acquire { .. } => panic!("no jitter"),
    };
    let times: std::collections::BTreeSet<Duration> = (0..100).map(first).collect();
    assert!(times.len() > 90, "{} different times", times.len());
}
