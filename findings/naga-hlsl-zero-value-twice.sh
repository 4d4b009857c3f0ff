#!/usr/bin/env bash
# naga 30.0.1 writes HLSL that defines one helper function twice, and reports no error, when a shader
# makes the zero value of a type once by its name and once through an alias. No HLSL compiler takes a
# function that is defined twice, so the shader works on Vulkan and Metal and fails on DX12 alone.
#
# One would guess that an alias and its type are one type to the translator, as they are in WGSL.
#
# Seen: "float4 ZeroValuefloat4()" is defined 2 times with the alias, once without.
# Needs cargo. Exit status 0: as described; 1: it changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
naga = { version = "=30.0.1", features = ["wgsl-in", "hlsl-out"] }
TOML
cat >src/main.rs <<'RUST'
use naga::back::hlsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};

fn definitions(second: &str) -> usize {
    let code = format!(
        "alias Cell = vec4f;
         @group(0) @binding(0) var<storage, read_write> data: array<vec4f>;
         fn first(i: u32) -> vec4f {{ if i > 3u {{ return vec4f(); }} return data[i]; }}
         fn second(i: u32) -> vec4f {{ if i > 5u {{ return {second}; }} return data[i]; }}
         @compute @workgroup_size(1)
         fn main(@builtin(global_invocation_id) id: vec3u) {{
             data[id.x] = first(id.x) + second(id.x);
         }}"
    );
    let module = naga::front::wgsl::parse_str(&code).expect("valid WGSL");
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .expect("valid module");
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &hlsl::Options::default(), &hlsl::PipelineOptions::default())
        .write(&module, &info, None)
        .expect("naga reports no error");
    text.matches("float4 ZeroValuefloat4() {").count()
}

fn main() {
    println!("{} {}", definitions("Cell()"), definitions("vec4f()"));
}
RUST
cargo run --quiet >out 2>err || { cat err >&2; exit 1; }
read -r alias plain <out
echo "naga 30.0.1: ZeroValuefloat4 is defined $alias times with an alias, $plain times without"
[ "$alias" = 2 ] && [ "$plain" = 1 ]
