//! Files and folders of `src` have sizes that a reader can survey.

use std::collections::BTreeMap;

use crate::{inside_src, sources};

const MOST_FILES: usize = 20;
const MOST_LINES: usize = 650;

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
    folders.retain(|_, files| *files > MOST_FILES);
    assert!(
        folders.is_empty(),
        "more than {MOST_FILES} files: {folders:?}"
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
