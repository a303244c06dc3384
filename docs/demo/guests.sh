#!/usr/bin/env bash
# Builds the demo's guests into DIR, once: guests.sh DIR
#   os-v1.tar   Debian bookworm as its last point release left it
#   os-v2.tar   the same, with all updates since: another kernel, other libraries
#   debs/cron, debs/jq   packages that the demo installs in a guest without a network
# The mirror is the one that this machine's apt uses for bookworm.
set -euo pipefail
dir=${1:?usage: guests.sh DIR}
[[ -e $dir/.complete-2 ]] && exit 0
mkdir -p "$dir"

# uri CODENAME: where apt gets that suite.
uri() {
	apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' | awk -v c="$1" '$2 == c && $3 == "main" {print $1; exit}'
}
mirror=$(uri bookworm) updates=$(uri bookworm-updates) security=$(uri bookworm-security)
if [[ -z $mirror || -z $security ]]; then
	echo "The demo's guest is Debian bookworm: apt on this machine must know bookworm and bookworm-security (then: apt-get update)." >&2
	exit 1
fi
packages=systemd-sysv,udev,dbus,kmod,linux-image-cloud-amd64,iproute2,procps,nano,less,sudo,adduser

build() { # build NAME [HOOK-OPTION...] -- SOURCES-LINE...
	local name=$1 hooks=(); shift
	while [[ $1 != -- ]]; do hooks+=("$1"); shift; done; shift
	echo "Building $name with mmdebstrap (a minute or two)"
	SOURCE_DATE_EPOCH=1750000000 mmdebstrap --quiet --variant=minbase --skip=check/empty --include="$packages" \
		--aptopt='Acquire::Check-Valid-Until "false"' "${hooks[@]}" bookworm "$dir/$name.part.tar" "$@"
	mv "$dir/$name.part.tar" "$dir/$name.tar"
}
build os-v2 -- "deb $mirror bookworm main" "deb ${updates:-$mirror} bookworm-updates main" "deb $security bookworm-security main"
# Each in a directory of its own, with what it depends on and the guest lacks.
get='mkdir -p "$1/debs/APP/partial" && chroot "$1" apt-get -qq -o APT::Sandbox::User=root -o Dir::Cache::archives=/debs/APP --no-install-recommends --download-only -y install APP'
rm -rf "$dir/debs" && mkdir "$dir/debs"
build os-v1 --customize-hook="${get//APP/cron}" --customize-hook="${get//APP/jq}" \
	--customize-hook='rm -rf "$1"/debs/*/partial "$1"/debs/*/lock' \
	--customize-hook="sync-out /debs $dir/debs" --customize-hook='rm -rf "$1/debs"' -- "deb $mirror bookworm main"
touch "$dir/.complete-2"
