# The stores that are compared: for each, how to make one, ingest into it and restore.
# Each function sets cmd. Source it after lib.sh.
# shellcheck shell=bash disable=SC2034,SC2154
# An upgrade in place keeps inode and ctime of what it leaves alone, a copied tree does not:
# hence each peer is told to pass over files by modification time and size.
export RESTIC_PASSWORD=x RESTIC_CACHE_DIR=$scratch/cache.$$/restic
export BORG_BASE_DIR=$scratch/cache.$$/borg BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
export KOPIA_PASSWORD=x KOPIA_CHECK_FOR_UPDATES=false

# kopia_at REPO: kopia with all that it keeps beside the store.
kopia_at() { cmd=(kopia --config-file="$1.side/config" --log-dir="$1.side/log"); }

# make_store PEER REPO: an empty one; of caches and the like, none.
make_store() {
	rm -rf "$2" "$2.side" "$scratch/cache.$$"
	mkdir -p "$2.side" "$scratch/cache.$$"
	case $1 in
	satchel) cmd=(mkdir -p "$2") ;; # the home is made by the first import
	restic) cmd=(restic -q -r "$2" init) ;;
	borg) cmd=(borg init -e none "$2") ;;
	casync | desync) cmd=(mkdir -p "$2") ;;
	ostree) cmd=(ostree --repo="$2" init --mode=archive) ;;
	kopia)
		kopia_at "$2"
		measure "${cmd[@]}" repository create filesystem --path "$2" --cache-directory "$2.side/cache"
		cmd+=(policy set --global --compression=zstd)
		;;
	esac
	measure "${cmd[@]}"
}

# ingest_command PEER REPO NAME TREE: reads TREE as the next state of what is at its path;
# Satchel as the next version of the layer $layer.
layer=tree
ingest_command() {
	case $1 in
	satchel) cmd=(satchel --home "$2" layer import --json --kind os "$layer" "$4") ;;
	restic) cmd=(restic -q -r "$2" backup --tag "$3" --ignore-inode --ignore-ctime "$4") ;;
	borg) cmd=(borg create --compression "zstd,3" --files-cache "mtime,size" "$2::$3" "$4") ;;
	casync) cmd=(casync make --store="$2" "$2/$3.caidx" "$4") ;;
	desync) cmd=(desync tar -i -s "$2" "$2/$3.caidx" "$4") ;;
	ostree) cmd=(ostree --repo="$2" commit --fsync=false -b "$3" -s "$3" --tree=dir="$4") ;;
	kopia) kopia_at "$2"; cmd+=(snapshot create --no-progress --tags "t:$3" "$4") ;;
	esac
}

# restore_command PEER REPO NAME OUT TREE: writes what was ingested from TREE as NAME below
# OUT, which is empty; restored is where its top comes to lie.
restore_command() {
	restored=$4
	case $1 in
	satchel) cmd=(satchel --home "$2" layer export "$layer@$(satchel_version "$2" "$3")" "$4") ;;
	restic) cmd=(restic -q -r "$2" restore --tag "$3" --path "$5" --target "$4" latest) restored=$4$5 ;;
	borg) cmd=(env -C "$4" borg extract "$2::$3") restored=$4$5 ;;
	casync) cmd=(casync extract --store="$2" "$2/$3.caidx" "$4") ;;
	desync) cmd=(desync untar -i -s "$2" "$2/$3.caidx" "$4") ;;
	ostree) cmd=(ostree --repo="$2" checkout -U "$3" "$4/t") restored=$4/t ;;
	kopia) kopia_at "$2"; cmd+=(snapshot restore --no-progress "$(kopia_object "$2" "$3")" "$4") ;;
	esac
}

# satchel_version HOME NAME: the first version of the layer, by the order of its log.
satchel_version() { satchel --home "$1" layer log --json "$layer" | python3 -c 'import json, sys; print(json.load(sys.stdin)[-1]["version"])'; }

# kopia_object REPO NAME: the root of the snapshot so tagged.
kopia_object() {
	kopia_at "$1"
	"${cmd[@]}" snapshot list --all --json --tags "t:$2" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["rootEntry"]["obj"])'
	kopia_at "$1"
}

# stored PEER REPO: its bytes, without what is kept beside the store and can be made anew.
stored() {
	case $1 in
	satchel) if [ -d "$2/store" ]; then size_of "$2/store"; else echo 0; fi ;;
	*) size_of "$2" ;;
	esac
}
