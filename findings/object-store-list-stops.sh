#!/usr/bin/env bash
# LocalFileSystem::list of object_store 0.14.2 ends at the first file that it cannot name, such as one whose name
# is not UTF-8: the stream yields one error and then None, and the files behind it are never listed. Outside of a
# tokio runtime the same call yields the same error and goes on to the last file.
#
# One would guess that an error of an item concerns that item, and that who steps over it gets the others, or
# at least that both ways list the same files.
#
# Seen: of 40 objects and one such file, fewer than 40 objects within tokio, 40 without.
# Needs cargo and a file system that takes any bytes as names, such as those of Linux. Exit status 0: as described;
# 1: it changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
object_store = { version = "=0.14.2", default-features = false, features = ["fs"] }
tokio = { version = "1.54", features = ["rt"] }
futures = { version = "0.3", default-features = false, features = ["executor", "std"] }
TOML
cat >src/main.rs <<'RUST'
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use futures::StreamExt;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

/// Counts the objects and the errors of a listing.
async fn count(store: &LocalFileSystem) -> (usize, usize) {
    let (mut objects, mut errors) = (0, 0);
    let mut listing = store.list(None);
    while let Some(item) = listing.next().await {
        match item {
            Ok(_) => objects += 1,
            Err(_) => errors += 1,
        }
    }
    (objects, errors)
}

fn main() {
    let folder = std::env::current_dir().expect("a folder").join("objects");
    std::fs::create_dir(&folder).expect("a folder");
    let create = |name: &OsStr| std::fs::write(folder.join(name), "").expect("a file");
    (0..20).for_each(|i| create(format!("object-{i}").as_ref()));
    create(OsStr::from_bytes(b"name-\xff"));
    (20..40).for_each(|i| create(format!("object-{i}").as_ref()));
    let store = LocalFileSystem::new_with_prefix(&folder).expect("a store");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let within = runtime.block_on(count(&store));
    let without = futures::executor::block_on(count(&store));
    println!("{} {} {} {}", within.0, within.1, without.0, without.1);
}
RUST
cargo run --quiet >out 2>err || { cat err >&2; exit 1; }
read -r within within_errors without without_errors <out
echo "object_store 0.14.2, 40 objects: $within and $within_errors error within tokio, $without and $without_errors error without"
[ "$within" -lt 40 ] && [ "$within_errors" = 1 ] && [ "$without" = 40 ] && [ "$without_errors" = 1 ]
