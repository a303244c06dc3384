#!/usr/bin/env python3
"""The comparison as bar charts: chart.py RESULTS.tsv CHART.svg. A panel for each of the table's main rows; shorter is better."""
import sys

import table

WIDTH, BAR, LABEL, COLUMNS = 170, 15, 60, 3


def panel(row, bars, left, top):
    """One row's bars, the best first. One that would dwarf the others is cut off, which a » tells."""
    high = min(max(v for v, _ in bars), 4 * sorted(v for v, _ in bars)[len(bars) // 2]) or 1
    out = [f'<text x="{left}" y="{top}" font-weight="bold">{row.title}, {row.unit}</text>']
    for i, (v, peer) in enumerate(bars):
        y = top + 8 + i * BAR
        cut = v > high
        width = max(1, min(v, high) / high * WIDTH)
        colour = "#06c" if peer == "satchel" else "#bbb"
        out.append(f'<text x="{left + LABEL - 5}" y="{y + 10}" text-anchor="end" fill="#555">{peer}</text>')
        out.append(f'<rect x="{left + LABEL}" y="{y}" width="{width:.1f}" height="{BAR - 4}" fill="{colour}"/>')
        out.append(f'<text x="{left + LABEL + width + 4:.1f}" y="{y + 10}">{table.shown(v)}{" »" if cut else ""}</text>')
    return out


def main():
    medians, _ = table.load(sys.argv[1])
    panels = []
    for row in table.ROWS:
        bars = sorted((v, p) for p in ("satchel", *table.PEERS) if (v := table.value_of(row, p, medians)) is not None)
        if row.chart and bars:
            panels.append((row, bars))
    height = 8 + BAR * (1 + max((len(b) for _, b in panels), default=0)) + 22
    rows = -(-len(panels) // COLUMNS)
    step = WIDTH + LABEL + 70
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {COLUMNS * step + 10} {rows * height + 10}" font-family="sans-serif" font-size="11">',
           '<rect width="100%" height="100%" fill="white"/>']
    for i, (row, bars) in enumerate(panels):
        out += panel(row, bars, 10 + i % COLUMNS * step, 22 + i // COLUMNS * height)
    out.append("</svg>")
    with open(sys.argv[2], "w", encoding="utf-8") as chart:
        chart.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
