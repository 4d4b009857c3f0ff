#!/usr/bin/env bash
# Training steps and rankings compared with PyTorch's, in turn on the same machine.
#
#   benches/peers.sh SCRIPT [DEVICE]
#
# SCRIPT is a Python script that times the same work and prints an object of JSON a line, under the
# names of `cargo bench --bench training` (complex_1vsall, negsamp_transe_l1, negsamp_rotate,
# rank_complex), with `rank` or `dim`, and `queries_s` or `triples_s`. PYTHON is the interpreter that
# has PyTorch; where it has PyKEEN, too, steps with Adagrad are put beside that. DEVICE is cpu (the
# default) or gpu. ROUNDS (3) runs of each alternate; medians count. `f32` are steps whose products
# are f32 although the processor has a matrix unit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

script=${1:?usage: benches/peers.sh SCRIPT [DEVICE]}
device=${2:-cpu}
rounds=${ROUNDS:-3}
python=${PYTHON:-python3}
case $device in
    cpu) peer=(--device cpu --threads "$(nproc)") ;;
    *) peer=(--device cuda) ;;
esac

cargo bench --quiet --bench training --no-run
out=$(mktemp -d)
trap 'rm -r "$out"' EXIT
ours() {
    cargo bench --quiet --bench training -- --device "$device" --json "$@" >>"$out/ours"
}
for ((round = 0; round < rounds; round++)); do
    ours
    if [ "$device" = cpu ]; then
        ours --name complex_1vsall --products f32
        "$python" benches/pykeen_rates.py --threads "$(nproc)" >>"$out/peer" 2>/dev/null || true
    fi
    "$python" "$script" "${peer[@]}" --only onevsall,negsamp,rank >>"$out/peer" 2>/dev/null
done
"$python" - "$out/ours" "$out/peer" <<'PYTHON'
import json, statistics, sys

def rates(path):
    found = {}
    for line in open(path):
        row = json.loads(line)
        rate = row.get("queries_s") or row.get("triples_s")
        size = row.get("rank") or row.get("dim")
        kind = ""
        if row["name"].startswith("negsamp") and row.get("optimizer") == "adagrad":
            kind = "adagrad"
        elif row.get("products") == "f32":
            kind = "f32"
        rows = found.setdefault((row["name"], size, kind), {})
        rows.setdefault(row.get("batch"), []).append(rate)
    return {key: {b: statistics.median(r) for b, r in rows.items()} for key, rows in found.items()}

ours, peer = map(rates, sys.argv[1:3])
print(f"{'NAME':<20} {'':<8} {'SIZE':>5} {'BATCH':>6} {'OURS/S':>10} {'PEER/S':>10} {'RATIO':>6}")
for (name, size, kind), batches in ours.items():
    beside = peer.get((name, size, "" if kind == "f32" else kind))
    for batch, rate in batches.items():
        # A ranking has no batch there; a step with another one is the same work for each fact.
        other = beside and (beside.get(batch) or next(iter(beside.values())))
        ratio = f"{other:10.0f} {rate / other:6.1f}" if other else f"{'–':>10} {'–':>6}"
        print(f"{name:<20} {kind:<8} {size:>5} {batch:>6} {rate:10.0f} {ratio}")
PYTHON
