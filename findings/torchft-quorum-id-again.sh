#!/usr/bin/env bash
# The lighthouse of torchft 0.2.0 numbers quorums from 1 again when it is restarted, whatever numbers its clients
# have seen. A replica that rebuilds its process group when quorum_id differs from the last one, as torchft's
# Manager does, keeps the old group if the new quorum, of other members, has the same number.
#
# One would guess that the number never comes twice in the life of a job: it is what tells one set of members from
# the next.
#
# Seen: a with b 1, a with c 2; lighthouse restarted at its port: a with c 1.
# Needs python3 with venv; installs the wheel without torch. Exit status 0: as described; 1: it changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check --no-deps torchft==0.2.0
cat >finding.py <<'PYTHON'
import glob, importlib.util, sys, time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

# The package itself imports torch; its extension needs nothing.
[path] = glob.glob(sys.prefix + "/lib/python*/site-packages/torchft/_torchft.*.so")
spec = importlib.util.spec_from_file_location("torchft._torchft", path)
torchft = importlib.util.module_from_spec(spec)
spec.loader.exec_module(torchft)

LIMIT = timedelta(seconds=20)

def lighthouse(port):
    return torchft.LighthouseServer(
        bind=f"127.0.0.1:{port}", min_replicas=2, join_timeout_ms=500, quorum_tick_ms=50, heartbeat_timeout_ms=1000
    )

def quorum(port, replicas):
    """Number of a quorum of replicas that ask at once."""
    def ask(name):
        client = torchft.LighthouseClient(f"http://127.0.0.1:{port}", LIMIT)
        return client.quorum(replica_id=name, timeout=LIMIT, address=name, store_address=name, step=0, world_size=1)
    with ThreadPoolExecutor(len(replicas)) as pool:
        answers = list(pool.map(ask, replicas))
    for answer in answers:
        assert sorted(member.replica_id for member in answer.participants) == replicas, answer.participants
    return answers[0].quorum_id

server = lighthouse(0)
port = int(server.address().rstrip("/").rsplit(":", 1)[1])
first = quorum(port, ["a", "b"])
time.sleep(2)  # until b counts as lost
second = quorum(port, ["a", "c"])
server.shutdown()
server = lighthouse(port)
print(first, second, quorum(port, ["a", "c"]))
server.shutdown()
PYTHON
environment/bin/python finding.py >out 2>err || { cat err >&2; exit 1; }
read -r first second again <out
echo "torchft 0.2.0: quorum_id of a and b $first, of a and c $second, of a and c after a restart of the lighthouse $again"
[ "$first" = 1 ] && [ "$second" = 2 ] && [ "$again" = 1 ]
