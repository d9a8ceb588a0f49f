// SPDX-License-Identifier: MIT

package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// An nmState is how far NetworkManager has been told of a tunnel. It stands in
// the file, which a killed run leaves as it is.
type nmState string

// The states, as they begin a line.
const (
	nmTold    nmState = "# tunnel "
	nmTelling nmState = "# telling "
	nmLeaving nmState = "# leaving " // nothing of it is in effect any more
)

var nmStates = []nmState{nmTold, nmTelling, nmLeaving}

// beforeMark begins a line of what the host's nameservers were before the first
// tunnel, for a NetworkManager that isn't there any more to say so.
const beforeMark = "# before "

// An nmEntry is one tunnel in a file of ours.
type nmEntry struct {
	Settings
	state nmState
}

// An nmFragment is a file of ours that NetworkManager, or its dnsmasq, reads. The
// tunnel that came up last comes first.
type nmFragment struct {
	entries []nmEntry
	before  string
}

// parseNM reads what render wrote.
func parseNM(text string) nmFragment {
	var f nmFragment
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, beforeMark); ok {
			f.before += rest
		}
		for _, state := range nmStates {
			rest, ok := strings.CutPrefix(line, string(state))
			if words := strings.Fields(rest); ok && len(words) > 0 {
				s := parse(words[0], entryWords(words[1:]))
				s.Backend = BackendNetworkManager
				f.entries = append(f.entries, nmEntry{s, state})
			}
		}
	}
	return f
}

func (f nmFragment) find(ifname string) (nmEntry, bool) {
	for _, e := range f.entries {
		if e.Interface == ifname {
			return e, true
		}
	}
	return nmEntry{}, false
}

// set makes s stand: where the tunnel is known it keeps its place.
func (f nmFragment) set(s Settings, state nmState) nmFragment {
	f.entries = slices.Clone(f.entries)
	e := nmEntry{s, state}
	if i := slices.IndexFunc(f.entries, func(e nmEntry) bool { return e.Interface == s.Interface }); i >= 0 {
		f.entries[i] = e
	} else {
		f.entries = slices.Insert(f.entries, 0, e)
	}
	return f
}

// leave marks a tunnel, if it is there, as one that nothing is in effect of.
func (f nmFragment) leave(ifname string) nmFragment {
	if _, ok := f.find(ifname); !ok {
		return f
	}
	return f.set(Settings{Interface: ifname}, nmLeaving)
}

// settled is the file when NetworkManager has been told of that tunnel.
func (f nmFragment) settled(ifname string) nmFragment {
	var kept []nmEntry
	for _, e := range f.entries {
		if e.Interface == ifname && e.state == nmLeaving {
			continue
		}
		if e.Interface == ifname {
			e.state = nmTold
		}
		kept = append(kept, e)
	}
	f.entries = kept
	return f
}

// render returns the file, "" if there is to be none. effect is what it says to
// who reads it.
func (f nmFragment) render(effect func(nmFragment) string) string {
	if len(f.entries) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(mark + ": NetworkManager sends look-ups to tunnels that are up.\n")
	for _, e := range f.entries {
		b.WriteString(string(e.state) + strings.TrimPrefix(entry(e.Settings), entryMark))
	}
	for line := range strings.Lines(f.before) {
		b.WriteString(beforeMark + strings.TrimSuffix(line, "\n") + "\n")
	}
	b.WriteString(effect(f))
	return b.String()
}

// servers are the nameservers for all names: those of the tunnel that came up
// last, and no others.
func (f nmFragment) servers() []netip.Addr {
	for _, e := range f.entries {
		if len(e.Servers) > 0 {
			return e.Servers
		}
	}
	return nil
}

// globalDNS has NetworkManager use the tunnels' nameservers instead of those of
// its connections: NetworkManager.conf(5), sections global-dns and
// global-dns-domain. The connections' own are remembered, and followed as they
// change, and are back when this is gone.
func globalDNS(f nmFragment) string {
	servers := f.servers()
	if len(servers) == 0 {
		return ""
	}
	var search []string
	for _, e := range f.entries {
		search = append(search, e.Search...)
	}
	var b strings.Builder
	b.WriteString("[global-dns]\n")
	if search = unique(search); len(search) > 0 {
		b.WriteString("searches=" + strings.Join(search, ",") + "\n")
	}
	if o := options(f.before); len(o) > 0 {
		b.WriteString("options=" + strings.Join(o, ",") + "\n")
	}
	b.WriteString("[global-dns-domain-*]\nservers=" + joinAddrs(servers) + "\n")
	return b.String()
}

// splitDNS has NetworkManager's dnsmasq ask the tunnels for the names below some
// domains: dnsmasq(8), --server. NetworkManager's own configuration can't say
// that without also fixing the nameservers of all other names.
func splitDNS(f nmFragment) string {
	var b strings.Builder
	for _, e := range f.entries {
		for _, d := range e.Routing {
			for _, a := range e.Servers {
				fmt.Fprintf(&b, "server=/%s/%s\n", d, a)
			}
		}
	}
	return b.String()
}

func joinAddrs(list []netip.Addr) string {
	var words []string
	for _, a := range list {
		words = append(words, a.String())
	}
	return strings.Join(words, ",")
}
