#!/usr/bin/env bash
# Trains on graphs of 10 thousand to 10 million entities, each in a process of its own.
#
#   benches/scale.sh [ENTITIES,…]
#
# Lines of results go to benches/runs/, the chart to .github/scale.svg. The largest graph takes about
# 9 GB of memory; all four take a few minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

results="benches/runs/$(date -u +%F)-cpu-$(nproc)-cores-scale.jsonl"
cargo bench --quiet --bench scale -- --device cpu ${1:+--entities "$1"} --output "$results"
python3 benches/plot.py "$results" >.github/scale.svg
