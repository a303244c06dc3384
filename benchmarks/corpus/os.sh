#!/usr/bin/env bash
# Real guest trees from the Debian mirror that apt is set up with:
#   os-v1      bookworm as released, last point release, a desktop
#   os-v2      os-v1 upgraded in place with updates and security updates
#   group-app  a group's applications: the upper directory of an overlay over os-v1
# os.sh release: beside them os-trixie, the same packages of the next release.
. "$(dirname "$0")/../lib.sh"

os_packages=systemd-sysv,udev,dbus,linux-image-cloud-amd64,kmod,openssh-server,python3,vim,nano,less,curl,wget,ca-certificates
os_packages+=,sudo,iproute2,procps,locales,man-db,manpages,bash-completion,htop,git,rsync,perl,network-manager
os_packages+=,xserver-xorg-core,xserver-xorg-input-libinput,xserver-xorg-video-fbdev,xfce4-session,xfce4-panel,xfwm4,xfdesktop4
os_packages+=,xfce4-terminal,thunar,mousepad,lightdm,firefox-esr,fonts-dejavu,adwaita-icon-theme,evince
group_packages="libreoffice-writer libreoffice-calc gcc g++ make gdb geany"
clean='apt-get clean; rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin'
apt='apt-get -qq -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root'

# mirror_of CODENAME: where apt has it from.
# shellcheck disable=SC2016 # apt fills these in
mirror_of() { apt-get indextargets --format '$(REPO_URI) $(CODENAME)' | awk -v c="$1" '$2 == c {print $1; exit}'; }

# tree NAME RELEASE: a fresh tree of it.
tree() {
	[ ! -d "$corpus/$1" ] || return 0
	say "making $1 of $2"
	rm -rf "$corpus/$1.part"
	mmdebstrap --quiet --mode=root --variant=minbase --skip=check/empty --include="$os_packages" \
		--aptopt='Acquire::Check-Valid-Until "false"' --format=directory \
		"$2" "$corpus/$1.part" "deb $mirror $2 main"
	rm -rf "$corpus/$1.part"/var/lib/apt/lists/*
	mv "$corpus/$1.part" "$corpus/$1"
}

# inside ROOT COMMAND: runs it there, with services kept from starting.
inside() {
	local root=$1 status=0
	shift
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod +x "$root/usr/sbin/policy-rc.d"
	cp /etc/resolv.conf "$root/etc/resolv.conf"
	mount -t proc proc "$root/proc"
	mount --rbind --make-rslave /dev "$root/dev"
	DEBIAN_FRONTEND=noninteractive chroot "$root" sh -ec "$*" >"$scratch/apt.log" 2>&1 || status=$?
	umount -l "$root/dev" "$root/proc"
	rm -f "$root/usr/sbin/policy-rc.d"
	[ $status = 0 ] || tail -n 20 "$scratch/apt.log" >&2
	return $status
}

upgrade() {
	say "making os-v2: os-v1 with today's updates"
	rm -rf "$corpus/os-v2.part"
	cp -a "$corpus/os-v1" "$corpus/os-v2.part"
	printf 'deb %s bookworm main\ndeb %s bookworm-updates main\ndeb %s bookworm-security main\n' "$mirror" "$mirror" "$security" \
		>"$corpus/os-v2.part/etc/apt/sources.list"
	inside "$corpus/os-v2.part" "$apt update; $apt -y --no-install-recommends full-upgrade; $apt -y autoremove --purge; $clean"
	mv "$corpus/os-v2.part" "$corpus/os-v2"
}

applications() {
	say "making group-app: $group_packages"
	local mnt=$corpus/.mnt work=$corpus/.work status=0
	rm -rf "$corpus/group-app.part" "$work"
	mkdir -p "$corpus/group-app.part" "$work" "$mnt"
	mount -t overlay overlay -o "lowerdir=$corpus/os-v1,upperdir=$corpus/group-app.part,workdir=$work" "$mnt"
	inside "$mnt" "$apt update; $apt -y --no-install-recommends install $group_packages; $clean" || status=$?
	umount "$mnt"
	rm -rf "$work" "$mnt"
	[ $status = 0 ] || return $status
	mv "$corpus/group-app.part" "$corpus/group-app"
}

mirror=$(mirror_of bookworm) security=$(mirror_of bookworm-security)
: "${mirror:?apt is not set up with bookworm}" "${security:?apt is not set up with bookworm-security}"
tree os-v1 bookworm
[ -d "$corpus/os-v2" ] || upgrade
[ -d "$corpus/group-app" ] || applications
[ "${1:-}" != release ] || tree os-trixie trixie
