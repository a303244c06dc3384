# A server and two devices: the same workspace on both, off line and on.
# Sourced by demo.sh, after loop.sh.

# Each device gets a network of its own with a cable to the server, where that is
# allowed: as root, or in a user namespace. Elsewhere all share one network, and
# off line means that the server is not running.
ns=() net_server=() net_laptop=() net_desk=() cables=0
end_networks() { for pid in "${ns[@]}"; do kill "$pid" 2>/dev/null || true; done; }
# network [UNSHARE-OPTION...]: makes a network namespace and puts its process into $made.
network() {
	"$@" sleep infinity & made=$!
	ns+=("$made")
	for _ in {1..100}; do
		[[ $(readlink "/proc/$made/ns/net") != $(readlink /proc/self/ns/net) && $(<"/proc/$made/comm") == sleep ]] && return
		sleep 0.1
	done
	return 1
}
# cable PID NUMBER: joins the namespace of process PID with the server's network.
cable() {
	"${net_server[@]}" ip link add "satchel$2" type veth peer name up0 netns "$1"
	"${net_server[@]}" ip addr add "10.84.$2.1/24" dev "satchel$2"
	"${net_server[@]}" ip link set "satchel$2" up
	"${enter[@]}" -t "$1" ip addr add "10.84.$2.2/24" dev up0
	"${enter[@]}" -t "$1" ip link set up0 up
	"${enter[@]}" -t "$1" ip link set lo up
}
make_networks() {
	local outer
	if (( EUID == 0 )); then
		enter=(nsenter -n)
		network unshare --net && outer=$made || return
	else
		enter=(nsenter -U -n --preserve-credentials)
		network unshare --user --map-root-user --net && outer=$made || return
	fi
	net_server=("${enter[@]}" -t "$outer")
	"${net_server[@]}" ip link set lo up || return
	network "${net_server[@]}" unshare --net && cable "$made" 1 && net_laptop=("${enter[@]}" -t "$made") || return
	network "${net_server[@]}" unshare --net && cable "$made" 2 && net_desk=("${enter[@]}" -t "$made") || return
	cables=1
}
if make_networks 2>/dev/null; then
	address=10.84.1.1:8440
	desk_address=10.84.2.1:8440
else
	echo "No network namespaces here: both devices use this machine's network."
	net_server=() net_laptop=() net_desk=()
	address=127.0.0.1:8440 desk_address=127.0.0.1:8440
fi

serve() {
	"${net_server[@]}" satchel server run "$place/server" --listen :8440 >>"$place/server.log" 2>&1 & server=$!
	for _ in {1..100}; do
		grep -q '"msg":"serving"' "$place/server.log" && return
		kill -0 $server 2>/dev/null || break
		sleep 0.1
	done
	echo "The server did not come up:" >&2; tail -n 5 "$place/server.log" >&2
	exit 1
}
end_server() { kill $server 2>/dev/null && wait $server 2>/dev/null || true; }
cleanup() {
	SATCHEL_HOME=$place/laptop satchel stop ana >/dev/null 2>&1 || true
	SATCHEL_HOME=$place/desk satchel stop ana >/dev/null 2>&1 || true
	end_server; end_networks
}
trap cleanup EXIT
unplug() {
	if (( cables )); then
		echo "(the cables of both machines are pulled)"
		"${net_server[@]}" ip link set satchel1 down; "${net_server[@]}" ip link set satchel2 down
	else
		echo "(the server is stopped)"; end_server
	fi
}
# reached ADDRESS COMMAND...: waits until the network that COMMAND enters reaches it, which
# takes the kernel a moment.
reached() {
	local host=${1%:*} port=${1#*:}
	for _ in {1..100}; do
		"${@:2}" bash -c "exec 3<>/dev/tcp/$host/$port" 2>/dev/null && return
		sleep 0.1
	done
}
plug() {
	if (( cables )); then
		echo "(the cables are plugged in again)"
		"${net_server[@]}" ip link set satchel1 up; "${net_server[@]}" ip link set satchel2 up
		reached "$address" "${net_laptop[@]}"; reached "$desk_address" "${net_desk[@]}"
	else
		echo "(the server is started again)"; : >"$place/server.log"; serve
	fi
}
at_server() { on=("${net_server[@]}") who='server' SATCHEL_HOME=$place/admin; }
at_laptop() { on=("${net_laptop[@]}") who='laptop' SATCHEL_HOME=$place/laptop; }
at_desk() { on=("${net_desk[@]}") who='desk' SATCHEL_HOME=$place/desk; }
fact() { sed -n "s/^ *\"$1\": \"\(.*\)\",\{0,1\}$/\1/p"; }

step "8. A server, with Ana as a user"
show satchel stop ana >/dev/null
at_server
show satchel server init "$place/server" --json >"$place/made.json"
token=$(fact admin_token <"$place/made.json") fingerprint=$(fact ca_fingerprint <"$place/made.json")
serve
show satchel admin login https://127.0.0.1:8440 --token "$token" --ca-fingerprint "$fingerprint"
show satchel admin user add ana --publisher
laptop_token=$("${on[@]}" satchel admin token add ana --json | fact secret)
desk_token=$("${on[@]}" satchel admin token add ana --json | fact secret)

step "9. Her laptop joins it; what it holds is carried over and sent"
at_laptop
show satchel enrol "https://$address" --token "$laptop_token" --ca-fingerprint "$fingerprint" --name laptop
show satchel sync
show satchel run ana --detach
show satchel exec ana --user ana -- sh -c 'cd ~/thesis && for i in 1 2 3 4 5 6 7 8 9; do echo "Chapter $i"; done > plan && head -c 300000 /dev/urandom > photo.jpg && mkdir notes && echo one > notes/one' </dev/null
show satchel stop ana
show satchel sync

step "10. Another machine: nothing on it but satchel"
at_desk
show satchel enrol "https://$desk_address" --token "$desk_token" --ca-fingerprint "$fingerprint" --name desk
show satchel sync
show satchel status
show satchel run ana --detach
data_sum=$(seq 1 200000 | sha256sum | cut -d' ' -f1)
guest_says "the other machine runs the same kernel $kernel" "$kernel" uname -r
guest_says "the group's service runs there" "active" systemctl is-active cron
guest_says "Ana's application works there" "3" sh -c 'echo "[1,2]" | jq add'
guest_says "her setting is in force there" "123456" sysctl -n fs.inotify.max_user_watches
guest_says "her files are there, and hers" "ana $data_sum" \
	sh -c 'echo "$(stat -c %U /home/ana/thesis/data.txt) $(sha256sum < /home/ana/thesis/data.txt | cut -d" " -f1)"'

step "11. Both machines go off line, and she works on both"
unplug
show satchel exec ana --user ana -- sh -c 'cd ~/thesis && sed -i "s/Chapter 9/Chapter 9: written at the desk/" plan && echo desk > photo.jpg && echo "last line" >> data.txt && echo desk > desk.txt && rm notes/one' </dev/null
show satchel stop ana
at_laptop
check "sync says that the server cannot be reached" bash -c 'satchel sync; (( $? == 7 ))'
show satchel run ana --detach
show satchel exec ana --user ana -- sh -c 'cd ~/thesis && sed -i "s/Chapter 1$/Chapter 1: written on the laptop/" plan && echo laptop > photo.jpg && mv data.txt numbers.txt && echo laptop > laptop.txt && echo "one, and more" > notes/one' </dev/null
show satchel stop ana

step "12. Both sync: what only one has changed is taken, the rest is merged"
plug
at_desk; show satchel sync
at_laptop; show satchel sync
at_desk; show satchel sync

# merged MACHINE: checks the merged result in the guest that runs there.
merged() {
	guest_says "$1: changes of different lines of one file are both in it" "Chapter 1: written on the laptop Chapter 9: written at the desk" \
		sh -c 'grep written /home/ana/thesis/plan | tr "\n" " " | sed "s/ $//"'
	guest_says "$1: new files of both machines are there" "desk laptop" sh -c 'cd /home/ana/thesis && echo $(cat desk.txt laptop.txt)'
	guest_says "$1: a file renamed on one and edited on the other has both" "200001 last line" \
		sh -c 'cd /home/ana/thesis && test ! -e data.txt && echo "$(wc -l < numbers.txt) $(tail -n 1 numbers.txt)"'
	guest_says "$1: of a picture changed on both, both are kept, and hers" "ana ana desk laptop" \
		sh -c 'cd /home/ana/thesis && echo $(stat -c %U photo*.jpg) $(cat photo*.jpg | sort)'
	guest_says "$1: a file deleted on one and edited on the other is there" "one, and more" cat /home/ana/thesis/notes/one
	guest_says "$1: no unit has failed" "" systemctl --failed --no-legend --plain
}
step "13. Both boot, and show the merged result"
at_desk
show satchel run ana --detach
show satchel exec ana -- ls -l /home/ana/thesis </dev/null
merged desk
show satchel stop ana >/dev/null
at_laptop
show satchel run ana --detach
merged laptop
show satchel stop ana >/dev/null

step "14. Do all three agree?"
at_desk; show satchel sync
at_laptop; show satchel sync
show satchel status
heads() { "${on[@]}" satchel layer ls --json | grep -E '"(layer|kind|version)":' | paste - - - | grep -vE '"local"|"0{64}"' | sort; } # local layers, and empty ones, are each device's own
here=$(heads); at_desk; there=$(heads)
if [[ -n $here && $here == "$there" ]]; then ok "both machines have the same versions"; else bad "the machines have different versions: $here / $there"; fi
check "both versions are in the history" bash -c '(( $(satchel layer log ana/data --json | grep -c "\"device\": \"desk\"") > 0 && $(satchel layer log ana/data --json | grep -c "\"device\": \"laptop\"") > 0 ))'
check "the desk's store is whole" satchel store verify
at_laptop; check "the laptop's store is whole" satchel store verify
check "the server's store is whole" satchel --home "$place/server" store verify
on=() who=
