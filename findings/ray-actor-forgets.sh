#!/usr/bin/env bash
# Ray 2.60.0 with max_restarts=-1 and max_task_retries=-1, the settings for actors that must not fail their callers,
# answers a call to an actor whose process was killed (kill -9) from a new actor with the state of __init__.
# The caller sees no exception, and neither the handle nor the answer tells the new actor from the old one; a
# line in the driver's log is the only sign.
#
# One would guess that callers with acknowledged calls learn of the restart once, by an exception or by a number of
# the actor's life that the handle checks. That a new actor starts from __init__ is documented; that retries of
# tasks hide it from the caller is what follows.
#
# Seen: five acknowledged calls of 100 rows each count 500; after kill -9 the next call answers 100.
# Cure: an incarnation of one's own in every answer.
# Needs python3 (3.11) with venv, 360 MB of disk and 1 GB of memory. Exit status 0: as described; 1: it changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check ray==2.60.0
cat >finding.py <<'PYTHON'
import os, signal
import ray

ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False)

@ray.remote(max_restarts=-1, max_task_retries=-1)
class Shard:
    def __init__(self):
        self.rows = 0
    def push(self, rows):
        self.rows += rows
        return self.rows
    def process(self):
        return os.getpid()

shard = Shard.remote()
counts = [ray.get(shard.push.remote(100)) for _ in range(5)]
os.kill(ray.get(shard.process.remote()), signal.SIGKILL)
try:
    after = ray.get(shard.push.remote(100), timeout=60)
except Exception as error:
    after = type(error).__name__
print("answers", counts[-1], after)
ray.shutdown()
PYTHON
HOME=$work RAY_AUTH_MODE=disabled environment/bin/python finding.py >out 2>err || { cat err >&2; exit 1; }
read -r before after <<<"$(sed -n 's/^answers //p' out)"
echo "Ray 2.60.0: rows after five calls of 100 are $before, after a kill and a sixth call $after"
[ "$before" = 500 ] && [ "$after" = 100 ]
