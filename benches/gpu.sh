#!/usr/bin/env bash
# Measures Shardloom on a machine with a GPU that has no toolchain and no network.
#
#   benches/gpu.sh pack DIR             here: builds, and collects binaries and data in DIR
#   DIR/gpu.sh run OUT [PART…]          there: everything goes to OUT, and once more to OUT.tar.gz
#
# Parts, all of them by default: parity (tests), updates (of shards), training (steps by stage) and
# recipes. Together they take at most 24 minutes, none more than 8; a part that fails or runs out of
# time leaves the others alone.
#
# pack takes data from $SHARDLOOM_DATA and, if $PEER names a script, takes it along; run gives that
# script to python3 (it prints one JSON object a line). The figures belong, with the machine's
# kind, in benches/runs/. To try the script itself: PROFILE=dev pack; for run LIMIT (seconds for each
# command), ROWS, BENCH (more flags for every bench), NAMES (of training lines), RECIPES and EPOCHS.
set -euo pipefail

# What machines are reached through takes so many MiB.
MOST_MIB=64

# build NAME FILE ARGUMENT…: cargo builds NAME, which is copied to FILE.
build() {
    local name=$1 file=$2
    shift 2
    cargo "$@" --message-format=json |
        sed -n "s/.*\"executable\":\"\\([^\"]*$name[^\"]*\\)\".*/\\1/p" |
        xargs -I{} cp {} "$file"
}

pack() {
    local dir=$1 profile=${PROFILE:-release} mib
    mkdir -p "$dir/data" "$dir/tests"
    cargo build --profile "$profile" --bin shardloom
    cp "target/${profile/dev/debug}/shardloom" "$dir/"
    build parity "$dir/tests/parity" test --profile "$profile" --no-run --test parity
    build training "$dir/training" build --profile "$profile" --bench training
    strip "$dir/shardloom" "$dir/tests/parity" "$dir/training"
    cp "${SHARDLOOM_DATA:?set it to the folder of the public archives}"/*.tar.gz "$dir/data/"
    if [ -n "${PEER:-}" ]; then cp "$PEER" "$dir/peer.py"; fi
    cp "$0" "$dir/gpu.sh"
    mib=$(du -sm "$dir" | cut -f1)
    echo "packed $mib MiB in $dir"
    [ "$mib" -lt "$MOST_MIB" ] || echo "that is too much: at most $MOST_MIB MiB can be taken along"
}

# attempt SECONDS NAME COMMAND…: output goes to OUT/NAME.log.
attempt() {
    local seconds=${LIMIT:-$1} name=$2
    shift 2
    echo "$(date +%T) $name"
    timeout "$seconds" "$@" >"$out/$name.log" 2>&1 || echo "$name FAILED or took over $seconds s"
}

# The lines of results in OUT/NAME.log, without other output. Lines count that are there when time is
# up.
results() {
    grep '^{' "$out/$1.log" >"$out/$1.jsonl" || true
}

# bench SECONDS NAME PROGRAM…: lines of results go to OUT/NAME.jsonl.
bench() {
    # shellcheck disable=SC2086 # several flags
    attempt "$1" "$2" "${@:3}" --device gpu --json ${BENCH:-}
    results "$2"
}

peer() {
    [ -f "$here/peer.py" ] || return 0
    attempt "$1" "$2" python3 "$here/peer.py" "${@:3}"
    results "$2"
}

# At most 5 minutes.
part_parity() {
    (cd "$out" && attempt 300 parity "$here/tests/parity")
    grep '^test result' "$out/parity.log" || true
}

# At most 7 minutes.
part_updates() {
    local rows batches few
    # The peer comes first and last: clocks change as a card warms up.
    peer 30 peer-updates-before --only copy,gemm,update
    for rows in ${ROWS:-1000000 10000000}; do
        # Filling larger tables takes its time.
        few=$([ "$rows" -le 1000000 ] || echo "--only copy,gather,update_sgd,update_adagrad --dtype f32")
        for batches in 1 8; do
            # shellcheck disable=SC2086 # several flags
            bench 90 "updates-$rows-$batches" "$here/shardloom" bench --rows "$rows" --batches "$batches" $few
        done
    done
    peer 30 peer-updates-after --only copy,gemm,update
}

# At most 5 minutes.
part_training() {
    bench 200 training "$here/training" --stages ${NAMES:+--name "$NAMES"}
    peer 100 peer-training --only onevsall,negsamp,rank
}

# At most 7 minutes.
part_recipes() {
    local recipe
    for recipe in ${RECIPES:-umls fb15k-237-complex-n3-published fb15k-237-transe wn18rr-rotate}; do
        attempt 100 "recipe-$recipe" "$here/shardloom" train --recipe "$recipe" --device gpu \
            --epochs "${EPOCHS:-10}" --output "$out/$recipe"
        rm -rf "$out/$recipe/checkpoints"
        tail -n 12 "$out/recipe-$recipe.log"
    done
}

run() {
    mkdir -p "$1"
    out=$(cd "$1" && pwd)
    here=$(cd "$(dirname "$0")" && pwd)
    shift
    export SHARDLOOM_DATA="$here/data" SHARDLOOM_REQUIRE_GPU=1
    "$here/shardloom" devices --json >"$out/devices.json"
    local part
    for part in "${@:-parity updates training recipes}"; do
        # shellcheck disable=SC2086 # the default is several
        for part in $part; do
            declare -F "part_$part" >/dev/null || { echo "there is no part $part"; exit 2; }
            "part_$part"
            tar -czf "$out.tar.gz" -C "$(dirname "$out")" "$(basename "$out")"
        done
    done
    echo "the figures: $out.tar.gz, $(du -k "$out.tar.gz" | cut -f1) KiB"
}

case "${1:-}" in
    pack) pack "${2:?a folder to pack into}" ;;
    run) run "${2:?a folder for the figures}" "${@:3}" ;;
    *) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
