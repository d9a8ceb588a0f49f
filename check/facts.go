// SPDX-License-Identifier: MIT

package check

import (
	"net/netip"
	"slices"
	"time"
)

// Facts are what the rules need to know of the host that the files are for.
type Facts struct {
	Links []Link `json:"links"`
	// Routes are the unicast routes of the main table.
	Routes []Route `json:"routes"`
	// Sysctls are values of kernel parameters by dotted name; what can't be
	// read isn't there.
	Sysctls map[string]string `json:"sysctls"`
	// UDPPorts are those that a socket is bound to.
	UDPPorts []uint16 `json:"udp_ports"`
	Resolver Resolver `json:"resolver"`
	// Units are those of tunnels that systemd starts at boot, by name.
	Units []string `json:"units,omitempty"`
	// Session is the address that the administrator's session comes from;
	// invalid if he sits at the host.
	Session netip.Addr `json:"session,omitzero"`
	// Machine is what else there is to say of the host; nil if it wasn't
	// asked for.
	Machine *Machine `json:"machine,omitempty"`
}

// A Link is a network interface.
type Link struct {
	Name      string         `json:"name"`
	MTU       int            `json:"mtu"`                 // bytes
	WireGuard bool           `json:"wireguard,omitempty"` // whatever serves it
	Addresses []netip.Prefix `json:"addresses,omitempty"` // not masked
}

// A Route leads to a prefix through a link.
type Route struct {
	Dst    netip.Prefix `json:"dst"` // masked
	Link   string       `json:"link"`
	Metric uint32       `json:"metric,omitempty"` // 0 for IPv6: the kernel's own choice
	MTU    int          `json:"mtu,omitempty"`    // bytes; 0: the link's
}

// A Resolver is who would be told of a tunnel's nameservers.
type Resolver struct {
	Trace  string `json:"trace"`
	Splits bool   `json:"splits,omitempty"` // names below some domains can go to the tunnel alone
	Error  string `json:"error,omitempty"`  // why nobody can be told
}

// A Machine is what tunnels need of a host. Of a thing that is there the text is
// "", else it says why it is not.
type Machine struct {
	WireGuard     string    `json:"wireguard,omitempty"` // of the kernel
	Userspace     string    `json:"userspace,omitempty"` // the embedded device
	PacketFilter  string    `json:"packet_filter,omitempty"`
	PolicyRouting string    `json:"policy_routing,omitempty"`
	IPv6          string    `json:"ipv6,omitempty"`
	RunDir        string    `json:"run_dir,omitempty"`  // records of tunnels
	ProcSys       string    `json:"proc_sys,omitempty"` // whether kernel parameters can be set
	Folder        Access    `json:"folder"`             // of config.Dir: Mode is the folder's own, 0 if there is none
	Filter        string    `json:"filter"`             // how the packet filter was chosen
	Dropping      []string  `json:"dropping,omitempty"` // places at which others drop what is forwarded
	Notes         []string  `json:"notes,omitempty"`    // what may be dropped all the same
	Flushes       bool      `json:"flushes,omitempty"`  // systemd-networkd runs, and removes rules and routes that aren't its own
	Now           time.Time `json:"now"`
	Newest        time.Time `json:"newest"`         // when the youngest file of a tunnel was written
	Root          bool      `json:"root,omitempty"` // what only root sees was looked at
}

// others are the links but for the tunnel's own.
func (f *Facts) others(own string) (out []Link) {
	for _, l := range f.Links {
		if l.Name != own && l.Name != "lo" {
			out = append(out, l)
		}
	}
	return out
}

func (f *Facts) link(name string) (Link, bool) {
	i := slices.IndexFunc(f.Links, func(l Link) bool { return l.Name == name })
	if i < 0 {
		return Link{}, false
	}
	return f.Links[i], true
}

// sysctl reports whether a parameter has a value.
func (f *Facts) sysctl(key, value string) bool { return f.Sysctls[key] == value }

// overlap reports whether two prefixes have an address in common.
func overlap(a, b netip.Prefix) bool { return a.Overlaps(b) }

// within reports whether a is b or a part of it.
func within(a, b netip.Prefix) bool { return a.Bits() >= b.Bits() && b.Contains(a.Addr()) }

// private reports whether an address is none that the internet routes.
func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() || cgnat.Contains(a)
}

// cgnat is the space that providers share out behind their NAT (RFC 6598).
var cgnat = netip.MustParsePrefix("100.64.0.0/10")
