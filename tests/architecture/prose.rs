//! Doc comments name the thing that they describe.

use crate::{inside_src, sources};

/// Pronouns and question words: as a subject, none of them says what is described. "Whether" is none: it
/// begins a statement about a boolean.
const SUBJECTS: [&str; 37] = [
    "anybody",
    "anything",
    "everybody",
    "everything",
    "he",
    "his",
    "how",
    "it",
    "its",
    "nobody",
    "nothing",
    "others",
    "she",
    "some",
    "somebody",
    "such",
    "that",
    "their",
    "these",
    "they",
    "this",
    "those",
    "we",
    "what",
    "whatever",
    "when",
    "whenever",
    "where",
    "wherever",
    "which",
    "whichever",
    "who",
    "whoever",
    "whom",
    "whose",
    "why",
    "you",
];

/// Line number and text of the first line of every doc comment that begins with one of [`SUBJECTS`].
fn without_subject(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut before = false;
    for (i, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let doc = ["///", "//!"]
            .iter()
            .find_map(|mark| line.strip_prefix(mark));
        if let (Some(doc), false) = (doc, before) {
            let first = doc.split_whitespace().next().unwrap_or_default();
            let first = first.trim_end_matches([',', ':', '.']).to_lowercase();
            if SUBJECTS.contains(&first.as_str()) {
                found.push((i + 1, line));
            }
        }
        before = doc.is_some();
    }
    found
}

#[test]
fn doc_comments_begin_with_their_subject() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let lines = without_subject(&text).into_iter();
        found.extend(lines.map(|(n, line)| format!("src/{}:{n}: {line}", inside_src(&path))));
    }
    assert!(
        found.is_empty(),
        "doc comments that begin with a pronoun or a question word:\n{}",
        found.join("\n")
    );
}

#[test]
fn subjects_are_found() {
    let text = "//! What it is.\n\n/// Number of rows.\n/// It is said here.\nfn a() {}\n\n    /// How many.\n    b: u32,\n// Why.\n";
    let found = without_subject(text);
    assert_eq!(found, [(1, "//! What it is."), (7, "/// How many.")]);
}
