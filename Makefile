# SPDX-License-Identifier: MIT

GO       ?= go
PREFIX   ?= /usr/local
DESTDIR  ?=
FUZZTIME ?= 30s
KERNEL   ?= 6.1
CMD      ?=
INIT     ?=
VM       ?=
ROUNDS   ?= 1
ARCH     ?= $(shell $(GO) env GOARCH)

STATICCHECK = v0.8.2
GOSEC       = v2.22.10
GOVULNCHECK = v1.9.0

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)"

# The race detector needs a C compiler.
RACE := $(shell command -v cc >/dev/null && echo -race)

# Everything but the tests that need hosts or guests, which have their turn.
PACKAGES   = $$($(GO) list ./... | grep -v /integration)
# go test's own limit is 10 minutes a package; two emulated guests need more.
VMTIMEOUT ?= 60m

.PHONY: build
build: ## the static binary, ./wgctl
	$(BUILD) -o wgctl ./cmd/wgctl

.PHONY: test
test: witnesses vet unit fuzz-briefly namespaces races vms ## all tests, as root; installs what they need

.PHONY: witnesses
witnesses: ## programs that tests compare with, by apt, if any is missing
	scripts/witnesses

.PHONY: vet
vet: ## what must hold before a commit
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) -C tools vet ./...

.PHONY: unit
unit: ## every package by itself, with the race detector
	$(GO) test $(RACE) -timeout 15m $(PACKAGES)

.PHONY: namespaces
namespaces: build ## the binary in network namespaces, on this kernel
	WGCTL_BIN=$(CURDIR)/wgctl $(GO) test -timeout 45m ./integration

.PHONY: races
races: ## what runs at once, by a binary with the race detector; needs a C compiler
	CGO_ENABLED=1 $(GO) build -race -o build/race/wgctl ./cmd/wgctl
	WGCTL_BIN=$(CURDIR)/build/race/wgctl GORACE='halt_on_error=1 exitcode=66' WGCTL_TEST_ROUNDS=3 \
		$(GO) test -timeout 10m -run 'TestCrowd$$|TestTwo.*AtOnce$$|TestUpAndDownAtOnce$$' ./integration

.PHONY: vms
vms: build ## the same tests in guests, on kernels with WireGuard
	WGCTL_BIN=$(CURDIR)/wgctl $(GO) test -timeout $(VMTIMEOUT) ./integration/vm

.PHONY: vm
vm: ## a shell in a guest, or CMD="..."; KERNEL=6.1 or 6.12; NO_NFTABLES=1; INIT=systemd
	@$(GO) run ./integration/vm/boot -kernel $(KERNEL) $(if $(INIT),-init $(INIT)) $(if $(NO_NFTABLES),-no-nftables) $(if $(CMD),sh -c '$(subst ','\'',$(CMD))')

.PHONY: bench
bench: build ## wgctl beside wg, wg-quick and a floor, here; VM=6.1 in a guest
	VM=$(VM) scripts/bench

.PHONY: netns
netns: build ## wireguard-go's own tests/netns.sh on our wg and wireguard-go; ROUNDS=20
	scripts/netns ./wgctl $(ROUNDS)

.PHONY: demo
demo: build ## three hosts in namespaces, tunnels between them, and nothing left
	@scripts/demo ./wgctl

.PHONY: lint
lint: vet ## vet, staticcheck, gosec, and govulncheck where its database can be reached
	$(GO) run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK) ./...
	@# What isn't looked for, and why, is in scripts/gosec.
	GOBIN=$(CURDIR)/build $(GO) install github.com/securego/gosec/v2/cmd/gosec@$(GOSEC)
	scripts/gosec build/gosec
	@# Status 3 is a finding; others are a database out of reach.
	GOBIN=$(CURDIR)/build $(GO) install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK)
	build/govulncheck ./... || test $$? -ne 3

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME
	scripts/fuzz $(FUZZTIME)

.PHONY: fuzz-briefly
fuzz-briefly: ## each for 20 s over the committed corpus, two at a time: some two minutes
	scripts/fuzz 20s 2

.PHONY: golden
golden: ## rewrite the expected files of tests; look at the diff before a commit
	$(GO) test $$(git grep -l --untracked 'flag.Bool("update"' -- '*_test.go' | xargs -r -n1 dirname | sort -u | sed 's,^,./,') -update

.PHONY: release
release: ## static binaries for all architectures, with digests, in build/release
	VERSION=$(VERSION) scripts/release build/release

.PHONY: install
install: build ## binary, manual pages, completions and units to $(DESTDIR)$(PREFIX)
	scripts/install ./wgctl $(PREFIX) $(DESTDIR)

.PHONY: package
package: build ## .deb and .rpm in build/package; ARCH=arm64
	GOARCH=$(ARCH) $(BUILD) -o build/wgctl-$(ARCH) ./cmd/wgctl
	scripts/package build/wgctl-$(ARCH) $(VERSION) $(ARCH) ./wgctl

.PHONY: clean
clean:
	rm -rf wgctl build

.PHONY: help
help:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
