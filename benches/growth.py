#!/usr/bin/env python3
"""Time and bytes of a step over many machines, on paper: `benches/growth.py > table`.

Nothing here is measured on a network. Computing is measured on one machine of two cores (docs/benchmarks.md,
benches/NOTES.md) and divided among machines; bytes are those that docs/network.md derives and `tests/cluster/bytes.rs`
counts; the processor's time for bytes is that of `cargo bench --bench rows`. docs/growth.md has the assumptions.
"""
from dataclasses import dataclass
from math import ceil

MACHINES = [2, 4, 8, 16, 32, 64]
GBITS = [10, 100]
# Seconds of one core for 10⁹ bytes, both ends and the work on tables included; cores of a machine.
CPU_PER_GB, CORES = 0.8, 2
# Seconds of one way through a message of a few bytes, with gRPC, between machines.
ONE_WAY = 100e-6
PAYLOAD, HEADER = 256 << 10, 64


@dataclass
class Recipe:
    name: str
    entities: int
    relations: int
    facts: int  # training facts
    width: int  # values of a row of entities
    relation_width: int
    batch: int  # facts of a step
    draws: int  # negatives drawn for a fact, both sides together
    queries: int  # queries of a step
    against_all: bool
    seconds: float  # computing of a step on one machine
    state: int  # bytes of optimizer state of a row, at PyTorch-BigGraph


RECIPES = [
    Recipe("FB15k-237, TransE-L1, dim 200, 128 negatives a side, 1024 facts a step",
           14541, 237, 272115, 200, 200, 1024, 256, 2048, False, 1024 / 31e3, 4),
    Recipe("FB15k-237, ComplEx-N3 1-vs-all, dim 200, 500 facts (1000 queries) a step",
           14541, 474, 272115, 200, 200, 500, 0, 1000, True, 1000 / 11.1e3, 4),
    Recipe("like WikiKG90M: 87 M entities, TransE-L1, dim 128, 64 negatives a fact, 65,536 facts a step",
           87_143_637, 1315, 504_220_369, 128, 128, 65536, 64, 131072, False, 65536 / 333e3, 4),
    Recipe("the same, 64 queries to a draw of negatives (`negatives_chunk = 64`)",
           87_143_637, 1315, 504_220_369, 128, 128, 65536, 1, 131072, False, 65536 / 333e3, 4),
]


def distinct(rows, draws):
    """Expected number of different rows among uniform draws."""
    return rows * (1 - (1 - 1 / rows) ** draws)


def frames(size):
    """Bytes with the headers of their frames."""
    return size + HEADER * max(1, ceil(size / PAYLOAD))


def lane_rows(recipe, machines):
    """Rows of entities and of relations that a lane of 1/machines of a step touches."""
    facts = recipe.batch / machines
    entities = distinct(recipe.entities, facts * (2 + recipe.draws))
    return entities, distinct(recipe.relations, facts)


def ours(recipe, machines):
    """Bytes that a machine receives in a step (it sends as many), and round trips of a step."""
    away = 1 - 1 / machines
    if recipe.against_all:
        # Rows of the lane's heads, right answers and relations, pulled and pushed; then vectors, statistics and
        # gradients of queries: 4 d n (w - 1) + 8 n (w - 1) + 4 d n (w - 1) over all machines.
        n, d = recipe.queries, recipe.width
        entities = distinct(recipe.entities, 2 * n / machines)
        relations = distinct(recipe.relations, n / machines)
        rows = entities * away * (d + 1) * 4 + relations * away * (recipe.relation_width + 1) * 4
        exchange = (machines - 1) * n * (8 * d + 8 * machines) / machines
        return 2 * frames(rows) + frames(exchange), 2 * (2 + 1) + 3 + 2
    entities, relations = lane_rows(recipe, machines)
    rows = away * 4 * (entities * (recipe.width + 1) + relations * (recipe.relation_width + 1))
    # A pull for each table, a push, the votes and the commit.
    return 2 * frames(rows), 2 * 3 + 2


def seconds(recipe, machines, gbits):
    received, ways = ours(recipe, machines)
    wire = received / (gbits * 1e9 / 8)
    cpu = received / 1e9 * CPU_PER_GB / CORES
    # Packing and sending overlap: the slower of the two counts.
    return recipe.seconds / machines + max(wire, cpu) + ways * ONE_WAY


def dgl_ke(recipe, machines):
    """Bytes that a machine of DGL-KE receives for its share of the same step: rows of heads, tails and relations from
    the KVStore, and gradients for its own rows from others; ids have 8 bytes. Negatives come from the machine's
    own part of the graph and cost nothing. Entities are spread at random; a good cut of the graph needs less."""
    away = 1 - 1 / machines
    if recipe.against_all:
        entities = recipe.entities  # all candidates; DGL-KE has no such objective
    else:
        entities = distinct(recipe.entities, 2 * recipe.batch / machines)
    relations = distinct(recipe.relations, recipe.batch / machines)
    rows = entities * (4 * recipe.width + 8) + relations * (4 * recipe.relation_width + 8)
    return 2 * away * rows


def big_graph(recipe, machines):
    """Bytes that a machine of PyTorch-BigGraph receives for its share of the same step. Twice as many partitions as
    machines; an epoch has a bucket for each pair of partitions, and a machine that goes on to its next bucket
    keeps one partition, sends the other back and receives a new one: with the state of its optimizer."""
    partitions = 2 * machines
    swaps = partitions ** 2 / machines  # of a machine, in an epoch
    partition = recipe.entities / partitions * (4 * recipe.width + recipe.state)
    # As many bytes are received for partitions that the machine's own server stores.
    epoch = 2 * swaps * partition
    return epoch * recipe.batch / recipe.facts


def size(count):
    return f"{count / 1e6:.2f} MB" if count < 99.5e6 else f"{count / 1e6:.0f} MB"


def main():
    for recipe in RECIPES:
        print(f"**{recipe.name}** ({recipe.seconds * 1e3:.0f} ms on one machine)\n")
        print("| machines | step at 10 Gbit/s | at 100 Gbit/s | received by a machine | DGL-KE | PyTorch-BigGraph |")
        print("|---|---|---|---|---|---|")
        for machines in MACHINES:
            times = [seconds(recipe, machines, gbits) for gbits in GBITS]
            shown = " | ".join(f"{t * 1e3:.1f} ms, {recipe.seconds / t:.1f} ×" for t in times)
            other = [size(f(recipe, machines)) for f in (ours, dgl_ke, big_graph) if f is not ours]
            print(f"| {machines} | {shown} | {size(ours(recipe, machines)[0])} | {other[0]} | {other[1]} |")
        print()


if __name__ == "__main__":
    main()
