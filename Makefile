# Satchel: everything a newcomer or a maintainer types. `make help` lists it.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

# The cache holds what is slow to make: guests, linters. It may be deleted.
CACHE ?= $(CURDIR)/.cache
export CACHE

# Debian packages: to run guests, to build the demo's, and to judge in tests.
RUN_PACKAGES  := qemu-system-x86 qemu-system-common qemu-utils seabios ovmf e2fsprogs fuse3
DEMO_PACKAGES := mmdebstrap uidmap zstd xz-utils iproute2 fdisk mtools systemd-boot-efi
TEST_PACKAGES := erofs-utils libnbd-bin rsync attr acl libcap2-bin cpio file
# To make the data that is compared on, and the peers.
BENCH_PACKAGES := mmdebstrap e2fsprogs python3 time procps restic borgbackup casync ostree rsync xdelta3 zstd bsdiff qemu-utils fio

STATICCHECK   := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME ?= 10m

.PHONY: help build demo test test-short check bench bench-go fuzz guests deps deps-demo deps-test deps-bench install clean

help: ## List these targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

build: ## Build bin/satchel and the static binary that runs inside guests.
	CGO_ENABLED=0 go build -trimpath -o bin/satchel ./cmd/satchel
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o bin/satchel-guest ./cmd/satchel-guest

demo: deps-demo build guests ## The main job, start to end, with real Debian guests.
	docs/demo/demo.sh

test: deps-test build guests ## Every test, real guests included.
	go vet ./...
	SATCHEL_TEST_GUESTS=$(CACHE)/guests go test -timeout 45m -p 2 ./...

test-short: ## The tests that need neither guests nor packages.
	go test -short ./...

check: $(CACHE)/bin/staticcheck $(CACHE)/bin/golangci-lint ## Vet, staticcheck, golangci-lint, import ranks.
	@test -z "$$(gofmt -l cmd layers store syncer vmm benchmarks)" || { gofmt -d cmd layers store syncer vmm benchmarks; exit 1; }
	go vet ./...
	$(CACHE)/bin/staticcheck ./...
	$(CACHE)/bin/golangci-lint run ./...
	go test -count=1 -run TestImportRanks ./cmd/satchel

bench: ## Satchel beside its peers on real Debian data, one table: root, 60 GB, some hours.
	@(( EUID == 0 )) || { echo "make bench needs root: for chroot, overlay and loop mounts." >&2; exit 1; }
	@$(MAKE) --no-print-directory deps-bench build
	benchmarks/bench.sh

bench-go: build ## The Go benchmarks.
	go test -run '^$$' -bench . ./benchmarks/...

fuzz: ## Every fuzz target in turn, FUZZTIME each.
	@for dir in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -c6-); do \
			echo "== $$dir $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$dir; done; done

guests: deps-demo ## Build the demo's two Debian guests, and a disk of one, once.
	docs/demo/guests.sh "$(CACHE)/guests"
	docs/demo/disk.sh "$(CACHE)/guests/os-v1.tar" "$(CACHE)/guests/disk.raw"

deps: ; @$(call install_packages,$(RUN_PACKAGES))
deps-demo: ; @$(call install_packages,$(RUN_PACKAGES) $(DEMO_PACKAGES))
deps-test: ; @$(call install_packages,$(RUN_PACKAGES) $(DEMO_PACKAGES) $(TEST_PACKAGES))
deps-bench: ; @$(call install_packages,$(BENCH_PACKAGES))

# Installs those Debian packages that are missing, and says which.
define install_packages
missing=(); for p in $(1); do [[ "$$(dpkg-query -Wf '$${Status}' $$p 2>/dev/null)" == *"ok installed" ]] || missing+=($$p); done; \
if (( $${#missing[@]} )); then \
	echo "Installing Debian packages: $${missing[*]}"; \
	sudo=; (( EUID == 0 )) || sudo=sudo; \
	[[ -z $$sudo ]] || command -v sudo >/dev/null || { echo "Missing packages, and neither root nor sudo: as root, run: apt-get install $${missing[*]}" >&2; exit 1; }; \
	$$sudo apt-get -qq update && DEBIAN_FRONTEND=noninteractive $$sudo apt-get -qq -y install --no-install-recommends "$${missing[@]}" >/dev/null \
	|| { echo "Cannot install them. Is this machine on line, and its apt set up? Later, or by hand: apt-get install $${missing[*]}" >&2; exit 1; }; \
fi
endef

$(CACHE)/bin/staticcheck:
	GOBIN=$(CACHE)/bin go install $(STATICCHECK)
$(CACHE)/bin/golangci-lint:
	GOBIN=$(CACHE)/bin go install $(GOLANGCI_LINT)

PREFIX ?= /usr/local
install: build ## Install the binaries and systemd units below PREFIX.
	install -D bin/satchel $(DESTDIR)$(PREFIX)/bin/satchel
	install -D bin/satchel-guest $(DESTDIR)$(PREFIX)/lib/satchel/satchel-guest
	install -D -m 0644 docs/systemd/satchel-server.service $(DESTDIR)$(PREFIX)/lib/systemd/system/satchel-server.service
	install -D -m 0644 docs/systemd/satchel-agent.service $(DESTDIR)$(PREFIX)/lib/systemd/user/satchel-agent.service

clean: ## Remove what build made; the cache stays.
	rm -rf bin
