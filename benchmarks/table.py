#!/usr/bin/env python3
"""The comparison as a table: table.py RESULTS.tsv

RESULTS.tsv is what bench.sh notes: part, peer, key and value in each line. Several values of one kind are runs, of
which the median counts. A row's bar holds when Satchel needs no more than the best of its peers.
"""
import dataclasses
import statistics
import sys

PEERS = ("restic", "borg", "kopia", "desync", "casync", "ostree", "rsync", "xdelta3", "zstd", "bsdiff")


@dataclasses.dataclass
class Row:
    title: str
    part: str
    key: str  # of Satchel, and of the peers unless theirs is given
    unit: str  # s, MB or KB
    theirs: str = ""
    chart: bool = False


def transfer(title, part, unit):
    """The rows of an update that goes over the wire, to two devices one after the other."""
    return [
        Row(f"{title}: moved to a device", part, "wire_bytes", unit, chart=True),
        Row(f"{title}: moved to the next device", part, "third_wire_bytes", unit, "wire_bytes"),
        Row(f"{title}: sent by a device", part, "push_wire_bytes", unit, "wire_bytes"),
        Row(f"{title}: wall", part, "wall_s", "s"),
        Row(f"{title}: sender's CPU", part, "sender_cpu_s", "s", chart=True),
        Row(f"{title}: sender's CPU, next device", part, "third_sender_cpu_s", "s", "sender_cpu_s"),
        Row(f"{title}: receiver's CPU", part, "receiver_cpu_s", "s"),
        Row(f"{title}: sender's peak memory", part, "sender_rss_mb", "MB"),
        Row(f"{title}: receiver's peak memory", part, "receiver_rss_mb", "MB"),
    ]


ROWS = [
    Row("ingest os-v1: wall", "ingest", "wall_s", "s", chart=True),
    Row("ingest os-v1: CPU", "ingest", "cpu_s", "s"),
    Row("ingest os-v1: peak memory", "ingest", "rss_mb", "MB"),
    Row("ingest os-v1: stored", "ingest", "added_bytes", "MB", chart=True),
    Row("again, unchanged: wall", "again", "wall_s", "s", chart=True),
    Row("again, unchanged: CPU", "again", "cpu_s", "s"),
    Row("os-v2 in its place: wall", "update", "wall_s", "s", chart=True),
    Row("os-v2 in its place: CPU", "update", "cpu_s", "s"),
    Row("os-v2 in its place: added", "update", "added_bytes", "MB", chart=True),
    Row("restore os-v1: wall", "restore", "wall_s", "s", chart=True),
    Row("restore os-v1: CPU", "restore", "cpu_s", "s"),
    Row("restore os-v1: peak memory", "restore", "rss_mb", "MB"),
    Row("20 machines, trees: stored", "fleet", "added_bytes", "MB", chart=True),
    Row("20 machines, trees: wall", "fleet", "wall_s", "s"),
    Row("20 machines, trees: CPU", "fleet", "cpu_s", "s"),
    Row("20 machines, recompressed later: stored", "fleet", "recompressed_bytes", "MB", "added_bytes"),
    Row("20 machines, recompressed later: CPU", "fleet", "recompress_cpu_s", "s", "no peer does this"),
    Row("6 machines, images: stored", "images", "added_bytes", "MB", chart=True),
    Row("6 machines, images: wall", "images", "wall_s", "s"),
    Row("6 machines, images: CPU", "images", "cpu_s", "s"),
    Row("image updated inside: added", "image-update", "added_bytes", "MB", chart=True),
    Row("image updated inside: CPU", "image-update", "cpu_s", "s"),
    Row("user's day: added", "user-store", "added_bytes", "KB"),
    *transfer("os-v1 to os-v2", "delta", "MB"),
    *transfer("os-v1 to the next release", "release", "MB"),
    *transfer("user's day", "user", "KB"),
    *transfer("image updated inside", "image-delta", "MB"),
]
DIVISOR = {"MB": 1e6, "KB": 1e3, "s": 1}


def load(path):
    """(part, peer, key) -> the median of its values."""
    values = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            part, peer, key, value = line.rstrip("\n").split("\t")
            values.setdefault((part, peer, key), []).append(float(value))
    return {k: statistics.median(v) for k, v in values.items()}, values


def value_of(row, peer, medians):
    """In the row's unit; None if it was not measured."""
    key = row.key if peer == "satchel" or not row.theirs else row.theirs
    v = medians.get((row.part, peer, key))
    if v is None and key.startswith("sender_"):  # who makes a delta ahead does all that is timed
        v = medians.get((row.part, peer, key.removeprefix("sender_")))
    return None if v is None else v / DIVISOR[row.unit] if row.key.endswith("_bytes") else v


def best_of(row, medians):
    """The peer that needs least, and what it needs; None if none was measured."""
    have = [(v, p) for p in PEERS if (v := value_of(row, p, medians)) is not None]
    return min(have) if have else None


def shown(v):
    return "" if v is None else f"{v:,.0f}" if v >= 1000 else f"{v:.3g}"


def main():
    medians, values = load(sys.argv[1])
    rows = [r for r in ROWS if any(value_of(r, p, medians) is not None for p in ("satchel", *PEERS))]
    peers = [p for p in PEERS if any(value_of(r, p, medians) is not None for r in rows)]
    print("| | | satchel | best peer | ratio | bar | " + " | ".join(peers) + " |")
    print("|---|---|---:|---|---:|---|" + "---:|" * len(peers))
    held = counted = 0
    for r in rows:
        ours, best = value_of(r, "satchel", medians), best_of(r, medians)
        ratio = bar = name = ""
        if best:
            name = best[1]
        if ours is not None and best and best[0] > 0:
            counted += 1
            held += ours <= best[0]
            ratio, bar = f"{ours / best[0]:.2f}", "holds" if ours <= best[0] else "short"
        cells = [shown(value_of(r, p, medians)) for p in peers]
        print(f"| {r.title} | {r.unit} | {shown(ours)} | {name} | {ratio} | {bar} | " + " | ".join(cells) + " |")
    print(f"\n{held} of {counted} bars hold.")
    notes(medians, values)


def notes(medians, values):
    """What a reader has to know of the figures."""
    for (part, peer, key), v in sorted(medians.items()):
        if key == "differing" and v:
            print(f"What {peer} restored differs from what it was in {v:.0f} entries.")
    if whole := [(p, v) for (p, peer, key), v in medians.items() if (peer, key) == ("whole", "wire_bytes")]:
        print("All of the new state, zstd -3: " + ", ".join(f"{p} {v / 1e6:.1f} MB" for p, v in whole) + ".")
    loads = [x for (_, _, key), v in values.items() if key == "load" for x in v]
    if loads:
        print(f"Load of the machine before a run: median {statistics.median(loads):.1f}, highest {max(loads):.1f}."
              " A run itself is part of the load before the next; wall times beside other work mean little.")


if __name__ == "__main__":
    main()
