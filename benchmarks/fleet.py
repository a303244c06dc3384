#!/usr/bin/env python3
"""The fleet's curve as a table and a chart: fleet.py OUTPUT CHART.svg

OUTPUT is what `go test -run '^$' -bench Fleet -benchtime 1x ./benchmarks` printed.
"""
import re
import sys

rows = []
for line in open(sys.argv[1], encoding="utf-8"):
    if found := re.match(r"BenchmarkFleet/devices=(\d+)\S*\s+\d+\s+(.*)", line):
        words = found[2].split()
        rows.append({"devices": float(found[1]), **{unit: float(v) for v, unit in zip(words[::2], words[1::2])}})
if not rows:
    sys.exit(f"{sys.argv[1]}: no results of BenchmarkFleet")
rows.sort(key=lambda r: r["devices"])

curves = [
    ("server-ms-cpu/device", "server, ms of processor per device"),
    ("s-slowest", "slowest device, s"),
    ("server-MiB", "server, peak memory, MiB"),
]
print("| devices | server ms of CPU per device | median device, s | slowest device, s | slowest / devices, ms | server peak, MiB |")
print("|---:|---:|---:|---:|---:|---:|")
for r in rows:
    each = r["s-slowest"] / r["devices"] * 1000
    print(f"| {r['devices']:.0f} | {r['server-ms-cpu/device']:.1f} | {r['s-median']:.1f} | {r['s-slowest']:.1f} | {each:.0f} | {r['server-MiB']:.0f} |")

WIDTH, HEIGHT, LEFT, TOP = 230, 150, 50, 40
out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {len(curves) * 300 + 10} 240" font-family="sans-serif" font-size="11">',
       '<rect width="100%" height="100%" fill="white"/>']
most = max(r["devices"] for r in rows)
for i, (key, title) in enumerate(curves):
    left, top = LEFT + i * 300, TOP
    high = max(r[key] for r in rows) * 1.15
    at = lambda r: (left + r["devices"] / most * WIDTH, top + HEIGHT - r[key] / high * HEIGHT)
    out.append(f'<text x="{left}" y="{top - 16}" font-weight="bold">{title}</text>')
    out.append(f'<path d="M{left} {top}V{top + HEIGHT}H{left + WIDTH}" fill="none" stroke="#888"/>')
    out.append('<polyline fill="none" stroke="#06c" stroke-width="2" points="' + " ".join("%.1f,%.1f" % at(r) for r in rows) + '"/>')
    for r in rows:
        x, y = at(r)
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#06c"/>')
        out.append(f'<text x="{x:.1f}" y="{y - 7:.1f}" text-anchor="middle">{r[key]:.3g}</text>')
        out.append(f'<text x="{x:.1f}" y="{top + HEIGHT + 15}" text-anchor="middle" fill="#555">{r["devices"]:.0f}</text>')
    out.append(f'<text x="{left + WIDTH / 2}" y="{top + HEIGHT + 32}" text-anchor="middle" fill="#555">devices at once</text>')
out.append("</svg>")
with open(sys.argv[2], "w", encoding="utf-8") as chart:
    chart.write("\n".join(out) + "\n")
