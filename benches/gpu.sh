#!/usr/bin/env bash
# Measures Shardloom on a machine with a GPU that has no toolchain.
#
#   benches/gpu.sh pack DIR     here: builds, and collects binaries and data in DIR
#   DIR/gpu.sh run OUT          there: parity tests, devices, shard updates, recipes; everything goes to OUT
#
# pack takes data from $SHARDLOOM_DATA and, if $PEER names a script, takes it along; run gives that
# script to python3 (it prints one JSON object a line). The figures belong, with the machine's
# kind, in benches/runs/.
set -euo pipefail

pack() {
    local dir=$1
    mkdir -p "$dir/data" "$dir/tests"
    cargo build --release
    cp target/release/shardloom "$dir/"
    cargo test --release --no-run --message-format=json --test parity |
        sed -n 's/.*"executable":"\([^"]*parity[^"]*\)".*/\1/p' |
        xargs -I{} cp {} "$dir/tests/parity"
    cp "${SHARDLOOM_DATA:?set it to the folder of the public archives}"/*.tar.gz "$dir/data/"
    if [ -n "${PEER:-}" ]; then cp "$PEER" "$dir/peer.py"; fi
    cp "$0" "$dir/gpu.sh"
    echo "packed $(du -sh "$dir" | cut -f1) in $dir"
}

run() {
    local out=$1 here
    here=$(cd "$(dirname "$0")" && pwd)
    mkdir -p "$out"
    export SHARDLOOM_DATA="$here/data" SHARDLOOM_REQUIRE_GPU=1
    "$here/shardloom" devices --json >"$out/devices.json"
    # A failed part must not keep the others from being measured.
    (cd "$out" && "$here/tests/parity") >"$out/parity.log" 2>&1 || echo "parity tests FAILED"
    # Updates beside the peer's, which come first and last: clocks change as a card warms up.
    peer() { [ ! -f "$here/peer.py" ] || python3 "$here/peer.py" "${@:2}" >"$out/$1.jsonl" 2>"$out/$1.log" || true; }
    peer peer-updates-before --only copy,update
    local rows batches
    for rows in 1000000 10000000; do
        for batches in 1 8; do
            timeout 120 "$here/shardloom" bench --device gpu --rows "$rows" --batches "$batches" --json \
                --output "$out/bench-$rows-$batches.jsonl" >/dev/null 2>"$out/bench-$rows-$batches.log" ||
                echo "bench of $rows rows FAILED"
        done
    done
    peer peer-updates-after --only copy,update
    timeout 120 "$here/shardloom" bench --suite training --device gpu --output "$out/training.jsonl" \
        >"$out/training.log" 2>&1 || echo "bench of training FAILED"
    peer peer
    local recipe
    for recipe in umls fb15k-237-complex-n3-published fb15k-237-transe wn18rr-rotate; do
        timeout 150 "$here/shardloom" train --recipe "$recipe" --device gpu --epochs 10 \
            --output "$out/$recipe" >"$out/$recipe.log" 2>&1 || echo "$recipe did not finish"
        rm -rf "$out/$recipe/checkpoints"
        tail -n 12 "$out/$recipe.log"
    done
}

case "${1:-}" in
    pack) pack "${2:?a folder to pack into}" ;;
    run) run "${2:?a folder for the figures}" ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
