// SPDX-License-Identifier: MIT

package check

import (
	"bytes"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/wgctl/wgctl/config"
)

var keyRules = []Rule{
	{
		Name: "forward-off", Severity: Warning, file: warned("forward-off"),
		Finds: "Masquerade or PortForward with Forward = off",
		Why:   "nothing is forwarded, so that there is nothing to masquerade",
		Mend:  "remove Forward = off, or the other key",
	}, {
		Name: "port-forward-outside", Severity: Warning, file: warned("port-forward-outside"),
		Finds: "a PortForward to an address that no peer has",
		Why:   "what is forwarded leaves by another link than the tunnel, or not at all",
		Mend:  "give the address to a peer's AllowedIPs, or correct it",
	}, {
		Name: "excluded-host-bits", Severity: Warning, file: warned("excluded-host-bits"),
		Finds: "ExcludedIPs with bits set beyond the prefix length",
		Why:   "it is cut to the network: more goes beside the tunnel than one may think",
		Mend:  "write the network, or /32 (/128) for one machine",
	}, {
		Name: "excluded-unused", Severity: Warning, file: excludedUnused,
		Finds: "ExcludedIPs outside of all AllowedIPs",
		Why:   "there is nothing to take it out of",
		Mend:  "remove it, or correct it",
	}, {
		Name: "dns-no-server", Severity: Warning, file: warned("dns-no-server"),
		Finds: "DNS with a routing domain and no nameserver",
		Why:   "there is nobody to ask for the domain",
		Mend:  "add the address of a nameserver",
	}, {
		Name: "dns-outside-tunnel", Severity: Warning, file: dnsOutside,
		Finds: "a nameserver that isn't behind the tunnel",
		Why:   "look-ups leave beside the tunnel, for all on the way to read, or don't arrive where they should",
		Mend:  "add its address to AllowedIPs, or take a nameserver inside",
	}, {
		Name: "dns-no-resolver", Severity: Error, file: dnsNoResolver,
		Finds: "DNS on a host where nobody can be told of it",
		Why:   "the tunnel doesn't come up (DNSFailure = warn: it does, without)",
		Mend:  "wgctl dns says what was found; docs/dns.md what can be done",
	}, {
		Name: "saveconfig-comments", Severity: Info, file: saveConfigComments,
		Finds: "SaveConfig = true in a file with comments",
		Why:   "wgctl keeps them; the original wg-quick writes the file anew on each down, without comments and host names",
		Mend:  "SaveConfig = false if wg-quick is used on it too",
	},
}

func excludedUnused(l *look) {
	for i, e := range l.cfg.Interface.ExcludedIPs {
		if !slices.ContainsFunc(l.claims(), func(c claim) bool { return overlap(c.prefix, e) }) {
			l.at(config.InInterface, "ExcludedIPs", i, "%s is in no AllowedIPs", e)
		}
	}
}

func dnsOutside(l *look) {
	claims := l.claims()
	if len(claims) == 0 || l.cfg.Interface.Table.Mode == config.TableOff {
		return
	}
	for i, a := range l.cfg.Interface.DNS {
		inside := slices.ContainsFunc(claims, func(c claim) bool { return c.prefix.Contains(a) }) && !l.excluded(a)
		if !inside && !l.ownNetwork(a) && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
			l.at(config.InInterface, "DNS", i, "%s is not reached through the tunnel", a)
		}
	}
}

func dnsNoResolver(l *look) {
	in := l.cfg.Interface
	if l.host == nil || len(in.DNS) == 0 || in.DNSBackend == config.DNSOff {
		return
	}
	r := l.host.Resolver
	split := slices.IndexFunc(in.DNSSearch, func(d string) bool { return strings.HasPrefix(d, "~") && d != "~." })
	forced := in.DNSBackend != "" && in.DNSBackend != config.DNSAuto
	switch {
	case forced: // the choice that was made isn't this one
	case r.Error != "":
		l.at(config.InInterface, "DNS", 0, "%s", r.Error)
	case split >= 0 && !r.Splits:
		l.at(config.InInterface, "DNS", len(in.DNS)+split, "%s alone can't be sent to the tunnel here: %s", in.DNSSearch[split], r.Trace)
	}
}

func saveConfigComments(l *look) {
	if !l.cfg.Interface.SaveConfig {
		return
	}
	num := 0
	for line := range bytes.Lines(l.file.Text) {
		num++
		if text := bytes.TrimSpace(line); len(text) > 1 && text[0] == '#' && !bytes.Contains(text, []byte(ignoreMark)) {
			l.at(config.InInterface, "SaveConfig", 0, "is true, and the file has comments (line %d)", num)
			return
		}
	}
}

// others are all files but the one at hand.
func (l *look) others() (out []*File) {
	for i := range l.in.Files {
		if i != l.nth {
			out = append(out, &l.in.Files[i])
		}
	}
	for i := range l.in.Beside {
		out = append(out, &l.in.Beside[i])
	}
	return out
}

// compared are the files to compare with the one at hand, so that each pair of
// those that are checked is looked at once. Files of one folder are taken to be
// of one host.
func (l *look) compared() (out []*File) {
	for i := range l.in.Files[:l.nth] {
		out = append(out, &l.in.Files[i])
	}
	for i := range l.in.Beside {
		out = append(out, &l.in.Beside[i])
	}
	return slices.DeleteFunc(out, func(f *File) bool { return f.Config == nil || path.Dir(f.Path) != path.Dir(l.file.Path) })
}

var pairRules = []Rule{
	{
		Name: "port-in-two-files", Severity: Warning, file: portInTwo,
		Finds: "a ListenPort that another file has",
		Why:   "the second tunnel doesn't come up: address already in use",
		Mend:  "give each tunnel its own port",
	}, {
		Name: "private-key-in-two-files", Severity: Warning, file: keyInTwo,
		Finds: "a private key that another file has",
		Why:   "to their peers both are one machine, whose endpoint jumps to and fro",
		Mend:  "a key for each; where the two are never up at once it does no harm",
	}, {
		Name: "address-in-two-files", Severity: Warning, file: addressInTwo,
		Finds: "an Address that another file has",
		Why:   "with both up, answers leave by whichever tunnel has the first route",
		Mend:  "an address for each; where the two are never up at once it does no harm",
	}, {
		Name: "route-in-two-files", Severity: Warning, file: routeInTwo,
		Finds: "a prefix of AllowedIPs that another file routes too",
		Why:   "the second tunnel doesn't come up: adding the route fails with \"file exists\"",
		Mend:  "leave it to one of them, or give one a RouteMetric",
	}, {
		Name: "kill-switch-in-two-files", Severity: Warning, file: killSwitchInTwo,
		Finds: "two files with a kill switch",
		Why:   "with both up, each shuts the other out",
		Mend:  "a kill switch in one of them, with the other's networks in ExcludedIPs; none is needed if only one is up at a time",
	}, {
		Name: "default-in-two-files", Severity: Warning, file: defaultInTwo,
		Finds: "two files that take the default route",
		Why:   "with both up, each takes the other's own packets in, and neither carries anything",
		Mend:  "none is needed if only one is up at a time",
	},
}

func portInTwo(l *look) {
	port := l.cfg.Interface.ListenPort
	if port == nil || port.Number == 0 {
		return
	}
	for _, f := range l.compared() {
		if other := f.Config.Interface.ListenPort; other != nil && *other == *port {
			l.at(config.InInterface, "ListenPort", 0, "%s is that of %s, too", port, f.Path)
			return
		}
	}
}

func keyInTwo(l *look) {
	own, ok := publicKey(l.cfg)
	if !ok {
		return
	}
	for _, f := range l.compared() {
		if other, ok := publicKey(f.Config); ok && other == own {
			l.at(config.InInterface, "PrivateKey", 0, "is that of %s, too", f.Path)
			return
		}
	}
}

func addressInTwo(l *look) {
	for _, f := range l.compared() {
		for i, a := range l.cfg.Interface.Addresses {
			if slices.ContainsFunc(f.Config.Interface.Addresses, func(b netip.Prefix) bool { return a.Addr() == b.Addr() }) {
				l.at(config.InInterface, "Address", i, "%s is an address of %s, too", a.Addr(), f.Path)
				return
			}
		}
	}
}

func routeInTwo(l *look) {
	mine := l.routed()
	for _, f := range l.compared() {
		if f.Config.Interface.RouteMetric != l.cfg.Interface.RouteMetric {
			continue
		}
		theirs := map[netip.Prefix]bool{}
		other := look{cfg: f.Config, file: f, in: l.in}
		for _, c := range other.routed() {
			theirs[c.prefix] = true
		}
		for _, c := range mine {
			if theirs[c.prefix] {
				l.at(c.peer, "AllowedIPs", c.item, "%s of %s is routed by %s, too", c.prefix, l.peer(c.peer), f.Path)
				return
			}
		}
	}
}

func killSwitchInTwo(l *look) {
	if !l.cfg.Interface.KillSwitch {
		return
	}
	for _, f := range l.compared() {
		if f.Config.Interface.KillSwitch {
			l.at(config.InInterface, "KillSwitch", 0, "is on, and so it is in %s", f.Path)
			return
		}
	}
}

func defaultInTwo(l *look) {
	takes := func(l *look) (claim, bool) {
		if l.cfg.Interface.Table.Mode != config.TableAuto {
			return claim{}, false
		}
		claims := l.claims()
		i := slices.IndexFunc(claims, func(c claim) bool { return c.prefix.Bits() == 0 })
		if i < 0 {
			return claim{}, false
		}
		return claims[i], true
	}
	mine, ok := takes(l)
	if !ok {
		return
	}
	for _, f := range l.compared() {
		if _, both := takes(&look{cfg: f.Config, file: f, in: l.in}); both {
			l.at(mine.peer, "AllowedIPs", mine.item, "%s takes the default route, and so does %s", mine.prefix, f.Path)
			return
		}
	}
}
