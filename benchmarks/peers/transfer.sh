#!/usr/bin/env bash
# What a tool moves to bring a copy of one state to the next: transfer.sh PART TOOL BEFORE AFTER
# Sender is who has both or only the new state, receiver who has the old one. rsync finds out
# the difference on line; the others have both states at hand. xdelta3 and zstd work on a tar
# of a tree, bsdiff file by file, ostree on two commits, made beforehand.
. "$(dirname "$0")/../lib.sh"
part=$1 tool=$2 before=$3 after=$4 mine=$scratch/$1-$2
port=$(free_port)
trap finish EXIT
forget "$part" "$tool"
rm -rf "$mine"
mkdir -p "$mine"

# blob SOURCE FILE: SOURCE as one file.
blob() {
	bind "$1"
	if [ -e "$at/disk.img" ]; then cp --sparse=always "$at/disk.img" "$2"; else tar --sort=name --numeric-owner -C "$at" -cf "$2" .; fi
	unbind
}
blobs() { blob "$before" "$mine/before"; blob "$after" "$mine/after"; }

finish() {
	[ -z "$daemon" ] || pkill -TERM -P "$daemon" || true
	tidy
}
daemon= # the /usr/bin/time that runs rsync's

# receiver: notes what was measured last as the receiver's.
receiver() { note "$part" "$tool" receiver_cpu_s "$cpu"; note "$part" "$tool" receiver_rss_mb "$rss"; }

# made_ahead FILE COMMAND...: times a command that makes FILE, a delta.
made_ahead() {
	local delta=$1
	shift
	timed "$part" "$tool" "$@"
	took=$wall
	note "$part" "$tool" wire_bytes "$(size_of "$delta")"
}

prepare_rsync() {
	printf 'port = %s\naddress = 127.0.0.1\nuse chroot = no\nuid = root\ngid = root\nread only = yes\n[new]\npath = %s\n' \
		"$port" "$at" >"$mine/rsyncd.conf"
	bind "$before"
	cp -a --sparse=always "$at" "$mine/old"
	bind "$after"
}
run_rsync() { # whole files would be rsync's default on one machine
	rm -rf "$mine/copy"
	cp -a --sparse=always "$mine/old" "$mine/copy"
	/usr/bin/time -o "$mine/daemon.time" -f '%e %U %S %M' rsync --daemon --no-detach --config="$mine/rsyncd.conf" &
	daemon=$!
	until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
		kill -0 $daemon
		sleep 0.05
	done
	timed "$part" "$tool" rsync -aHX --numeric-ids --delete --no-whole-file -z --zc=zstd --stats "rsync://127.0.0.1:$port/new/" "$mine/copy/"
	took=$wall
	receiver
	note "$part" "$tool" wire_bytes "$(awk -F': ' '/^Total bytes (sent|received)/ {gsub(",", "", $2); s += $2} END {printf "%.0f\n", s}' "$last.out")"
	pkill -TERM -P $daemon
	wait $daemon || true
	daemon=
	read_time "$mine/daemon.time"
	note "$part" "$tool" sender_cpu_s "$cpu"
	note "$part" "$tool" sender_rss_mb "$rss"
}

prepare_xdelta3() { blobs; }
run_xdelta3() {
	made_ahead "$mine/delta" xdelta3 -e -f -1 -B 2147483648 -s "$mine/before" "$mine/after" "$mine/delta"
	measure xdelta3 -d -f -B 2147483648 -s "$mine/before" "$mine/delta" "$mine/got"
	receiver
}

prepare_zstd() { blobs; }
run_zstd() {
	made_ahead "$mine/delta" zstd -q -f -3 -T1 --long=31 --patch-from="$mine/before" "$mine/after" -o "$mine/delta"
	measure zstd -q -f -d --long=31 --memory=2048MB --patch-from="$mine/before" "$mine/delta" -o "$mine/got"
	receiver
}

prepare_bsdiff() { :; }
run_bsdiff() {
	timed "$part" "$tool" python3 "$benchmarks/peers/filedelta.py" "$corpus/$before" "$corpus/$after"
	took=$wall
	note "$part" "$tool" wire_bytes "$(awk 'END {print $1}' "$last.out")"
}

prepare_ostree() {
	local state
	measure ostree --repo="$mine/repo" init --mode=archive
	for state in before after; do
		bind "${!state}"
		measure ostree --repo="$mine/repo" commit --fsync=false -b $state -s $state --tree=dir="$at"
	done
}
run_ostree() {
	rm -rf "$mine/repo/deltas"
	made_ahead "$mine/repo/deltas" ostree --repo="$mine/repo" static-delta generate --from=before --to=after --min-fallback-size=0
}

# For scale: all of the new state, compressed.
prepare_whole() { blob "$after" "$mine/after"; }
run_whole() { made_ahead "$mine/delta" zstd -q -f -3 -T1 --long=27 "$mine/after" -o "$mine/delta"; }

"prepare_$tool"
for run in $(seq "$RUNS"); do
	"run_$tool"
	if enough "$run" "$took"; then break; fi
done
