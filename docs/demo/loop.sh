# One machine: layers, a workspace, and another operating system below it.
# Sourced by demo.sh.

install='mkdir /tmp/debs && tar -x -C /tmp/debs && apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends /tmp/debs/*.deb'
# version TAR PACKAGE: the package's version in a guest's tar.
version() {
	tar -xOf "$1" ./var/lib/dpkg/status | awk -v p="$2" '/^Package: /{name = $2} /^Version: /{if (name == p) print $2}'
}

step "1. A guest operating system becomes a layer"
show satchel layer import --kind os debian-12 "$guests/os-v1.tar" --message "point release"

step "2. A group application is recorded: cron, with its service"
show satchel workspace create lab --os debian-12
tar -C "$guests/debs/cron" -cf - . |
	show satchel app record lab scheduler -- sh -c "$install"

step "3. Ana's workspace: the OS, the group's application, and layers of her own"
show satchel workspace create ana --os debian-12 --group scheduler
show satchel run ana --detach

step "4. Ana works: an application, a setting, a user, files"
tar -C "$guests/debs/jq" -cf - . |
	show satchel exec ana -- sh -c "$install"
show satchel exec ana -- adduser --quiet --disabled-password --gecos Ana ana </dev/null
show satchel exec ana -- sh -c 'echo "fs.inotify.max_user_watches = 123456" > /etc/sysctl.d/50-ana.conf && ln -sf /usr/share/zoneinfo/Europe/Vienna /etc/localtime' </dev/null
show satchel exec ana --user ana -- sh -c 'mkdir -p ~/thesis && seq 1 200000 > ~/thesis/data.txt && echo "To be carried." > ~/thesis/README' </dev/null

step "5. The session ends, and every change goes to the layer that owns it"
show satchel stop ana
for path in /usr/bin/jq /etc/sysctl.d/50-ana.conf /etc/passwd /home/ana/thesis/data.txt; do
	show satchel explain ana $path
done

step "6. Below all that, the operating system is replaced: another kernel, other libraries"
show satchel layer import --kind os debian-12 "$guests/os-v2.tar" --message "all updates since"
show satchel run ana --detach

step "7. Is everything there?"
kernel=$(tar -tf "$guests/os-v2.tar" | sed -n 's|^./boot/vmlinuz-||p' | head -n 1)
guest_says "the guest runs the new kernel $kernel" "$kernel" uname -r
for p in libssl3 perl-base; do
	v=$(version "$guests/os-v2.tar" $p)
	guest_says "dpkg shows the new OS's $p $v" "$v" dpkg-query -Wf '${Version}' $p
done
guest_says "dpkg shows the group's cron as installed" "install ok installed" dpkg-query -Wf '${Status}' cron
guest_says "dpkg shows Ana's jq as installed" "install ok installed" dpkg-query -Wf '${Status}' jq
guest_says "dpkg --audit finds nothing" "" dpkg --audit
check "no file of jq or cron is missing or changed (dpkg --verify)" satchel exec ana -- dpkg --verify jq libjq1 libonig5 cron
guest_says "the group's service runs" "active" systemctl is-active cron
guest_says "Ana's application works" "3" sh -c 'echo "[1,2]" | jq add'
guest_says "her setting is in force" "123456" sysctl -n fs.inotify.max_user_watches
guest_says "her time zone is set" "/usr/share/zoneinfo/Europe/Vienna" readlink /etc/localtime
guest_says "her user is there" "ana" id -un ana
guest_says "her files are there, and hers" "ana $(seq 1 200000 | sha256sum | cut -d' ' -f1)" \
	sh -c 'echo "$(stat -c %U /home/ana/thesis/data.txt) $(sha256sum < /home/ana/thesis/data.txt | cut -d" " -f1)"'
guest_says "no unit has failed" "" systemctl --failed --no-legend --plain
check "the store is whole" satchel store verify
