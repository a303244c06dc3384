#!/usr/bin/env bash
# Opaque disks. images.sh machines: images/vm-NN.img, raw ext4 images of six machines of
# the fleet. images.sh update: a disk before and after a security update inside it:
# images/os-v1.img, and os-v2.img, a copy with os-v2 written over it through a mount, each
# changed file anew and renamed into place, as a package manager does.
. "$(dirname "$0")/../lib.sh"
images=$corpus/images
mkdir -p "$images"

# image TREE NAME SIZE: an ext4 image with the tree in it.
image() {
	[ ! -e "$images/$2.img" ] || return 0
	say "making the image $2"
	rm -f "$images/$2.img.part"
	truncate -s "$3" "$images/$2.img.part"
	mkfs.ext4 -q -d "$1" "$images/$2.img.part"
	mv "$images/$2.img.part" "$images/$2.img"
}

# updated: os-v2.img out of os-v1.img.
updated() {
	local mnt=$corpus/.mnt-image
	say "making the image os-v2 by an update inside os-v1"
	mkdir -p "$mnt"
	cp --sparse=always "$images/os-v1.img" "$images/os-v2.img.part"
	mount -o loop "$images/os-v2.img.part" "$mnt"
	rsync -aHX --numeric-ids --delete --whole-file --exclude=/lost+found "$corpus/os-v2/" "$mnt/" || { umount "$mnt"; return 1; }
	umount "$mnt"
	rmdir "$mnt"
	mv "$images/os-v2.img.part" "$images/os-v2.img"
}

case $1 in
machines)
	"$benchmarks/corpus/fleet.sh" mount
	for tree in "$corpus"/fleet-mnt/vm-0[1-6]; do image "$tree" "$(basename "$tree")" 4G; done
	;;
update)
	image "$corpus/os-v1" os-v1 3G
	[ -e "$images/os-v2.img" ] || updated
	;;
esac
