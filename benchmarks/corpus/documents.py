"""Copies a share of a pool of documents: documents.py POOL TO SEED. All get the same 30 MiB, each 20 to 170 MiB more."""
import os
import random
import shutil
import sys

pool, to, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
files = sorted(os.path.join(d, f) for d, _, fs in os.walk(pool) for f in fs)
files = [f for f in files if os.path.isfile(f) and not os.path.islink(f) and os.path.getsize(f) < 12 << 20]


def take(rnd, budget, folder):
    for f in rnd.sample(files, len(files)):
        n = os.path.getsize(f)
        if n > budget:
            continue
        budget -= n
        target = os.path.join(to, folder, os.path.relpath(f, pool))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(f, target)
        if budget < 4096:
            return


take(random.Random(0), 30 << 20, "shared")
rnd = random.Random(seed)
take(rnd, rnd.randrange(20, 170) << 20, "own")
