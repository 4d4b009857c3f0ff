use tempfile::TempDir;

use super::*;

/// Realistic content of a report.
fn sample() -> Report {
    let noise = |i: u32| {
        let i = (i + 1).wrapping_mul(0x9E37_79B1);
        let i = (i ^ i >> 15).wrapping_mul(0x85EB_CA77);
        f64::from((i ^ i >> 13) >> 8) / f64::from(1 << 24)
    };
    let epochs = (1..=100).map(|epoch| {
        let t = f64::from(epoch);
        EpochPoint {
            epoch,
            loss: 6.9 * (-t / 18.0).exp() + 1.2 + 0.05 * noise(epoch),
            valid_mrr: (epoch % 5 == 0).then(|| 0.366 * (1.0 - (-t / 22.0).exp())),
            triples_per_second: 81_000.0 + 4_000.0 * noise(epoch + 7),
            lr: 0.1 * 0.95_f64.powi(epoch as i32 / 10),
        }
    });
    let mut metrics = Vec::new();
    for (i, side) in ["both", "head", "tail"].into_iter().enumerate() {
        for (k, rank) in ["realistic", "optimistic", "pessimistic"]
            .into_iter()
            .enumerate()
        {
            let shift = 0.1 * (i as f64 - 1.0) * f64::from(i > 0) + [0.0, 0.001, -0.001][k];
            metrics.push(MetricRow {
                label: format!("{side} · {rank}"),
                mrr: 0.366 + shift,
                mean_rank: 178.4 - 300.0 * shift,
                hits_at_1: 0.271 + shift,
                hits_at_3: 0.401 + shift,
                hits_at_10: 0.558 + shift,
                amri: 0.976,
            });
        }
    }
    let group = |name: String, triples, i: u32| GroupMetrics {
        name,
        triples,
        mrr: 0.1 + 0.8 * noise(i),
        hits_at_1: 0.7 * noise(i),
        hits_at_10: 0.2 + 0.8 * noise(i),
    };
    let names = [
        "/film/film/release_date_s./film/film_regional_release_date/film_release_region",
        "/people/person/profession",
        "/location/location/contains",
        "/award/award_nominee/award_nominations./award/award_nomination/award",
    ];
    let relations = (0..237).map(|i| {
        let name = names
            .get(i as usize)
            .map_or(format!("/domain/type/relation_{i}"), |s| s.to_string());
        group(name, 2000 / (i as usize + 1), i)
    });
    let classes = ["1-to-1", "1-to-many", "many-to-1", "many-to-many"]
        .into_iter()
        .zip(1..);
    let projection = (0..2000_u32).map(|i| {
        let (a, r) = (noise(i) * std::f64::consts::TAU, noise(i + 5000).sqrt());
        let cluster = f64::from(i % 5);
        ProjectedPoint {
            name: format!("Entity {i}"),
            x: ((cluster * 1.3).sin() * 2.0 + r * a.cos()) as f32,
            y: ((cluster * 2.1).cos() * 1.5 + 0.8 * r * a.sin()) as f32,
            degree: 3000 / (i + 1) + 1,
        }
    });
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|&(a, b)| (a.into(), b.into())).collect()
    };
    Report {
        title: "ComplEx on FB15k-237".into(),
        subtitle: "14,541 entities · 237 relations · 272,115 training triples · seed 1".into(),
        facts: pairs(&[
            ("Test MRR", "0.366"),
            ("Hits@1", "27.1 %"),
            ("Hits@10", "55.8 %"),
            ("Training time", "12 min 4 s"),
            ("Throughput", "81.2k triples/s"),
        ]),
        warnings: vec!["step 40 is not saved: the disk is full".into()],
        config: pairs(&[
            ("model", "complex"),
            ("dim", "2000"),
            ("loss", "softmax"),
            ("optimizer", "adagrad"),
            ("lr", "0.1"),
            ("batch", "1000"),
            ("epochs", "100"),
            ("regularizer", "n3 0.05"),
            ("negatives", "all entities"),
            ("seed", "1"),
            ("device", "NVIDIA H200 (Vulkan)"),
        ]),
        epochs: epochs.collect(),
        metrics,
        relations: relations.collect(),
        classes: classes
            .map(|(name, i)| group(name.into(), 5000 * i as usize, i))
            .collect(),
        projection: projection.collect(),
    }
}

/// Checks that elements close in the order they opened, and that nothing refers out of the page.
fn well_formed(page: &str) {
    const EMPTY: &[&str] = &["meta", "wbr", "!doctype"];
    let mut open = Vec::new();
    let body = page.replace(
        page.split("<style>")
            .nth(1)
            .unwrap()
            .split("</style>")
            .next()
            .unwrap(),
        "",
    );
    for tag in body.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag has an end");
        let name = tag.split_whitespace().next().unwrap();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') && !EMPTY.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    let links = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for outside in ["src=", "href=", "url(", "@import", "<script"] {
        assert!(!links.contains(outside), "{outside}");
    }
}

fn charts(page: &str) -> usize {
    page.matches("<svg").count()
}

#[test]
fn shows_every_part() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("report.html");
    let report = sample();
    write(&path, &report).unwrap();
    let page = std::fs::read_to_string(&path).unwrap();
    if let Some(copy) = std::env::var_os("SHARDLOOM_SAMPLE_REPORT") {
        std::fs::write(copy, &page).unwrap();
    }
    well_formed(&page);
    assert_eq!(charts(&page), 5);
    for text in [
        "<title>ComplEx on FB15k-237</title>",
        "best 0.3621 at epoch 100",
        "both · realistic",
        "many-to-many",
        "/<wbr>people/<wbr>person/<wbr>profession",
        "177 more, with",
        "NVIDIA H200 (Vulkan)",
        "Entity 0",
    ] {
        assert!(page.contains(text), "{text}");
    }
    let relation_rows = page.matches("<td>/").count();
    assert_eq!(relation_rows, 60);
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
}

#[test]
fn an_empty_report_is_a_page() {
    let page = render(&Report::default());
    well_formed(&page);
    assert_eq!(charts(&page), 0);
    assert!(!page.contains("<h2>"));
}

#[test]
fn everything_from_outside_is_escaped() {
    let evil = || "<script>alert('1') & \"2\"</script>".to_owned();
    let mut report = sample();
    (report.title, report.subtitle) = (evil(), evil());
    report.facts.push((evil(), evil()));
    report.warnings.push(evil());
    report.config.push((evil(), evil()));
    report.metrics[0].label = evil();
    report.relations[0].name = evil();
    report.classes[0].name = evil();
    report.projection[0].name = evil();
    let page = render(&report);
    well_formed(&page);
    assert!(page.matches("&lt;script&gt;").count() >= 11);
}

#[test]
fn odd_numbers_render() {
    let odd = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        -1e29,
        5e-324,
        0.0,
    ];
    for epochs in 0..8 {
        let mut report = sample();
        report.epochs.truncate(epochs);
        for (i, value) in odd.into_iter().enumerate() {
            if let Some(point) = report.epochs.get_mut(i) {
                (point.loss, point.valid_mrr, point.lr) = (value, Some(value), value);
                point.triples_per_second = value;
            }
            let row = &mut report.metrics[i];
            (row.mrr, row.mean_rank, row.hits_at_1, row.amri) = (value, value, value, value);
            let group = &mut report.relations[i];
            (group.mrr, group.hits_at_1, group.triples) = (value, value, usize::MAX);
            (report.projection[i].x, report.projection[i].y) = (value as f32, f32::MAX);
        }
        let page = render(&report);
        well_formed(&page);
        for broken in ["NaN", "inf%", "inf\"", ">inf"] {
            assert!(!page.contains(broken), "{broken}");
        }
    }
}

#[test]
fn a_constant_or_single_value_has_a_chart() {
    for value in [0.0, 1.0, -3.0, 1e-300, 1e29, 0.1 + 0.2] {
        for epochs in [1, 2, 500] {
            let points: Vec<(u32, f64)> = (0..epochs).map(|epoch| (epoch, value)).collect();
            for from_zero in [false, true] {
                let chart = charts::curve(&points, charts::RED, from_zero).unwrap();
                assert!(chart.ends_with("</svg>\n"), "{chart}");
            }
        }
    }
    let nearly = [(u32::MAX, 1.0), (0, 1.0 + f64::EPSILON)];
    assert!(charts::curve(&nearly, charts::RED, false).is_some());
    assert!(charts::curve(&[(1, f64::NAN)], charts::RED, false).is_none());
    let here = ProjectedPoint {
        name: "here".into(),
        x: 1.0,
        y: 1.0,
        degree: 0,
    };
    assert!(charts::scatter(&[here], 20).unwrap().contains("here"));
}

#[test]
fn the_curve_breaks_where_there_is_no_value() {
    let points = [(1, 1.0), (2, 2.0), (3, f64::NAN), (4, 3.0), (5, 1.0)];
    let chart = charts::curve(&points, charts::RED, false).unwrap();
    assert_eq!(chart.matches("<polyline").count(), 2);
}

#[test]
fn thousands_of_relations_stay_a_page() {
    let mut report = sample();
    let one = report.relations[0].clone();
    report.relations = vec![one; 20_000];
    let page = render(&report);
    assert!(page.contains("19,940 more"));
    assert!(page.len() < 1 << 20);
}

#[test]
fn the_same_report_is_the_same_page() {
    assert_eq!(render(&sample()), render(&sample()));
}
