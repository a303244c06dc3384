#!/usr/bin/env bash
# Satchel beside its peers on real Debian data: makes the data, runs each, prints one table.
# What `make bench` runs; as root, for chroot, overlay and loop mounts. Settings, from the
# environment:
#   WORK   a directory with 60 GB free (.cache/bench); data that is there is used again
#   RUNS   how often to run what takes less than a minute; the table has medians (3)
#   PARTS  which parts (all): ingest update-delta release-delta user fleet images image-update
#   PEERS  which peers (all that are installed; kopia and desync are, if on PATH)
# Figures of other parts and peers stay in WORK/peers/results.tsv and go into the table.
. "$(dirname "$0")/lib.sh"
PARTS=${PARTS:-ingest update-delta release-delta user fleet images image-update}
PEERS=${PEERS:-satchel restic borg kopia desync casync ostree rsync xdelta3 zstd bsdiff whole}

[ "$(id -u)" = 0 ] || { echo "bench.sh needs root: for chroot, overlay and loop mounts" >&2; exit 1; }
case $(df --output=avail -B1000000000 "$WORK" | tail -n 1) in
? | 1? | 2?) say "less than 30 GB are free at $WORK: this may not do" ;;
esac
exec 9>"$WORK/lock"
flock -n 9 || { echo "bench.sh is running in $WORK already" >&2; exit 1; }
cp --remove-destination "$benchmarks/../bin/satchel" "$scratch/bin/" # the same one throughout, and it is on PATH
mountpoint -q "$corpus/fleet-mnt/vm-01" || trap '"$benchmarks/corpus/fleet.sh" umount' EXIT

# corpus_of PART: makes the data that it needs.
corpus_of() {
	local make=$benchmarks/corpus
	case $1 in
	ingest | update-delta) "$make/os.sh" ;;
	release-delta) "$make/os.sh" release ;;
	user) "$make/documents.sh" ;;
	fleet) "$make/os.sh" && "$make/documents.sh" && "$make/fleet.sh" ;;
	images) "$make/os.sh" && "$make/documents.sh" && "$make/fleet.sh" && "$make/images.sh" machines ;;
	image-update) "$make/os.sh" && "$make/images.sh" update ;;
	esac
}

# try PEER SCRIPT ARGUMENT...: runs it, if the peer is wanted and installed; goes on if it fails.
try() {
	local peer=$1 script=$2
	shift 2
	case " $PEERS " in *" $peer "*) ;; *) return 0 ;; esac
	if [ "$peer" != whole ] && ! command -v "$peer" >/dev/null; then
		say "$peer is not installed and left out"
		return 0
	fi
	say "$script $*"
	"$benchmarks/peers/$script" "$@" || { say "$peer failed at this; going on without"; failed+=("$script $*"); }
}
stores=(satchel restic borg kopia desync casync)

part_ingest() { for p in "${stores[@]}" ostree; do try "$p" ingest.sh "$p"; done; }
part_update-delta() {
	try satchel satchel-sync.sh delta os os-v1 os-v2
	for p in rsync xdelta3 zstd whole bsdiff ostree; do try "$p" transfer.sh delta "$p" os-v1 os-v2; done
}
part_release-delta() {
	try satchel satchel-sync.sh release os os-v1 os-trixie
	for p in rsync xdelta3 zstd whole; do try "$p" transfer.sh release "$p" os-v1 os-trixie; done
}
part_user() {
	for p in "${stores[@]}"; do try "$p" next.sh user-store "$p" user-v1 user-v2; done
	try satchel satchel-sync.sh user data user-v1 user-v2
	for p in rsync xdelta3 zstd whole bsdiff ostree; do try "$p" transfer.sh user "$p" user-v1 user-v2; done
}
part_fleet() { for p in "${stores[@]}"; do try "$p" fleet.sh trees "$p"; done; }
part_images() { for p in "${stores[@]}"; do try "$p" fleet.sh images "$p"; done; }
part_image-update() {
	for p in "${stores[@]}"; do try "$p" next.sh image-update "$p" images/os-v1.img images/os-v2.img; done
	try satchel satchel-sync.sh image-delta os images/os-v1.img images/os-v2.img
	for p in rsync xdelta3 whole; do try "$p" transfer.sh image-delta "$p" images/os-v1.img images/os-v2.img; done
}

# about: on what, of what and when the figures are.
about() {
	local peer
	echo
	echo "$(date -I), commit $(git -C "$benchmarks" describe --always --dirty 2>/dev/null || echo unknown), $(nproc) processors" \
		"($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)), $(awk '/^MemTotal/ {printf "%.0f", $2 * 1024 / 1e9}' /proc/meminfo) GB," \
		"$(stat -f -c %T "$WORK"), Linux $(uname -r). Debian's" \
		"$(dpkg-query -Wf '${Package} ${Version}, ' restic borgbackup casync ostree rsync xdelta3 zstd bsdiff | sed 's/, $/./')"
	for peer in $PEERS; do
		case $(command -v "$peer" || true) in /usr/bin/* | "$scratch/bin/"* | "") ;; *) echo "Not Debian's: $peer." ;; esac
	done
}

failed=()
for part in $PARTS; do
	declare -F "part_$part" >/dev/null || { echo "no part $part" >&2; exit 2; }
	say "part $part: the data"
	corpus_of "$part" || { say "the data of $part cannot be made; going on without"; failed+=("the data of $part"); continue; }
	"part_$part"
done
for f in "${failed[@]}"; do say "failed: $f"; done
{ python3 "$benchmarks/table.py" "$results"; about; } | tee "$WORK/table.md"
python3 "$benchmarks/chart.py" "$results" "$WORK/chart.svg"
say "the table is in $WORK/table.md, its charts in $WORK/chart.svg"
[ ${#failed[@]} = 0 ]
