//! Composing shaders: small sets of files, and whether the real ones say what they use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::kernel::gpu::source::compose::{File, Problem, Variant, compose};
use crate::kernel::gpu::source::files::FILES;
use crate::model::Model;

fn file(path: &'static str, text: &'static str) -> File {
    File { path, text }
}

/// The composed text without blank lines and comments.
fn composed(files: &[File], variant: &Variant) -> Vec<String> {
    let text = compose(files, "stage", variant).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty());
    let code = lines.filter(|line| !line.starts_with("//"));
    code.map(str::to_owned).collect()
}

/// The file, the line and the kind of the mistake.
fn mistake(files: &[File]) -> (String, usize, Problem) {
    let error = compose(files, "stage", &Variant::default()).unwrap_err();
    let place = format!("shaders/{}.wgsl, line {}: ", error.file, error.line);
    assert!(error.to_string().starts_with(&place), "{error}");
    (error.file, error.line, error.problem)
}

#[test]
fn imports_come_first_and_once() {
    let files = [
        file("stage", "// A stage.\n#import a\n#import b // why\nstage"),
        file("shared/a", "#import c\na"),
        file("shared/b", "b\n#import c"),
        file("shared/c", "c"),
    ];
    let variant = Variant::default();
    assert_eq!(composed(&files, &variant), ["c", "a", "b", "stage"]);
}

#[test]
fn choices_and_declarations_come_from_the_stage() {
    let files = [
        file("stage", "#import kind/*\n#extern SIZE\n#import other"),
        file("shared/kind/one", "one"),
        file("shared/kind/two", "two"),
        file("shared/other", "#import kind/*\n#extern SIZE\nother"),
    ];
    let variant = Variant {
        choices: [("kind", "two")].into(),
        externs: [("SIZE", "const SIZE = 2u;".into())].into(),
    };
    // The stage's own lines come last; the first that asks has the declaration.
    assert_eq!(
        composed(&files, &variant),
        ["two", "other", "const SIZE = 2u;"]
    );
    let none = compose(&files[1..2], "shared/kind/one", &variant).unwrap_err();
    assert_eq!(none.problem, Problem::UnusedChoice("kind".into()));
}

#[test]
fn templates_are_expanded_where_they_are_used() {
    let files = [
        file(
            "stage",
            "#import a\n#use get left\n#use get right\n#use get left\n#use zero",
        ),
        file(
            "shared/a",
            "#template get BUFFER\nBUFFER_get\n#end\n#template zero\n#import b\nzero\n#end\na",
        ),
        file("shared/b", "b"),
    ];
    assert_eq!(
        composed(&files, &Variant::default()),
        ["a", "b", "left_get", "right_get", "zero"]
    );
}

#[test]
fn mistakes_name_their_file_and_line() {
    let stage = |text| file("stage", text);
    let of = |problem, line| ("stage".to_owned(), line, problem);
    assert_eq!(
        mistake(&[stage("a\n#import b")]),
        of(Problem::NoFile("shared/b".into()), 2)
    );
    assert_eq!(
        mistake(&[stage("#import kind/*")]),
        of(Problem::NoChoice("kind".into()), 1)
    );
    assert_eq!(
        mistake(&[stage("\n\n#extern SIZE")]),
        of(Problem::NoExtern("SIZE".into()), 3)
    );
    assert_eq!(
        mistake(&[stage("#use get a")]),
        of(Problem::NoTemplate("get".into()), 1)
    );
    assert_eq!(
        mistake(&[stage("#template get\n#end\n#use get a")]),
        of(Problem::NoDirective("use get".into()), 3)
    );
    assert_eq!(
        mistake(&[stage("#template get\n")]),
        of(Problem::NoEnd("get".into()), 1)
    );
    assert_eq!(
        mistake(&[stage("#include b // no")]),
        of(Problem::NoDirective("include b".into()), 1)
    );
    let missing = [stage("#import a"), file("shared/a", "\n#import b")];
    let problem = Problem::NoFile("shared/b".into());
    assert_eq!(mistake(&missing), ("shared/a".into(), 2, problem));
}

#[test]
fn circles_of_imports_are_refused() {
    let files = [
        file("stage", "#import a"),
        file("shared/a", "#import b"),
        file("shared/b", "b\n#import a"),
    ];
    let circle = ["shared/a", "shared/b"].map(String::from).to_vec();
    assert_eq!(
        mistake(&files),
        ("shared/b".into(), 2, Problem::Circle(circle))
    );
}

/// All files of WGSL below a folder, by their paths without `.wgsl`.
fn paths(folder: &Path, prefix: &str, out: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        let name = format!("{prefix}{}", name.to_str().unwrap());
        if path.is_dir() {
            paths(&path, &format!("{name}/"), out);
        } else if let Some(name) = name.strip_suffix(".wgsl") {
            out.insert(name.into());
        }
    }
}

#[test]
fn the_list_has_every_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut found = BTreeSet::new();
    paths(&folder, "", &mut found);
    let listed: BTreeSet<String> = FILES.iter().map(|file| file.path.into()).collect();
    assert_eq!(listed, found);
}

/// The words of code, and `#NAME` for the templates that it uses.
fn words(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default();
        if let Some(name) = code.strip_prefix("#use ") {
            words.extend(
                name.split_whitespace()
                    .next()
                    .map(|name| format!("#{name}")),
            );
        } else if !code.starts_with('#') {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            words.extend(code.split(|c| !is_part(c)).map(str::to_owned));
        }
    }
    words
}

/// The names that a file declares for those that import it, and `#NAME` for its templates.
fn declared(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut template = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("#template ") {
            template = true;
            names.extend(
                name.split_whitespace()
                    .next()
                    .map(|name| format!("#{name}")),
            );
        }
        template &= line != "#end";
        if let Some(externs) = line.strip_prefix("#extern ") {
            let externs = externs.split("//").next().unwrap_or_default();
            names.extend(externs.split_whitespace().map(str::to_owned));
        }
        for keyword in ["fn ", "const ", "alias ", "struct "] {
            if let Some(rest) = line.strip_prefix(keyword)
                && !template
            {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                names.insert(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
        if line.contains("<uniform> params") {
            names.insert("params".into());
        }
    }
    names
}

/// The files and folders of choices that a file imports, those of its templates included.
fn imported(text: &str) -> BTreeSet<&str> {
    let imports = text
        .lines()
        .filter_map(|line| line.strip_prefix("#import "));
    imports
        .filter_map(|rest| rest.split_whitespace().next())
        .collect()
}

/// The names of variables, parameters and fields in a file.
fn locals(text: &str) -> BTreeSet<String> {
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names = BTreeSet::new();
    for line in text.lines() {
        for keyword in ["let ", "var "] {
            if let Some(rest) = line.trim_start().strip_prefix(keyword) {
                names.extend(rest.split(|c| !name(c)).next().map(str::to_owned));
            }
        }
        for (end, _) in line.match_indices(": ") {
            names.extend(line[..end].rsplit(|c| !name(c)).next().map(str::to_owned));
        }
    }
    names
}

/// A reader finds every name that a file uses in a file that it imports.
#[test]
fn every_file_imports_what_it_uses_and_no_more() {
    // By import: what it declares.
    let mut declarations: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in FILES {
        if let Some(path) = file.path.strip_prefix("shared/") {
            let import = match path.split_once('/') {
                Some((folder, _)) => format!("{folder}/*"),
                None => path.to_owned(),
            };
            let names = declared(file.text);
            declarations.entry(import).or_default().extend(names);
        }
    }
    let mut faults = Vec::new();
    for file in FILES {
        let mut used = words(file.text);
        if file.text.contains("#extern operator_forward") {
            let operators = Model::ALL.iter().filter_map(|model| model.wgsl());
            used.extend(operators.flat_map(words));
        }
        let own = &declared(file.text) | &locals(file.text);
        let used = &used - &own;
        let imports = imported(file.text);
        for &import in &imports {
            let names = declarations.get(import);
            if names.is_some_and(|names| names.is_disjoint(&used)) {
                faults.push(format!("{} uses nothing of {import}", file.path));
            }
        }
        for name in &used {
            let declaring = declarations
                .iter()
                .filter(|(_, names)| names.contains(name));
            let all: Vec<&String> = declaring.map(|(import, _)| import).collect();
            if !all.is_empty() && !all.iter().any(|import| imports.contains(import.as_str())) {
                faults.push(format!("{} uses {name} of {all:?}", file.path));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
