// SPDX-License-Identifier: MIT

package labtest_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wgctl/wgctl/labtest"
)

const office = `
	[Network internet]            # three hosts: a switch
	Subnet = 203.0.113.0/24, 2001:db8::/64
	[Network home]                # two: a cable
	Subnet = 192.168.1.0/24

	[Host hub]
	Link = internet
	[Host branch]
	Link = internet
	[Host router]
	Link = internet
	Link = home as lan0
	Masquerade = eth0
	[Host laptop]
	Link = home
	Gateway = router

	[Tunnel wg0]
	Subnet = 10.8.0.0/24, fd08::/64
	Hub = hub
	Member = hub
	Member = branch
	Member = laptop roaming
`

// Cables, a switch, addresses, a router that masquerades, for both families.
func TestNetworks(t *testing.T) {
	l := labtest.New(t, office)
	for _, to := range []string{"203.0.113.2", "2001:db8::3"} {
		l.Run("hub", "ping", "-n", "-c", "1", "-W", "15", to)
	}
	l.Run("laptop", "ping", "-n", "-c", "1", "-W", "15", l.Address("hub", "internet").String())
	if out, err := l.Try("hub", "ping", "-n", "-c", "1", "-W", "1", l.Address("laptop", "home").String()); err == nil {
		t.Errorf("the way back is not through the masquerade: %s", out)
	}
	// Sockets of this process, seen as the router's.
	var listener net.PacketConn
	l.Do("hub", func() (err error) {
		listener, err = net.ListenPacket("udp", "203.0.113.1:7")
		return err
	})
	defer listener.Close()
	l.Do("laptop", func() error {
		conn, err := net.Dial("udp", "203.0.113.1:7")
		if err == nil {
			_, err = conn.Write([]byte("here"))
			conn.Close()
		}
		return err
	})
	if _, from, err := listener.ReadFrom(make([]byte, 8)); err != nil || !strings.HasPrefix(from.String(), "203.0.113.3:") {
		t.Errorf("from %v, %v", from, err)
	}
}

// Tunnels come up, roaming members too, and go with the test.
func TestTunnels(t *testing.T) {
	build(t)
	t.Run("up", func(t *testing.T) {
		l := labtest.New(t, office)
		l.Up()
		laptop, branch := l.Address("laptop", "wg0").String(), l.Address("branch", "wg0").String()
		l.Run("laptop", "ping", "-n", "-c", "3", "-i", "0.3", "-W", "15", branch)
		l.Run("branch", "ping", "-n", "-c", "1", "-W", "15", laptop)
	})
	if left, _ := filepath.Glob("/run/wgctl/netns/*/wg0.json"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// build makes the wgctl to use, unless there is one already.
func build(t *testing.T) {
	t.Helper()
	if os.Getenv("WGCTL_BIN") != "" {
		return
	}
	if os.Geteuid() != 0 {
		return // New says so
	}
	bin := filepath.Join(t.TempDir(), "wgctl")
	cmd := exec.Command("go", "build", "-o", bin, "../cmd/wgctl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building wgctl: %v: %s", err, out)
	}
	t.Setenv("WGCTL_BIN", bin)
}
