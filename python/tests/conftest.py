"""A server with a small graph. ``SHARDLOOM_BINARY`` is the program; without it, ``target/debug/shardloom`` is."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import List, Optional

import numpy as np
import pytest

from shardloom.graph import GraphStore

ROOT = Path(__file__).parents[2]
BINARY = Path(os.environ.setdefault("SHARDLOOM_BINARY", str(ROOT / "target/debug/shardloom")))
NODES, RELATIONS = 2000, 5


def make_facts() -> np.ndarray:
    """Distinct facts, with hubs. The first ones name all nodes and relations in order."""
    random = np.random.default_rng(7)
    ring = np.stack(
        [np.arange(NODES), np.arange(NODES) % RELATIONS, (np.arange(NODES) + 1) % NODES], axis=1
    )
    ends = (NODES * random.random((9000, 2)) ** 3).astype(np.int64)
    more = np.stack([ends[:, 0], random.integers(0, RELATIONS, 9000), ends[:, 1]], axis=1)
    _, first = np.unique(np.concatenate([ring, more]), axis=0, return_index=True)
    return np.concatenate([ring, more])[np.sort(first)]


class Server:
    """A process of ``shardloom graph-store``."""

    def __init__(self, graph: Path, address: str, arguments: Optional[List[str]] = None) -> None:
        self.ready = graph.with_name(f"ready-{time.monotonic_ns()}")
        command = [BINARY, "graph-store", graph, "--listen", address, "--ready-file", self.ready]
        self.process = subprocess.Popen(command + (arguments or []), stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while not self.ready.exists():
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.address = self.ready.read_text().splitlines()[0]

    def kill(self) -> None:
        """Kills the process."""
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def facts() -> np.ndarray:
    """Facts of the graph, in the order of their numbers: by head, relation, tail."""
    made = make_facts()
    return made[np.lexsort((made[:, 2], made[:, 1], made[:, 0]))]


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph file."""
    directory = tmp_path_factory.mktemp("graph")
    lines = [f"n{h}\tr{r}\tn{t}" for h, r, t in make_facts()]
    (directory / "facts.tsv").write_text("\n".join(lines) + "\n")
    path = directory / "test.graph"
    command = [BINARY, "graph", "build", directory / "facts.tsv", "--facts", "all", "--output", path]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def server(graph: Path):
    """A server that all tests use."""
    server = Server(graph, "127.0.0.1:0", ["--threads", "2"])
    yield server
    server.kill()


@pytest.fixture()
def store(server: Server):
    """A connection to the server."""
    with GraphStore(server.address) as store:
        yield store
