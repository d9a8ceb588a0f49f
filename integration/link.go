// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wgctl/wgctl/lab"
)

// An End is one end of a cable: an interface of a host and the addresses
// that it gets, IPv4 or IPv6 with prefix length.
type End struct {
	Host  *Host
	Name  string
	Addrs []string
}

// At names an end for Connect and Switch.Plug.
func (h *Host) At(ifname string, addrs ...string) End { return End{h, ifname, addrs} }

// Connect joins two hosts by a veth pair, each end up and addressed.
func Connect(t testing.TB, a, b End) {
	t.Helper()
	wire(t, a, b)
	a.configure()
	b.configure()
}

// wire makes the pair inside the first host's network: the machine's own never
// sees it.
func wire(t testing.TB, a, b End) {
	t.Helper()
	// The machine's PID namespace is kept (no -p): ip(8) names the other
	// network by a process number of the machine.
	out := a.Host.runInNet("ip", "link", "add", a.Name, "type", "veth",
		"peer", "name", b.Name, "netns", strconv.Itoa(b.Host.pid))
	if out.Code != 0 {
		t.Fatalf("connecting %s to %s: %v", a.Host.Name, b.Host.Name, out)
	}
}

// configure gives an end its addresses and sets it up, in one run of ip(8).
func (e End) configure() {
	e.Host.t.Helper()
	var batch strings.Builder
	for _, s := range e.Addrs {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			e.Host.t.Fatalf("connecting %s: %v", e.Host.Name, err)
		}
		fmt.Fprintf(&batch, "address add %s dev %s", p, e.Name)
		if p.Addr().Is6() {
			batch.WriteString(" nodad")
		}
		batch.WriteByte('\n')
	}
	fmt.Fprintf(&batch, "link set %s up\n", e.Name)
	if out := e.Host.RunInput(batch.String(), "ip", "-batch", "-"); out.Code != 0 {
		e.Host.t.Fatalf("connecting %s:\n%s%v", e.Host.Name, batch.String(), out)
	}
}

// Lay makes the links, addresses and routes of a topology (docs/lab.md) between
// hosts that are given by its names. Its networks are of two hosts each.
func Lay(t testing.TB, topology string, hosts ...*Host) {
	t.Helper()
	top, err := lab.Parse(t.Name()+".lab", "[Lab]\nName = test\n"+topology)
	if err != nil {
		t.Fatal(err)
	}
	in := map[string]*os.File{}
	for _, h := range hosts {
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", h.pid))
		if err != nil {
			t.Fatalf("opening the network of %s: %v", h.Name, err)
		}
		defer ns.Close()
		in[h.Name] = ns
	}
	if err := top.Build(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		h.settle()
	}
}

// settle waits until all links are as they will be: with a carrier, and with
// the address that the kernel gives each for IPv6.
func (h *Host) settle() {
	h.t.Helper()
	WaitFor(h.t, 10*time.Second, "the links of "+h.Name, func() bool {
		links := strings.Count(h.Must("ip", "-o", "link", "show", "up", "type", "veth").Stdout, "LOWER_UP")
		return links == strings.Count(h.Must("ip", "-o", "link", "show", "type", "veth").Stdout, "\n") &&
			links <= strings.Count(h.Must("ip", "-6", "-o", "address", "show", "scope", "link", "-tentative").Stdout, "fe80::")
	})
}

// A Switch is a host with a bridge, for networks of more than two.
type Switch struct {
	*Host
	ports int
}

// NewSwitch makes an empty switch.
func NewSwitch(t testing.TB, name string) *Switch {
	t.Helper()
	h := NewHost(t, name)
	h.Must("ip", "link", "add", "br0", "type", "bridge")
	h.Must("ip", "link", "set", "br0", "up")
	return &Switch{Host: h}
}

// Plug joins a host to the switch.
func (s *Switch) Plug(end End) {
	s.t.Helper()
	s.ports++
	port := s.At(fmt.Sprintf("port%d", s.ports))
	wire(s.t, port, end)
	s.Must("ip", "link", "set", port.Name, "master", "br0", "up")
	end.configure()
}

// Forward makes the host a router for both families.
func (h *Host) Forward() {
	h.t.Helper()
	h.Must("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
}
