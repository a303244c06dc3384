# Shared by the scripts of `make bench`. Source it; bench.sh says which settings there are.
# shellcheck shell=bash disable=SC2034 # what is set here is used by those who source it
set -euo pipefail
benchmarks=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WORK=${WORK:-$(dirname "$benchmarks")/.cache/bench}
mkdir -p "$WORK/corpus" "$WORK/peers/bin"
WORK=$(cd "$WORK" && pwd)
corpus=$WORK/corpus              # the data: made once, and only read after that
scratch=$WORK/peers              # stores, caches and copies; emptied by who fills them
results=$scratch/results.tsv        # a line for each figure: part, peer, key, value
RUNS=${RUNS:-3}
export PATH="$scratch/bin:$PATH" LC_ALL=C.UTF-8

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

# note PART PEER KEY VALUE: adds a figure. Several of one kind are runs; the table takes their median.
note() {
	printf '%s\t%s\t%s\t%s\n' "$@" >>"$results"
	say "  $1, $2: $3 $4"
}

# forget PART PEER: drops the figures of an earlier time.
forget() {
	[ -e "$results" ] || return 0
	awk -F'\t' -v part="$1" -v peer="$2" '!($1 == part && $2 == peer)' "$results" >"$results.part"
	mv "$results.part" "$results"
}

# measure COMMAND...: runs it and sets wall, cpu (s; user and system, of it and its
# children) and rss (MB, of the largest of these). What it prints goes to $last.out and .err.
measure() {
	last=$scratch/last.$$
	if ! /usr/bin/time -o "$last.time" -f '%e %U %S %M' "$@" >"$last.out" 2>"$last.err"; then
		say "  failed: $*"
		tail -n 5 "$last.err" >&2
		return 1
	fi
	read_time "$last.time"
}

# read_time FILE: sets wall, cpu and rss from what /usr/bin/time wrote.
read_time() { read -r wall cpu rss < <(awk 'END {printf "%s %.2f %.0f\n", $1, $2 + $3, $4 * 1024 / 1e6}' "$1"); }

# timed PART PEER COMMAND...: measures it, and notes that and the load under which it began.
timed() {
	local part=$1 peer=$2 load
	shift 2
	sync # so that no run pays for what the last one left to be written
	load=$(cut -d' ' -f1 /proc/loadavg)
	measure "$@" || return 1
	note "$part" "$peer" wall_s "$wall"
	note "$part" "$peer" cpu_s "$cpu"
	note "$part" "$peer" rss_mb "$rss"
	note "$part" "$peer" load "$load"
}

# enough RUN SECONDS: whether no further run is wanted: RUNS are done, or one takes a minute.
enough() { [ "$1" -ge "$RUNS" ] || awk -v s="$2" 'BEGIN {exit !(s > 60)}'; }

# free_port: one of loopback that nobody listens on.
free_port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# size_of PATH...: bytes of the regular files in it, each hard link counted.
size_of() { find -H "$@" -type f -printf '%s\n' | awk '{s += $1} END {printf "%.0f\n", s}'; }

# bind SOURCE: has the corpus's SOURCE, a tree or an image, at $at: all states of a thing are
# read at one path, as tools compare with what they read there before. A tree's device nodes
# are hidden, as not every peer takes them; an image is the only file of a directory.
at=$scratch/at.$$
bind() {
	unbind
	mkdir -p "$at"
	if [ -d "$corpus/$1" ]; then
		mount --bind -o ro "$corpus/$1" "$at"
		[ ! -d "$at/dev" ] || mount -t tmpfs tmpfs "$at/dev"
	else
		mount -t tmpfs tmpfs "$at"
		touch "$at/disk.img"
		mount --bind -o ro "$corpus/$1" "$at/disk.img"
	fi
}
unbind() {
	local m
	for m in "$at/dev" "$at/disk.img" "$at"; do
		if mountpoint -q "$m"; then umount "$m" || umount -l "$m"; fi
	done
}

# blank: has a file system of its own, newly made and empty, at $blank. One that has just lost
# many files can take the kernel ten seconds more to fill, whoever does it.
blank=$scratch/blank.$$
blank() {
	unblank
	mkdir -p "$blank"
	truncate -s 8G "$blank.img"
	mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$blank.img"
	mount -o loop "$blank.img" "$blank"
}
unblank() {
	if mountpoint -q "$blank"; then umount "$blank" || umount -l "$blank"; fi
	rm -rf --one-file-system "$blank" "$blank.img"
}

# tidy: what every script does at its end, however it ends.
tidy() {
	unbind
	unblank
	rm -rf --one-file-system "$at" "$scratch/last.$$".* "$scratch/cache.$$" ${mine:+"$mine"}
}
