#!/bin/sh
# Switches to and fro between two guests of 768 MB, and prints for each switch
# how long the one took to be suspended, and the other until its agent answered,
# until it was up, and in all; last, what a suspended guest takes in the store.
#
#   benchmarks/switch.sh GUESTS [ROUNDS]
#
# GUESTS is the directory with os-v1.tar that make guests builds. Needs satchel
# in PATH, QEMU, and jq.
set -eu
guests=$1 rounds=${2:-5}
dir=$(mktemp -d)
export SATCHEL_HOME="$dir/home" XDG_RUNTIME_DIR="$dir/run"
mkdir -m 700 "$dir/run"
finish() {
	satchel stop --kill one >/dev/null 2>&1 || true
	satchel stop --kill two >/dev/null 2>&1 || true
	rm -rf "$dir"
}
trap finish EXIT


satchel layer import --kind os debian "$guests/os-v1.tar" >/dev/null 2>&1
for name in one two; do
	satchel workspace create $name --os debian >/dev/null
done
satchel run one --detach --memory 768M >/dev/null
satchel switch two --memory 768M >/dev/null
echo "to suspend agent up all memory_MB (seconds)"
for round in $(seq "$rounds"); do
	for name in one two; do
		satchel switch $name --json | jq -r '[.to.workspace, .from.seconds, .to.boot.agent_seconds, .to.boot.ready_seconds, .seconds, .from.memory_bytes / 1e6]
			| map(if type == "number" then . * 100 | round / 100 else . end) | map(tostring) | join(" ")'
	done
done
satchel suspend one --store --json | jq -c .stored
