"""Knowledge-graph embeddings: training, runs and predictions by the program ``shardloom``.

::

    import shardloom

    run = shardloom.train("fb15k-237", epochs=20)
    run.result["test"]["mrr"]
    run.predict(head="/m/027rn", relation="/location/country/form_of_government")
    vectors = run.entities()          # a row for each of run.entity_names

:mod:`shardloom.graph` has the client of the graph store.
"""

from ._binary import ShardloomError, find_binary
from ._run import Answer, Run
from ._train import train

__version__ = "0.1.0"

__all__ = ["Answer", "Run", "ShardloomError", "find_binary", "train"]
