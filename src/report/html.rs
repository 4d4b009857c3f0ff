//! The page around the charts.

use super::charts::{self, Colour};
use super::number::{count, escape, fixed, short};
use super::{EpochPoint, GroupMetrics, MetricRow, ProjectedPoint, Report};

/// Most relations shown.
const MOST_RELATIONS: usize = 60;
/// Most entities named in the projection.
const LABELS: usize = 20;

/// Returns the page as HTML. Its content security policy forbids all loading.
pub fn render(report: &Report) -> String {
    let title = match report.title.as_str() {
        "" => "Training report",
        title => title,
    };
    let (title, subtitle) = (escape(title), escape(&report.subtitle));
    let parts = [
        facts(&report.facts),
        section("Warnings", warnings(&report.warnings)),
        course(&report.epochs),
        metrics(&report.metrics),
        groups("By cardinality of the relation", "Class", &report.classes),
        projection(&report.projection),
        relations(&report.relations),
        config(&report.config),
    ];
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}@media (prefers-color-scheme: dark) {{
{dark}}}
</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{subtitle}</p>
</header>
{parts}<footer>Written by Shardloom {version}.</footer>
</body>
</html>
"#,
        style = include_str!("page.css"),
        dark = charts::dark_style(),
        parts = parts.concat(),
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// Returns a section with a heading; empty if the content is empty.
fn section(heading: &str, content: String) -> String {
    match content.is_empty() {
        true => content,
        false => format!("<h2>{heading}</h2>\n<section>\n{content}</section>\n"),
    }
}

fn each<T>(items: impl IntoIterator<Item = T>, html: impl Fn(T) -> String) -> String {
    items.into_iter().map(html).collect()
}

fn warnings(warnings: &[String]) -> String {
    if warnings.is_empty() {
        return String::new();
    }
    let items = each(warnings, |line| format!("<li>{}</li>\n", escape(line)));
    format!("<ul>\n{items}</ul>\n")
}

fn facts(facts: &[(String, String)]) -> String {
    if facts.is_empty() {
        return String::new();
    }
    let tiles = each(facts, |(what, value)| {
        let (what, value) = (escape(what), escape(value));
        format!("<div class=\"card\"><dt>{what}</dt><dd>{value}</dd></div>\n")
    });
    format!("<dl class=\"facts\">\n{tiles}</dl>\n")
}

/// Returns the section on training: four curves.
fn course(epochs: &[EpochPoint]) -> String {
    if epochs.is_empty() {
        return String::new();
    }
    let of = |value: fn(&EpochPoint) -> Option<f64>| -> Vec<(u32, f64)> {
        let points = epochs.iter();
        points
            .filter_map(|point| Some((point.epoch, value(point)?)))
            .collect()
    };
    let loss = of(|point| Some(point.loss));
    let mrr = of(|point| point.valid_mrr);
    let speed = of(|point| Some(point.triples_per_second));
    let lr = of(|point| Some(point.lr));
    let last = |points: &[(u32, f64)]| match points.last() {
        Some(&(epoch, value)) => format!("{} after epoch {epoch}", short(value)),
        None => String::new(),
    };
    let finite = |points: &[(u32, f64)]| -> Vec<(u32, f64)> {
        let mut finite = points.to_vec();
        finite.retain(|point| point.1.is_finite());
        finite.sort_by(|a, b| a.1.total_cmp(&b.1));
        finite
    };
    let best = match finite(&mrr).last() {
        Some(&(epoch, value)) => format!("best {} at epoch {epoch}", fixed(value, 4)),
        None => String::new(),
    };
    let speeds = finite(&speed);
    let median = match speeds.get(speeds.len() / 2) {
        Some(&(_, value)) => format!("median {} triples/s", short(value)),
        None => String::new(),
    };
    let figures = [
        figure("Loss", last(&loss), &loss, charts::RED, false),
        figure("Validation MRR", best, &mrr, charts::GREEN, true),
        figure("Throughput", median, &speed, charts::BLUE, true),
        figure("Learning rate", last(&lr), &lr, charts::PURPLE, true),
    ];
    section(
        "Training",
        format!("<div class=\"charts\">\n{}</div>\n", figures.concat()),
    )
}

fn figure(
    title: &str,
    summary: String,
    points: &[(u32, f64)],
    colour: Colour,
    from_zero: bool,
) -> String {
    let chart = charts::curve(points, colour, from_zero)
        .unwrap_or_else(|| "<p class=\"none\">Not measured</p>\n".to_owned());
    let role = format!("role=\"group\" aria-label=\"{title} by epoch\"");
    format!(
        "<figure class=\"card\" {role}><figcaption><b>{title}</b><span>{summary}</span></figcaption>\n\
         {chart}</figure>\n"
    )
}

fn table(headings: &[&str], rows: String) -> String {
    let headings = each(headings, |heading| {
        format!("<th scope=\"col\">{heading}</th>")
    });
    format!(
        "<div class=\"card wide\"><table>\n<thead><tr>{headings}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

/// Returns a cell with a bar and a number, for a fraction between 0 and 1.
fn bar(share: f64) -> String {
    let percent = match share.is_nan() {
        true => 0.0,
        false => share.clamp(0.0, 1.0) * 100.0,
    };
    let value = fixed(share, 3);
    format!("<td class=\"bar\"><div><i style=\"--share:{percent:.1}%\"></i>{value}</div></td>")
}

fn metrics(metrics: &[MetricRow]) -> String {
    if metrics.is_empty() {
        return String::new();
    }
    let rows = each(metrics.iter().enumerate(), |(i, row)| {
        let class = if i == 0 { " class=\"first\"" } else { "" };
        let (label, mrr) = (escape(&row.label), bar(row.mrr));
        let hits = each([row.hits_at_1, row.hits_at_3, row.hits_at_10], |share| {
            format!("<td>{}</td>", fixed(share, 3))
        });
        let (rank, amri) = (fixed(row.mean_rank, 1), fixed(row.amri, 3));
        format!("<tr{class}><td>{label}</td>{mrr}{hits}<td>{rank}</td><td>{amri}</td></tr>\n")
    });
    let headings = [
        "Ranking",
        "MRR",
        "Hits@1",
        "Hits@3",
        "Hits@10",
        "Mean rank",
        "AMRI",
    ];
    section("Metrics", table(&headings, rows))
}

fn groups(heading: &str, kind: &str, groups: &[GroupMetrics]) -> String {
    if groups.is_empty() {
        return String::new();
    }
    section(heading, group_table(kind, groups.iter()))
}

fn group_table<'a>(kind: &str, groups: impl Iterator<Item = &'a GroupMetrics>) -> String {
    let rows = each(groups, |group| {
        // Names are often paths: long, and best broken between their parts.
        let name = escape(&group.name).replace('/', "/<wbr>");
        let (triples, mrr) = (count(group.triples), bar(group.mrr));
        let (first, tenth) = (fixed(group.hits_at_1, 3), fixed(group.hits_at_10, 3));
        format!("<tr><td>{name}</td><td>{triples}</td>{mrr}<td>{first}</td><td>{tenth}</td></tr>\n")
    });
    table(&[kind, "Triples", "MRR", "Hits@1", "Hits@10"], rows)
}

/// Returns the section on the relations with most triples.
fn relations(relations: &[GroupMetrics]) -> String {
    if relations.is_empty() {
        return String::new();
    }
    let mut sorted: Vec<&GroupMetrics> = relations.iter().collect();
    sorted.sort_by(|a, b| b.triples.cmp(&a.triples).then_with(|| a.name.cmp(&b.name)));
    let (shown, left) = sorted.split_at(sorted.len().min(MOST_RELATIONS));
    let mut content = group_table("Relation", shown.iter().copied());
    if !left.is_empty() {
        let triples = left
            .iter()
            .fold(0, |sum: usize, group| sum.saturating_add(group.triples));
        content += &format!(
            "<p class=\"note\">The {} relations with most triples; {} more, with {} triples together, \
             are left out.</p>\n",
            shown.len(),
            count(left.len()),
            count(triples)
        );
    }
    section("By relation", content)
}

fn projection(points: &[ProjectedPoint]) -> String {
    let Some(chart) = charts::scatter(points, LABELS) else {
        return String::new();
    };
    let shown = points.iter().filter(|point| point.is_finite()).count();
    let content = format!(
        "<figure class=\"card scatter\" role=\"group\" aria-label=\"Entities in the plane\">\n{chart}</figure>\n\
         <p class=\"note\">{} entities on the first two principal components of their embeddings; \
         larger points occur in more triples, and those that occur in most are named.</p>\n",
        count(shown)
    );
    section("Entities", content)
}

fn config(config: &[(String, String)]) -> String {
    if config.is_empty() {
        return String::new();
    }
    let rows = each(config, |(key, value)| {
        let (key, value) = (escape(key), escape(value));
        format!("<div><dt>{key}</dt><dd>{value}</dd></div>\n")
    });
    section(
        "Configuration",
        format!("<dl class=\"card config\">\n{rows}</dl>\n"),
    )
}
