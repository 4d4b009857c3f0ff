//! Messages and actions as JSON, and what members tell of themselves.

use std::fmt::Debug;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;

fn durations() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn texts() -> impl Strategy<Value = String> {
    any::<String>()
}

fn workers() -> impl Strategy<Value = WorkerId> {
    any::<u32>().prop_map(WorkerId)
}

fn steps() -> impl Strategy<Value = Step> {
    any::<u64>().prop_map(Step)
}

fn generations() -> impl Strategy<Value = Generation> {
    any::<u64>().prop_map(Generation)
}

fn failures() -> impl Strategy<Value = Failure> {
    prop_oneof![
        texts().prop_map(|message| Failure::Panicked { message }),
        texts().prop_map(|message| Failure::DeviceLost { message }),
        Just(Failure::Killed),
        (steps(), texts()).prop_map(|(step, what)| Failure::NotFinite { step, what }),
        (steps(), durations()).prop_map(|(step, after)| Failure::Stalled { step, after }),
        durations().prop_map(|after| Failure::SyncTimeout { after }),
        durations().prop_map(|after| Failure::Silent { after }),
        Just(Failure::CoordinatorRestarted),
        texts().prop_map(|message| Failure::Other { message }),
    ]
}

fn reasons() -> impl Strategy<Value = StopReason> {
    prop_oneof![
        Just(StopReason::Finished),
        Just(StopReason::Interrupted),
        texts().prop_map(|message| StopReason::Failed { message }),
        (any::<usize>(), any::<usize>(), durations())
            .prop_map(|(active, min, after)| StopReason::TooFewWorkers { active, min, after }),
        (steps(), texts()).prop_map(|(step, what)| StopReason::Diverged { step, what }),
        (steps(), any::<u32>())
            .prop_map(|(step, attempts)| StopReason::TooManyAttempts { step, attempts }),
    ]
}

fn actions() -> impl Strategy<Value = Action> {
    let many = || prop::collection::vec(workers(), 0..5);
    let discarded = prop_oneof![many().prop_map(Discarded::Lost), Just(Discarded::Stopping)];
    let cause = prop_oneof![Just(Cause::Left), failures().prop_map(Cause::Failed)];
    prop_oneof![
        (generations(), many()).prop_map(|(generation, workers)| Action::Reconfigured {
            generation,
            workers
        }),
        (generations(), steps(), any::<u32>(), many(), durations()).prop_map(
            |(generation, step, attempt, workers, vote_within)| Action::Start {
                generation,
                step,
                attempt,
                workers,
                vote_within
            }
        ),
        (generations(), steps(), many()).prop_map(|(generation, step, workers)| Action::Commit {
            generation,
            step,
            workers
        }),
        (generations(), steps(), discarded).prop_map(|(generation, step, reason)| {
            Action::Discard {
                generation,
                step,
                reason,
            }
        }),
        (workers(), cause).prop_map(|(worker, cause)| Action::Dismiss { worker, cause }),
        (any::<usize>(), any::<usize>()).prop_map(|(active, min)| Action::Paused { active, min }),
        any::<usize>().prop_map(|active| Action::Resumed { active }),
        reasons().prop_map(|reason| Action::Stop { reason }),
    ]
}

fn infos() -> impl Strategy<Value = MemberInfo> {
    let device = (texts(), any::<Option<u64>>())
        .prop_map(|(name, capacity)| MemberDevice { name, capacity });
    (any::<Option<String>>(), prop::collection::vec(device, 0..4))
        .prop_map(|(address, devices)| MemberInfo { address, devices })
}

fn states() -> impl Strategy<Value = State> {
    use State::*;
    prop::sample::select(vec![Syncing, Active, Draining, Failed, Left])
}

fn members() -> impl Strategy<Value = Member> {
    let times = (durations(), durations());
    let failure = prop::option::of(failures());
    (infos(), states(), any::<(bool, u64)>(), times, failure).prop_map(
        |(info, state, (synced, committed), (joined, seen), failure)| Member {
            info,
            state,
            synced,
            joined,
            seen,
            committed,
            failure,
        },
    )
}

fn refusals() -> impl Strategy<Value = CoordinatorError> {
    use CoordinatorError as E;
    let sizes = any::<(usize, usize)>();
    prop_oneof![
        Just(E::Stopped),
        Just(E::NoNumbersLeft),
        sizes.prop_map(|(present, max)| E::Full { present, max }),
        sizes.prop_map(|(bytes, max)| InvalidMember::Address { bytes, max }.into()),
        any::<(usize, usize)>()
            .prop_map(|(count, max)| InvalidMember::Devices { count, max }.into()),
        any::<(usize, usize, usize)>().prop_map(|(index, bytes, max)| {
            InvalidMember::DeviceName { index, bytes, max }.into()
        }),
        workers().prop_map(|worker| E::Unknown { worker }),
        (workers(), states()).prop_map(|(worker, state)| E::Gone { worker, state }),
        (workers(), states()).prop_map(|(worker, state)| E::NotSyncing { worker, state }),
        (workers(), steps()).prop_map(|(worker, step)| E::NoStep { worker, step }),
        (workers(), steps()).prop_map(|(worker, step)| E::NotInStep { worker, step }),
        (workers(), steps()).prop_map(|(worker, step)| E::Repeated { worker, step }),
        steps().prop_map(|step| E::NotAtBoundary { step }),
        (workers(), generations(), steps(), generations(), steps()).prop_map(
            |(worker, generation, step, current, running)| E::WrongStep {
                worker,
                generation,
                step,
                current,
                running
            }
        ),
    ]
}

fn round_trip<T>(value: &T) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let text = serde_json::to_string(value).unwrap();
    let read: T = serde_json::from_str(&text).unwrap();
    prop_assert_eq!(&read, value, "{}", text);
    Ok(())
}

proptest! {
    #[test]
    fn messages_and_actions_round_trip(
        action in actions(), member in members(), what in texts(), refusal in refusals(),
    ) {
        round_trip(&action)?;
        round_trip(&member)?;
        round_trip(&Vote::Ready)?;
        round_trip(&Vote::NotFinite { what })?;
        round_trip(&refusal)?;
    }

    #[test]
    fn configurations_and_statuses_round_trip(
        (min, more) in (1..9usize, 0..9usize), heartbeat in prop::option::of(durations()),
        info in infos(), await_joiners: bool,
    ) {
        let config = CoordinatorConfig {
            heartbeat_timeout: heartbeat.map(|after| after.max(ms(1))),
            await_joiners,
            ..config(min, min + more)
        };
        round_trip(&config)?;
        let mut c = Coordinator::new(config, Step(4), Generation(2)).unwrap();
        if c.join(ms(0), info).is_ok() {
            c.fail(ms(0), WorkerId(0), Failure::Killed).unwrap();
        }
        round_trip(&c.status())?;
    }
}

#[test]
fn actions_have_plain_names_and_durations() {
    let start = Action::Start {
        generation: Generation(2),
        step: Step(3),
        attempt: 1,
        workers: vec![WorkerId(0)],
        vote_within: ms(1500),
    };
    let expected = serde_json::json!({"start": {
        "generation": 2, "step": 3, "attempt": 1, "workers": [0],
        "vote_within": {"secs": 1, "nanos": 500_000_000},
    }});
    assert_eq!(serde_json::to_value(start).unwrap(), expected);
}

#[test]
fn a_start_that_waited_leaves_less_time_to_vote() {
    let mut c = Coordinator::new(config(1, 2), Step(1), Generation(0)).unwrap();
    let worker = join(&mut c, ms(0)).unwrap();
    c.synced(ms(0), worker).unwrap();
    c.advance(ms(10)).unwrap();
    c.heartbeat(ms(40), worker).unwrap();
    let left = drain(&mut c).into_iter().find_map(|action| match action {
        Action::Start { vote_within, .. } => Some(vote_within),
        _ => None,
    });
    assert_eq!(left, Some(ms(70)));
    assert_eq!(c.next_deadline(), Some(ms(110)));
}

#[test]
fn members_say_what_they_are_within_bounds() {
    let mut c = Coordinator::new(config(1, 9), Step(1), Generation(0)).unwrap();
    let device = |name: String| MemberDevice {
        name,
        capacity: Some(1 << 33),
    };
    let largest = MemberInfo {
        address: Some("a".repeat(256)),
        devices: vec![device("d".repeat(256)); 64],
    };
    let worker = c.join(ms(0), largest.clone()).unwrap();
    assert_eq!(c.worker(worker).unwrap().info, largest);
    assert_eq!(c.status().workers[0].info, largest);

    let mut refused = |change: fn(&mut MemberInfo)| {
        let mut info = largest.clone();
        change(&mut info);
        c.join(ms(0), info).unwrap_err().to_string()
    };
    let long = refused(|info| info.address = Some("a".repeat(257)));
    assert_eq!(long, "an address of 257 bytes, of at most 256");
    let many = refused(|info| info.devices.push(info.devices[0].clone()));
    assert_eq!(many, "65 devices, of at most 64");
    let long = refused(|info| info.devices[3].name.push('d'));
    assert_eq!(long, "device 3 has a name of 257 bytes, of at most 256");
    assert_eq!(c.workers().count(), 1);
}
