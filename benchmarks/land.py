#!/usr/bin/env python3
"""How an update lands, as a chart: land.py LINES CHART.svg

LINES is the file that BenchmarkLand wrote.
"""
import sys

rows = [[float(word) for word in line.split()] for line in open(sys.argv[1], encoding="utf-8")]
if len(rows) < 2:
    sys.exit(f"{sys.argv[1]}: no lines of BenchmarkLand")
times = [row[0] for row in rows]
rate = [0] + [(b[1] - a[1]) / max(b[0] - a[0], 1) for a, b in zip(rows, rows[1:])]
cores = [0] + [(b[2] - a[2]) / max(b[0] - a[0], 1) for a, b in zip(rows, rows[1:])]
smooth = lambda v: [sum(v[max(0, i - 4):i + 5]) / len(v[max(0, i - 4):i + 5]) for i in range(len(v))]
curves = [
    ("devices that have it", [row[3] for row in rows]),
    ("server sends, MB/s", smooth(rate)),
    ("server, processors busy", smooth(cores)),
]
WIDTH, HEIGHT, LEFT, TOP = 230, 150, 50, 40
out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {len(curves) * 300 + 10} 240" font-family="sans-serif" font-size="11">',
       '<rect width="100%" height="100%" fill="white"/>']
for i, (title, values) in enumerate(curves):
    left, top = LEFT + i * 300, TOP
    high = max(values) * 1.15 or 1
    points = " ".join(f"{left + t / times[-1] * WIDTH:.1f},{top + HEIGHT - v / high * HEIGHT:.1f}" for t, v in zip(times, values))
    out.append(f'<text x="{left}" y="{top - 16}" font-weight="bold">{title}</text>')
    out.append(f'<path d="M{left} {top}V{top + HEIGHT}H{left + WIDTH}" fill="none" stroke="#888"/>')
    out.append(f'<polyline fill="none" stroke="#06c" stroke-width="2" points="{points}"/>')
    out.append(f'<text x="{left - 4}" y="{top + HEIGHT - max(values) / high * HEIGHT + 4:.1f}" text-anchor="end">{max(values):.3g}</text>')
    out.append(f'<text x="{left + WIDTH}" y="{top + HEIGHT + 15}" text-anchor="end" fill="#555">{times[-1]:.0f}</text>')
    out.append(f'<text x="{left + WIDTH / 2}" y="{top + HEIGHT + 32}" text-anchor="middle" fill="#555">seconds</text>')
out.append("</svg>")
with open(sys.argv[2], "w", encoding="utf-8") as chart:
    chart.write("\n".join(out) + "\n")
