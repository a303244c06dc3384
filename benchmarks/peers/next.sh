#!/usr/bin/env bash
# What the next state of something adds to a store that holds the one before:
# next.sh PART PEER BEFORE AFTER
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/stores.sh"
part=$1 peer=$2 before=$3 after=$4 mine=$scratch/$1-$2 repo=$scratch/$1-$2/store
trap tidy EXIT
forget "$part" "$peer"

for run in $(seq "$RUNS"); do
	make_store "$peer" "$repo"
	bind "$before"
	ingest_command "$peer" "$repo" before "$at"
	measure "${cmd[@]}"
	took=$wall held=$(stored "$peer" "$repo")
	bind "$after"
	ingest_command "$peer" "$repo" after "$at"
	timed "$part" "$peer" "${cmd[@]}"
	note "$part" "$peer" added_bytes $(($(stored "$peer" "$repo") - held))
	if enough "$run" "$took"; then break; fi
done
