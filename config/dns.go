// SPDX-License-Identifier: MIT

package config

import (
	"net/netip"
	"slices"
	"strings"
)

// A DNSBackend is who is to be told of the nameservers.
type DNSBackend string

// Values of the DNSBackend key.
const (
	DNSAuto           DNSBackend = "auto" // whoever answers the host's look-ups
	DNSResolved       DNSBackend = "resolved"
	DNSNetworkManager DNSBackend = "networkmanager"
	DNSResolvconf     DNSBackend = "resolvconf"
	DNSFile           DNSBackend = "file" // /etc/resolv.conf itself
	DNSOff            DNSBackend = "off"
)

// DNSBackends are all of them.
var DNSBackends = []DNSBackend{DNSAuto, DNSResolved, DNSNetworkManager, DNSResolvconf, DNSFile, DNSOff}

// A DNSFailure is what becomes of a tunnel whose nameservers can't be set.
type DNSFailure string

// Values of the DNSFailure key.
const (
	DNSFail DNSFailure = "fail" // it doesn't come up, as with wg-quick
	DNSWarn DNSFailure = "warn" // it comes up without them
)

// dns keeps the lines of addresses before those of search domains; see
// Config.Line.
func (b *builder) dns(value string) {
	ifc := &b.cfg.Interface
	for _, item := range items(value) {
		if b.crowds() {
			return
		}
		if !isDNSAddress(item) {
			if !isSearchDomain(item) {
				b.fail("%s is neither an address nor a search domain", shown(item))
				continue
			}
			b.item()
			ifc.DNSSearch = append(ifc.DNSSearch, item)
			continue
		}
		a, err := netip.ParseAddr(item)
		if err != nil || a.Zone() != "" && CheckName(a.Zone()) != nil {
			b.fail("%s is not an address", shown(item))
			continue
		}
		b.cfg.lines.insert(b.at, len(ifc.DNS), b.line)
		ifc.DNS = append(ifc.DNS, a)
	}
}

func (b *builder) dnsBackend(value string) {
	v := DNSBackend(strings.ToLower(value))
	if !slices.Contains(DNSBackends, v) {
		b.fail("%s is none of auto, resolved, networkmanager, resolvconf, file and off", shown(value))
		return
	}
	b.scalar()
	b.cfg.Interface.DNSBackend = v
}

func (b *builder) dnsFailure(value string) {
	v := DNSFailure(strings.ToLower(value))
	if v != DNSFail && v != DNSWarn {
		b.fail("%s is neither fail nor warn", shown(value))
		return
	}
	b.scalar()
	b.cfg.Interface.DNSFailure = v
}

// checkDNS finds routing domains that nobody is there for.
func (b *builder) checkDNS() {
	in := b.cfg.Interface
	if len(in.DNS) > 0 {
		return
	}
	for i, d := range in.DNSSearch {
		if strings.HasPrefix(d, "~") {
			b.warnf("dns-no-server", b.cfg.Line(InInterface, "DNS", i), interfaceSection, "DNS", "has the routing domain %s but no nameserver, and does nothing with it", shown(d))
			return
		}
	}
}
