#!/usr/bin/env bash
# The main job, start to end, with real Debian guests: first on one machine, then
# on two and a server. Each command is shown as it is typed; read along. Set-up is
# make's: run this as `make demo`.
set -euo pipefail
cd "$(dirname "$0")/../.."
cache=${CACHE:-$PWD/.cache}
guests=$cache/guests
place=${DEMO_HOME:-$cache/demo-$(id -u)}
PATH=$PWD/bin:$PATH
started=$SECONDS
source docs/demo/lib.sh

export SATCHEL_HOME=$place/laptop
if [[ -d $place ]]; then
	satchel stop ana >/dev/null 2>&1 || true
	echo "Removing what the last demo left in $place"
	rm -rf "$place"
fi
mkdir -p "$place"

source docs/demo/loop.sh
source docs/demo/devices.sh

step "Results, after $((SECONDS - started)) s"
printf '  %s\n' "${results[@]}"
satchel store stats
cat <<TXT

Both machines are still there; play with them:
  export SATCHEL_HOME=$SATCHEL_HOME PATH=$PWD/bin:\$PATH     # the laptop
  satchel run ana --detach        satchel exec ana -- systemctl status
  satchel console ana             satchel stop ana
  satchel layer ls                satchel layer log ana/data
  satchel --home $place/desk layer log ana/data
TXT
exit $failed
