#!/usr/bin/env bash
# A run in a Slurm of two nodes on this machine: its leader is killed, is started again, and the run ends with the tables
# of one process alone.
#
#   tests/clusters/slurm.sh [SHARDLOOM]
#
# SHARDLOOM is the program (target/release/shardloom). Needs root, and slurmd, slurmctld, munged, srun (Debian:
# slurm-wlm). Starts its own daemons on ports of its own, in a temporary folder, and ends them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

program=$(realpath "${1:-target/release/shardloom}")
work=$(mktemp -d)
chmod 755 "$work"
daemons=()
cleanup() {
    scancel --quiet --user=root 2>/dev/null || true
    for daemon in "${daemons[@]}"; do kill "$daemon" 2>/dev/null || true; done
    [ ! -f "$work/munge.pid" ] || kill "$(cat "$work/munge.pid")" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
fail() {
    echo "FAILED: $*" >&2
    tail -n 40 "$work"/*.log "$work"/job.out >&2 2>/dev/null || true
    exit 1
}
wait_for() {
    local what=$1 end=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "waited in vain: $what"
        sleep 0.2
    done
}

mkdir "$work/state" "$work/n1" "$work/n2" "$work/bin"
ln -s "$program" "$work/bin/shardloom"
head -c 64 /dev/urandom >"$work/munge.key"
chmod 600 "$work/munge.key"
munged --force --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/munge.pid" \
    --log-file="$work/munge.log" --seed-file="$work/munge.seed"
cat >"$work/slurm.conf" <<CONF
ClusterName=two
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
CryptoType=crypto/munge
SlurmctldPort=17100
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/%n
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
NodeName=n1,n2 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=17101,17102 CPUs=2
PartitionName=all Nodes=n1,n2 Default=YES State=UP MaxTime=INFINITE
CONF
export SLURM_CONF=$work/slurm.conf
slurmctld -D >"$work/slurmctld.log" 2>&1 &
daemons+=($!)
for name in n1 n2; do
    slurmd -D -N "$name" >"$work/slurmd-$name.log" 2>&1 &
    daemons+=($!)
done
both_idle() { [ "$(sinfo --noheader --format=%t)" = idle ]; }
wait_for "both nodes are idle" both_idle

python3 - "$work/facts.tsv" <<'PYTHON'
import sys
with open(sys.argv[1], "w") as out:
    for i in range(20000):
        head, relation = i * 7 % 1000, i % 5
        print(f"e{head}\tr{relation}\te{(head * 3 + relation * 11 + i // 1000) % 1000}", file=out)
PYTHON
options=(
    --dataset "$work/facts.tsv" --split 1,0,0 --device cpu --model distmult --objective negatives --negatives 32
    --dim 32 --shards 16 --epochs "${EPOCHS:-40}" --batch-size 500 --set gradient_partitions=4 --set validate_every=0
    --set checkpoint_every=0 --set cut_seconds=0.5
)
"$program" train --quiet --workers 2 --output "$work/alone" "${options[@]}" >/dev/null
PATH=$work/bin:$PATH sbatch --quiet --nodes=2 --no-requeue --output="$work/job.out" --export=ALL \
    examples/slurm/job.sh "$work/run" --threads 1 "${options[@]}"
epochs() { [ "$(wc -l <"$work/run/metrics.jsonl")" -ge "$1" ]; }
wait_for "five epochs" epochs 5
# The lock file names the process that leads.
leader=$(sed -n 's/^number \([0-9]*\).*/\1/p' "$work/run/.shardloom-lock")
kill -9 "$leader"
second() { grep -q "this process leads, in epoch 2" "$work/job.out"; }
wait_for "another one leads" second
again() { grep -q "starting again (1 of" "$work/job.out"; }
wait_for "the lost one is started again" again
over() { [ -f "$work/run/result.json" ] && [ -z "$(squeue --noheader)" ]; }
wait_for "the run is over" over
digest() {
    "$program" export "$1" --format npy --output "$1-tables" >/dev/null
    (cd "$1-tables" && sha256sum ./*.npy)
}
[ "$(digest "$work/run")" = "$(digest "$work/alone")" ] || fail "other tables"
echo "Slurm $(slurmd -V | cut -d' ' -f2): the leader was killed in epoch 5 or later, another one led, and the tables are those of one process"
