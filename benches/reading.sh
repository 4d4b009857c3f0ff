#!/usr/bin/env bash
# How long reading takes: two builds in turn, on graphs that are made here from a seed.
#
#   benches/reading.sh OLD NEW [LINES] [ROUNDS]
#
# OLD and NEW are two builds of shardloom. LINES (default: 10000000) are those of the delimited file; the N-Triples
# have half as many. For each file and build: the median of ROUNDS (default: 5) of the wall-clock time of `dataset
# info`, in seconds, and the largest peak of memory, in MiB. Files go to a temporary directory: about 1.2 GB of them
# for 10 million lines. SHARDLOOM_DATA adds FB15k-237 from its archive.
set -euo pipefail

old=$(realpath "$1") new=$(realpath "$2")
lines=${3:-10000000} rounds=${4:-5}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Entities are drawn so that a few are in many facts, as in real graphs; relations evenly.
python3 - "$folder" "$lines" <<'PYTHON'
import random, sys

folder, lines = sys.argv[1], int(sys.argv[2])
entities, relations = max(lines // 10, 10), 200

def draw(random):
    return int(entities * random.random() ** 2)

def write(name, count, line):
    source = random.Random(7)
    with open(f"{folder}/{name}", "w", encoding="utf-8") as out:
        for start in range(0, count, 10000):
            out.writelines(
                line(draw(source), source.randrange(relations), draw(source))
                for _ in range(min(10000, count - start))
            )

write("facts.tsv", lines, lambda h, r, t: f"/m/entity{h}\trelation/kind{r}\t/m/entity{t}\n")
write("facts.nt", lines // 2, lambda h, r, t:
      f"<http://example.org/resource/entity{h}> <http://example.org/property/kind{r}> "
      f"<http://example.org/resource/entity{t}> .\n")
PYTHON
gzip -k "$folder/facts.tsv"

# measure BUILD ARGUMENT…: seconds and KiB of one reading.
measure() {
    python3 - "$@" <<'PYTHON'
import os, subprocess, sys, time

start = time.monotonic()
child = subprocess.Popen([sys.argv[1], "dataset", "info", *sys.argv[2:]], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
if status:
    sys.exit(f"{sys.argv[1:]}: status {status}")
print(f"{time.monotonic() - start:.3f} {usage.ru_maxrss}")
PYTHON
}

# compare NAME ARGUMENT…
compare() {
    local name=$1 build round
    shift
    : >"$folder/old" >"$folder/new"
    for ((round = 0; round < rounds; round++)); do
        for build in old new; do
            measure "${!build}" "$@" >>"$folder/$build"
        done
    done
    for build in old new; do
        sort -n "$folder/$build" | awk -v name="$name" -v build="$build" '
            { time[NR] = $1; if ($2 > peak) peak = $2 }
            END { printf "%-14s %s  %8.3f s  %7.0f MiB\n", name, build, time[int((NR + 1) / 2)], peak / 1024 }'
    done
}

split=(--split 0.98,0.01,0.01)
compare tsv "$folder/facts.tsv" "${split[@]}"
compare tsv.gz "$folder/facts.tsv.gz" "${split[@]}"
compare nt "$folder/facts.nt" "${split[@]}"
ls -l "$folder"/facts.* | awk '{ printf "%-14s %.0f MB\n", $NF, $5 / 1e6 }' | sed "s#$folder/##"
if [[ -n ${SHARDLOOM_DATA:-} ]]; then
    compare fb15k-237 fb15k-237
fi
