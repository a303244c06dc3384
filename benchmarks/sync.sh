#!/usr/bin/env bash
# Sync on loopback beside rsync, with real processes: sync.sh TREE NEWER-TREE [RUNS]
# TREE and NEWER-TREE are directories, such as two builds of an operating system.
# Needs rsync, GNU time and python3, and bin/satchel (make build); run it as root, as the
# trees' files may ask for. Prints a table; each figure is the median of RUNS (3).
#   wall, CPU of both ends, peak memory of each end: first copy of TREE
#   bytes to go on to NEWER-TREE; a sync of nothing; a sync of a 1 KB edit
set -euo pipefail
tree=${1:?usage: sync.sh TREE NEWER-TREE [RUNS]} newer=${2:?usage: sync.sh TREE NEWER-TREE [RUNS]} runs=${3:-3}
cd "$(dirname "$0")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/satchel-sync.XXXXXX")
mkdir "$work/bin" && cp bin/satchel "$work/bin" # the same one throughout
PATH=$work/bin:$PATH
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
rsync_port=18730 port=18440

# time_of FILE: "wall cpu memory-in-MiB" of a finished /usr/bin/time.
time_of() { awk 'END {printf "%s %.2f %d", $1, $2 + $3, $4 / 1024}' "$1"; }
timed=(/usr/bin/time -f '%e %U %S %M' -o) # an array, so that in the background its PID is that of time
median() { sort -g | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
column() { awk -v c="$2" '{print $c}' "$work/$1.tsv" | median; }
listening() { for _ in {1..200}; do (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return; sleep 0.05; done; return 1; }
field() { python3 -c 'import json, sys; v = json.load(sys.stdin)
for k in sys.argv[1].split("."): v = v[k]
print(v)' "$1"; }
# ended TIMED-PID: ends the program that a /usr/bin/time runs, and waits for both.
ended() { pkill -TERM -P "$1"; wait "$1" || true; }
device() { local home=$1; shift; satchel --home "$work/$home" "$@"; }

cat >"$work/rsyncd.conf" <<CONF
port = $rsync_port
use chroot = no
pid file = $work/rsyncd.pid
[tree]
path = $(readlink -f "$tree")
uid = $(id -u)
gid = $(id -g)
CONF

start_server() { "${timed[@]}" "$1" satchel server run "$work/server" --listen "127.0.0.1:$port" --log-level warn 2>>"$work/server.log" & server=$!; listening $port; }
satchel server init "$work/server" --json >"$work/made.json"
token=$(field admin_token <"$work/made.json") fingerprint=$(field ca_fingerprint <"$work/made.json")
start_server "$work/ignored"
device admin admin login "https://127.0.0.1:$port" --token "$token" --ca-fingerprint "$fingerprint" 2>/dev/null
device admin admin user add lab --publisher >/dev/null
enrol=$(device admin admin token add lab --uses 1000 --json | field secret)
join() { device "$1" enrol "https://127.0.0.1:$port" --token "$enrol" --ca-fingerprint "$fingerprint" --name "$1" >/dev/null 2>&1; }
join publisher
device publisher layer import --kind os os "$tree" >/dev/null
device publisher workspace create w --os os >/dev/null
device publisher sync >/dev/null
ended $server

for run in $(seq "$runs"); do
	"${timed[@]}" "$work/daemon" rsync --daemon --no-detach --config="$work/rsyncd.conf" & daemon=$!
	listening $rsync_port; sync
	"${timed[@]}" "$work/client" rsync -a "rsync://127.0.0.1:$rsync_port/tree/" "$work/copy/"
	ended $daemon
	echo "$(time_of "$work/client") $(time_of "$work/daemon")" >>"$work/rsync.tsv"
	rm -rf "$work/copy"

	start_server "$work/ignored"; join "device$run"; ended $server
	start_server "$work/served"; sync
	"${timed[@]}" "$work/synced" satchel --home "$work/device$run" sync --json >"$work/report.json" 2>/dev/null
	ended $server
	echo "$(time_of "$work/synced") $(time_of "$work/served") $(field traffic.down <"$work/report.json")" >>"$work/satchel.tsv"
done
device device1 store verify >/dev/null

start_server "$work/ignored"
device publisher layer import --kind os os "$newer" >/dev/null
device publisher sync --json >"$work/published.json" 2>/dev/null
device device1 sync --json >"$work/newer.json" 2>/dev/null

# A data layer of 4,000 files, one of them edited; ten layers in all.
mkdir -p "$work/data/home/lab"
python3 - "$work/data/home/lab" <<'PY'
import os, random, sys
r = random.Random(1)
for i in range(4000):
    d = os.path.join(sys.argv[1], f"dir{i % 40}")
    os.makedirs(d, exist_ok=True)
    with open(os.path.join(d, f"file{i}"), "wb") as f:
        f.write(r.randbytes(r.randrange(200, 8000)))
PY
for w in x y; do device publisher workspace create $w --os os >/dev/null; done
device publisher layer import --kind data w/data "$work/data" >/dev/null
device publisher sync >/dev/null 2>&1
device device1 sync >/dev/null 2>&1
layers=$(device device1 sync --json 2>/dev/null | field layers | tr '{' '\n' | grep -c "'layer'")
for run in $(seq 5); do
	"${timed[@]}" "$work/noop" satchel --home "$work/device1" sync --json >"$work/noop.json" 2>/dev/null
	echo "$(time_of "$work/noop") $(field seconds <"$work/noop.json") $(field traffic.up <"$work/noop.json") $(field traffic.down <"$work/noop.json")" >>"$work/noop.tsv"
	head -c 1024 /dev/urandom >"$work/data/home/lab/dir7/file7"
	device publisher layer import --kind data w/data "$work/data" >/dev/null
	"${timed[@]}" "$work/edit" satchel --home "$work/publisher" sync --json >"$work/edit.json" 2>/dev/null
	echo "$(time_of "$work/edit") $(field seconds <"$work/edit.json") $(field traffic.up <"$work/edit.json") $(field traffic.down <"$work/edit.json")" >>"$work/push.tsv"
	"${timed[@]}" "$work/edit" satchel --home "$work/device1" sync --json >"$work/edit.json" 2>/dev/null
	echo "$(time_of "$work/edit") $(field seconds <"$work/edit.json") $(field traffic.up <"$work/edit.json") $(field traffic.down <"$work/edit.json")" >>"$work/pull.tsv"
done
ended $server

python3 - "$work" "$(column rsync 1)" "$(column satchel 1)" "$(awk '{print $2 + $5}' "$work/rsync.tsv" | median)" "$(awk '{print $2 + $5}' "$work/satchel.tsv" | median)" <<'PY'
import sys
_, work, rw, sw, rc, sc = sys.argv
print(f"first copy, wall s        rsync {rw}   satchel {sw}   ratio {float(sw) / float(rw):.2f}")
print(f"first copy, CPU s both    rsync {rc}   satchel {sc}   ratio {float(sc) / float(rc):.2f}")
PY
echo "peak memory MiB           rsync $(column rsync 3) and $(column rsync 6)   satchel device $(column satchel 3), server $(column satchel 6)"
echo "bytes moved               first $(column satchel 7); to the newer tree: published $(field traffic.up <"$work/published.json"), fetched $(field traffic.down <"$work/newer.json")"
echo "nothing new, $layers layers   wall $(column noop 1) s, in sync $(column noop 4) s, up $(column noop 5) B, down $(column noop 6) B"
echo "1 KB edit of 4,000 files  send: wall $(column push 1) s, in sync $(column push 4) s, up $(column push 5) B, down $(column push 6) B"
echo "                          fetch: wall $(column pull 1) s, in sync $(column pull 4) s, up $(column pull 5) B, down $(column pull 6) B"
