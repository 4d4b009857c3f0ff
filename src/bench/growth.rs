//! The chart of the scale suite: time and memory over the size of the graph.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{BenchError, ScaleMeasurement};

const INK: RGBColor = RGBColor(0x1D, 0x27, 0x33);
const MUTED: RGBColor = RGBColor(0x6B, 0x77, 0x85);
const GRID: RGBColor = RGBColor(0xE3, 0xE7, 0xEC);
const MEASURED: RGBColor = RGBColor(0x2B, 0x64, 0xB5);
const FORMULA: RGBColor = RGBColor(0x1F, 0x7A, 0x68);

const PANEL: (u32, u32) = (500, 340);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A line of a panel.
struct Line<'a> {
    name: &'a str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// Seconds a million facts and bytes an entity over entities, as SVG.
///
/// # Errors
/// [`BenchError::Chart`] if there is nothing to draw or drawing fails.
pub fn growth(results: &[ScaleMeasurement]) -> Result<String, BenchError> {
    if results.is_empty() {
        return Err(BenchError::Chart("no sizes were measured".to_owned()));
    }
    let points = |y: fn(&ScaleMeasurement) -> f64| -> Vec<(f64, f64)> {
        results.iter().map(|r| (r.entities as f64, y(r))).collect()
    };
    let line = |name, colour, y| Line {
        name,
        colour,
        points: points(y),
    };
    let time = [line("measured", MEASURED, |r| r.seconds_per_million)];
    let memory = [
        line("peak of the process", MEASURED, |r| r.bytes_per_entity),
        line("tables + optimizer + triples + filter", FORMULA, |r| {
            r.formula_bytes as f64 / r.entities as f64
        }),
    ];
    let mut svg = String::new();
    let drawn = {
        let root = SVGBackend::with_string(&mut svg, (2 * PANEL.0, PANEL.1)).into_drawing_area();
        let (left, right) = root.split_horizontally(PANEL.0);
        root.fill(&WHITE)
            .and_then(|()| panel(&left, "Seconds per million triples", &time))
            .and_then(|()| panel(&right, "Bytes per entity", &memory))
            .and_then(|()| root.present())
    };
    drawn.map_err(|error| BenchError::Chart(error.to_string()))?;
    Ok(svg)
}

fn panel(area: &Area<'_>, title: &str, lines: &[Line<'_>]) -> Drawn {
    let all = || lines.iter().flat_map(|line| &line.points);
    let high = all()
        .map(|p| p.1)
        .filter(|y| y.is_finite())
        .fold(0.0, f64::max);
    let (low_x, high_x) = all().fold((f64::MAX, 0.0), |(low, high): (f64, f64), p| {
        (low.min(p.0), high.max(p.0))
    });
    let text = |text: &str, at: (i32, i32), size: i32, colour: RGBColor| {
        let style = ("sans-serif", size).into_font().color(&colour);
        let style = style.pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(text.to_owned(), at, style))
    };
    text(title, (20, 22), 18, INK)?;
    let mut chart = ChartBuilder::on(area)
        .margin_top(64)
        .margin_right(36)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (low_x * 0.8..high_x * 1.25).log_scale(),
            0.0..high.max(1e-9) * 1.15,
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|x| size(*x))
        .y_label_formatter(&|y| number(*y))
        .x_desc("entities, ten triples each")
        .label_style(("sans-serif", 13).into_font().color(&MUTED))
        .draw()?;
    let mut at = 20;
    for Line {
        name,
        colour,
        points,
    } in lines
    {
        chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|&p| Circle::new(p, 4, colour.filled())))?;
        area.draw(&Circle::new((at + 4, 46), 4, colour.filled()))?;
        text(name, (at + 14, 46), 13, MUTED)?;
        at += 30 + 7 * name.len() as i32;
    }
    let Some(first) = lines.first() else {
        return Ok(());
    };
    for &(x, y) in &first.points {
        let style = ("sans-serif", 13).into_font().color(&INK);
        let style = style.pos(Pos::new(HPos::Center, VPos::Bottom));
        let place = chart.backend_coord(&(x, y));
        let base = area.get_pixel_range();
        let place = (place.0 - base.0.start, place.1 - base.1.start - 8);
        area.draw(&Text::new(number(y), place, style))?;
    }
    Ok(())
}

/// A number of entities; powers of ten are written out.
fn size(entities: f64) -> String {
    match entities {
        n if n >= 1e6 => format!("{} M", (n / 1e5).round() / 10.0),
        n if n >= 1e3 => format!("{} k", (n / 1e2).round() / 10.0),
        n => format!("{n:.0}"),
    }
}

fn number(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v > 0.0 => format!("{v:.2}"),
        v => format!("{v:.0}"),
    }
}
