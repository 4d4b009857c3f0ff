//! Charts as SVG for the page.
//!
//! Charts are drawn at twice their size, because plotters rounds positions to whole pixels, and in
//! the colours of the light page; [`dark_style`] recolours them for the dark one.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ProjectedPoint;
use super::number::short;

type Error = DrawingAreaErrorKind<std::io::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Colour on the light page and on the dark one.
#[derive(Clone, Copy)]
pub(super) struct Colour {
    light: RGBColor,
    dark: RGBColor,
}

const fn colour(light: (u8, u8, u8), dark: (u8, u8, u8)) -> Colour {
    Colour {
        light: RGBColor(light.0, light.1, light.2),
        dark: RGBColor(dark.0, dark.1, dark.2),
    }
}

pub(super) const RED: Colour = colour((0xC2, 0x4E, 0x3A), (0xF0, 0x8A, 0x74));
pub(super) const GREEN: Colour = colour((0x1F, 0x7A, 0x68), (0x5F, 0xC9, 0xB0));
pub(super) const BLUE: Colour = colour((0x2B, 0x64, 0xB5), (0x7F, 0xB0, 0xF5));
pub(super) const PURPLE: Colour = colour((0x7A, 0x57, 0xAE), (0xB9, 0x9C, 0xEC));
const INK: Colour = colour((0x1D, 0x27, 0x33), (0xE6, 0xEA, 0xEF));
const MUTED: Colour = colour((0x6B, 0x77, 0x85), (0x93, 0xA0, 0xAF));
const GRID: Colour = colour((0xE3, 0xE7, 0xEC), (0x2D, 0x37, 0x43));

/// Returns style rules that turn the charts' colours into those of the dark page.
pub(super) fn dark_style() -> String {
    let hex = |c: RGBColor| format!("#{:02X}{:02X}{:02X}", c.0, c.1, c.2);
    [RED, GREEN, BLUE, PURPLE, INK, MUTED, GRID]
        .map(|Colour { light, dark }| {
            let (light, dark) = (hex(light), hex(dark));
            format!(
                "svg [fill=\"{light}\"]{{fill:{dark}}}svg [stroke=\"{light}\"]{{stroke:{dark}}}\n"
            )
        })
        .concat()
}

fn draw(size: (u32, u32), draw: impl FnOnce(&Area) -> Result<(), Error>) -> Option<String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    let drawn = draw(&root).and_then(|()| root.present());
    drop(root);
    // Drawing to a string does not fail; if it ever does, the page says that it has no chart.
    drawn.ok().map(|()| svg)
}

/// Draws a curve over the epochs, with gaps where a value is not finite; `None` if no value is
/// finite. With `from_zero`, the axis begins at 0 if no value is negative.
pub(super) fn curve(points: &[(u32, f64)], colour: Colour, from_zero: bool) -> Option<String> {
    // Real metrics are smaller, and with this bound sums and differences stay finite.
    let drawable = |&(_, value): &(u32, f64)| value.abs() < 1e30;
    let runs: Vec<Vec<(f64, f64)>> = points
        .split(|point| !drawable(point))
        .filter(|run| !run.is_empty())
        .map(|run| run.iter().map(|&(x, y)| (f64::from(x), y)).collect())
        .collect();
    let all = || runs.iter().flatten();
    let (x_low, x_high) = range(all().map(|point| point.0))?;
    let (mut low, high) = range(all().map(|point| point.1))?;
    if from_zero && low >= 0.0 {
        low = 0.0;
    }
    let (x_low, x_high) = match x_low == x_high {
        true => ((x_low - 1.0).max(0.0), x_high + 1.0),
        false => (x_low, x_high),
    };
    // A narrower axis would show rounding.
    let size = low.abs().max(high.abs()).max(1e-30);
    let pad = match high - low > size * 1e-4 {
        true => (high - low) * 0.06,
        false => size * 0.1,
    };
    let low = if low == 0.0 && from_zero {
        0.0
    } else {
        low - pad
    };
    draw((1040, 480), |root| {
        let mut chart = ChartBuilder::on(root)
            .margin_top(16)
            .margin_right(28)
            .x_label_area_size(52)
            .y_label_area_size(104)
            .build_cartesian_2d(x_low..x_high, low..high + pad)?;
        let whole = |x: &f64| match (x - x.round()).abs() < 1e-6 {
            true => format!("{x:.0}"),
            false => String::new(),
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID.light.stroke_width(2))
            .light_line_style(TRANSPARENT)
            .axis_style(TRANSPARENT)
            .set_all_tick_mark_size(6)
            .x_labels(7)
            .y_labels(5)
            .x_label_formatter(&whole)
            .y_label_formatter(&|y| short(*y))
            .label_style(("sans-serif", 32).into_font().color(&MUTED.light))
            .draw()?;
        let dots = all().count() <= 30;
        for run in &runs {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                let mut shade = run.clone();
                shade.extend([(last.0, low), (first.0, low)]);
                chart.draw_series([Polygon::new(shade, colour.light.mix(0.08))])?;
            }
            let line = colour.light.stroke_width(4);
            chart.draw_series([PathElement::new(run.clone(), line)])?;
            if dots || run.len() == 1 {
                let dot = |&at| Circle::new(at, 6, colour.light.filled());
                chart.draw_series(run.iter().map(dot))?;
            }
        }
        Ok(())
    })
}

/// Draws entities as points, larger for a higher degree, with the names of the `labels` entities of
/// the highest degree. `None` if no point is finite.
pub(super) fn scatter(points: &[ProjectedPoint], labels: usize) -> Option<String> {
    const SIZE: (u32, u32) = (2000, 1200);
    const MARGIN: f64 = 40.0;
    let mut points: Vec<&ProjectedPoint> =
        points.iter().filter(|point| point.is_finite()).collect();
    points.sort_by(|a, b| b.degree.cmp(&a.degree).then_with(|| a.name.cmp(&b.name)));
    let (x_low, x_high) = range(points.iter().map(|point| f64::from(point.x)))?;
    let (y_low, y_high) = range(points.iter().map(|point| f64::from(point.y)))?;
    let pixel = |value: f32, low: f64, high: f64, size: u32| {
        let share = match high > low {
            true => (f64::from(value) - low) / (high - low),
            false => 0.5,
        };
        (MARGIN + share * (f64::from(size) - 2.0 * MARGIN)).round() as i32
    };
    let highest = points.first().map_or(1, |point| point.degree.max(1));
    let dot = |point: &ProjectedPoint| Dot {
        x: pixel(point.x, x_low, x_high, SIZE.0),
        y: SIZE.1 as i32 - pixel(point.y, y_low, y_high, SIZE.1),
        radius: 4 + (10.0 * (f64::from(point.degree) / f64::from(highest)).sqrt()).round() as i32,
    };
    let (named, others) = points.split_at(points.len().min(labels));
    draw(SIZE, |root| {
        for (group, shade) in [(others, BLUE.light.mix(0.35)), (named, RED.light.mix(0.85))] {
            // The largest at the bottom.
            for point in group {
                let Dot { x, y, radius } = dot(point);
                root.draw(&Circle::new((x, y), radius, shade.filled()))?;
            }
        }
        let mut taken: Vec<Rectangle> = named.iter().map(|point| dot(point).bounds()).collect();
        for point in named {
            let name = label(&point.name);
            let free = |side: Side| {
                let bounds = dot(point).label_bounds(side, &name);
                let inside = bounds.left >= 0
                    && bounds.right <= SIZE.0 as i32
                    && bounds.top >= 0
                    && bounds.bottom <= SIZE.1 as i32;
                let clear = !taken.iter().any(|other| bounds.overlaps(other));
                (inside && clear).then_some(bounds)
            };
            // A label without a free position is left out, so that its neighbours remain readable.
            let Some(bounds) = Side::ALL.into_iter().find_map(free) else {
                continue;
            };
            let middle = (
                (bounds.left + bounds.right) / 2,
                (bounds.top + bounds.bottom) / 2,
            );
            let style = ("sans-serif", LABEL as i32)
                .into_font()
                .color(&INK.light)
                .pos(Pos::new(HPos::Center, VPos::Center));
            root.draw(&Text::new(name, middle, style))?;
            taken.push(bounds);
        }
        Ok(())
    })
}

/// Height of a label's line, in pixels.
const LABEL: f64 = 30.0;

/// Side of a dot on which its label is drawn.
#[derive(Clone, Copy)]
enum Side {
    Right,
    Left,
    Top,
    Bottom,
}

impl Side {
    /// All sides, in the order of preference.
    const ALL: [Side; 4] = [Side::Right, Side::Left, Side::Top, Side::Bottom];
}

/// Filled circle of an entity, in pixels.
struct Dot {
    x: i32,
    y: i32,
    radius: i32,
}

impl Dot {
    fn bounds(&self) -> Rectangle {
        Rectangle {
            left: self.x - self.radius,
            right: self.x + self.radius,
            top: self.y - self.radius,
            bottom: self.y + self.radius,
        }
    }

    /// Returns the bounds of the label `name` on a side of the dot, from an estimate of its width.
    fn label_bounds(&self, side: Side, name: &str) -> Rectangle {
        let half_width = (name.chars().count() as f64 * LABEL * 0.23) as i32 + 4;
        let half_height = (LABEL * 0.5) as i32;
        let beyond_x = self.radius + half_width + 4;
        let beyond_y = self.radius + half_height + 2;
        let (x, y) = match side {
            Side::Right => (self.x + beyond_x, self.y),
            Side::Left => (self.x - beyond_x, self.y),
            Side::Top => (self.x, self.y - beyond_y),
            Side::Bottom => (self.x, self.y + beyond_y),
        };
        Rectangle {
            left: x - half_width,
            right: x + half_width,
            top: y - half_height,
            bottom: y + half_height,
        }
    }
}

/// Bounds of a label or a dot, in pixels.
struct Rectangle {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

impl Rectangle {
    fn overlaps(&self, other: &Rectangle) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

/// Shortens a name for a label: the last part of an IRI, the beginning of a long name.
fn label(name: &str) -> String {
    const LONGEST: usize = 30;
    let mut name = name;
    if name.trim_start_matches('<').starts_with("http") {
        let iri = name.trim_matches(['<', '>']).trim_end_matches(['/', '#']);
        name = iri.rsplit(['/', '#']).next().unwrap_or(iri);
    }
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// Returns the least and the greatest of finite values; `None` for no values.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}
