//! Files of `src` that import each other in a circle.
//!
//! A file imports another one if it names, by any path, something that is defined there. Re-exports
//! are followed to the definition; `mod` and `pub use` are no imports. Tests do not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::{inside_src, is_test, sources};

/// Number of files in the widest circle of today. The number may only become smaller.
const WIDEST: usize = 26;

/// A module's path from the top of the crate; or a path in code, in which the first parts may be `crate`,
/// `self` and `super`.
type Path = Vec<String>;

/// A file without tests, comments and the text of literals.
#[derive(Default)]
struct Source {
    file: String,
    module: Path,
    /// Names that the file defines.
    defines: BTreeSet<String>,
    /// Paths by the name under which the file imports them, or exports them anew.
    uses: BTreeMap<String, Path>,
    /// Paths of which the file imports, or exports anew, everything.
    globs: Vec<Path>,
    /// Paths that the file names.
    paths: Vec<Path>,
}

/// Words, `::` and single characters of a text, without comments and the text of literals.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            while i < chars.len() && !(chars[i] == '*' && at(i + 1) == '/') {
                i += 1;
            }
            i += 2;
        } else if c == 'r'
            && (at(i + 1) == '"' || at(i + 1) == '#' && matches!(at(i + 2), '"' | '#'))
        {
            let hashes = (i + 1..).take_while(|&k| at(k) == '#').count();
            i += hashes + 2;
            let closed = |i: usize| chars[i] == '"' && (1..=hashes).all(|k| at(i + k) == '#');
            while i < chars.len() && !closed(i) {
                i += 1;
            }
            i += hashes + 1;
        } else if c == '"' {
            i += 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += 2;
            while i < chars.len() && chars[i] != '\'' {
                i += 1;
            }
            i += 1;
        } else if is_word(c) {
            let end = (i..chars.len()).find(|&k| !is_word(chars[k]));
            let end = end.unwrap_or(chars.len());
            tokens.push(chars[i..end].iter().collect());
            i = end;
        } else if c == ':' && at(i + 1) == ':' {
            tokens.push("::".to_owned());
            i += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            i += 1;
        }
    }
    tokens
}

/// Index of the token that closes the bracket at `open`.
fn closing(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len()
}

/// Drops every item that stands under `#[cfg(test)]`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if !tokens[i..].iter().zip(mark).all(|(a, b)| a == b) || tokens.len() - i < mark.len() {
            kept.push(tokens[i].clone());
            i += 1;
            continue;
        }
        i += mark.len();
        while i < tokens.len() && !matches!(tokens[i].as_str(), "{" | ";") {
            i = match tokens[i].as_str() {
                "(" | "[" => closing(&tokens, i) + 1,
                _ => i + 1,
            };
        }
        if tokens.get(i).is_some_and(|token| token == "{") {
            i = closing(&tokens, i);
        }
        i += 1;
    }
    kept
}

/// Reads the tree of a `use` from token `i`: every path with the name that it gets, `*` for all.
fn use_tree(tokens: &[String], mut i: usize, prefix: &Path, found: &mut Vec<(String, Path)>) {
    let mut path = prefix.clone();
    while i < tokens.len() {
        match tokens[i].as_str() {
            "{" => {
                let end = closing(tokens, i);
                let mut start = i + 1;
                while start < end {
                    let mut comma = start;
                    while comma < end && tokens[comma] != "," {
                        comma = match tokens[comma].as_str() {
                            "{" => closing(tokens, comma) + 1,
                            _ => comma + 1,
                        };
                    }
                    use_tree(&tokens[..comma.min(end)], start, &path, found);
                    start = comma + 1;
                }
                return;
            }
            "as" => {
                found.push((tokens[i + 1].clone(), path));
                return;
            }
            "*" => {
                found.push(("*".to_owned(), path));
                return;
            }
            ";" => break,
            "::" => {}
            // `use a::{self}` names `a`.
            "self" if !path.is_empty() => {}
            word => path.push(word.to_owned()),
        }
        i += 1;
    }
    if let Some(name) = path.last().cloned() {
        found.push((name, path));
    }
}

const DEFINE: [&str; 9] = [
    "fn",
    "struct",
    "enum",
    "trait",
    "type",
    "const",
    "static",
    "union",
    "macro_rules",
];

fn read(file: String, text: &str) -> Source {
    let module = file.strip_suffix(".rs").unwrap().split('/');
    let module = module.filter(|part| !["mod", "lib", "main"].contains(part));
    let mut source = Source {
        module: module.map(str::to_owned).collect(),
        file,
        ..Source::default()
    };
    let tokens = without_tests(tokens(text));
    let mut i = 0;
    while i < tokens.len() {
        let token = tokens[i].as_str();
        if token == "use" {
            let end = (i..tokens.len()).find(|&k| tokens[k] == ";").unwrap();
            let exports = i > 0 && (tokens[i - 1] == "pub" || tokens[i - 1] == ")");
            let mut found = Vec::new();
            use_tree(&tokens[..end], i + 1, &Path::new(), &mut found);
            for (name, path) in found {
                if !exports {
                    source.paths.push(path.clone());
                }
                match name.as_str() {
                    "*" => source.globs.push(path),
                    _ => {
                        source.uses.insert(name, path);
                    }
                }
            }
            i = end;
        } else if DEFINE.contains(&token) {
            let name = tokens[i + 1..].iter().find(|token| *token != "!").unwrap();
            source.defines.insert(name.clone());
        } else if tokens.get(i + 1).is_some_and(|next| next == "::")
            && (i == 0 || tokens[i - 1] != "::")
        {
            let mut path = vec![token.to_owned()];
            while tokens.get(i + 1).is_some_and(|next| next == "::")
                && tokens
                    .get(i + 2)
                    .is_some_and(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
            {
                path.push(tokens[i + 2].clone());
                i += 2;
            }
            source.paths.push(path);
        }
        i += 1;
    }
    source
}

/// Where a path leads.
enum Target {
    /// To a module itself.
    Module(Path),
    /// To an item that this module defines.
    Item(Path),
}

/// All files by the paths of their modules.
struct Crate(BTreeMap<Path, Source>);

impl Crate {
    fn new(files: impl Iterator<Item = (String, String)>) -> Crate {
        let mut modules: BTreeMap<Path, Source> = BTreeMap::new();
        for (file, text) in files {
            let source = read(file, &text);
            modules.entry(source.module.clone()).or_insert(source);
        }
        Crate(modules)
    }

    /// Where a path that stands in `module` leads; `None` if the path leads out of the crate. At most
    /// `depth` re-exports are followed.
    fn target(&self, module: &Path, path: &[String], depth: u32) -> Option<Target> {
        let (first, mut rest) = path.split_first()?;
        let mut place = module.clone();
        match first.as_str() {
            "crate" => place.clear(),
            "self" => {}
            "super" => {
                place.pop()?;
                while rest.first().is_some_and(|part| part == "super") {
                    place.pop()?;
                    rest = &rest[1..];
                }
            }
            _ => {
                if !self.knows(&place, first) {
                    return None;
                }
                rest = path;
            }
        }
        self.descend(place, rest, depth)
    }

    /// Whether a name in `module` is that of something in the crate.
    fn knows(&self, module: &Path, name: &str) -> bool {
        let source = &self.0[module];
        let child = [&module[..], &[name.to_owned()]].concat();
        self.0.contains_key(&child) || source.uses.contains_key(name)
    }

    fn descend(&self, place: Path, rest: &[String], depth: u32) -> Option<Target> {
        let Some((name, after)) = rest.split_first() else {
            return Some(Target::Module(place));
        };
        let child = [&place[..], std::slice::from_ref(name)].concat();
        if self.0.contains_key(&child) {
            return self.descend(child, after, depth);
        }
        let source = self.0.get(&place)?;
        if source.defines.contains(name) || depth == 0 {
            return Some(Target::Item(place));
        }
        if let Some(target) = source.uses.get(name) {
            let target = [&target[..], after].concat();
            return match target[0] == *name {
                // An extern crate of that name.
                true => None,
                false => self.target(&place, &target, depth - 1),
            };
        }
        for glob in &source.globs {
            if let Some(Target::Module(module)) = self.target(&place, glob, depth - 1)
                && self.0[&module].defines.contains(name)
            {
                return Some(Target::Item(module));
            }
        }
        Some(Target::Item(place))
    }

    /// The files that every file imports.
    fn imports(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut imports = BTreeMap::new();
        for (module, source) in &self.0 {
            let mut of_file = BTreeSet::new();
            for path in &source.paths {
                // A module that is imported for short counts where code names something in it.
                if let Some(Target::Item(target)) = self.target(module, path, 8)
                    && target != *module
                {
                    of_file.insert(self.0[&target].file.as_str());
                }
            }
            imports.insert(source.file.as_str(), of_file);
        }
        imports
    }
}

/// The largest sets of files of which each imports, over others, all the rest: two or more, the widest first.
fn circles<'a>(imports: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<BTreeSet<&'a str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> = imports
        .keys()
        .map(|&file| {
            let (mut reached, mut ahead) = (BTreeSet::new(), vec![file]);
            while let Some(from) = ahead.pop() {
                for &to in imports.get(from).into_iter().flatten() {
                    if reached.insert(to) {
                        ahead.push(to);
                    }
                }
            }
            (file, reached)
        })
        .collect();
    let mut circles = BTreeSet::new();
    for (&file, reached) in &reach {
        let back = |other: &&&str| reach[**other].contains(file);
        let circle: BTreeSet<&str> = reached.iter().filter(back).copied().collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    let mut circles: Vec<_> = circles.into_iter().collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

/// The test lists all circles with `-- --nocapture`.
#[test]
fn no_circle_of_imports_becomes_wider() {
    let files = sources().into_iter().filter(|(path, _)| !is_test(path));
    let code = Crate::new(files.map(|(path, text)| (inside_src(&path), text)));
    let imports = code.imports();
    let arrows: usize = imports.values().map(BTreeSet::len).sum();
    println!("{} files, {arrows} imports", imports.len());
    assert!(arrows > imports.len(), "imports are found");
    let circles = circles(&imports);
    for circle in &circles {
        println!("a circle of {} files:", circle.len());
        for &file in circle {
            let inside: Vec<&str> = imports[file].intersection(circle).copied().collect();
            println!("    {file} imports {}", inside.join(", "));
        }
    }
    let widest = circles.first().map_or(0, BTreeSet::len);
    assert!(
        widest <= WIDEST,
        "{widest} files import each other, {WIDEST} at most are allowed: {:?}",
        circles[0]
    );
}

#[test]
fn circles_are_found_through_re_exports() {
    let files = [
        (
            "lib.rs",
            "pub mod a; pub mod b; pub use b::Two; // crate::b::c",
        ),
        (
            "a.rs",
            "use crate::{b::{self, Two as Other}, rng}; struct One; fn f() -> b::Two { \"crate::d\" }",
        ),
        (
            "b/mod.rs",
            "mod c; pub(crate) use c::*; use std::fmt; fn g(f: &mut fmt::F) {}",
        ),
        (
            "b/c.rs",
            "pub struct Two(super::super::a::One); #[cfg(test)] mod tests { use crate::d::X; }",
        ),
        (
            "d.rs",
            "pub fn h() { crate::Two; }\n#[cfg(test)]\nfn t() { super::b::g(); }",
        ),
        (
            "rng.rs",
            "/* crate::a::One */ pub fn r<'a>(c: char) { c == '\"'; super::d::h() }",
        ),
    ];
    let code = Crate::new(
        files
            .map(|(file, text)| (file.to_owned(), text.to_owned()))
            .into_iter(),
    );
    let imports = code.imports();
    assert_eq!(imports["a.rs"], BTreeSet::from(["b/c.rs"]));
    assert_eq!(imports["b/c.rs"], BTreeSet::from(["a.rs"]));
    assert_eq!(imports["b/mod.rs"], BTreeSet::new());
    assert_eq!(imports["d.rs"], BTreeSet::from(["b/c.rs"]));
    assert_eq!(imports["rng.rs"], BTreeSet::from(["d.rs"]));
    assert_eq!(circles(&imports), [BTreeSet::from(["a.rs", "b/c.rs"])]);
}
