#!/usr/bin/env python3
"""PyKEEN's own training loop on random facts of FB15k-237's sizes, to be compared with `cargo bench --bench training`.

    pykeen_rates.py [--threads N]

Prints an object of JSON a line, as `cargo bench --bench training -- --json` does: TransE (L1) and
DistMult, dim 128, batches of 1024 facts with 64 negatives each, Adagrad. Drawing negatives is a part of it.
"""
import argparse
import json
import logging
import statistics
import time
import warnings

import torch
from pykeen.models import DistMult, TransE
from pykeen.training import SLCWATrainingLoop
from pykeen.triples import TriplesFactory

ENTITIES, RELATIONS, FACTS = 14_541, 237, 60 * 1024
DIM, BATCH, NEGATIVES = 128, 1024, 64

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
torch.set_num_threads(parser.parse_args().threads)
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")
torch.manual_seed(0)

columns = [torch.randint(count, (FACTS,)) for count in (ENTITIES, RELATIONS, ENTITIES)]
facts = TriplesFactory(
    mapped_triples=torch.stack(columns, 1),
    entity_to_id={str(i): i for i in range(ENTITIES)},
    relation_to_id={str(i): i for i in range(RELATIONS)},
)
for name, model, settings in (
    ("negsamp_transe_l1", TransE, {"scoring_fct_norm": 1}),
    ("negsamp_distmult", DistMult, {}),
):
    model = model(triples_factory=facts, embedding_dim=DIM, random_seed=0, **settings)
    loop = SLCWATrainingLoop(
        model=model,
        triples_factory=facts,
        optimizer=torch.optim.Adagrad(model.parameters(), lr=0.01),
        negative_sampler="basic",
        negative_sampler_kwargs={"num_negs_per_pos": NEGATIVES},
    )
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        loop.train(facts, num_epochs=1, batch_size=BATCH, use_tqdm=False, use_tqdm_batch=False)
        seconds.append(time.perf_counter() - start)
    line = {"name": name, "device": "cpu", "dim": DIM, "batch": BATCH, "negatives": NEGATIVES}
    # The first epoch warms up.
    rate = FACTS / statistics.median(seconds[1:])
    print(json.dumps({**line, "optimizer": "adagrad", "triples_s": rate}), flush=True)
