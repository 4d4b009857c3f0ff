use proptest::prelude::*;

use super::*;

fn actions() -> impl Strategy<Value = ScriptAction> {
    (0..6usize, any::<Option<u32>>()).prop_map(|(i, number)| {
        let known = WorkerId(number.unwrap_or(0));
        let worker = (i == 0 && number.is_none()).then_some(None);
        ScriptAction::new(ScriptAction::NAMES[i], worker.unwrap_or(Some(known)))
            .unwrap_or_else(|fault| panic!("{}", fault.found))
    })
}

fn events() -> impl Strategy<Value = ScriptEvent> {
    let steps = prop_oneof![1..50u64, 1..=i64::MAX as u64];
    (steps, actions()).prop_map(|(step, action)| ScriptEvent { step, action })
}

proptest! {
    #[test]
    fn flags_round_trip(event in events()) {
        prop_assert_eq!(event.to_string().parse(), Ok(event));
    }

    #[test]
    fn files_round_trip(events in prop::collection::vec(events(), 0..20)) {
        let script = Script::from_iter(events);
        prop_assert_eq!(Script::parse("events.toml", &script.to_string()), Ok(script));
    }

    #[test]
    fn whatever_parses_is_canonical(text in "[0-9+-]{0,3}:?[a-z]{0,5}(join|leave|kill)?:?[0-9+ ]{0,11}") {
        if let Ok(event) = text.parse::<ScriptEvent>() {
            prop_assert!(event.step >= 1);
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
        prop_assert!(resumed.events().iter().all(|event| event.step >= at));
        let mut taken = script.take(at);
        prop_assert!(taken.iter().all(|event| event.step <= at));
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
    assert!(flag("9223372036854775808:join").contains("`step`"));
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
        "my.toml: event 2: `worker`: expected the number of the worker to stall, found nothing"
    );
    assert!(event("[[event]]\nstep = -3\naction = \"join\"").contains("from 1, found -3"));
    assert!(event("[[event]]\naction = \"join\"").contains("`step`"));
    assert!(event("[[event]]\nstep = 2").contains("expected join, leave"));
    assert!(event("[[event]]\nstep = 2\naction = 3").contains("a name in quotes, found 3"));
    assert!(event("worker = 1.5").contains("event 1: `worker`"));
    assert!(event("workers = 1").contains("`workers`: expected no keys but step"));
    assert!(file("event = 3").contains("my.toml: `event`: expected [[event]] tables, found 3"));
    assert!(file("event = [3]").contains("event 1: `event`: expected a table, found 3"));
    assert!(file("[[events]]\nstep = 1").contains("`events`: expected no tables but [[event]]"));
    assert!(file("[[event").starts_with("my.toml: TOML parse error"));
}
