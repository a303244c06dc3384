#!/usr/bin/env bash
# Makes a disk with an installed operating system out of a guest's tar, once: disk.sh GUEST.tar DISK.raw
# 8 GiB, sparse: GPT, an EFI system partition with systemd-boot, and ext4 with the guest. On each start the
# guest tells its serial port how often it was started, writes 16 MiB, and says so when they are on the disk.
set -euo pipefail
guest=${1:?usage: disk.sh GUEST.tar DISK.raw} disk=${2:?usage: disk.sh GUEST.tar DISK.raw}
[[ -e $disk ]] && exit 0
if (( EUID != 0 )); then # in a user namespace one may own files as anybody
	exec unshare --map-root-user --map-auto --mount -- "$0" "$@"
fi
PATH=$PATH:/usr/sbin:/sbin
echo "Making a disk of $(basename "$guest") (half a minute)"
work=$(mktemp -d "$disk.XXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"
tar --extract --file "$guest" --directory "$work/root" --numeric-owner --exclude='./dev/*'

# Three partitions' worth of layout, in sectors of 512 bytes.
esp_at=2048 esp_size=$((96 * 2048)) root_at=$((98 * 2048)) root_size=$((8192 * 2048 - 99 * 2048))
truncate --size 8G "$work/disk"
sfdisk --quiet "$work/disk" <<-END
	label: gpt
	start=$esp_at, size=$esp_size, type=uefi
	start=$root_at, size=$root_size, type=linux
END

cat > "$work/root/usr/local/sbin/write-16M" <<-'END'
	#!/bin/sh
	exec > /dev/console
	mkdir -p /var/lib/starts
	n=$(ls /var/lib/starts | wc -l)
	echo "disk guest: $n earlier starts"
	dd if=/dev/urandom of=/var/lib/starts/$n bs=1M count=16 conv=fsync status=none
	sync
	echo "disk guest: written"
END
chmod 755 "$work/root/usr/local/sbin/write-16M"
cat > "$work/root/etc/systemd/system/write-16M.service" <<-'END'
	[Service]
	Type=oneshot
	ExecStart=/usr/local/sbin/write-16M
END
mkdir -p "$work/root/etc/systemd/system/multi-user.target.wants"
ln -s ../write-16M.service "$work/root/etc/systemd/system/multi-user.target.wants/"
echo "LABEL=root / ext4 noatime 0 0" > "$work/root/etc/fstab"
mke2fs -q -t ext4 -L root -d "$work/root" -E offset=$((root_at * 512)),lazy_itable_init=1 "$work/disk" $((root_size / 2))K

mkdir -p "$work/esp/EFI/BOOT" "$work/esp/loader/entries"
cp /usr/lib/systemd/boot/efi/systemd-bootx64.efi "$work/esp/EFI/BOOT/BOOTX64.EFI"
cp "$work"/root/boot/vmlinuz-* "$work/esp/vmlinuz"
cp "$work"/root/boot/initrd.img-* "$work/esp/initrd"
cat > "$work/esp/loader/entries/debian.conf" <<-'END'
	title Debian
	linux /vmlinuz
	initrd /initrd
	options root=LABEL=root rw console=ttyS0 panic=-1 quiet loglevel=3 mitigations=off tsc=reliable no_timer_check
END
truncate --size $((esp_size * 512)) "$work/fat"
mformat -i "$work/fat" -F -v ESP ::
mcopy -i "$work/fat" -s "$work/esp/EFI" "$work/esp/loader" "$work/esp/vmlinuz" "$work/esp/initrd" ::
dd if="$work/fat" of="$work/disk" bs=1M seek=1 conv=notrunc,sparse status=none
mv "$work/disk" "$disk"
