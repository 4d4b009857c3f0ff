//! `shardloom train`: what it leaves behind, and that it does so again to the bit.

use safetensors::SafeTensors;
use serde_json::Value;

use crate::home::{Home, QUICK, texts, words};

/// The number at a path of keys such as `test.head.mrr`.
fn number(value: &Value, path: &str) -> f64 {
    let found = path.split('.').fold(value, |value, key| &value[key]);
    found
        .as_f64()
        .unwrap_or_else(|| panic!("{path} is {found}"))
}

#[test]
fn alone_it_trains_on_the_genealogy_and_shows_what_it_learned() {
    let home = Home::new();
    let shown = home.ok(&words("train --epochs 2 --device cpu"));
    assert!(shown.contains("MRR"), "{shown}");
    assert!(shown.contains('→') && shown.contains('✓'), "{shown}");
    assert!(shown.contains("runs/genealogy-complex-0"), "{shown}");

    let run = "runs/genealogy-complex-0";
    let names = home.names(run);
    for name in ["config.toml", "metrics.jsonl", "result.json", "report.html"] {
        assert!(names.iter().any(|n| n == name), "{names:?}");
    }
    let checkpoints = home.names("runs/genealogy-complex-0/checkpoints");
    assert_eq!(
        checkpoints,
        ["epoch-000002.json", "epoch-000002.safetensors"]
    );
    let metrics = home.metrics(run);
    let epochs: Vec<_> = metrics.iter().map(|line| line["epoch"].as_u64()).collect();
    assert_eq!(epochs, [Some(1), Some(2)]);
    assert!(number(&metrics[1], "loss") < number(&metrics[0], "loss"));
    let report = home.read("runs/genealogy-complex-0/report.html");
    assert!(report.to_lowercase().starts_with("<!doctype html>"));
    assert!(report.contains("<svg") && report.contains("complex"));
    // Two epochs: where the curve is steep, so that a step that is off shows.
    let result = home.json("runs/genealogy-complex-0/result.json");
    let mrr = number(&result, "test.mrr");
    assert!((mrr - 0.6961).abs() < 0.005, "{mrr}");
}

#[test]
fn the_result_has_its_promised_form() {
    let home = Home::with_ring();
    home.train("run", "--seed 7");
    let result = home.json("run/result.json");
    let dataset = result["dataset"].as_str().unwrap();
    assert!(dataset.ends_with("ring"), "{dataset}");
    assert_eq!(result["model"], "complex");
    assert_eq!((&result["dim"], &result["seed"]), (&8.into(), &7.into()));
    assert!(result["device"].is_string());
    assert_eq!(result["train"]["epochs"], 2);
    for path in [
        "train.seconds",
        "train.triples_per_second",
        "eval.seconds",
        "eval.queries_per_second",
        "peak_memory_bytes",
    ] {
        assert!(number(&result, path) > 0.0, "{path}");
    }
    let keys = [
        "mrr",
        "mean_rank",
        "hits_at_1",
        "hits_at_3",
        "hits_at_10",
        "amri",
    ];
    for split in ["test", "valid"] {
        for group in ["", ".head", ".tail", ".optimistic", ".pessimistic"] {
            let values = keys.map(|key| number(&result, &format!("{split}{group}.{key}")));
            let [mrr, rank, one, three, ten, amri] = values;
            assert!(0.0 < mrr && mrr <= 1.0 && (1.0..=60.0).contains(&rank));
            assert!(0.0 <= one && one <= three && three <= ten && ten <= 1.0);
            assert!((-1.1..=1.0).contains(&amri));
        }
        let mrr = |group: &str| number(&result, &format!("{split}{group}.mrr"));
        assert!(mrr(".optimistic") >= mrr("") && mrr("") >= mrr(".pessimistic"));
        assert!((mrr(".head") + mrr(".tail") - 2.0 * mrr("")).abs() < 1e-9);
    }
}

#[test]
fn runs_without_output_get_directories_of_their_own() {
    let home = Home::with_ring();
    for _ in 0..2 {
        home.ok(&words(QUICK));
    }
    assert_eq!(home.names("runs"), ["ring-complex-0", "ring-complex-0-2"]);
    let quiet = home.run(&words(&format!("{QUICK} --quiet")));
    assert!(quiet.status.success() && quiet.stderr.is_empty());
}

#[test]
fn events_are_objects_and_alone_on_stdout() {
    let home = Home::with_ring();
    let shown = home.ok(&words(&format!("{QUICK} --output run --json")));
    let events: Vec<Value> = shown
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let named = |name: &'static str| events.iter().filter(move |event| event["event"] == name);
    assert_eq!(events.last(), named("done").next());
    let run = named("run").next().unwrap();
    assert_eq!(run["path"], "run");
    assert!(run["device"].is_string());
    // An epoch is its line of the metrics.
    let mut epochs: Vec<Value> = named("epoch").cloned().collect();
    for epoch in &mut epochs {
        let fields = epoch.as_object_mut().unwrap();
        fields.remove("event");
        assert_eq!(fields.remove("epochs"), Some(2.into()));
    }
    assert_eq!(epochs, home.metrics("run"));
    for begun in named("epoch-begun") {
        let steps = &begun["steps"];
        let mut last = named("step").filter(|step| step["epoch"] == begun["epoch"]);
        assert_eq!(last.next_back().map(|step| &step["step"]), Some(steps));
    }
    let ranked = named("ranking").next_back().unwrap();
    assert_eq!(ranked["done"], ranked["total"]);
    assert!(named("note").any(|note| note["text"].as_str().unwrap().contains("training on")));
}

#[test]
fn the_config_of_a_run_trains_it_again_to_the_bit() {
    let home = Home::with_ring();
    // Every key away from its default, where a default could stand in for a key that was lost.
    home.train(
        "one",
        "--model rotate --objective negatives --negatives 5 --lr 0.03 --seed 9 --shards 3 --set sharding=hash \
         --set loss=self-adversarial --set margin=4 --set temperature=0.7 --set negatives_chunk=4 \
         --set filtered_negatives=true --set frequency_weights=true --set optimizer=adam \
         --set init=uniform --set init_scale=0.3 --set reciprocal=false --set query_sides=bernoulli \
         --set regularizer=l2 --set lambda=0.001 --set lambda_relation=0.002 \
         --set regularizer_weighted=false --set entity_dropout=0.1 --set relation_dropout=0.2 \
         --set schedule=step --set schedule_every=1 --set schedule_factor=0.7 \
         --set validate_every=1 --set validate_facts=3 --set patience=5",
    );
    home.ok(&words("train one/config.toml --output two"));
    assert_eq!(home.tables("one", 2), home.tables("two", 2));
    let (mut one, mut two) = (home.config("one"), home.config("two"));
    assert_eq!(
        (one.remove("output"), two.remove("output")),
        (Some("one".into()), Some("two".into()))
    );
    assert_eq!(one, two);
    let test = |run: &str| number(&home.json(format!("{run}/result.json")), "test.mrr");
    assert_eq!(test("one"), test("two"));
}

/// A few ways to train that share little arithmetic, and whether they score all entities by matrix
/// products. A product of a shard sums in another order than one of the whole table, so that
/// shards change the last bits there, and only there.
const WAYS: [(&str, bool); 9] = [
    (
        "--model complex --objective 1vsall --set regularizer=n3 --set lambda=0.01",
        true,
    ),
    (
        "--model distmult --objective kvsall --set label_smoothing=0.1",
        true,
    ),
    ("--model transe-l1 --objective 1vsall --set loss=bce", false),
    (
        "--model rotate --objective negatives --negatives 7 --set negatives_chunk=4 --set optimizer=adam",
        false,
    ),
    (
        "--model transe-l2 --objective negatives --set loss=margin --set margin=2",
        false,
    ),
    (
        "--model complex --objective negatives --set optimizer=row-adagrad",
        false,
    ),
    (
        "--model rescal --objective 1vsall --set regularizer=l2 --set lambda=0.01",
        true,
    ),
    (
        "--model tucker --objective kvsall --set optimizer=sgd --set relation_dim=5",
        true,
    ),
    (
        "--model quate --objective negatives --set loss=bce --set relation_dropout=0.1",
        false,
    ),
];

#[test]
fn the_seed_decides_every_bit() {
    let home = Home::with_ring();
    for (i, (way, _)) in WAYS.iter().enumerate() {
        let train = |name: &str, more: &str| {
            let run = format!("{name}{i}");
            home.train(&run, &format!("{way} {more}"));
            home.tables(&run, 2)
        };
        let tables = train("first", "--seed 1");
        assert!(tables == train("again", "--seed 1"), "{way}");
        assert!(tables != train("other", "--seed 2"), "{way}");
    }
}

#[test]
fn threads_and_shards_change_nothing() {
    let home = Home::with_ring();
    for (i, (way, products)) in WAYS.iter().enumerate() {
        let train = |name: &str, threads: &str, more: &str| {
            let run = format!("{name}{i}");
            let line = format!("{QUICK} {way} --set init_scale=0.3 --output {run} {more}");
            let mut command = home.command(&words(&line));
            let output = command.env("RAYON_NUM_THREADS", threads).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            home.tables(&run, 2)
        };
        let tables = train("one", "1", "");
        assert!(tables == train("threads", "3", ""), "{way}");
        for (name, shards) in [
            ("shards", "--shards 5"),
            ("hash", "--shards 4 --set sharding=hash"),
            ("turns", "--shards 3 --set sharding=round-robin"),
            ("elsewhere", "--shard-devices cpu=1GiB"),
        ] {
            let sharded = train(name, "2", shards);
            // Sums over entities run in the order in which they are stored.
            let other_order = name != "shards";
            if *products || other_order {
                assert_near(&tables, &sharded);
            } else {
                assert!(tables == sharded, "{way} {shards}");
            }
        }
        let config = home.config(&format!("hash{i}"));
        assert_eq!(config["sharding"].as_str(), Some("hash"));
    }
}

/// Asserts that tables differ by no more than a millionth of their largest values.
fn assert_near(one: &[u8], other: &[u8]) {
    let one = SafeTensors::deserialize(one).unwrap();
    let other = SafeTensors::deserialize(other).unwrap();
    assert_eq!(one.len(), other.len());
    for (name, tensor) in one.tensors() {
        let values = |bytes: &[u8]| -> Vec<f32> { bytemuck::pod_collect_to_vec(bytes) };
        let (one, other) = (
            values(tensor.data()),
            values(other.tensor(&name).unwrap().data()),
        );
        let largest = one
            .iter()
            .fold(0f32, |largest, value| largest.max(value.abs()));
        assert_eq!(one.len(), other.len());
        for (x, y) in one.iter().zip(&other) {
            assert!(
                (x - y).abs() <= 1e-6 * largest,
                "{name}: {x} and {y}, of {largest}"
            );
        }
    }
}

#[test]
fn the_best_epoch_is_what_counts() {
    let home = Home::with_ring();
    // A rate this high makes things worse soon.
    home.train(
        "run",
        "--epochs 60 --lr 0.5 --set optimizer=adam --set validate_every=1 --set patience=2",
    );
    let metrics = home.metrics("run");
    let mrr = |line: &Value| line["valid_mrr"].as_f64().unwrap();
    let best = metrics
        .iter()
        .rev()
        .max_by(|a, b| mrr(a).total_cmp(&mrr(b)));
    let best = best.unwrap();
    let result = home.json("run/result.json");
    assert_eq!(result["train"]["best_epoch"], best["epoch"]);
    assert!((number(&result, "valid.mrr") - mrr(best)).abs() < 1e-9);
    // Two validations without a better one were enough.
    let last = metrics.last().unwrap()["epoch"].as_u64().unwrap();
    assert_eq!(Some(last), best["epoch"].as_u64().map(|epoch| epoch + 2));
    assert_eq!(last as usize, metrics.len());
    assert!(last < 60);
}

#[test]
fn weights_of_facts_are_told_of_and_change_what_is_learned() {
    let home = Home::with_ring();
    for split in ["train", "valid", "test"] {
        let text = home.read(format!("ring/{split}.tsv"));
        let weighted = |weight: fn(usize) -> usize| -> String {
            let lines = text.lines().enumerate();
            lines
                .map(|(i, line)| format!("{line}\t{}\n", weight(i)))
                .collect()
        };
        home.write(format!("threes/{split}.tsv"), &weighted(|_| 3));
        home.write(format!("mixed/{split}.tsv"), &weighted(|i| i % 3));
    }
    home.train("plain", "");
    home.train("same", "--dataset threes");
    home.train("other", "--dataset mixed");
    assert!(home.tables("plain", 2) == home.tables("same", 2));
    assert!(home.tables("plain", 2) != home.tables("other", 2));
    let output = home.run(&words("train quick.toml --dataset mixed --epochs 1"));
    let (_, said) = texts(&output);
    assert!(
        said.contains("training facts weigh 0 to 2; 56 weigh 0, the others 1.5000"),
        "{said}"
    );
    let info = home.ok(&words("dataset info mixed"));
    assert!(info.contains("training facts weigh 0 to 2; "), "{info}");
    let json: Value = serde_json::from_str(&home.ok(&words("dataset info mixed --json"))).unwrap();
    assert_eq!(json["weights"]["zeros"], 56);
    let json: Value = serde_json::from_str(&home.ok(&words("dataset info ring --json"))).unwrap();
    assert!(json["weights"].is_null());

    home.write("threes/train.tsv", "e1\tnext\te2\t1\ne2\tnext\te3\tNaN\n");
    let error = home.fails(&words("train quick.toml --dataset threes"));
    assert!(error.contains("train.tsv:2: found \"NaN\""), "{error}");
}
