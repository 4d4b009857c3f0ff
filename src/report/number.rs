//! Formats numbers and text for the page.

/// Text for a number that is not finite.
const NONE: &str = "–";

/// Escapes text for HTML, in elements and in attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Formats a number with `decimals` decimals.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    match value.is_finite() {
        true if value.abs() < 1e12 => format!("{value:.decimals$}"),
        true => format!("{value:.decimals$e}"),
        false => NONE.to_owned(),
    }
}

/// Formats a count with commas between thousands.
pub(super) fn count(value: usize) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats a number with at most four significant digits, and with k, M or G for thousands and
/// more: 0.25, 1.5e-5, 81.3k.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    let (scaled, unit) = match size {
        _ if !value.is_finite() => return NONE.to_owned(),
        0.0 => return "0".to_owned(),
        _ if !(1e-3..1e12).contains(&size) => {
            let text = format!("{value:.3e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            return format!("{}e{exponent}", trim(digits));
        }
        _ if size >= 1e9 => (value / 1e9, "G"),
        _ if size >= 1e6 => (value / 1e6, "M"),
        _ if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let whole = scaled.abs().log10().floor() as i32;
    let decimals = (3 - whole).clamp(0, 6) as usize;
    format!("{}{unit}", trim(&format!("{scaled:.decimals$}")))
}

/// Removes zeros at the end of a fraction.
fn trim(digits: &str) -> &str {
    match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (0.1 + 0.2, "0.3"),
            (-2.0, "-2"),
            (1234.0, "1234"),
            (81_290.0, "81.29k"),
            (120_000.0, "120k"),
            (2.5e6, "2.5M"),
            (3e9, "3G"),
            (1e-5, "1e-5"),
            (-1.5e20, "-1.5e20"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!(fixed(0.12345, 3), "0.123");
        assert_eq!(fixed(f64::MAX, 1), "1.8e308");
        assert_eq!(fixed(f64::NAN, 3), "–");
        let counts = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escape("<a b='\"'>&"), "&lt;a b=&#39;&quot;&#39;&gt;&amp;");
    }
}
