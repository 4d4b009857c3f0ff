//! Files and folders of `src` have sizes that a reader can survey.

use std::collections::BTreeMap;

use crate::{inside_src, sources};

const MOST_FILES: usize = 20;
const MOST_LINES: usize = 650;

/// Folders that still hold more than [`MOST_FILES`] files. A folder that no longer does must go from
/// this list.
const CROWDED: [&str; 0] = [];

#[test]
fn no_folder_has_more_than_20_files() {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for (path, _) in sources() {
        let folder = inside_src(&path)
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder)
            .to_owned();
        *folders.entry(folder).or_default() += 1;
    }
    let crowded: Vec<(String, usize)> = folders
        .into_iter()
        .filter(|(_, files)| *files > MOST_FILES)
        .collect();
    let names: Vec<&str> = crowded.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names, CROWDED,
        "folders with more than {MOST_FILES} files, and those allowed to: {crowded:?}"
    );
}

#[test]
fn no_file_has_more_than_650_lines() {
    let long: Vec<(String, usize)> = sources()
        .into_iter()
        .map(|(path, text)| (inside_src(&path), text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines: {long:?}");
}
