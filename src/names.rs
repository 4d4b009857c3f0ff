//! Names in text files: one a line, or as a field of a table.
//!
//! Most names are written as they are. A name that a reader could take for something else is
//! written as a JSON string: one that is empty, holds a control character or a line break, begins
//! or ends with white space, or is a JSON string itself. In a line, a tab within a name stays; in a
//! table, a name with a tab is written as a JSON string too. A reader takes a line or field that is
//! a whole JSON string for its value, and any other as it is: [`read`] is the inverse of [`line()`]
//! and of [`field`].

use std::borrow::Cow;

/// Returns a name as a line of its own.
pub fn line(name: &str) -> Cow<'_, str> {
    written(name, |c| c == '\t')
}

/// Returns a name as a field of a tab-separated table.
pub fn field(name: &str) -> Cow<'_, str> {
    written(name, |_| false)
}

/// Returns the name that a line or a field stands for.
pub fn read(text: &str) -> Cow<'_, str> {
    match json(text) {
        Some(name) => Cow::Owned(name),
        None => Cow::Borrowed(text),
    }
}

/// Returns the names that a line or a field may stand for, the more likely one first. For a text
/// that [`line()`] or [`field`] would write, that is its value. For any other text, such as
/// `"Ada"`, that is the text itself: in some files the quotes are part of the name, in others all
/// fields are quoted.
pub fn readings(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let value = json(text).map(Cow::Owned);
    let ours = (value.as_ref()).is_some_and(|name| line(name) == text || field(name) == text);
    let (first, second) = match ours {
        true => (value, Some(Cow::Borrowed(text))),
        false => (Some(Cow::Borrowed(text)), value),
    };
    first.into_iter().chain(second)
}

/// Returns a name as a field of a table for readers of graphs: unchanged, with its blanks and
/// quotes, except that a name with a tab or a line break, or one that reads as such a JSON string,
/// is written as a JSON string.
pub(crate) fn plain_field(name: &str) -> Cow<'_, str> {
    match splits(name) {
        true => Cow::Owned(quoted(name)),
        false => Cow::Borrowed(name),
    }
}

/// Returns the name that a field of [`plain_field`] stands for.
pub(crate) fn read_plain_field(text: &str) -> Cow<'_, str> {
    match json(text).filter(|name| splits(name)) {
        Some(name) => Cow::Owned(name),
        None => Cow::Borrowed(text),
    }
}

fn splits(name: &str) -> bool {
    name.contains(['\t', '\n', '\r']) || json(name).is_some_and(|name| splits(&name))
}

/// Returns true if some reader of text ends a line at this character, or if a terminal takes it for
/// a command.
pub(crate) fn breaks(c: char) -> bool {
    // Besides Unicode's line separators, Python's `splitlines` breaks at U+001C to U+001E and
    // U+0085.
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

fn written(name: &str, fine: impl Fn(char) -> bool) -> Cow<'_, str> {
    let blank = |c: Option<char>| c.is_none_or(char::is_whitespace);
    let odd = blank(name.chars().next())
        || blank(name.chars().next_back())
        || name.contains(|c| breaks(c) && !fine(c))
        || json(name).is_some();
    if odd {
        Cow::Owned(quoted(name))
    } else {
        Cow::Borrowed(name)
    }
}

/// Returns the value of a text that is a JSON string and nothing more.
fn json(text: &str) -> Option<String> {
    let quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    quoted.then(|| serde_json::from_str(text).ok()).flatten()
}

/// Returns a name as a JSON string in which all invisible characters are escaped.
fn quoted(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 8);
    text.push('"');
    for c in name.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            ' ' => text.push(c),
            // All of these are below 2¹⁶, so that JSON writes them as one escape.
            c if breaks(c) || c.is_whitespace() => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_stay_plain() {
        for name in [
            "Ada",
            "New York",
            "-5",
            "\"Ada\"@en",
            "a\\b",
            "\"",
            "<http://a/b>",
            "x\u{a0}y",
        ] {
            assert_eq!((&*line(name), &*field(name)), (name, name));
        }
        assert_eq!(line("a\tb"), "a\tb");
    }

    #[test]
    fn plain_fields_hold_all_but_what_ends_a_field() {
        for name in [
            "",
            "\"Ada\"",
            " a",
            "a\\tb",
            "\\alpha",
            r#""a\"b""#,
            "x\u{a0}",
        ] {
            assert_eq!(plain_field(name), name);
            assert_eq!(read_plain_field(name), name);
        }
        assert_eq!(plain_field("a\tb"), r#""a\tb""#);
        assert_eq!(plain_field(r#""a\tb""#), r#""\"a\\tb\"""#);
    }

    #[test]
    fn odd_names_become_json_strings() {
        for (name, expected) in [
            ("", r#""""#),
            ("a\rb", r#""a\rb""#),
            ("a\u{a0}", r#""a\u00a0""#),
            ("\u{3000}a b", r#""\u3000a b""#),
            ("a\u{2028}b", r#""a\u2028b""#),
            ("a\u{1c}\u{85}b", r#""a\u001c\u0085b""#),
            ("\"Ada\"", r#""\"Ada\"""#),
            (" \"\\", r#"" \"\\""#),
        ] {
            assert_eq!((&*line(name), &*field(name)), (expected, expected));
        }
        assert_eq!(field("a\tb"), r#""a\tb""#);
    }

    #[test]
    fn a_text_of_others_may_stand_for_itself_or_for_its_value() {
        for (text, expected) in [
            ("Ada", &["Ada"][..]),
            ("\"Ada\"@en", &["\"Ada\"@en"]),
            ("\"Ada\"", &["\"Ada\"", "Ada"]),
            (r#""\"Ada\"""#, &["\"Ada\"", r#""\"Ada\"""#]),
            (r#"" a""#, &[" a", r#"" a""#]),
        ] {
            let found: Vec<_> = readings(text).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_name_reads_back(name in "[\\PC\\pC\"\\\\ \u{a0}\u{2028}\r\n\t]{0,8}") {
            for text in [line(&name), field(&name)] {
                prop_assert_eq!(read(&text), name.as_str());
                let broken = text.contains(['\n', '\r', '\u{85}', '\u{2028}']);
                prop_assert!(!broken);
                prop_assert_eq!(text.trim(), &*text);
            }
            prop_assert!(!field(&name).contains('\t'));
        }

        #[test]
        fn every_name_reads_back_from_a_plain_field(name in "[\\PC\\pC\"\\\\tr \u{a0}\r\n\t]{0,9}") {
            let names = [name.clone(), quoted(&name), quoted(&quoted(&name))];
            for name in names {
                let text = plain_field(&name);
                prop_assert!(!text.contains(['\n', '\r', '\t']));
                prop_assert_eq!(read_plain_field(&text), name.as_str());
            }
        }

        #[test]
        fn no_two_names_are_written_alike(a in "[a\" \t]{0,4}", b in "[a\" \t]{0,4}") {
            prop_assert_eq!(a == b, line(&a) == line(&b));
        }
    }
}
