#!/bin/bash
# One Shardloom process for each node of a Slurm job; a process that is lost is started again on its node.
#
#   sbatch --nodes=4 examples/slurm/job.sh RUN [OPTIONS OF TRAIN …]
#
# RUN is a directory that all nodes see. The first process that gets there leads; when it is lost, another one does.
# A lost node ends nothing (--no-kill): the others go on. SHARDLOOM_TLS names a directory with cert.pem, key.pem and
# ca.pem (docs/network.md); without it, processes listen on loopback, which is enough for one node only.
#SBATCH --job-name=shardloom
#SBATCH --ntasks-per-node=1
#SBATCH --no-kill
set -u
run=${1:?name the directory of the run}
shift
tries=${SHARDLOOM_TRIES:-20}

node() {
    local listen=127.0.0.1:0 status=1
    [ -z "${SHARDLOOM_TLS:-}" ] || listen="$1:0"
    for ((try = 1; try <= tries; try++)); do
        srun --nodes=1 --ntasks=1 --nodelist="$1" --overlap --export=ALL \
            shardloom node --run "$run" --workers "$SLURM_JOB_NUM_NODES" --listen "$listen" \
            ${SHARDLOOM_TLS:+--tls "$SHARDLOOM_TLS"} "${@:2}"
        status=$?
        # 0: the run is over. 2: wrong options, which the next try would have, too.
        case $status in 0 | 2) return $status ;; esac
        echo "$1: status $status; starting again ($try of $tries)" >&2
        sleep 1
    done
    return $status
}

processes=()
for name in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
    node "$name" "$@" &
    processes+=($!)
done
status=0
for process in "${processes[@]}"; do
    wait "$process" || status=$?
done
exit $status
