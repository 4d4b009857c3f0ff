"""Clients of shardloom. :mod:`shardloom.graph` has the graph store."""

__version__ = "0.1.0"
