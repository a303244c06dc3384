#!/usr/bin/env bash
# Satchel's sync on loopback, with a real server: satchel-sync.sh PART KIND BEFORE AFTER
# Server and three devices hold BEFORE as a layer of the KIND. Then, each beside a server
# that was started for it: the first device sends AFTER (push), the second fetches it, and
# so does the third, for which the server may use again what it worked out (third).
. "$(dirname "$0")/../lib.sh"
part=$1 kind=$2 before=$3 after=$4 mine=$scratch/$1-satchel
port=$(free_port)
name=w/data
[ "$kind" != os ] || name=os
trap finish EXIT
forget "$part" satchel
now=$mine/homes # of server and devices

# field NAMES: a value out of JSON; names of objects and places in lists, with dots between.
field() { python3 -c 'import json, sys; v = json.load(sys.stdin)
for k in sys.argv[1].split("."): v = v[int(k) if isinstance(v, list) else k]
print(v)' "$1"; }
on() { satchel --home "$now/$1" "${@:2}"; }
start() {
	/usr/bin/time -o "$mine/server.time" -f '%e %U %S %M' satchel server run "$now/server" --listen "127.0.0.1:$port" --log-level warn 2>>"$mine/server.log" &
	server=$!
	until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
		kill -0 $server
		sleep 0.05
	done
}
stop() {
	pkill -TERM -P $server
	wait $server || true
	server=
}
finish() {
	[ $? = 0 ] || tail -n 5 "$scratch/set-up.log" "$mine/server.log" >&2 || true
	[ -z "$server" ] || stop || true
	tidy
}
server=

# set_up: server and devices, all with BEFORE, and AFTER on the first. Each time in a new
# domain: where files are cut depends on it, and how many bytes move on that.
set_up() {
	local token fingerprint enrol device
	rm -rf "$mine"
	mkdir -p "$now"
	bind "$before"
	satchel server init "$now/server" --json >"$mine/made.json"
	token=$(field admin_token <"$mine/made.json") fingerprint=$(field ca_fingerprint <"$mine/made.json")
	start
	on admin admin login "https://127.0.0.1:$port" --token "$token" --ca-fingerprint "$fingerprint"
	on admin admin user add lab --publisher
	enrol=$(on admin admin token add lab --uses 3 --json | field secret)
	for device in first second third; do
		on $device enrol "https://127.0.0.1:$port" --token "$enrol" --ca-fingerprint "$fingerprint" --name $device
	done
	if [ "$kind" = os ]; then
		on first layer import --kind os os "$at"
	else # a workspace needs an operating system to lie on
		mkdir -p "$mine/none/etc"
		on first layer import --kind os os "$mine/none"
	fi
	on first workspace create w --os os
	if [ "$kind" != os ]; then on first layer import --kind "$kind" $name "$at"; fi
	for device in first second third; do on $device sync; done
	stop
	bind "$after"
	on first layer import --kind "$kind" $name "$at"
	unbind
}

# synced DEVICE PREFIX SIDE OTHER: times its sync, the device being the SIDE and the server
# the OTHER of sender and receiver.
synced() {
	local prefix=$2 load
	start
	sync
	load=$(cut -d' ' -f1 /proc/loadavg)
	# Loopback is so fast that deltas would not be used by themselves.
	measure satchel --home "$now/$1" sync --deltas always --json
	stop
	note "$part" satchel "${prefix}wall_s" "$wall"
	note "$part" satchel load "$load"
	note "$part" satchel "${prefix}wire_bytes" $(($(field traffic.up <"$last.out") + $(field traffic.down <"$last.out")))
	note "$part" satchel "${prefix}$3_cpu_s" "$cpu"
	note "$part" satchel "${prefix}$3_rss_mb" "$rss"
	read_time "$mine/server.time"
	note "$part" satchel "${prefix}$4_cpu_s" "$cpu"
	note "$part" satchel "${prefix}$4_rss_mb" "$rss"
}

# check DEVICE: it has what the first one sent, and all of it.
check() {
	local theirs ours
	theirs=$(on "$1" layer log --json $name | field 0.version)
	ours=$(on first layer log --json $name | field 0.version)
	[ "$theirs" = "$ours" ]
	on "$1" store verify >/dev/null 2>&1
}

for run in $(seq "$RUNS"); do
	set_up >"$scratch/set-up.log" 2>&1
	synced first push_ sender receiver
	synced second '' receiver sender
	took=$wall
	synced third third_ receiver sender
	check second
	check third
	if enough "$run" "$took"; then break; fi
done
