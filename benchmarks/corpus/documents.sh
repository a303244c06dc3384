#!/usr/bin/env bash
# doc-pool: real documents and source text out of Debian packages. user-v1: one person's
# files, drawn from it; user-v2: the same after a day's work.
. "$(dirname "$0")/../lib.sh"
packages=(gnome-backgrounds gnuplot-doc debian-handbook octave-doc maxima-doc sqlite3-doc zsh-doc r-doc-pdf abs-guide
	inkscape-tutorials gimp-help-en)
source_text=golang-1.19-src # goes to src/, the folder that a day's work renames

pool=$corpus/doc-pool
if [ ! -d "$pool" ]; then
	say "making doc-pool: documents out of ${packages[*]} $source_text"
	debs=$corpus/.debs
	rm -rf "$debs" "$pool.part"
	mkdir -p "$debs" "$pool.part"
	(cd "$debs" && apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" "$source_text")
	for deb in "$debs"/*.deb; do
		name=$(basename "${deb%%_*}")
		[ "$name" != "$source_text" ] || name=src
		dpkg -x "$deb" "$pool.part/$name"
	done
	find "$pool.part" -type f -size +30M -delete
	rm -rf "$debs"
	mv "$pool.part" "$pool"
fi
if [ ! -d "$corpus/user-v2" ]; then
	say "making user-v1 and user-v2"
	rm -rf "$corpus/user-v1" "$corpus/user-v2.part"
	python3 "$benchmarks/corpus/userdata.py" "$pool" "$corpus/user-v1" "$corpus/user-v2.part"
	mv "$corpus/user-v2.part" "$corpus/user-v2"
fi
