"""File by file, what bsdiff moves from one tree to the next: filedelta.py OLD NEW. Prints the total in bytes.

The old file is the one at the same path, or else at the path that is the same without digits, as kernel modules
and libraries have their version in it. A file without either is compressed. One whose content is anywhere in the
old tree costs nothing.
"""
import concurrent.futures
import filecmp
import hashlib
import os
import re
import subprocess
import sys
import tempfile

old, new = sys.argv[1:]


def tree(root):
    """Sizes of regular files by path; of a file with several names just one."""
    out, seen = {}, set()
    for d, _, fs in os.walk(root):
        for f in fs:
            p = os.path.join(d, f)
            st = os.lstat(p)
            if os.path.islink(p) or not os.path.isfile(p) or (st.st_dev, st.st_ino) in seen:
                continue
            seen.add((st.st_dev, st.st_ino))
            out[os.path.relpath(p, root)] = st.st_size
    return out


def without_digits(path):
    return re.sub(r"\d+", "#", path)


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").digest()


def delta(job):
    path, base = job
    if base is None:
        return len(subprocess.run(["zstd", "-q", "-c", "-19", "--", f"{new}/{path}"], stdout=subprocess.PIPE, check=True).stdout)
    with tempfile.NamedTemporaryFile() as patch:
        subprocess.run(["bsdiff", f"{old}/{base}", f"{new}/{path}", patch.name], check=True)
        return os.path.getsize(patch.name)


before, after = tree(old), tree(new)
held = {digest(f"{old}/{p}") for p in before}
similar = {without_digits(p): p for p in sorted(before)}
jobs = []
for p in after:
    if p in before and before[p] == after[p] and filecmp.cmp(f"{old}/{p}", f"{new}/{p}", shallow=False):
        continue
    if digest(f"{new}/{p}") not in held:
        jobs.append((p, p if p in before else similar.get(without_digits(p))))
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    print(sum(pool.map(delta, jobs)))
