//! `shardloom train` with several workers.

use crate::home::{Home, QUICK, texts, words};

#[test]
fn any_number_of_workers_gives_the_same_tables() {
    let home = Home::with_ring();
    home.train("one", "--set gradient_partitions=3");
    home.train(
        "three",
        "--set gradient_partitions=3 --workers 3 --event 2:kill:1 --event 3:join",
    );
    assert!(home.tables("one", 2) == home.tables("three", 2));
}

#[test]
fn progress_shows_workers_states_and_generations() {
    let home = Home::with_ring();
    home.write(
        "events.toml",
        "[[event]]\nstep = 2\naction = \"kill\"\nworker = 1\n\n[[event]]\nstep = 2\naction = \"leave\"\nworker = 0\n",
    );
    let line = format!("{QUICK} --output run --workers 3 --events events.toml --event 2:join");
    let output = home.run(&words(&line));
    assert!(output.status.success());
    let (_, told) = texts(&output);
    assert!(
        told.contains("generation 1, step 1: active 0 1 2"),
        "{told}"
    );
    assert!(told.contains("worker 1 killed"), "{told}");
    assert!(told.contains("active 2 3; left 0"), "{told}");
}

#[test]
fn a_stopped_pause_names_the_numbers() {
    let home = Home::with_ring();
    let line =
        "--output run --workers 2 --set min_workers=2 --set step_timeout=0.3 --event 2:kill:0";
    let error = home.fails(&words(&format!("{QUICK} {line}")));
    assert!(
        error.contains("1 of at least 2 workers after a pause"),
        "{error}"
    );
}

#[test]
fn workers_that_push_at_once_make_every_step_once_and_learn_as_much() {
    let home = Home::with_ring();
    home.train("alone", "--epochs 20");
    let state =
        |run: &str| home.json(format!("{run}/checkpoints/epoch-000020.json"))["state"].take();
    let loss = |run: &str| home.metrics(run)[19]["loss"].as_f64().unwrap();
    for policy in ["wait", "scale", "refuse"] {
        home.train(
            policy,
            &format!(
                "--epochs 20 --workers 2 --update-mode async --staleness 1 --staleness-policy {policy}"
            ),
        );
        let config = home.config(policy);
        assert_eq!(config["update_mode"].as_str(), Some("async"));
        assert_eq!(config["staleness"].as_integer(), Some(1));
        assert_eq!(config["staleness_policy"].as_str(), Some(policy));
        // No step is lost or made twice, and no fact with it.
        for key in ["epoch", "updates", "facts"] {
            assert_eq!(state(policy)[key], state("alone")[key], "{policy}: {key}");
        }
        // Of 4.1 at the start, 0.1 is left; steps that are some behind leave at most a half more.
        let (found, wanted) = (loss(policy), loss("alone"));
        assert!(found < 3.0 * wanted, "{policy}: {found}, alone {wanted}");
    }
}

#[test]
fn mistakes_are_named() {
    let home = Home::with_ring();
    home.write("events.toml", "[[event]]\nstep = 2\naction = \"explode\"\n");
    for (flags, words_of_error) in [
        ("--workers 0", &["workers", "at least 1"][..]),
        (
            "--workers 2 --set min_workers=3",
            &["min_workers", "starts with 2"],
        ),
        ("--workers 99", &["max_workers", "starts with 99"]),
        ("--update-mode later", &["update-mode", "later"]),
        ("--staleness=-1", &["staleness"]),
        ("--event 0:join", &["step", "from 1"]),
        ("--event 3:kill", &["worker"]),
        ("--events missing.toml", &["missing.toml"]),
        (
            "--events events.toml",
            &["events.toml", "line 3", "explode"],
        ),
    ] {
        let error = home.fails(&words(&format!("{QUICK} --output run {flags}")));
        for word in words_of_error {
            assert!(error.contains(word), "{flags}: {word:?} is not in: {error}");
        }
        assert!(!home.path("run").exists(), "{flags}");
    }
}
