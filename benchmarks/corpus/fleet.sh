#!/usr/bin/env bash
# A fleet: machines that share os-v1 and group-app, each with an overlay of its own,
# fleet/vm-NN: its identity, five packages of forty, 20 to 170 MiB of documents.
# fleet.sh mount and umount: the machines' whole trees, read-only, at fleet-mnt/vm-NN.
. "$(dirname "$0")/../lib.sh"
machines=${MACHINES:-20} # fewer to try these scripts
pool=(tree jq tmux ncdu ranger mc joe screen nmap netcat-openbsd iperf3 mtr-tiny zip unzip p7zip-full sox gnuplot-nox sqlite3
	lua5.4 tcl guile-3.0 ispell cowsay fortune-mod sl bsdgames nethack-console aspell-en swi-prolog-nox clisp figlet lynx
	mutt irssi rclone pv moreutils dos2unix xterm feh)
apt='apt-get -qq -y -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root -o Dpkg::Options::=--force-unsafe-io --no-install-recommends'
fleet=$corpus/fleet archives=$corpus/.fleet-apt mnt=$corpus/.mnt work=$corpus/.work

# overlay UPPER LOWER...: mounts it at $mnt, fit for chroot.
overlay() {
	local upper=$1
	shift
	mkdir -p "$upper" "$work" "$mnt"
	mount -t overlay overlay -o "lowerdir=$(IFS=:; echo "$*"),upperdir=$upper,workdir=$work" "$mnt"
	mount -t proc proc "$mnt/proc"
	mount --rbind --make-rslave /dev "$mnt/dev"
}
release() {
	umount -l "$mnt/dev" "$mnt/proc"
	umount -l "$mnt"
	rm -rf "$work"
}
inside() {
	DEBIAN_FRONTEND=noninteractive chroot "$mnt" sh -ec "$*" >"$scratch/apt.log" 2>&1 || {
		tail -n 20 "$scratch/apt.log" >&2
		release
		return 1
	}
}

# fetch: package lists and archives once, in a layer of their own below every machine.
fetch() {
	say "fetching the fleet's packages"
	rm -rf "$archives"
	overlay "$archives" "$corpus/group-app" "$corpus/os-v1"
	cp /etc/resolv.conf "$mnt/etc/resolv.conf"
	printf '#!/bin/sh\nexit 101\n' >"$mnt/usr/sbin/policy-rc.d"
	chmod +x "$mnt/usr/sbin/policy-rc.d"
	rm -f "$mnt/etc/apt/apt.conf.d/docker-clean"
	inside "$apt update; $apt install -d ${pool[*]}"
	release
	touch "$archives/.done"
}

# machine NN: makes one.
machine() {
	local vm=$fleet/vm-$1 picked
	say "making machine $1"
	rm -rf "$vm.part"
	picked=$(printf '%s\n' "${pool[@]}" | shuf -n 5 --random-source=<(yes "$1") | tr '\n' ' ')
	overlay "$vm.part" "$archives" "$corpus/group-app" "$corpus/os-v1"
	inside "$apt install $picked; rm -f /etc/ssh/ssh_host_*; ssh-keygen -qA"
	echo "vm-$1" >"$mnt/etc/hostname"
	printf '127.0.0.1 localhost\n127.0.1.1 vm-%s\n' "$1" >"$mnt/etc/hosts"
	tr -d - </proc/sys/kernel/random/uuid >"$mnt/etc/machine-id"
	release
	# What came of the shared archives is not part of the machine.
	rm -rf "$vm.part"/var/lib/apt/lists "$vm.part"/var/cache/apt "$vm.part"/dev "$vm.part"/proc
	python3 "$benchmarks/corpus/documents.py" "$corpus/doc-pool" "$vm.part/home/user/Documents" "$((10#$1))"
	mv "$vm.part" "$vm"
}

make_all() {
	local i
	mkdir -p "$fleet"
	for i in $(seq -f %02g "$machines"); do
		[ ! -d "$fleet/vm-$i" ] || continue
		[ -e "$archives/.done" ] || fetch
		machine "$i"
	done
}
mount_all() {
	local upper tree
	for upper in "$fleet"/vm-[0-9][0-9]; do
		tree=$corpus/fleet-mnt/$(basename "$upper")
		mkdir -p "$tree"
		mountpoint -q "$tree" || mount -t overlay overlay -o "ro,lowerdir=$upper:$corpus/group-app:$corpus/os-v1" "$tree"
	done
}
umount_all() {
	local tree
	for tree in "$corpus"/fleet-mnt/vm-[0-9][0-9]; do
		if mountpoint -q "$tree"; then umount "$tree"; fi
	done
}

case ${1:-make} in
make) make_all ;;
mount) mount_all ;;
umount) umount_all ;;
esac
