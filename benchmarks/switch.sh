#!/bin/sh
# Switches to and fro between two guests of 768 MB, and prints for each switch
# how long the one took to be suspended, and the other until its agent answered,
# until it was up, and in all; last, what a suspended guest takes in the store.
#
#   benchmarks/switch.sh GUESTS [ROUNDS]
#
# GUESTS is the directory with os-v1.tar that make guests builds. Needs bin/satchel
# (make build), QEMU and python3.
set -eu
guests=$1 rounds=${2:-5}
dir=$(mktemp -d)
PATH="$(cd "$(dirname "$0")/../bin" && pwd):$PATH"
export SATCHEL_HOME="$dir/home" XDG_RUNTIME_DIR="$dir/run"
mkdir -m 700 "$dir/run"
finish() {
	satchel stop --kill one >/dev/null 2>&1 || true
	satchel stop --kill two >/dev/null 2>&1 || true
	rm -rf "$dir"
}
trap finish EXIT
# facts FIELD...: prints fields of the JSON that it reads.
facts() {
	python3 -c 'import json, sys
top = json.load(sys.stdin)
for path in sys.argv[1].split():
    value = top
    for key in path.split("."):
        value = value[key]
    value = value / 1e6 if path.endswith("bytes") else value
    print(round(value, 2) if isinstance(value, float) else value, end=" ")
print()' "$1"
}

satchel layer import --kind os debian "$guests/os-v1.tar" >/dev/null 2>&1
for name in one two; do
	satchel workspace create $name --os debian >/dev/null
done
satchel run one --detach --memory 768M >/dev/null
satchel switch two --memory 768M >/dev/null
echo "to suspend agent up all memory_MB (seconds)"
for round in $(seq "$rounds"); do
	for name in one two; do
		satchel switch $name --json 2>/dev/null | facts 'to.workspace from.seconds to.boot.agent_seconds to.boot.ready_seconds seconds from.memory_bytes'
	done
done
satchel suspend two --store --json 2>/dev/null | facts stored
