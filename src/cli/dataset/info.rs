//! `shardloom dataset info`: sizes and peculiarities of a graph.

use serde::Serialize;
use serde_json::json;
use shardloom::dataset::{
    Cardinality, Dataset, InverseLeaks, LoadReport, Reading, RelationProfile, Sharing, Split,
    relation_profiles,
};

/// The output of `dataset info`.
/// Counts, profiles of relations and leaks.
pub(super) struct Info {
    name: String,
    report: LoadReport,
    relations: Vec<Relation>,
    leaks: InverseLeaks,
    sharing: Option<Sharing>,
    reading: Reading,
}

#[derive(Serialize)]
struct Relation {
    name: String,
    #[serde(flatten)]
    profile: RelationProfile,
}

impl Info {
    pub fn new(dataset: &Dataset) -> Self {
        let names = dataset.relations.iter().map(str::to_owned);
        let profiles = relation_profiles(dataset);
        let relations = names
            .zip(profiles)
            .map(|(name, profile)| Relation { name, profile });
        Self {
            name: dataset.name.clone(),
            report: dataset.report(),
            relations: relations.collect(),
            leaks: dataset.inverse_leaks(),
            sharing: dataset.sharing,
            reading: dataset.reading.clone(),
        }
    }

    fn relation(&self, id: u32) -> &str {
        &self.relations[id as usize].name
    }

    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.report.warnings();
        for (split, count) in [
            (Split::Valid, self.leaks.valid),
            (Split::Test, self.leaks.test),
        ] {
            if count > 0 {
                let total = self.report.split(split).triples;
                warnings.push(format!(
                    "{split}: {count} of {total} triples ({}) stand in train backwards, under an \
                     inverse or symmetric relation; scores measure looking those up",
                    percent(count as f64 / total as f64)
                ));
            }
        }
        warnings
    }

    pub fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        let pairs = self.leaks.pairs.iter().map(|pair| {
            json!({
                "relation": self.relation(pair.relation),
                "inverse": self.relation(pair.inverse),
                "symmetric": pair.is_symmetric(),
                "triples": pair.triples,
                "reversed": pair.reversed,
                "valid_given_away": pair.valid,
                "test_given_away": pair.test,
            })
        });
        Ok(json!({
            "name": self.name,
            "entities": self.report.entities,
            "relations": self.report.relations,
            "splits": {
                "train": serde_json::to_value(&self.report.train)?,
                "valid": serde_json::to_value(&self.report.valid)?,
                "test": serde_json::to_value(&self.report.test)?,
            },
            "weights": self.report.weights,
            "sharing": self.sharing,
            "relation_profiles": serde_json::to_value(&self.relations)?,
            "inverse_relations": pairs.collect::<Vec<_>>(),
            "given_away": { "valid": self.leaks.valid, "test": self.leaks.test },
            "warnings": self.warnings(),
            "reading": self.reading,
        }))
    }

    pub fn to_text(&self) -> String {
        let LoadReport {
            entities,
            relations,
            ..
        } = self.report;
        let mut text = format!(
            "{}: {entities} entities, {relations} relations\n\n",
            self.name
        );
        text += &table(
            &[
                "split",
                "triples",
                "repeated",
                "in train",
                "with unseen names",
            ],
            self.splits(),
        );
        if let Some(weights) = &self.report.weights {
            text += &format!("{weights}\n");
        }
        for sentence in self.reading.sentences() {
            text += &format!("note: {sentence}\n");
        }
        for note in self.sharing.iter().flat_map(Sharing::notes) {
            text += &format!("{note}\n");
        }
        text.push('\n');
        text += &table(
            &["cardinality", "relations", "train triples"],
            self.cardinalities(),
        );
        text.push('\n');
        text += &self.largest_relations();
        text += &self.inverses();
        for (index, warning) in self.warnings().iter().enumerate() {
            text += if index == 0 { "\n" } else { "" };
            text += &format!("warning: {warning}\n");
        }
        text
    }

    fn splits(&self) -> Vec<Vec<String>> {
        let row = |split: Split| {
            let report = self.report.split(split);
            let counts = [
                report.triples,
                report.duplicates,
                report.in_train,
                report.unseen_triples,
            ];
            [split.to_string()]
                .into_iter()
                .chain(counts.map(|count| count.to_string()))
                .collect()
        };
        Split::ALL.map(row).into()
    }

    fn cardinalities(&self) -> Vec<Vec<String>> {
        let row = |kind: Cardinality| {
            let of_kind = self
                .relations
                .iter()
                .filter(|r| r.profile.cardinality == kind);
            let triples: usize = of_kind.clone().map(|r| r.profile.triples).sum();
            vec![
                kind.to_string(),
                of_kind.count().to_string(),
                triples.to_string(),
            ]
        };
        Cardinality::ALL.map(row).into()
    }

    fn largest_relations(&self) -> String {
        const SHOWN: usize = 20;
        let mut relations: Vec<&Relation> = self.relations.iter().collect();
        relations.sort_by_key(|relation| std::cmp::Reverse(relation.profile.triples));
        let rows = relations
            .iter()
            .take(SHOWN)
            .map(|Relation { name, profile }| {
                vec![
                    name.clone(),
                    profile.triples.to_string(),
                    format!("{:.2}", profile.tails_per_head),
                    format!("{:.2}", profile.heads_per_tail),
                    profile.cardinality.to_string(),
                ]
            });
        let titles = [
            "relation",
            "train triples",
            "tails/head",
            "heads/tail",
            "cardinality",
        ];
        let mut text = table(&titles, rows.collect());
        if relations.len() > SHOWN {
            text += &format!(
                "… and {} smaller ones, listed by --json\n",
                relations.len() - SHOWN
            );
        }
        text
    }

    /// The pairs of relations that give held-out triples away; nothing if there are none.
    fn inverses(&self) -> String {
        let telling = self
            .leaks
            .pairs
            .iter()
            .filter(|pair| pair.valid + pair.test > 0);
        let rows: Vec<Vec<String>> = telling
            .map(|pair| {
                let inverse = if pair.is_symmetric() {
                    "itself (symmetric)"
                } else {
                    self.relation(pair.inverse)
                };
                vec![
                    self.relation(pair.relation).to_owned(),
                    inverse.to_owned(),
                    percent(pair.share()),
                    pair.valid.to_string(),
                    pair.test.to_string(),
                ]
            })
            .collect();
        let harmless = self.leaks.pairs.len() - rows.len();
        let mut text = String::new();
        if !rows.is_empty() {
            let titles = [
                "relation",
                "reversed by",
                "reversed",
                "valid leaks",
                "test leaks",
            ];
            text = format!("\n{}", table(&titles, rows));
        }
        if harmless > 0 {
            text += &format!(
                "\n{harmless} inverse or symmetric relations give no held-out triple away; --json \
                 lists them\n"
            );
        }
        text
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// Text in columns: the first one to the left, and any other that does not hold numbers.
fn table(titles: &[&str], rows: Vec<Vec<String>>) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([titles[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let is_number = |cell: &String| cell.starts_with(|c: char| c.is_ascii_digit());
    let columns: Vec<(usize, bool)> = (0..titles.len())
        .map(|column| {
            (
                width(column),
                column > 0 && rows.iter().all(|row| is_number(&row[column])),
            )
        })
        .collect();
    let titles = titles.iter().map(|title| (*title).to_owned()).collect();
    let mut text = String::new();
    for row in [titles].iter().chain(&rows) {
        let cells = row.iter().zip(&columns).map(|(cell, &(width, right))| {
            if right {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
