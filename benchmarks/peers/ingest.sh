#!/usr/bin/env bash
# One store, from empty: os-v1, the same again unchanged, os-v2 in its place, and os-v1
# restored: ingest.sh PEER
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/stores.sh"
peer=$1 mine=$scratch/ingest-$1 repo=$scratch/ingest-$1/store
trap tidy EXIT
for part in ingest again update restore; do forget $part "$peer"; done

# step PART NAME: an ingest, and what it adds.
step() {
	local before
	before=$(stored "$peer" "$repo")
	ingest_command "$peer" "$repo" "$2" "$at"
	timed "$1" "$peer" "${cmd[@]}"
	note "$1" "$peer" added_bytes $(($(stored "$peer" "$repo") - before))
}

# restore: also counts entries that are not as they were: size, times, owners, modes,
# links, extended attributes. Times of directories are left out.
restore() {
	local out=$blank/out
	blank
	mkdir "$out"
	restore_command "$peer" "$repo" os-v1 "$out" "$at"
	timed restore "$peer" "${cmd[@]}" || return 0
	bind os-v1
	measure rsync -naHXO --numeric-ids --delete --exclude=/dev --itemize-changes "$at/" "$restored/"
	note restore "$peer" differing "$(wc -l <"$last.out")"
	unblank
}

for run in $(seq "$RUNS"); do
	make_store "$peer" "$repo"
	bind os-v1
	step ingest os-v1
	took=$wall
	step again os-v1-again
	bind os-v2
	step update os-v2
	restore
	if enough "$run" "$took"; then break; fi
done
