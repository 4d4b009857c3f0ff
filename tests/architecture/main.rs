//! The documents say what the code is.

mod circles;
mod prose;
mod sizes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files of `src` with their text, in the order of their paths.
fn sources() -> Vec<(PathBuf, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// The path of a file inside `src`, with slashes on every system.
fn inside_src(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let parts = inside.iter().map(|part| part.to_str().unwrap());
    parts.collect::<Vec<_>>().join("/")
}

/// Whether a file of `src` holds nothing but tests, by its name or its folder's.
fn is_test(path: &Path) -> bool {
    inside_src(path).contains("test")
}

/// The floor of every module, by the table in docs/ARCHITECTURE.md.
fn floors() -> BTreeMap<String, u32> {
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let mut floors = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", floor, modules, ""] = cells[..]
            && let Ok(floor) = floor.parse()
        {
            for module in modules.split(", ") {
                floors.insert(module.to_owned(), floor);
            }
        }
    }
    floors
}

/// The modules at the top of the library that code names: what stands before tests, without comments.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code: Vec<&str> = code
        .lines()
        .map(|line| line.split("//").next().unwrap())
        .collect();
    let code = code.join("\n");
    let word = |rest: &str| -> String {
        let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        rest.chars().take_while(is_name).collect()
    };
    code.match_indices("crate::")
        .map(|(at, path)| word(&code[at + path.len()..]))
        .collect()
}

#[test]
fn modules_import_only_from_floors_below() {
    let floors = floors();
    let (mut faults, mut seen) = (Vec::new(), BTreeSet::new());
    for (path, text) in sources() {
        let inside = inside_src(&path);
        let module = inside.split(['/', '.']).next().unwrap().to_owned();
        if ["lib", "main", "cli"].contains(&module.as_str()) || is_test(&path) {
            continue;
        }
        seen.insert(module.clone());
        let Some(own) = floors.get(&module) else {
            faults.push(format!("docs/ARCHITECTURE.md has no floor for {module}"));
            continue;
        };
        for import in imports(&text) {
            match floors.get(&import) {
                Some(floor) if import != *module && floor >= own => {
                    faults.push(format!(
                        "{inside}: {module} (floor {own}) imports {import} (floor {floor})"
                    ));
                }
                _ => {}
            }
        }
    }
    faults.sort();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let listed: BTreeSet<String> = floors.into_keys().collect();
    assert_eq!(listed, seen, "modules of docs/ARCHITECTURE.md and of src");
}

#[test]
fn imports_are_found() {
    let code = "use crate::kernel::Table;\n// crate::no\nfn f() { crate::rng::stream() }\n\
                #[cfg(test)]\nmod tests {\n    use crate::train::Trainer;\n}\n";
    let found: Vec<String> = imports(code).into_iter().collect();
    assert_eq!(found, ["kernel", "rng"]);
}

#[test]
fn the_readme_is_short_and_its_links_lead_somewhere() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.len() <= 10 << 10, "{} bytes", readme.len());
    let mut pages = vec![PathBuf::from("README.md")];
    let docs = fs::read_dir(root().join("docs")).unwrap();
    pages.extend(docs.map(|entry| Path::new("docs").join(entry.unwrap().file_name())));
    pages.push("tests/README.md".into());
    pages.push("tests/shaders/README.md".into());
    for page in pages {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        for (at, open) in text.match_indices("](") {
            let link = text[at + open.len()..].split(')').next().unwrap();
            let file = link.split('#').next().unwrap();
            if file.is_empty() || link.contains("://") {
                continue;
            }
            let target = root().join(&page).parent().unwrap().join(file);
            assert!(target.exists(), "{}: {link} is not there", page.display());
        }
    }
}

/// Folder and stem of every stage's file in a home of the stages, such as `scores/loss`. The
/// folder `shared` has no stages.
fn stages(home: &Path, extension: &str) -> BTreeSet<String> {
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let entries = |folder: &Path| {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
    };
    let mut stages = BTreeSet::new();
    for folder in entries(home) {
        if !folder.is_dir() || name(&folder) == "shared" {
            continue;
        }
        for file in entries(&folder).filter(|file| name(file) != "mod") {
            let found = file.extension().unwrap_or_default();
            assert_eq!(found, extension, "{} is no stage", file.display());
            stages.insert(format!("{}/{}", name(&folder), name(&file)));
        }
    }
    stages
}

/// One stage, one name, three homes: a shader, a file of the GPU's engine and a file of the CPU's.
#[test]
fn every_stage_has_one_folder_and_name() {
    let mut shaders = stages(&root().join("shaders"), "wgsl");
    let on_gpus = stages(&root().join("src/kernel/gpu/stages"), "rs");
    assert_eq!(on_gpus, shaders, "files in kernel/gpu/stages, and shaders");
    let folder = root().join("src/kernel/cpu/stages");
    // Shaders that only a GPU needs; the module says why.
    let documentation = fs::read_to_string(folder.join("mod.rs")).unwrap();
    let only_on_gpus = ["gradients/grad_query_sum"];
    for stage in only_on_gpus {
        let name = stage.split('/').next_back().unwrap();
        assert!(
            documentation.contains(&format!("`{name}`")),
            "stages/mod.rs does not name {name}"
        );
        assert!(shaders.remove(stage), "no shader {stage}");
    }
    let on_cpus = stages(&folder, "rs");
    assert_eq!(on_cpus, shaders, "files in kernel/cpu/stages, and shaders");
}
