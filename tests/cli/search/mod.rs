//! `shardloom search`: trials, what they leave behind, and that they go on where they were.

#[cfg(unix)]
mod stopped;

use serde_json::Value;

use crate::home::{Home, texts, words};

const SPACE: &str = "
dataset = 'ring'
device = 'cpu'
batch_size = 50
epochs = 9
validate_every = 1

[search]
lr = { log = [1e-3, 1.0] }
dim = { choice = [4, 8] }
negatives = { log-int = [2, 30] }
lambda = { uniform = [0.0, 0.01] }
";

fn home() -> Home {
    let home = Home::with_ring();
    home.write("space.toml", SPACE);
    home
}

fn trials(home: &Home, search: &str) -> Vec<Value> {
    let text = home.read(format!("{search}/trials.jsonl"));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What of trials must be the same again.
fn told(home: &Home, search: &str) -> Vec<[Value; 7]> {
    let keys = [
        "trial",
        "status",
        "parameters",
        "epochs",
        "valid_mrr",
        "best_epoch",
        "scores",
    ];
    let told = |trial: &Value| keys.map(|key| trial[key].clone());
    trials(home, search).iter().map(told).collect()
}

fn mrr(trial: &Value) -> f64 {
    trial["valid_mrr"].as_f64().unwrap()
}

#[test]
fn a_random_search_leaves_runs_a_table_and_the_best_configuration() {
    let home = home();
    let search = "search space.toml --trials 4 --seed 3 --output found";
    let shown = home.ok(&words(search));
    let names = [
        "best.toml",
        "search.toml",
        "space.toml",
        "trials",
        "trials.jsonl",
        "trials.tsv",
    ];
    assert_eq!(home.names("found"), names);
    assert_eq!(home.names("found/trials"), ["000", "001", "002", "003"]);

    let trials = trials(&home, "found");
    assert!(
        trials
            .iter()
            .all(|t| t["status"] == "done" && t["epochs"] == 9)
    );
    let best = trials
        .iter()
        .max_by(|a, b| mrr(a).total_cmp(&mrr(b)))
        .unwrap();
    let number = best["trial"].as_u64().unwrap();
    for trial in 0..4 {
        let run = format!("found/trials/{trial:03}");
        assert_eq!(home.metrics(&run).len(), 9);
        let config = home.config(&run);
        let parameters = &trials[trial as usize]["parameters"];
        assert_eq!(config["lr"].as_float(), parameters["lr"].as_f64());
        assert_eq!(config["dim"].as_integer(), parameters["dim"].as_i64());
        // Test facts are ranked by the best one alone.
        assert_eq!(
            home.path(format!("{run}/result.json")).exists(),
            trial == number
        );
    }
    let result = home.json(format!("found/trials/{number:03}/result.json"));
    let judged = result["valid"]["mrr"].as_f64().unwrap();
    assert!((judged - mrr(best)).abs() < 1e-9);
    assert!(
        shown.contains(&format!("ranked by trial {number:03}")),
        "{shown}"
    );
    assert!(
        shown.contains("VALID MRR") && shown.contains("both sides"),
        "{shown}"
    );

    let table = home.read("found/trials.tsv");
    let header: Vec<&str> = table.lines().next().unwrap().split('\t').collect();
    assert_eq!(header[7..], ["dim", "lambda", "lr", "negatives", "cause"]);
    assert_eq!(table.lines().count(), 5);

    // The best configuration does it again, from any directory.
    let best: toml::Table = home.read("found/best.toml").parse().unwrap();
    assert!(!best.contains_key("output"));
    home.ok(&words("train found/best.toml --output again"));
    let tables = home.tables(&format!("found/trials/{number:03}"), 9);
    assert!(tables == home.tables("again", 9));

    // So does the search; and it can be enlarged without changing what was drawn.
    home.ok(&words(
        "search space.toml --trials 4 --seed 3 --output twice --quiet",
    ));
    assert_eq!(told(&home, "found"), told(&home, "twice"));
    let before = told(&home, "found");
    let output = home.run(&words(
        "search space.toml --trials 5 --seed 3 --output found",
    ));
    let (_, said) = texts(&output);
    assert!(
        output.status.success() && said.contains("4 have begun before"),
        "{said}"
    );
    assert!(
        said.contains("trial 004 of 5") && !said.contains("trial 003"),
        "{said}"
    );
    assert_eq!(told(&home, "found")[..4], before[..]);
}

#[test]
fn halving_goes_on_with_the_best_from_where_they_were() {
    let home = home();
    let search = "search space.toml --strategy halving --trials 9 --output found";
    let output = home.run(&words(search));
    let (_, said) = texts(&output);
    assert!(output.status.success(), "{said}");
    let plan = "9 trials to epoch 1, 3 to epoch 3, 1 to epoch 9, on ";
    assert!(said.contains(plan), "{said}");
    assert!(said.contains("rung 3 of 3, to epoch 9"), "{said}");
    assert!(said.contains("best so far"), "{said}");

    let trials = trials(&home, "found");
    let rungs = |trial: &Value| trial["scores"].as_array().unwrap().len();
    let on = |rung| trials.iter().filter(|t| rungs(t) >= rung).count();
    assert_eq!([on(1), on(2), on(3)], [9, 3, 1]);
    for rung in 0..2 {
        let score = |trial: &Value| trial["scores"][rung].as_f64();
        let here = trials.iter().filter(|t| rungs(t) > rung);
        let (above, below): (Vec<_>, Vec<_>) = here.partition(|t| rungs(t) > rung + 1);
        for worse in below {
            assert!(above.iter().all(|better| score(better) >= score(worse)));
            assert_eq!(worse["status"], "dropped");
            let number = worse["trial"].as_u64().unwrap();
            let epochs = [1, 3][rung];
            assert_eq!(
                home.metrics(&format!("found/trials/{number:03}")).len(),
                epochs
            );
        }
    }
    // Trained in three parts, the winner is what it would be in one.
    let winner = trials.iter().find(|t| rungs(t) == 3).unwrap();
    let run = format!("found/trials/{:03}", winner["trial"].as_u64().unwrap());
    assert_eq!(home.config(&run)["epochs"].as_integer(), Some(9));
    home.ok(&words(&format!("train {run}/config.toml --output whole")));
    assert!(home.tables(&run, 9) == home.tables("whole", 9));
}

#[test]
fn trials_that_fail_are_noted_and_the_search_goes_on() {
    let home = Home::with_ring();
    home.write(
        "space.toml",
        "dataset = 'ring'\ndevice = 'cpu'\ndim = 8\nepochs = 3\noptimizer = 'sgd'\ninit_scale = 1.0
        [search]\nlr = { choice = [0.1, 1e6] }\nmodel = { choice = ['complex', 'distmult'] }
        loss = { choice = ['softmax', 'margin'] }\nobjective = { choice = ['1vsall', 'kvsall'] }\n",
    );
    let shown = home.ok(&words("search space.toml --trials 12 --output found"));
    let trials = trials(&home, "found");
    let with = |key: &str, value: Value| {
        let here = trials.iter().filter(move |t| t["parameters"][key] == value);
        here.collect::<Vec<_>>()
    };
    let mut causes = Vec::new();
    for trial in with("lr", 1e6.into()) {
        if trial["status"] == "failed" {
            causes.push(trial["cause"].as_str().unwrap());
        }
    }
    assert!(
        causes.iter().any(|cause| cause.contains("diverged")),
        "{causes:?}"
    );
    // What makes no sense together is noted, too, and not begun.
    let mut refused = 0;
    for trial in with("loss", "margin".into()) {
        if trial["parameters"]["objective"] == "kvsall" {
            assert!(
                trial["cause"].as_str().unwrap().contains("kvsall"),
                "{trial}"
            );
            let run = format!("found/trials/{:03}", trial["trial"].as_u64().unwrap());
            assert!(!home.path(run).exists());
            refused += 1;
        }
    }
    assert!(refused > 0);
    let done = trials.iter().filter(|t| t["status"] == "done").count();
    assert!(done > 0 && done < 12);
    assert!(
        shown.contains(&format!("{} of 12 trials failed", 12 - done)),
        "{shown}"
    );
    let best: toml::Table = home.read("found/best.toml").parse().unwrap();
    assert_eq!(best["lr"].as_float(), Some(0.1));

    home.write(
        "hopeless.toml",
        "dataset = 'ring'\ndevice = 'cpu'\ndim = 8\nepochs = 2\noptimizer = 'sgd'\ninit_scale = 1.0
        batch_size = 10
        [search]\nlr = { uniform = [9e5, 1e6] }\n",
    );
    let error = home.run(&words("search hopeless.toml --trials 2 --quiet"));
    let (_, said) = texts(&error);
    assert_eq!(error.status.code(), Some(2));
    assert!(
        said.contains("all 2 trials failed") && said.contains("diverged"),
        "{said}"
    );
    assert_eq!(home.names("searches"), ["hopeless"]);
}

#[test]
fn mistakes_are_named_before_anything_is_made() {
    let home = home();
    let before = home.names(".");
    for (space, flags, parts) in [
        (
            "[search]\nlrr = { log = [1, 2] }",
            "",
            vec!["bad.toml:2: unknown key `lrr`", "`lr`"],
        ),
        (
            "\n\ndimm = 3\n",
            "",
            vec!["bad.toml:3: unknown key `dimm`", "`dim`"],
        ),
        (
            "[search]\nlr = { log = [0, 1] }",
            "",
            vec!["bad.toml:2: `lr`", "above 0"],
        ),
        (
            "[search]\nlr = { uniform = [2, 1] }",
            "",
            vec!["bad.toml:2: `lr`", "empty range"],
        ),
        (
            "[search]\ndim = { uniform = [1, 2] }",
            "",
            vec!["bad.toml:2: `dim`"],
        ),
        ("dim = 8", "", vec!["bad.toml: there is no [search]"]),
        (
            "[search]\nlr = { log = [1, 2] }",
            "--trials 0",
            vec!["'0'", "'--trials <N>'", "1..=100000"],
        ),
        (
            "[search]\nlr = { log = [1, 2] }",
            "--set lr=3",
            vec!["`lr`: is searched"],
        ),
        (
            "[search]\ndim = { choice = [3, 5] }",
            "",
            vec!["none of the 27 trials", "not a multiple of 2"],
        ),
        (
            "[search]\nepochs = { int = [3, 5] }",
            "--strategy halving",
            vec!["bad.toml: `epochs`", "--strategy random"],
        ),
        (
            "dataset = 'ring/nothing'\n[search]\nlr = { log = [1, 2] }",
            "",
            vec!["ring/nothing"],
        ),
        (
            "[search]\nlr = { log = [1, 2] }",
            "--set device=gpux",
            vec!["gpux"],
        ),
    ] {
        home.write("bad.toml", space);
        let error = home.fails(&words(&format!("search bad.toml --output found {flags}")));
        for part in parts {
            assert!(error.contains(part), "{space}: {error}");
        }
        std::fs::remove_file(home.path("bad.toml")).unwrap();
        assert_eq!(home.names("."), before, "{space}");
    }
    let error = home.fails(&words("search nowhere.toml"));
    assert!(error.contains("cannot read nowhere.toml"), "{error}");
    let error = home.fails(&words("search --resume ring"));
    assert!(error.contains("ring is not a search"), "{error}");
    let error = home.fails(&words("search space.toml --output ring"));
    assert!(error.contains("ring is not empty"), "{error}");
}

#[test]
fn a_directory_holds_one_search() {
    let home = home();
    home.ok(&words(
        "search space.toml --trials 2 --set epochs=1 --output found",
    ));
    let fails =
        |flags: &str| home.fails(&words(&format!("search space.toml --output found {flags}")));
    let error = fails("--trials 2 --set epochs=1 --seed 1");
    assert!(
        error.contains("--seed: found \"0\" there, expected \"1\""),
        "{error}"
    );
    assert!(error.contains("--resume found"), "{error}");
    let error = fails("--trials 1 --set epochs=1");
    assert!(
        error.contains("--trials: found \"2\" there, expected \"1\""),
        "{error}"
    );
    assert!(fails("--trials 2").contains("--set"));
    home.write("space.toml", &SPACE.replace("1.0", "2.0"));
    let error = fails("--trials 2 --set epochs=1");
    assert!(error.contains("space.toml is not space.toml"), "{error}");
    // It can be gone on with all the same, without the file that it came from.
    std::fs::remove_file(home.path("space.toml")).unwrap();
    home.ok(&words("search --resume found"));
}
