use proptest::prelude::*;

use super::*;

fn events() -> impl Strategy<Value = ScriptEvent> {
    let steps = prop_oneof![1..50u64, 1..=i64::MAX as u64];
    let steps = steps.prop_map(|step| NonZeroU64::new(step).unwrap());
    let worker = any::<u32>().prop_map(WorkerId);
    let actions = prop_oneof![
        prop::option::of(worker.clone()).prop_map(ScriptAction::Join),
        worker.clone().prop_map(ScriptAction::Leave),
        worker.clone().prop_map(ScriptAction::Kill),
        worker.clone().prop_map(ScriptAction::Panic),
        worker.clone().prop_map(ScriptAction::Stall),
        worker.prop_map(ScriptAction::Nan),
    ];
    (steps, actions).prop_map(|(step, action)| ScriptEvent { step, action })
}

proptest! {
    #[test]
    fn flags_round_trip(event in events()) {
        prop_assert_eq!(event.to_string().parse(), Ok(event));
    }

    #[test]
    fn files_round_trip(events in prop::collection::vec(events(), 0..20)) {
        let script = Script::from_iter(events);
        let text = toml::to_string(&script).unwrap();
        prop_assert_eq!(Script::parse("events.toml", &text), Ok(script));
    }

    #[test]
    fn whatever_parses_is_canonical(text in "[0-9+-]{0,3}:?[a-z]{0,5}(join|leave|kill)?:?[0-9+ ]{0,11}") {
        if let Ok(event) = text.parse::<ScriptEvent>() {
            prop_assert_eq!(event.to_string().parse(), Ok(event));
            prop_assert!(!text.contains(['+', '-', ' ']));
        }
    }

    #[test]
    fn events_come_in_the_order_of_steps(events in prop::collection::vec(events(), 0..20), at in 1..60u64) {
        let mut script = Script::from_iter(events.iter().copied());
        let mut sorted = events;
        sorted.sort_by_key(|event| event.step);
        let mut resumed = script.clone();
        resumed.skip_to(at);
        prop_assert!(resumed.events().iter().all(|event| event.step.get() >= at));
        let mut taken = script.take(at);
        prop_assert!(taken.iter().all(|event| event.step.get() <= at));
        prop_assert!(script.take(at).is_empty());
        taken.extend(script.take(u64::MAX));
        prop_assert_eq!(taken, sorted);
    }
}

#[test]
fn a_script_by_hand() {
    let text = r#"
        [[event]]
        step = 40
        action = "kill"
        worker = 2

        [[event]]
        step = 7
        action = "join"
    "#;
    let mut script = Script::parse("events.toml", text).unwrap();
    script.extend(["40:nan:0".parse().unwrap()]);
    let written: Vec<String> = script.events().iter().map(ToString::to_string).collect();
    assert_eq!(written, ["7:join", "40:kill:2", "40:nan:0"]);
    assert_eq!(Script::parse("empty.toml", ""), Ok(Script::default()));
}

#[test]
fn errors_name_event_key_and_what_was_expected() {
    let flag = |text: &str| text.parse::<ScriptEvent>().unwrap_err().to_string();
    assert_eq!(
        flag("40:kil:2"),
        "event \"40:kil:2\": `action`: expected join, leave, kill, panic, stall or nan, \
         found \"kil\""
    );
    assert!(flag("").contains("expected STEP:ACTION[:WORKER], found \"\""));
    assert!(flag("0:join").contains("`step`: expected a step, from 1, found \"0\""));
    assert!(flag("18446744073709551616:join").contains("`step`"));
    assert!(flag("x:join").contains("`step`"));
    assert!(flag("3:kill").contains("`worker`: expected the number of the worker to kill"));
    assert!(flag("3:kill:").contains("found \"\""));
    assert!(flag("3:kill:+1").contains("`worker`"));
    assert!(flag("3:kill:1:2").contains("found \"1:2\""));
    assert!(flag("3:join:4294967296").contains("`worker`"));

    let file = |text: &str| Script::parse("my.toml", text).unwrap_err().to_string();
    let event = |text: &str| file(&format!("[[event]]\nstep = 1\naction = \"join\"\n{text}"));
    assert_eq!(
        event("[[event]]\nstep = 2\naction = \"stall\""),
        "my.toml:4: `worker`: expected the number of the worker to stall, found nothing"
    );
    let names = "expected one of `join`, `leave`, `kill`, `panic`, `stall`, `nan`";
    for (text, parts) in [
        (
            "[[event]]\nstep = 2\naction = \"kil\"",
            ["line 6", "`kil`", names],
        ),
        (
            "[[event]]\nstep = -3",
            ["line 5", "`-3`", "expected a nonzero u64"],
        ),
        (
            "[[event]]\nstep = 0",
            ["line 5", "`0`", "expected a nonzero u64"],
        ),
        (
            "[[event]]\naction = \"join\"\nstep = 18446744073709551616",
            ["line 6", "18446744073709551616", ""],
        ),
        (
            "[[event]]\nstep = 2",
            ["line 4", "missing field", "`action`"],
        ),
        (
            "[[event]]\nstep = 2\naction = 3",
            ["line 6", "= 3", "wanted string"],
        ),
        ("worker = 1.5", ["line 4", "`1.5`", "expected u32"]),
        ("worker = -1", ["line 4", "`-1`", "expected u32"]),
        (
            "workers = 1",
            [
                "line 4",
                "unknown field `workers`",
                "`step`, `action`, `worker`",
            ],
        ),
    ] {
        let error = event(text);
        assert!(error.starts_with("my.toml: TOML parse error"), "{error}");
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    for (text, part) in [
        ("event = 3", "integer `3`, expected a sequence"),
        ("event = [3]", "integer `3`, expected"),
        (
            "[[events]]\nstep = 1",
            "unknown field `events`, expected `event`",
        ),
        ("[[event", "line 1"),
    ] {
        let error = file(text);
        assert!(error.starts_with("my.toml: TOML parse error"), "{error}");
        assert!(error.contains(part), "{part}: {error}");
    }
}
