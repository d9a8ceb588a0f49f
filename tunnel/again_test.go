// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"maps"
	"sync"
	"testing"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
)

// looks counts how often the parts of a host are read that a later look may leave
// out.
type looks map[string]int

// A counter counts them; parts are read at once.
type counter struct {
	mu sync.Mutex
	n  looks
}

func (c *counter) count(part string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[part]++
}

type (
	ruleTable    = netlinkx.Rules
	countedRules struct {
		ruleTable
		*counter
	}
)

func (c countedRules) Rules(ctx context.Context) ([]netlinkx.InstalledRule, error) {
	c.count("rules")
	return c.ruleTable.Rules(ctx)
}

type countedDNS struct {
	Resolver
	*counter
}

func (c countedDNS) Installed(ctx context.Context, ifname string) (dns.Settings, error) {
	c.count("dns")
	return c.Resolver.Installed(ctx, ifname)
}

type countedForeign struct {
	Foreign
	*counter
}

func (c countedForeign) Installed(ctx context.Context, ifname string) ([]firewall.Standing, error) {
	c.count("passage")
	return c.Foreign.Installed(ctx, ifname)
}

// counted is the host with its readers counted.
func (c *counter) counted(h *Host) *Host {
	h.Rules, h.DNS, h.Foreign = countedRules{h.Rules, c}, countedDNS{h.DNS, c}, countedForeign{h.Foreign, c}
	return h
}

// After its steps a run looks again at what they were about, and at what the
// tunnel has or had; at all of it after hooks.
func TestSecondLook(t *testing.T) {
	const plain = "[Interface]\nAddress = 10.8.0.2/24\n"
	full := plain + "[Peer]\nPublicKey = " + key("a") + "\nAllowedIPs = 0.0.0.0/0\nEndpoint = 192.0.2.1:51820\n"
	for name, c := range map[string]struct {
		before, file string
		want         looks
	}{
		"nothing of that":   {"", plain, looks{"rules": 1, "dns": 1, "passage": 1}},
		"nameservers":       {"", plain + "DNS = 10.8.0.1\n", looks{"rules": 1, "dns": 2, "passage": 1}},
		"without them now":  {plain + "DNS = 10.8.0.1\n", plain, looks{"rules": 2, "dns": 2, "passage": 1}},
		"policy rules":      {"", full, looks{"rules": 2, "dns": 1, "passage": 1}},
		"a parameter":       {"", plain + "Forward = on\n", looks{"rules": 2, "dns": 1, "passage": 2}},
		"rules that stay":   {full, full + "PersistentKeepalive = 7\n", looks{"rules": 3, "dns": 1, "passage": 1}},
		"a hook":            {"", plain + "PreUp = true\n", looks{"rules": 2, "dns": 2, "passage": 2}},
		"a hook at the end": {"", plain + "PostUp = true\n", looks{"rules": 1, "dns": 1, "passage": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFakeHost(t)
			if c.before != "" {
				if err := bring(t, h, "wg0", c.before, config.BackendKernel); err != nil {
					t.Fatal(err)
				}
			}
			n := &counter{n: looks{}}
			if err := bringOn(t, n.counted(h.host()), "wg0", c.file, config.BackendKernel); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(n.n, c.want) {
				t.Errorf("looked %v times, want %v", n.n, c.want)
			}
		})
	}
}

// What is not as wanted after the steps is looked at whole before more is done,
// and then done.
func TestSecondLookFindsMore(t *testing.T) {
	h := newFakeHost(t)
	host := h.host()
	n := &counter{n: looks{}}
	host.Links = undoneOnce{host.Links, h, new(bool)}
	if err := bringOn(t, n.counted(host), "wg0", "[Interface]\nAddress = 10.8.0.2/24\n", config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	if want := (looks{"rules": 3, "dns": 3, "passage": 3}); !maps.Equal(n.n, want) {
		t.Errorf("looked %v times, want %v", n.n, want)
	}
	if have, err := h.Addresses(t.Context(), "wg0"); err != nil || len(have) == 0 {
		t.Errorf("addresses %v, %v", have, err)
	}
}

// undoneOnce takes the tunnel's address away as soon as its link is up.
type undoneOnce struct {
	netlinkx.Links
	h    *fakeHost
	done *bool
}

func (u undoneOnce) LinkSet(ctx context.Context, name string, mtu int, up bool) error {
	err := u.Links.LinkSet(ctx, name, mtu, up)
	if err == nil && !*u.done {
		*u.done = true
		have, _ := u.h.Addresses(ctx, name)
		for _, a := range have {
			if !a.KernelMade {
				err = u.h.AddressDel(ctx, name, a.Prefix)
			}
		}
	}
	return err
}
