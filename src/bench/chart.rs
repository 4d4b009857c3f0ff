//! Results as bars, beside the copy bandwidth.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{BenchError, Measurement, Op};

const INK: RGBColor = RGBColor(0x1D, 0x27, 0x33);
const MUTED: RGBColor = RGBColor(0x6B, 0x77, 0x85);
const BAR: RGBColor = RGBColor(0x2B, 0x64, 0xB5);
const COPY: RGBColor = RGBColor(0x1F, 0x7A, 0x68);

const WIDTH: i32 = 1000;
const LABELS: i32 = 250;
const FIGURES: i32 = 240;
const LINE: i32 = 28;
const BAR_HEIGHT: i32 = 18;

/// Bars in GB/s, device by device; a thin line marks the copy bandwidth beside each.
///
/// # Errors
/// [`BenchError::Chart`] if drawing fails.
pub fn chart(results: &[Measurement]) -> Result<String, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Chart(error.to_string());
    // A heading for every device, and a line at the end.
    let headings = 1 + results
        .windows(2)
        .filter(|w| w[0].device != w[1].device)
        .count();
    let height = (results.len() + 2 * headings) as i32 * LINE + LINE;
    let mut svg = String::new();
    {
        let size = (WIDTH as u32, height as u32);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&root, results).map_err(|error| failed(&error))?;
        root.present().map_err(|error| failed(&error))?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw(root: &Area<'_>, results: &[Measurement]) -> Drawn {
    root.fill(&WHITE)?;
    let text = |text: String, at: (i32, i32), size: i32, colour: RGBColor, side: HPos| {
        let style = ("sans-serif", size).into_font().color(&colour);
        root.draw(&Text::new(
            text,
            at,
            style.pos(Pos::new(side, VPos::Center)),
        ))
    };
    let mut y = 0;
    let mut device = None;
    let mut scale = 1.0;
    for result in results {
        if device != Some(&result.device) {
            device = Some(&result.device);
            let own = results.iter().filter(|r| r.device == result.device);
            let most = own.flat_map(|r| [r.gb_per_second, r.copy_gb_per_second]);
            let most = most.filter(|x| x.is_finite()).fold(1e-9, f64::max);
            scale = f64::from(WIDTH - LABELS - FIGURES) / most;
            y += 2 * LINE;
            let title = format!("{}, GB/s by the least bytes", result.device);
            text(title, (16, y - LINE), 18, INK, HPos::Left)?;
        }
        let length = |gb: f64| LABELS + (gb.max(0.0) * scale).round() as i32;
        let (top, end) = (y - BAR_HEIGHT / 2, length(result.gb_per_second));
        let colour = if result.op == Op::Copy { COPY } else { BAR };
        let bar = Rectangle::new([(LABELS, top), (end, top + BAR_HEIGHT)], colour.filled());
        root.draw(&bar)?;
        let copy = length(result.copy_gb_per_second);
        let line = vec![(copy, top - 4), (copy, top + BAR_HEIGHT + 4)];
        root.draw(&PathElement::new(line, COPY.stroke_width(2)))?;
        text(label(result), (LABELS - 12, y), 15, INK, HPos::Right)?;
        let figures = format!(
            "{:.1} GB/s · {} rows/s · {:.2} × copy",
            result.gb_per_second,
            short(result.rows_per_second),
            result.share_of_copy
        );
        text(figures, (end.max(copy) + 10, y), 13, MUTED, HPos::Left)?;
        y += LINE;
    }
    Ok(())
}

/// The operation, with its workers, and what values are stored as, where that matters.
fn label(result: &Measurement) -> String {
    let name = result.op.name().replace('_', " ");
    match result.op {
        Op::SyncPush | Op::AsyncPush | Op::AllReduce => {
            let s = if result.workers == 1 { "" } else { "s" };
            format!("{name}, {} worker{s}", result.workers)
        }
        _ if result.dtype == "f32" => name,
        _ => format!("{name}, {}", result.dtype),
    }
}

/// A number in three digits.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.2} G", v / 1e9),
        v if v >= 1e6 => format!("{:.1} M", v / 1e6),
        v if v >= 1e3 => format!("{:.0} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}
