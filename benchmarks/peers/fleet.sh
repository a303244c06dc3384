#!/usr/bin/env bash
# Many machines into one store, as trees or as images of disks: fleet.sh trees|images PEER
# Each has a path of its own and is read whole, so that no peer passes over files by time
# and size. With Satchel each is a layer of its own.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/stores.sh"
what=$1 peer=$2 mine=$scratch/fleet-$1-$2
case $what in trees) part=fleet ;; images) part=images ;; esac
repo=$mine/store
trap tidy EXIT
forget "$part" "$peer"
make_store "$peer" "$repo"
sync
load=$(cut -d' ' -f1 /proc/loadavg)

if [ "$what" = trees ]; then
	"$benchmarks/corpus/fleet.sh" mount
	machines=("$corpus"/fleet-mnt/vm-[0-9][0-9])
else
	machines=("$corpus"/images/vm-[0-9][0-9].img)
fi
for machine in "${machines[@]}"; do
	layer=$(basename "$machine" .img)
	if [ "$what" = trees ]; then
		tree=$machine
	else
		unbind
		at=$mine/$layer tree=$mine/$layer
		bind "images/$layer.img"
	fi
	ingest_command "$peer" "$repo" "$layer" "$tree"
	measure "${cmd[@]}"
	say "  $part, $peer: $layer in $wall s; stored $(stored "$peer" "$repo") bytes"
	echo "$wall $cpu $rss" >>"$mine/times"
done
read -r wall cpu rss < <(awk '{w += $1; c += $2; if ($3 > m) m = $3} END {printf "%.2f %.2f %d\n", w, c, m}' "$mine/times")
note "$part" "$peer" machines "${#machines[@]}"
note "$part" "$peer" wall_s "$wall"
note "$part" "$peer" cpu_s "$cpu"
note "$part" "$peer" rss_mb "$rss"
note "$part" "$peer" load "$load"
note "$part" "$peer" added_bytes "$(stored "$peer" "$repo")"
if [ "$peer" = satchel ] && [ "$what" = trees ]; then # what idle time makes of it
	measure satchel --home "$repo" store gc --recompress
	note "$part" "$peer" recompress_cpu_s "$cpu"
	note "$part" "$peer" recompressed_bytes "$(stored "$peer" "$repo")"
fi
