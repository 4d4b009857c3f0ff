#!/usr/bin/env bash
# Hands every shader to compilers of other systems. From the root of the project:
#
#   tests/shaders/compile.sh tint       WGSL by Tint, WebGPU's compiler in Chromium (needs Node.js and npm)
#   tests/shaders/compile.sh fxc dxc    HLSL by Microsoft's two compilers (also wine64 and mingw-w64)
#   tests/shaders/compile.sh browser    four stages run in headless Chromium (Node.js and chromium)
#
# The compilers come in the npm package that tests/shaders/package.json pins. Everything is left in
# target/shaders. Exit status 0: all shaders pass. With SHADERS naming a folder that a test filled
# (SHARDLOOM_SHADERS), that one is taken.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# No shader may take a compiler longer than this.
MOST_MS=5000
work=$PWD/target/shaders
texts=${SHADERS:-$work/texts}

need() {
    command -v "$1" >/dev/null || { echo "$1 is not installed: $2" >&2; exit 2; }
}

write_texts() {
    [ -z "${SHADERS:-}" ] || return 0
    rm -rf "$texts"
    mkdir -p "$texts"
    SHARDLOOM_SHADERS=$texts cargo test --lib kernel::gpu::source::tests >"$work/texts.log" 2>&1 ||
        { cat "$work/texts.log" >&2; exit 1; }
}

install_package() {
    need npm "Node.js 20 or later comes with it"
    mkdir -p "$work"
    cp tests/shaders/package.json tests/shaders/tint.mjs "$work/"
    (cd "$work" && npm install --silent --no-audit --no-fund --no-package-lock)
}

# hlsl fxc|dxc PROFILE EXTENSION: compiles what release builds (EXTENSION) and debug builds
# (checked.EXTENSION) hand over.
hlsl() {
    local compiler=$1 profile=$2 extension=$3 wine
    need x86_64-w64-mingw32-g++ "Debian has it in g++-mingw-w64-x86-64"
    wine=$(command -v wine64 || command -v wine || ls /usr/lib/wine/wine64 2>/dev/null) ||
        { echo "wine64 is not installed" >&2; exit 2; }
    cp "$work"/node_modules/webgpu/dist/win32-x64/*.dll "$work/"
    x86_64-w64-mingw32-g++ -O1 -static tests/shaders/hlsl.cpp -o "$work/hlsl.exe"
    find "$texts" -name "*.$extension" | sort | sed 's/^/Z:/' >"$work/$compiler.list"
    local status=0
    (cd "$work" && WINEPREFIX="$work/wine" WINEDEBUG=-all "$wine" hlsl.exe "$compiler" "$profile" \
        "$compiler.list" >"$compiler.tsv" 2>"$compiler.log") || status=$?
    awk -F '\t' -v most=$MOST_MS -v name="$compiler $profile" -v want="$(wc -l <"$work/$compiler.list")" '
        $1 == "BAD" { print $2 ": " $5; bad++ }
        $1 == "OK" { ok++ }
        $3 > slowest { slowest = $3 + 0 }
        $3 > most { print $2 ": took " $3 " ms, at most " most " are wanted"; bad++ }
        END {
            printf "%s compiles %d of %d shaders, the slowest in %.1f s\n", name, ok, want, slowest / 1000
            exit (bad > 0 || ok != want || want == 0)
        }' "$work/$compiler.tsv"
    return $status
}

[ $# -gt 0 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$work"
write_texts
for what in "$@"; do
    case $what in
        tint) install_package && node "$work/tint.mjs" "$texts" ;;
        fxc) install_package && hlsl fxc cs_5_1 5_1.hlsl ;;
        dxc) install_package && hlsl dxc cs_6_6 6_6.hlsl ;;
        browser) need chromium "or set a link of that name" && node tests/shaders/browser.mjs "$texts" ;;
        *) echo "$what is none of tint, fxc, dxc, browser" >&2; exit 2 ;;
    esac
done
