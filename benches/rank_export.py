#!/usr/bin/env python3
"""Ranks a test split from an exported ComplEx run with NumPy alone: an independent check of `eval`.

    shardloom export RUN --format npy --output EXPORT
    rank_export.py EXPORT TRAIN.txt VALID.txt TEST.txt
"""
import json, sys
from collections import defaultdict
import numpy as np

export, *files = sys.argv[1:]
E, R = np.load(f"{export}/entities.npy"), np.load(f"{export}/relations.npy")
names = open(f"{export}/entities.txt", encoding="utf-8").read().split("\n")
kinds = open(f"{export}/relations.txt", encoding="utf-8").read().split("\n")
entity, relation = ({n: i for i, n in enumerate(v)} for v in (names, kinds))
reciprocal = json.load(open(f"{export}/metadata.json"))["reciprocal"] == "true"
half, relations = E.shape[1] // 2, R.shape[0] // 2 if reciprocal else R.shape[0]
splits = [[line.rstrip("\n").split("\t") for line in open(f, encoding="utf-8")] for f in files]
splits = [[(entity[h], relation[r], entity[t]) for h, r, t in split] for split in splits]
tails, heads = defaultdict(set), defaultdict(set)
for h, r, t in sum(splits, []):
    tails[h, r].add(t)
    heads[r, t].add(h)

def rank(known, row, inverse, target, others):
    a, b = E[known, :half], E[known, half:]
    c, d = R[row, :half], -R[row, half:] if inverse else R[row, half:]
    scores = E[:, :half] @ (a * c - b * d) + E[:, half:] @ (a * d + b * c)
    s = scores[target]
    scores = np.delete(scores, sorted(others | {target}))
    return 1 + (scores > s).sum() + (scores == s).sum() / 2

ranks = []
for h, r, t in splits[2]:
    ranks.append(rank(h, r, False, t, tails[h, r]))
    ranks.append(rank(t, r + relations if reciprocal else r, not reciprocal, h, heads[r, t]))
ranks = np.array(ranks)
print(f"MRR {(1 / ranks).mean():.6f}  Hits@10 {(ranks <= 10).mean():.6f}  mean rank {ranks.mean():.4f}")
