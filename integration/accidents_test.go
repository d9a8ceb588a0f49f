// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
	"time"
)

// accidents leave of a tunnel what no command of wgctl would.
var accidents = []struct {
	name, do string
	state    string // what status says then
	only     string // backend
	forgets  bool   // what sysctls had been, which record and link alone knew
}{
	{"device killed", "kill -KILL $(pgrep -f '[d]evice-serve wg0')", "device has died", Userspace, false},
	{"link deleted", "ip link delete wg0", "link was deleted", "", false},
	{"record lost", "rm /run/wgctl/wg0.json", "record is lost", "", false},
	{"record cut short", "truncate -s 100 /run/wgctl/wg0.json", "record is lost", "", false},
	{"record of nonsense", "head -c 3000 /dev/urandom >/run/wgctl/wg0.json", "record is lost", "", false},
	{"link and record lost", "ip link delete wg0; rm /run/wgctl/wg0.json", "", "", true},
	{"reboot", reboot, "", "", false},
}

// reboot leaves nothing but what is on disk.
const reboot = `pkill -KILL -f '[d]evice-serve wg0' || :
	ip link delete wg0 2>/dev/null || :
	while ip link show wg0 2>/dev/null; do :; done
	nft flush ruleset
	for f in -4 -6; do
		while ip $f rule delete protocol 87 2>/dev/null; do :; done
		ip $f route flush table 51820 2>/dev/null || :
	done
	sysctl -qw net.ipv4.conf.all.src_valid_mark=0 net.ipv4.conf.all.arp_ignore=0 net.ipv4.ip_forward=0
	rm -rf /run/wgctl /run/wireguard; mkdir -m 700 /run/wgctl /run/wireguard`

// An accidentTunnel is one that meets accidents, by what it changes, and by
// which packet filter.
type accidentTunnel struct {
	name, filter string
	lines        []string // that change a file
	thrice       bool     // each accident is healed in each way, not in one in turn
}

var accidentTunnels = []accidentTunnel{
	{"plain", "", nil, true},
	{"plain by iptables", "iptables", nil, false},
	{"kill switch and resolv.conf", "", killSwitchAndFile, true},
	{"kill switch and resolv.conf by iptables", "iptables", killSwitchAndFile, false},
}

var killSwitchAndFile = []string{"KillSwitch = on", "DNS = 10.8.0.53, corp.example", "DNSBackend = file", "PostUp = sysctl -w net.ipv4.ip_forward=1"}

// After an accident status says what happened, down leaves the host as it was
// before up, and so it does after an up or a reload, which bring a whole tunnel.
// Only what record and link alone can know stays when both are lost.
func TestAccidents(t *testing.T) {
	for _, x := range accidentTunnels {
		if slowness() > 1 && x.name != "plain" {
			continue
		}
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			for _, backend := range backends() {
				h := newTunnelHost(t, "h")
				lines := append([]string{"Backend = " + backend}, x.lines...)
				if slowness() == 1 {
					lines = append(lines, "PreUp = ip link show %i >/dev/null", "PostUp = ip rule show >/dev/null", "PreDown = ip rule show >/dev/null", "PostDown = ip rule show >/dev/null")
				}
				if x.filter != "" {
					Need(t, "iptables-restore", "iptables-save")
					h.Setenv("WGCTL_FIREWALL", x.filter)
				}
				h.WriteFile(configOf("wg0"), fullTunnel(t, 0, lines...))
				if x.filter != "" { // its empty tables stay
					wgctlOK(h, "up", "wg0")
					wgctlOK(h, "down", "wg0")
				}
				x.meet(t, h, backend)
			}
		})
	}
}

// meet lets the tunnel meet each of the accidents.
func (x accidentTunnel) meet(t *testing.T, h *Host, backend string) {
	before := h.Snapshot()
	n := rounds(3, 1) // in turns where it is slow
	if !x.thrice && !wholeSweep() {
		n = 1
	}
	for i, a := range accidents {
		if slowness() > 1 && (a.do == reboot || a.name == "record of nonsense") {
			continue // to the kernel no news
		}
		if a.do == reboot && x.filter != "" {
			continue // which takes those tables too, and is no news to others
		}
		if a.only == Userspace && backend != Userspace && Backend() != Userspace {
			continue
		}
		for turn := range n {
			heal := []string{"", "up", "reload"}[(i+turn)%3]
			t.Logf("Backend = %s: %s, healed by %q", backend, a.name, heal)
			wgctlOK(h, "up", "wg0")
			h.Sh(a.do)
			WaitFor(t, 5*time.Second, "the link to go", func() bool {
				return !strings.HasPrefix(a.do, "ip link") && a.only == "" || h.Run("ip", "link", "show", "wg0").Code != 0
			})
			if a.state != "" {
				said(t, wgctlOK(h, "status").Stdout, "wg0", a.state)
				said(t, statuses(h)["wg0"].State, a.state)
			}
			gone := a.do == reboot && (heal == "reload" || x.lines == nil)
			switch {
			case heal == "reload" && gone: // takes our lines out of the file
				said(t, wgctlFails(h, 1, "reload", "wg0").Stderr, "wgctl: wg0 is not up\n")
			case heal != "":
				wgctlOK(h, heal, "wg0")
				whole(h, "wg0")
				gone = false
			}
			if gone {
				said(t, wgctlFails(h, 1, "down", "wg0").Stderr, "wgctl: wg0 is not up\n")
			} else {
				wgctlOK(h, "down", "wg0")
			}
			if a.forgets {
				h.Must("sysctl", "-qw", "net.ipv4.conf.all.src_valid_mark=0", "net.ipv4.conf.all.arp_ignore=0", "net.ipv4.ip_forward=0")
			}
			h.Unchanged(before)
		}
	}
}
