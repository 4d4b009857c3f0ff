#!/usr/bin/env python3
"""Reads small files of every kind with shardloom and with other readers, and compares the facts.

    python3 -m venv venv && venv/bin/pip install rdflib pyoxigraph pandas pyarrow
    venv/bin/python tests/readers.py target/release/shardloom

rdflib and pyoxigraph read the RDF, pandas the delimited text and JSON lines. Blank nodes are compared by how many
there are, since their names are each reader's own. Exits with 1 and says what differs, if anything does.
"""

import bz2
import gzip
import io
import json
import lzma
import pathlib
import subprocess
import sys
import tempfile

import pandas
import pyoxigraph
import rdflib

PREFIX = "@prefix : <http://example.org/> .\n@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .\n"
TURTLE = PREFIX + """
:Ada :wrote :Notes ; :born "1815"^^xsd:gYear ; :name "Ada"@en , "Ада"@ru , "A \\"quoted\\" name" .
:Ada :met [ :name "Charles" ; :built ( :Difference :Analytical ) ] .
_:someone :met :Ada . <http://example.org/r%C3%A9sum%C3%A9> :of :Ada .
:é :like :Ada ; :weighs 3.5 ; :is true ; :counts 12 .
"""
TRIG = PREFIX + ":g { :a :r :b . :b :r :c } :c :r :a ."
XML = """<?xml version="1.0"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:e="http://example.org/">
  <e:Person rdf:about="http://example.org/Ada"><e:name xml:lang="en">Ada &amp; co</e:name>
    <e:met rdf:resource="http://example.org/Charles"/><e:knows><e:Person e:age="36"/></e:knows></e:Person>
</rdf:RDF>"""
JSON_LD = """{"@context": {"e": "http://example.org/", "met": {"@id": "e:met", "@type": "@id"}},
  "@id": "e:Ada", "@type": "e:Person", "met": ["e:Charles", "e:Mary"], "e:name": {"@value": "Ada", "@language": "en"}}"""

CSV = 'head,relation,tail\naspirin,inhibits,"COX, type 2"\n"2,4-D",is,"a ""killer"""\nx,r,y\n"two, three",r,x\n'
SEMICOLONS = "subject;object;predicate\na;b;r\nc;\"d;e\";s\nb;a;r\n"
KGX = "id\tsubject\tpredicate\tobject\tcategory\n1\ta b\tbiolink:treats\tc\tx\n2\tc\tbiolink:is\ta b\ty\n3\td\tbiolink:is\tc\ty\n"
LINES = '{"h": "a", "r": "r", "t": "é"}\n{"t": "a", "h": "b", "r": "s", "more": [1]}\n{"h": "c", "r": "r", "t": "a"}\n'


def shardloom(binary, path):
    """Entities, relations and facts that shardloom counts in a file."""
    split = ["--split", "0.4,0.3,0.3"]
    info = subprocess.run([binary, "dataset", "info", str(path), *split, "--json"], capture_output=True, text=True)
    if info.returncode:
        sys.exit(f"{path.name}: {info.stderr}")
    report = json.loads(info.stdout)
    return report["entities"], report["relations"], sum(part["triples"] for part in report["splits"].values())


def counts(triples):
    """Entities, relations and facts of a list of triples."""
    entities = {end for head, _, tail in triples for end in (head, tail)}
    return len(entities), len({relation for _, relation, _ in triples}), len(triples)


def by_rdflib(text, kind):
    graph = rdflib.Dataset() if kind in ("trig", "nquads") else rdflib.Graph()
    graph.parse(data=text, format=kind)
    if isinstance(graph, rdflib.Dataset):
        return counts([quad[:3] for quad in graph.quads()])
    return counts(list(graph))


def by_oxigraph(text, kind):
    quads = pyoxigraph.parse(text.encode(), format=kind)
    return counts([(str(q.subject), str(q.predicate), str(q.object)) for q in quads])


def by_pandas(frame, columns):
    return counts(list(frame[columns].itertuples(index=False, name=None)))


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    formats = pyoxigraph.RdfFormat
    triples = rdflib.Graph().parse(data=TURTLE, format="turtle").serialize(format="nt")
    cases = [
        ("a.ttl", TURTLE, [by_rdflib(TURTLE, "turtle"), by_oxigraph(TURTLE, formats.TURTLE)]),
        ("a.nt", triples, [by_rdflib(triples, "nt"), by_oxigraph(triples, formats.N_TRIPLES)]),
        ("a.trig", TRIG, [by_rdflib(TRIG, "trig"), by_oxigraph(TRIG, formats.TRIG)]),
        ("a.n3", TURTLE, [by_rdflib(TURTLE, "n3"), by_oxigraph(TURTLE, formats.N3)]),
        ("a.rdf", XML, [by_rdflib(XML, "xml"), by_oxigraph(XML, formats.RDF_XML)]),
        ("a.jsonld", JSON_LD, [by_rdflib(JSON_LD, "json-ld"), by_oxigraph(JSON_LD, formats.JSON_LD)]),
        ("a.csv", CSV, [by_pandas(pandas.read_csv(io.StringIO(CSV)), ["head", "relation", "tail"])]),
        (
            "semicolons.csv",
            SEMICOLONS,
            [by_pandas(pandas.read_csv(io.StringIO(SEMICOLONS), sep=";"), ["subject", "predicate", "object"])],
        ),
        ("kgx.tsv", KGX, [by_pandas(pandas.read_csv(io.StringIO(KGX), sep="\t"), ["subject", "predicate", "object"])]),
        ("a.jsonl", LINES, [by_pandas(pandas.read_json(io.StringIO(LINES), lines=True), ["h", "r", "t"])]),
    ]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, text, others in cases:
            for ending, pack in [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)]:
                path = pathlib.Path(folder) / (name + ending)
                path.write_bytes(pack(text.encode()))
                found = shardloom(binary, path)
                same = all(found == other for other in others)
                wrong += not same
                print("same   " if same else "DIFFERS", path.name, found, "" if same else others)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
