#!/usr/bin/env bash
# Pulls and pushes of rows compared with those of Ray's actors, in turn on the same machine.
#
#   benches/rows_ray.sh [EXECUTABLE]
#
# EXECUTABLE is the built benchmark `rows` (target/release/deps/rows-…); without it, cargo builds the benchmark. Ray 2.60.0 is
# installed in a temporary folder: 360 MB of disk. Two of Ray's nodes run on this machine, with an object store each: 2.5 GB of
# memory. An actor on one node holds a table of 100,000 × 128 f32 and answers four calls at once; clients are
# actors on the other node. Both programs move the same rows: 4096 of them, and one. ROUNDS (3) runs of each
# alternate; medians count.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=${ROUNDS:-3}
executable=${1:-}
if [ -z "$executable" ]; then
    executable=$(cargo bench --bench rows --no-run 2>&1 | sed -n 's/.*Executable.*(\(.*\))/\1/p')
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/environment"
"$work/environment/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0 numpy
cat >"$work/actors.py" <<'PYTHON'
"""Prints a line of JSON for each kind of call, as the benchmark `rows` does."""
import json, statistics, time
import numpy, ray
from ray.cluster_utils import Cluster

ROWS, DIM, BATCH, SECONDS = 100_000, 128, 4096, 2.0

@ray.remote(max_concurrency=4)
class Shard:
    def __init__(self):
        self.table = numpy.zeros((ROWS, DIM), numpy.float32)
    def pull(self, ids):
        return self.table[ids]
    def push(self, ids, gradients):
        self.table[ids] -= numpy.float32(1e-6) * gradients

@ray.remote
class Client:
    def __init__(self, shard, first):
        self.shard, self.first = shard, first
    def work(self, kind, batch, seconds):
        ids = (numpy.arange(batch) * max(ROWS // batch, 1) + self.first) % ROWS
        gradients = numpy.full((batch, DIM), 0.5, numpy.float32)
        taken, begin = [], time.perf_counter()
        while time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            if kind == "pull":
                assert ray.get(self.shard.pull.remote(ids)).shape == (batch, DIM)
            else:
                ray.get(self.shard.push.remote(ids, gradients))
            taken.append(time.perf_counter() - start)
        return taken, time.perf_counter() - begin

store = 300 << 20
cluster = Cluster(initialize_head=True, head_node_args={
    "num_cpus": 6, "resources": {"clients": 9}, "object_store_memory": store, "include_dashboard": False})
cluster.add_node(num_cpus=2, resources={"shards": 9}, object_store_memory=store)
ray.init(address=cluster.address, log_to_driver=False)
cluster.wait_for_nodes()
shard = Shard.options(resources={"shards": 1}).remote()
clients = [Client.options(resources={"clients": 1}).remote(shard, i) for i in range(4)]
nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
assert len(nodes) == 2, nodes
ray.get([client.work.remote("pull", BATCH, 0.5) for client in clients])
for count, batch in [(1, BATCH), (4, BATCH), (1, 1)]:
    for kind in ["pull", "push"]:
        done = ray.get([client.work.remote(kind, batch, SECONDS) for client in clients[:count]])
        calls = sum(len(taken) for taken, _ in done)
        seconds = max(seconds for _, seconds in done)
        print(json.dumps({
            "work": kind, "clients": count, "rows": batch,
            "median_s": statistics.median(t for taken, _ in done for t in taken),
            "gb_per_second": calls * batch * DIM * 4 / seconds / 1e9}), flush=True)
ray.shutdown()
cluster.shutdown()
PYTHON
for ((round = 0; round < rounds; round++)); do
    "$executable" --bench --json --rounds 1 --seconds 2 >>"$work/ours"
    HOME=$work RAY_AUTH_MODE=disabled "$work/environment/bin/python" "$work/actors.py" 2>"$work/err" | grep '^{' >>"$work/ray" ||
        { cat "$work/err" >&2; exit 1; }
done
"$work/environment/bin/python" - "$work/ours" "$work/ray" <<'PYTHON'
import json, statistics, sys

def medians(path):
    found = {}
    for line in open(path):
        row = json.loads(line)
        found.setdefault((row["work"], row["clients"], row["rows"]), []).append(row)
    def of(rows, name):
        values = [row[name] for row in rows if name in row]
        return statistics.median(values) if values else float("nan")
    names = ["median_s", "gb_per_second", "copy_gb_per_second"]
    return {key: [of(rows, name) for name in names] for key, rows in found.items()}

ours, ray = map(medians, sys.argv[1:3])
print(f"{'WORK':<6} {'CLIENTS':>7} {'ROWS':>5} {'OURS':>10} {'RAY':>10} {'OURS GB/s':>10} {'RAY GB/s':>9} {'RATIO':>6} {'COPY GB/s':>10}")
for key, (seconds, rate, copy) in ours.items():
    if key not in ray:
        continue
    other, other_rate, _ = ray[key]
    work, clients, rows = key
    ratio = rate / other_rate if rows > 1 else other / seconds
    print(f"{work:<6} {clients:>7} {rows:>5} {seconds * 1e6:>7.0f} µs {other * 1e6:>7.0f} µs {rate:>10.3f} {other_rate:>9.3f} {ratio:>6.1f} {copy:>10.2f}")
PYTHON
