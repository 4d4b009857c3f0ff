#!/usr/bin/env bash
# Neighbourhoods drawn by `shardloom graph bench` and by the samplers of DGL and PyG, in turn on the same machine and graph.
#
#   benches/store_peers.sh [EXECUTABLE [FILE]]
#
# EXECUTABLE is a built shardloom (target/release/shardloom); without it, cargo builds one. FILE is a graph file; without it, one of
# 1 M nodes and 10 M facts is made (Chung and Lu, weights (i + 20)^-0.75). All samplers read the rows by head of that file, with its
# numbers of nodes.
#
# Peers come from PyPI, into a temporary folder (7 GB of disk with the CUDA libraries that torch needs to be imported), or into the
# environment that ENVIRONMENT names, which stays. DGL 2.1.0 is the last one there for Linux, and needs torch 2.2. pyg-lib is not on
# PyPI. torch-sparse, which PyG's NeighborLoader takes in its place, is source only: 35 minutes of a core. TORCH_SPARSE=1 builds it.
#
# Figures are processor time of the process, user and system, of batches of 1024 seeds with fanouts 15, 10, 5 without replacement;
# medians of ROUNDS (3) runs that alternate. Ratios are facts a core-second, ours over theirs; for PageRank, theirs over ours of the
# time of a seed. DGL's blocks expand nodes again at each hop, and so have more facts: facts count, whatever their number.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=${ROUNDS:-3}
executable=${1:-}
file=${2:-}
if [ -z "$executable" ]; then
    cargo build --release --quiet
    executable=target/release/shardloom
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
environment=${ENVIRONMENT:-$work/environment}
if [ ! -d "$environment" ]; then
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check torch==2.2.1 dgl==2.1.0 'torchdata<0.8' \
        torch-geometric==2.8.1 numba 'numpy<2' scipy pandas pyyaml pydantic psutil
    if [ "${TORCH_SPARSE:-}" = 1 ]; then
        "$environment/bin/pip" install --quiet --disable-pip-version-check setuptools wheel
        "$environment/bin/pip" install --quiet --disable-pip-version-check --no-build-isolation \
            torch-scatter==2.1.2 torch-sparse==0.6.18
    fi
fi
python=$environment/bin/python
if [ -z "$file" ]; then
    "$python" - >"$work/facts.tsv" <<'PYTHON'
import numpy
nodes, facts = 1_000_000, 10_000_000
random = numpy.random.default_rng(1)
sums = numpy.cumsum((numpy.arange(nodes) + 20.0) ** -0.75)
numbers = random.permutation(nodes)
draw = lambda: numbers[numpy.minimum(numpy.searchsorted(sums / sums[-1], random.random(facts)), nodes - 1)]
for head, tail in zip(draw().tolist(), draw().tolist()):
    print(f"e{head}\tr\te{tail}")
PYTHON
    file=$work/facts.graph
    "$executable" graph build "$work/facts.tsv" --output "$file"
fi
cat >"$work/peers.py" <<'PYTHON'
"""Prints a line of JSON for each sampler of a peer: name, milliseconds of a batch, its facts, or microseconds of a seed."""
import json, os, statistics, sys, time
os.environ.update(DGLBACKEND="pytorch", OMP_NUM_THREADS="1")
import numpy, torch
torch.set_num_threads(1)

path, only = sys.argv[1], sys.argv[2:]
BATCH, BATCHES, FANOUTS = 1024, 25, [15, 10, 5]
raw = numpy.memmap(path, numpy.uint8, "r")
length = int(raw[12:16].view("<u4")[0])
head = json.loads(bytes(raw[24 : 24 + length]))
def section(name):
    found = next(of for of in head["sections"] if of["name"] == name)
    return raw[found["offset"] : found["offset"] + found["bytes"]].view("<u4").astype(numpy.int64)
indptr, indices = torch.from_numpy(section("out-bounds")), torch.from_numpy(section("out-neighbors"))
nodes = head["nodes"]

def batches(sample):
    """Medians of processor time and facts."""
    generator = torch.Generator().manual_seed(1)
    times, facts = [], []
    for index in range(BATCHES + 3):
        seeds = torch.randint(nodes, (BATCH,), generator=generator).unique()
        start = time.process_time()
        count = sample(seeds)
        times.append(time.process_time() - start)
        facts.append(count)
    return {"ms": 1e3 * statistics.median(times[3:]), "facts": statistics.mean(facts[3:]), "total": sum(facts[3:]) / sum(times[3:])}

def dgl_classic():
    import dgl
    graph = dgl.graph(("csc", (indptr, indices, torch.empty(0, dtype=torch.int64))), num_nodes=nodes)
    sampler = dgl.dataloading.NeighborSampler(FANOUTS[::-1])
    def sample(seeds):
        _, _, blocks = sampler.sample_blocks(graph, seeds)
        return sum(block.num_edges() for block in blocks)
    return batches(sample)

def graphbolt():
    import dgl.graphbolt as gb
    graph = gb.fused_csc_sampling_graph(indptr, indices)
    fanouts = [torch.LongTensor([fanout]) for fanout in FANOUTS]
    def sample(seeds):
        facts = 0
        for fanout in fanouts:
            drawn = graph.sample_neighbors(seeds, fanout)
            facts += len(drawn.sampled_csc.indices)
            seeds, _ = gb.unique_and_compact_csc_formats(drawn.sampled_csc, seeds)
        return facts
    return batches(sample)

def torch_sparse():
    import torch_sparse
    def sample(seeds):
        _, row, _, _ = torch.ops.torch_sparse.neighbor_sample(indptr, indices, seeds, FANOUTS, False, True)
        return len(row)
    return batches(sample)

def pyg_ppr():
    from torch_geometric.utils import get_ppr
    heads = torch.repeat_interleave(torch.arange(nodes), indptr.diff())
    edges = torch.stack([heads, indices])
    seeds = torch.randint(nodes, (257,), generator=torch.Generator().manual_seed(2))
    def spent(some):
        start = time.process_time()
        get_ppr(edges, alpha=0.25, eps=1e-4, target=some, num_nodes=nodes)
        return time.process_time() - start
    spent(seeds[:1])
    # The rows are made anew in each call, in the same time.
    return {"us": 1e6 * (spent(seeds) - statistics.median(spent(seeds[:1]) for _ in range(3))) / 256}

for of in (dgl_classic, graphbolt, torch_sparse, pyg_ppr):
    try:
        print(json.dumps({"name": of.__name__, **of()}), flush=True)
    except (ImportError, OSError) as error:
        print(json.dumps({"name": of.__name__, "missing": str(error).splitlines()[0]}), flush=True)
PYTHON
ours() {
    "$executable" graph bench "$file" --fanouts 15,10,5 --direction out --json "$@" >>"$work/ours"
}
echo "load before: $(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null || uptime)"
for ((round = 0; round < rounds; round++)); do
    ours --work nodes,facts,exclusion,reads --threads 1,2
    ours --work nodes,reads --memory huge
    ours --work ppr --batch 256 --batches 4
    "$python" "$work/peers.py" "$file" 2>/dev/null >>"$work/peers"
done
echo "load after: $(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null || uptime)"
"$executable" --version
"$environment/bin/pip" freeze --disable-pip-version-check | grep -iE '^(torch|dgl|torch.geometric|numba|torch.sparse)==' || true
"$python" - "$work/ours" "$work/peers" <<'PYTHON'
import json, statistics, sys

def objects(path):
    text, decoder, at = open(path).read(), json.JSONDecoder(), 0
    while at < len(text.rstrip()):
        value, at = decoder.raw_decode(text, at)
        at = len(text) - len(text[at:].lstrip())
        yield value

median = lambda rows, key: statistics.median(row[key] for row in rows)
ours = {}
for rows in objects(sys.argv[1]):
    huge = len(rows) == 2 and rows[-1]["work"] == "reads"
    for row in rows:
        ours.setdefault((row["work"], row.get("threads", 1), huge), []).append(row)
peers = {}
for row in objects(sys.argv[2]):
    peers.setdefault(row["name"], []).append(row)

rate = median(ours["nodes", 1, False], "facts_a_core_second")
seed = median(ours["ppr", 1, False], "cpu_microseconds_a_seed")
print(f"{'SAMPLER':<34} {'MS/BATCH':>9} {'FACTS':>8} {'M FACTS/CORE-S':>15} {'OURS/THEIRS':>12}")
for (work, threads, huge), rows in ours.items():
    if work in ("ppr", "reads"):
        continue
    name = f"ours, {work}, {threads} threads" + (", huge pages" if huge else "")
    print(f"{name:<34} {median(rows, 'cpu_milliseconds_a_batch'):9.2f} {median(rows, 'facts_a_batch'):8.0f} "
          f"{median(rows, 'facts_a_core_second') / 1e6:15.2f}")
for name, rows in peers.items():
    if "missing" in rows[0]:
        print(f"{name:<34} {rows[0]['missing']}")
    elif "us" not in rows[0]:
        theirs = median(rows, "total")
        print(f"{name:<34} {median(rows, 'ms'):9.2f} {median(rows, 'facts'):8.0f} {theirs / 1e6:15.2f} {rate / theirs:12.1f}")
print(f"{'ours, PageRank, µs/seed':<34} {seed:9.1f}")
if "us" in peers["pyg_ppr"][0]:
    theirs = median(peers["pyg_ppr"], "us")
    print(f"{'pyg_ppr, µs/seed':<34} {theirs:9.1f} {'':>24} {theirs / seed:12.1f}")
two = median(ours["nodes", 2, False], "cpu_milliseconds_a_batch") / median(ours["nodes", 1, False], "cpu_milliseconds_a_batch")
extra = median(ours["exclusion", 1, False], "facts_a_core_second") / median(ours["facts", 1, False], "facts_a_core_second")
walls = median(ours["nodes", 2, False], "facts_a_second") / median(ours["nodes", 1, False], "facts_a_second")
print(f"two threads: {two:.2f} times the processor time of a batch, {walls:.2f} times the facts a second on the clock")
print(f"exclusion and numbers of facts: {100 / extra - 100:+.0f} % of the time of a fact")
for huge in (False, True):
    rows = ours["reads", 1, huge]
    print(f"random reads{', huge pages' if huge else ''}: {median(rows, 'neighbors_a_core_second') / 1e6:.0f} M neighbours and "
          f"{median(rows, 'bounds_a_core_second') / 1e6:.0f} M bounds a core-second allow "
          f"{median(rows, 'limit_facts_a_core_second') / 1e6:.0f} M facts; {100 * median(rows, 'share_of_limit'):.0f} % are reached")
PYTHON
