"""Makes one person's files from a pool of documents, and the same after a day's work: userdata.py POOL BEFORE AFTER."""
import os
import random
import shutil
import sqlite3
import sys
import zipfile

pool, before, after = sys.argv[1:]
rnd = random.Random(7)


def files_in(top):
    found = sorted(os.path.join(d, f) for d, _, fs in os.walk(top) for f in fs)
    return [f for f in found if os.path.isfile(f) and not os.path.islink(f)]


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def words(n):
    """n bytes of real text, each time another part of the pool."""
    out = bytearray()
    while len(out) < n:
        out += read(rnd.choice(text))
    return bytes(out[:n])


def office_document(path, body, picture):
    """A zip of deflated parts, as office documents are."""
    with zipfile.ZipFile(path, "w") as z:
        for name, data in (("document.xml", body), ("picture.png", picture)):
            z.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)


def make():
    """120 MB of files as they are, a mailbox, a log, a table, a database, office documents."""
    budget = 120 << 20
    for f in rnd.sample(files, len(files)):
        n = os.path.getsize(f)
        if n <= budget and n < 12 << 20:
            budget -= n
            write(os.path.join(before, "Documents", os.path.relpath(f, pool)), read(f))
    write(f"{before}/Mail/inbox.mbox", words(40 << 20))
    write(f"{before}/Work/log.txt", words(24 << 20))
    write(f"{before}/Work/data.csv", b"".join(b"%d,%d,%.6f\n" % (i, rnd.randrange(10**6), rnd.random()) for i in range(600000)))
    db = sqlite3.connect(f"{before}/Work/notes.sqlite")
    db.execute("create table note(id integer primary key, title text, body text)")
    notes = [(os.path.basename(f), read(f).decode("utf8", "replace")) for f in rnd.sample(text, 1500)]
    db.executemany("insert into note(title, body) values(?, ?)", notes)
    db.execute("create index by_title on note(title)")
    db.commit()
    db.close()
    for i, body in enumerate(bodies):
        office_document(f"{before}/Work/report-{i}.odt", body, pictures[i])


def work():
    """The day: mail, insertions, database updates, edits, files removed, renamed and new."""
    shutil.copytree(before, after)
    have = files_in(f"{after}/Documents")
    with open(f"{after}/Mail/inbox.mbox", "ab") as f:
        f.write(words(300 << 10))
    for name, where in (("Work/log.txt", 11 << 20), ("Work/data.csv", 6 << 20)):
        data = read(f"{after}/{name}")
        write(f"{after}/{name}", data[:where] + words(1000) + data[where:])
    db = sqlite3.connect(f"{after}/Work/notes.sqlite")
    for i in rnd.sample(range(1, 1500), 60):
        db.execute("update note set body = body || ' seen' where id = ?", (i,))
    db.commit()
    db.close()
    for i in (2, 5):  # one paragraph more, and all of the document deflated anew
        office_document(f"{after}/Work/report-{i}.odt", bodies[i][:200000] + b"A new paragraph." + bodies[i][200000:], pictures[i])
    for f in rnd.sample([f for f in have if f.endswith((".go", ".md", ".html", ".txt"))], 40):
        lines = read(f).split(b"\n")
        lines.insert(len(lines) // 2, b"// changed today")
        write(f, b"\n".join(lines))
    gone = rnd.sample(have, 20)
    for f in gone[:10]:
        os.remove(f)
    for f in gone[10:]:
        os.rename(f, f + ".old")
    os.rename(f"{after}/Documents/src", f"{after}/Documents/sources")
    left = [f for f in files if not os.path.exists(os.path.join(before, "Documents", os.path.relpath(f, pool)))]
    for f in rnd.sample(left, min(30, len(left))):
        if os.path.getsize(f) < 2 << 20:
            write(os.path.join(after, "Downloads", os.path.basename(f)), read(f))


files = files_in(pool)
text = [f for f in files if f.endswith((".go", ".md", ".txt", ".html", ".c", ".h"))]
bodies = [words(400 << 10) for _ in range(12)]
pictures = [read(f) for f in files if f.endswith((".jpg", ".png", ".webp"))][:12]
make()
work()
