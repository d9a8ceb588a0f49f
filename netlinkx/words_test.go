// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/wgctl/wgctl/routes"
)

func number(t *testing.T, s string, without int) int {
	t.Helper()
	if s == "" {
		return without
	}
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// parseRoute reads "10.0.0.0/8 table 5 metric 7", and passes over words that
// routes.Route can't say.
func parseRoute(t *testing.T, f []string) routes.Route {
	t.Helper()
	kind := routes.Unicast
	switch f[0] {
	case "throw":
		kind, f = routes.Throw, f[1:]
	case "unreachable":
		kind, f = routes.Unreachable, f[1:]
	}
	if f[0] == "default" {
		f[0] = "0.0.0.0/0"
	}
	r := routes.Route{Kind: kind, Dst: netip.MustParsePrefix(f[0]), Table: routes.TableMain}
	for i := 1; i+1 < len(f); i++ {
		switch f[i] {
		case "table":
			r.Table = uint32(number(t, f[i+1], 0))
		case "metric":
			r.Metric = uint32(number(t, f[i+1], 0))
		}
	}
	return r
}

// parseRuleWords reads "6 100 table 5 mark 0x1 not suppress".
func parseRuleWords(t *testing.T, f []string) routes.Rule {
	t.Helper()
	r := parseRule4(t, append([]string{"priority", f[1]}, f[2:]...))
	r.Family = routes.Family(number(t, f[0], 0))
	return r
}

func parseRule4(t *testing.T, f []string) routes.Rule {
	t.Helper()
	r := routes.Rule{Family: routes.V4}
	for i, word := range f {
		switch word {
		case "priority":
			r.Priority = uint32(number(t, f[i+1], 0))
		case "table":
			r.Table = uint32(number(t, f[i+1], 0))
		case "mark":
			r.Mark = uint32(number(t, f[i+1], 0))
		case "from":
			r.From = netip.MustParsePrefix(f[i+1])
		case "to":
			r.To = netip.MustParsePrefix(f[i+1])
		case "not":
			r.Invert = true
		case "suppress":
			r.Suppress = true
		}
	}
	return r
}

// testKey returns the private key that a letter stands for; "0" is none.
func testKey(name string) Secret {
	if name == "0" {
		return Secret{}
	}
	s := Secret(sha256.Sum256([]byte(name)))
	s[0] &= 248
	s[31] = s[31]&127 | 64
	return s
}

// parseChange reads "key A port 5" or "peer B ips 10.0.0.0/8 endpoint 192.0.2.1:1".
func parseChange(t *testing.T, f []string) DeviceChange {
	t.Helper()
	var c DeviceChange
	p := &PeerChange{}
	for i, word := range f {
		next := ""
		if i+1 < len(f) {
			next = f[i+1]
		}
		switch word {
		case "key":
			k := testKey(next)
			c.PrivateKey = &k
		case "port":
			n := uint16(number(t, next, 0))
			c.ListenPort = &n
		case "mark":
			n := uint32(number(t, next, 0))
			c.FwMark = &n
		case "peer":
			c.Peers = []PeerChange{{PublicKey: testKey(next).PublicKey()}}
			p = &c.Peers[0]
		case "psk":
			k := testKey(next)
			p.PresharedKey = &k
		case "keepalive":
			n := uint16(number(t, next, 0))
			p.PersistentKeepalive = &n
		case "endpoint":
			p.Endpoint = netip.MustParseAddrPort(next)
		case "ips":
			for a := range strings.SplitSeq(next, ",") {
				p.AllowedIPs = append(p.AllowedIPs, netip.MustParsePrefix(a))
			}
		case "ips-":
			for a := range strings.SplitSeq(next, ",") {
				p.RemoveAllowedIPs = append(p.RemoveAllowedIPs, netip.MustParsePrefix(a))
			}
		case "replace":
			p.ReplaceAllowedIPs = true
		case "update":
			p.UpdateOnly = true
		case "remove":
			p.Remove = true
		}
	}
	return c
}

// ownerOf hides the errno where the table doesn't exist: that is the kernel's
// own affair, and differs between its versions.
func ownerOf(ctx context.Context, w world, r routes.Route) (string, error) {
	link, err := w.RouteOwner(ctx, r)
	if tables, terr := w.TablesInUse(ctx); terr == nil && !tables[r.Table] && errors.Is(err, os.ErrNotExist) {
		return "", os.ErrNotExist
	}
	return link, err
}
