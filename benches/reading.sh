#!/usr/bin/env bash
# How long reading takes: two builds in turn, on graphs that are made here from a seed.
#
#   benches/reading.sh OLD NEW [LINES] [ROUNDS]
#
# OLD and NEW are two builds of the example read_graph (cargo build --release --example read_graph), which reads a
# graph and makes its filter index. LINES (default: 10000000) are those of the delimited file; the N-Triples have
# half as many. For each graph and build: the medians of ROUNDS (default: 5) of the seconds to read it and to have
# the index, and the largest peak of memory, in MiB. Graphs go to a temporary directory: about 1.2 GB of them for 10
# million lines. SHARDLOOM_DATA adds FB15k-237 from its archive.
set -euo pipefail

old=$(realpath "$1") new=$(realpath "$2")
lines=${3:-10000000} rounds=${4:-5}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Entities are drawn so that a few are in many facts, as in real graphs; relations evenly.
python3 - "$folder" "$lines" <<'PYTHON'
import os, random, sys

folder, lines = sys.argv[1], int(sys.argv[2])
entities, relations = max(lines // 10, 10), 200

def draw(random):
    return int(entities * random.random() ** 2)

def write(graph, kind, count, line):
    source = random.Random(7)
    os.mkdir(f"{folder}/{graph}")
    for split, facts in [("train", count), ("valid", 10), ("test", 10)]:
        with open(f"{folder}/{graph}/{split}.{kind}", "w", encoding="utf-8") as out:
            for start in range(0, facts, 10000):
                out.writelines(
                    line(draw(source), source.randrange(relations), draw(source))
                    for _ in range(min(10000, facts - start))
                )

write("tsv", "tsv", lines, lambda h, r, t: f"/m/entity{h}\trelation/kind{r}\t/m/entity{t}\n")
write("nt", "nt", lines // 2, lambda h, r, t:
      f"<http://example.org/resource/entity{h}> <http://example.org/property/kind{r}> "
      f"<http://example.org/resource/entity{t}> .\n")
PYTHON
mkdir "$folder/tsv.gz"
for split in train valid test; do
    gzip -c "$folder/tsv/$split.tsv" >"$folder/tsv.gz/$split.tsv.gz"
done

# measure BUILD GRAPH: seconds to read, seconds to the index, and KiB.
measure() {
    python3 - "$@" <<'PYTHON'
import os, subprocess, sys

child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
words = child.stdout.read().split()
_, status, usage = os.wait4(child.pid, 0)
if status:
    sys.exit(f"{sys.argv[1:]}: status {status}")
print(words[0], words[words.index("entities,") + 1], usage.ru_maxrss)
PYTHON
}

# compare NAME GRAPH
compare() {
    local name=$1 graph=$2 build round
    : >"$folder/old" >"$folder/new"
    for ((round = 0; round < rounds; round++)); do
        for build in old new; do
            measure "${!build}" "$graph" >>"$folder/$build"
        done
    done
    for build in old new; do
        python3 - "$name" "$build" "$folder/$build" <<'PYTHON'
import statistics, sys

name, build, file = sys.argv[1:]
rows = [[float(x) for x in line.split()] for line in open(file)]
read, ready, peak = zip(*rows)
print(f"{name:<14} {build}  read {statistics.median(read):8.3f} s  index {statistics.median(ready):8.3f} s  "
      f"peak {max(peak) / 1024:7.0f} MiB")
PYTHON
    done
}

compare tsv "$folder/tsv"
compare tsv.gz "$folder/tsv.gz"
compare nt "$folder/nt"
ls -l "$folder"/*/train.* | awk '{ printf "%-20s %.0f MB\n", $NF, $5 / 1e6 }' | sed "s#$folder/##"
if [[ -n ${SHARDLOOM_DATA:-} ]]; then
    compare fb15k-237 fb15k-237
fi
