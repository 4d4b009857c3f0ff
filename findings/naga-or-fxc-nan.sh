#!/usr/bin/env bash
# A WGSL guard of the form `x > 0.0 || is_nan(x)`, where is_nan looks at the bits, loses NaN on DX12
# with FXC, though FXC leaves the test of bits alone: naga 30.0.1 writes `a || b` as
# `if (!(a)) { b } else { true }`, and FXC (d3dcompiler_47.dll) compiles `!(x > 0.0)` to the opposite
# comparison `ge 0, x`, which is false of NaN. The test of bits is then never reached. Written the
# other way round, `is_nan(x) || x > 0.0`, NaN survives.
#
# One would guess that || keeps its meaning through the translator, and that the order of two pure
# operands cannot matter.
#
# Seen in FXC's assembly: "ge" in place of "lt" for the first order, "lt" for the second.
# Needs cargo, npm, wine64 and mingw-w64 (x86_64-w64-mingw32-g++). Exit status 0: as described.
set -euo pipefail
wine=$(command -v wine64 || command -v wine || ls /usr/lib/wine/wine64)
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

fn main() {
    for (name, guard) in [
        ("comparison-first", "x > 0.0 || is_nan(x)"),
        ("bits-first", "is_nan(x) || x > 0.0"),
    ] {
        let code = format!(
            "@group(0) @binding(0) var<storage, read_write> data: array<f32>;
             fn is_nan(x: f32) -> bool {{
                 return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
             }}
             @compute @workgroup_size(1)
             fn main(@builtin(global_invocation_id) id: vec3u) {{
                 let x = data[id.x];
                 if {guard} {{ data[id.x] = 7.0; }}
             }}"
        );
        let module = naga::front::wgsl::parse_str(&code).expect("valid WGSL");
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .expect("valid module");
        let mut options = hlsl::Options::default();
        options.restrict_indexing = false;
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
            .write(&module, &info, None)
            .expect("naga reports no error");
        std::fs::write(format!("{name}.hlsl"), text).expect("a folder that can be written");
    }
}
RUST
cargo run --quiet 2>err || { cat err >&2; exit 1; }
npm install --silent --no-audit --no-fund webgpu@0.6.2 >/dev/null
cp node_modules/webgpu/dist/win32-x64/d3dcompiler_47.dll .
cat >fxc.cpp <<'CPP'
#include <windows.h>
#include <d3dcommon.h>
#include <fstream>
#include <iterator>
#include <stdio.h>
#include <string>
typedef HRESULT(WINAPI *Compile)(LPCVOID, SIZE_T, LPCSTR, const void *, void *, LPCSTR, LPCSTR, UINT, UINT,
                                 ID3DBlob **, ID3DBlob **);
typedef HRESULT(WINAPI *Disassemble)(LPCVOID, SIZE_T, UINT, LPCSTR, ID3DBlob **);
int main(int, char **arguments) {
    HMODULE library = LoadLibraryA("d3dcompiler_47.dll");
    Compile compile = (Compile)(void *)GetProcAddress(library, "D3DCompile");
    Disassemble disassemble = (Disassemble)(void *)GetProcAddress(library, "D3DDisassemble");
    std::ifstream file(arguments[1], std::ios::binary);
    std::string code((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    ID3DBlob *object = nullptr, *errors = nullptr, *text = nullptr;
    compile(code.data(), code.size(), nullptr, nullptr, nullptr, "main", "cs_5_1", 1 << 11, 0, &object, &errors);
    if (!object) return 1;
    disassemble(object->GetBufferPointer(), object->GetBufferSize(), 0, nullptr, &text);
    printf("%s", (const char *)text->GetBufferPointer());
}
CPP
x86_64-w64-mingw32-g++ -O1 -static fxc.cpp -o fxc.exe
export WINEPREFIX=$work/wine WINEDEBUG=-all
for name in comparison-first bits-first; do
    "$wine" fxc.exe "$name.hlsl" >"$name.asm" 2>/dev/null
    echo "$name:" $(grep -oE '^ *(ge|lt|ult|or|movc|if_[a-z]+) ' "$name.asm" | tr -s ' \n' ' ')
done
grep -qE '^ *ge ' comparison-first.asm && ! grep -qE '^ *lt ' comparison-first.asm &&
    grep -qE '^ *lt ' bits-first.asm && ! grep -qE '^ *ge ' bits-first.asm
