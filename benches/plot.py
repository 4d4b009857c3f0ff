#!/usr/bin/env python3
"""plot.py RESULTS.jsonl > CHART.svg: bars of `shardloom bench`, or growth of `cargo bench --bench scale`."""
import json
import math
import sys
from xml.sax.saxutils import escape

INK, MUTED, GRID, MEASURED, REFERENCE = "#1d2733", "#6b7785", "#e3e7ec", "#2b64b5", "#1f7a68"
svg = []

def text(x, y, words, size=13, colour=MUTED, anchor="start"):
    svg.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">{escape(str(words))}</text>')

def rectangle(x, y, width, height, colour):
    svg.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>')

def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"

def bars(rows):
    scale = 510 / max(max(r["gb_per_second"], r["copy_gb_per_second"]) for r in rows)
    text(16, 26, f'{rows[0]["device"]}, GB/s by the least bytes; the line is the copy bandwidth', 18, INK)
    for y, r in zip(range(60, 60 + 28 * len(rows), 28), rows):
        rectangle(250, y - 14, r["gb_per_second"] * scale, 18, REFERENCE if r["op"] == "copy" else MEASURED)
        rectangle(250 + r["copy_gb_per_second"] * scale, y - 18, 2, 26, REFERENCE)
        workers = f', {r["workers"]} workers' if r["workers"] > 1 else ""
        text(240, y, f'{r["op"]}, {r["dtype"]}{workers}', 13, INK, "end")
        end = max(r["gb_per_second"], r["copy_gb_per_second"]) * scale
        text(260 + end, y, f'{r["gb_per_second"]:.1f} GB/s · {r["rows_per_second"] / 1e6:.3g}M rows/s · {r["share_of_copy"]:.2f} × copy')
    return 1040, 60 + 28 * len(rows)

def panel(left, title, rows, lines):
    low, high = math.log10(rows[0]["entities"]), math.log10(rows[-1]["entities"])
    top = 1.15 * max(value(r) for _, _, value in lines for r in rows)
    across = lambda r: left + 70 + 380 * (math.log10(r["entities"]) - low) / ((high - low) or 1)
    up = lambda value: 290 - 220 * value / top
    text(left + 20, 26, title + " by number of entities", 16, INK)
    for tick in (i * top / 5 for i in range(6)):
        rectangle(left + 60, up(tick), 410, 1, GRID)
        text(left + 54, up(tick) + 4, number(tick), 13, MUTED, "end")
    for i, (name, colour, value) in enumerate(lines):
        text(left + 20 + 160 * i, 50, name, 13, colour)
        points = " ".join(f"{across(r):.1f},{up(value(r)):.1f}" for r in rows)
        svg.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    for r in rows:
        text(across(r), up(lines[0][2](r)) - 8, number(lines[0][2](r)), 13, INK, "middle")
        text(across(r), 310, f'{r["entities"]:,}', 13, MUTED, "middle")

rows = [json.loads(line) for line in open(sys.argv[1])]
if rows[0].get("name") == "scale":
    width, height = 1000, 330
    panel(0, "Seconds per million triples", rows, [("measured", MEASURED, lambda r: r["seconds_per_million"])])
    memory = lambda r: r["formula_bytes"] / r["entities"]
    panel(500, "Bytes per entity", rows, [("peak of the process", MEASURED, lambda r: r["bytes_per_entity"]), ("tables, optimizer, triples, filter", REFERENCE, memory)])
else:
    width, height = bars(rows)
print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">')
print(f'<rect width="{width}" height="{height}" fill="white"/>', *svg, "</svg>", sep="\n")
