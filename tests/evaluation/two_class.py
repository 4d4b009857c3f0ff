#!/usr/bin/env python3
"""Checks the two-class evaluation of `eval` with scikit-learn: AUC-ROC, average precision, accuracy.

    shardloom eval RUN --positives TRUE --negatives FALSE --valid-negatives VALID_FALSE --json > two-class.json
    shardloom predict RUN --triples TRUE > true.tsv
    shardloom predict RUN --triples FALSE > false.tsv
    shardloom predict RUN --triples VALID > valid-true.tsv          # the run's validation facts
    shardloom predict RUN --triples VALID_FALSE > valid-false.tsv
    two_class.py two-class.json true.tsv false.tsv valid-true.tsv valid-false.tsv

Needs numpy and scikit-learn. Exits with 1 if a figure differs.
"""
import json
import sys
from collections import defaultdict

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

report, true, false, valid_true, valid_false = sys.argv[1:]
found = json.load(open(report, encoding="utf-8"))["two_class"]
differences = 0


def read(good, bad):
    """Relation, score and class of the facts of two files."""
    relations, scores, classes = [], [], []
    for path, positive in ((good, 1), (bad, 0)):
        lines = open(path, encoding="utf-8").read().split("\n")[1:-1]
        for line in lines:
            _, relation, _, score, _ = line.split("\t")
            relations.append(relation)
            scores.append(float(score))
            classes.append(positive)
    return np.array(relations), np.array(scores), np.array(classes)


def check(what, ours, theirs):
    global differences
    same = ours is not None and abs(ours - theirs) < 1e-9
    differences += not same
    print(f"{what:<40} {ours!s:>22} {theirs:>22.16f} {'' if same else 'DIFFERS'}")


def most_right(scores, classes):
    """How many samples the best single threshold has right, by trying all of them."""
    cuts = np.concatenate([np.unique(scores), [np.inf]])
    return max(((scores >= cut) == classes).sum() for cut in cuts)


relations, scores, classes = read(true, false)
check("AUC-ROC", found["auc_roc"], roc_auc_score(classes, scores))
check("average precision", found["average_precision"], average_precision_score(classes, scores))
right = 0
for group in found["relations"]:
    of = relations == group["name"]
    if len(set(classes[of])) == 2:
        check(f"AUC-ROC of {group['name']}", group["auc_roc"], roc_auc_score(classes[of], scores[of]))
        ours = group["average_precision"]
        check(f"AP of {group['name']}", ours, average_precision_score(classes[of], scores[of]))
    correct = ((scores[of] >= group["threshold"]) == classes[of]).sum()
    check(f"accuracy of {group['name']}", group["accuracy"], correct / of.sum())
    right += correct
check("accuracy", found["accuracy"], right / len(scores))

relations, scores, classes = read(valid_true, valid_false)
groups = defaultdict(list)
for place, relation in enumerate(relations):
    groups[relation].append(place)
best = sum(most_right(scores[at], classes[at]) for at in groups.values())
check("accuracy on validation", found["valid_accuracy"], best / len(scores))
sys.exit(differences > 0)
