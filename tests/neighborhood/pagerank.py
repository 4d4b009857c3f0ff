#!/usr/bin/env python3
"""Writes pagerank.json: personalised PageRank of small random graphs, as networkx 3.4.2 computes it.

    pip install networkx==3.4.2 scipy==1.14.1 numpy==2.1.3
    python tests/neighborhood/pagerank.py >tests/neighborhood/pagerank.json

src/neighborhood/tests/ppr.rs compares scores of forward push with these. Each graph has its facts, whether a node has none to go
on by in some direction ("sinks"), and for each direction, alpha and seed the scores of all nodes. A walk goes back to its seed
with probability alpha, so networkx's alpha is 1 - alpha; from a sink it goes back to the seed too, which is networkx's default.
"""
import json
import random

import networkx

NODES = 24


def edges(rng, sinks):
    some = [(rng.randrange(NODES), rng.randrange(NODES) // rng.choice([1, 1, 6])) for _ in range(70)]
    if sinks:
        # Nodes of the last third have no facts to go on by, and isolated ones are among them.
        return [(head, tail) for head, tail in some if head < NODES * 2 // 3]
    return some + [(node, (node + 1) % NODES) for node in range(NODES)]


def scores(facts, direction, alpha, seed):
    graph = networkx.MultiDiGraph()
    graph.add_nodes_from(range(NODES))
    if direction in ("out", "both"):
        graph.add_edges_from(facts)
    if direction in ("in", "both"):
        graph.add_edges_from((tail, head) for head, tail in facts)
    found = networkx.pagerank(graph, alpha=1 - alpha, personalization={seed: 1}, tol=1e-15, max_iter=100_000)
    return [found[node] for node in range(NODES)]


def main():
    rng = random.Random(20)
    graphs = []
    for sinks in (False, True):
        facts = edges(rng, sinks)
        ranks = [
            {"direction": direction, "alpha": alpha, "seed": seed, "scores": scores(facts, direction, alpha, seed)}
            for direction in ("out", "in", "both")
            for alpha in (0.15, 0.5)
            for seed in (0, 7, NODES - 1)
        ]
        graphs.append({"nodes": NODES, "sinks": sinks, "facts": facts, "ranks": ranks})
    print(json.dumps(graphs))


main()
