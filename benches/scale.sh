#!/usr/bin/env bash
# How training grows: graphs of 10 thousand to 10 million entities, each in a process of its own.
#
#   benches/scale.sh [ENTITIES,…]
#
# Lines of results go to benches/runs/, the chart to .github/scale.svg. The largest graph takes about
# 9 GB of memory; all four take a few minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sizes=${1:-10000,100000,1000000,10000000}
cargo build --release --quiet
target/release/shardloom bench --suite scale --device cpu --entities "$sizes" \
    --output "benches/runs/$(date -u +%F)-cpu-$(nproc)-cores-scale.jsonl" --chart .github/scale.svg
