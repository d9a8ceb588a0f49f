// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
)

// TestTwoFaults goes from every file to every other, and makes a change fail
// and then another, as a rule of those that undo: the host must be as before, or
// the error must say that it isn't. Whatever came of it, no key is lost, and the
// same transition then succeeds.
func TestTwoFaults(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	injected, residues := 0, 0
	for i := -1; i < len(files); i++ {
		for j := range files {
			if i == j {
				continue
			}
			for range 6 {
				k := 1 + rnd.IntN(12)
				both, residue := failTwice(t, i, j, k, k+1+rnd.IntN(k+3))
				if both {
					injected++
				}
				if residue {
					residues++
				}
			}
		}
	}
	t.Logf("%d runs with two failures, %d of them left something and said so", injected, residues)
	if injected < 400 {
		t.Errorf("only %d runs met two failures", injected)
	}
}

func failTwice(t *testing.T, i, j, first, second int) (both, residue bool) {
	t.Helper()
	h, backend := newFakeHost(t), config.BackendKernel
	if (i+j)%2 != 0 {
		backend = config.BackendUserspace
	}
	if i >= 0 {
		if err := bring(t, h, "wg0", files[i], backend); err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
	}
	before := h.String()
	h.failAt, h.again = h.calls+first, h.calls+second
	err := bring(t, h, "wg0", files[j], backend)
	both = h.failAt == 0 && h.again == 0
	h.failAt, h.again = 0, 0
	if err == nil {
		return false, false
	}
	after := h.String()
	residue = Residue(err)
	if !residue && after != before {
		t.Fatalf("from file %d to %d, changes %d and %d failed with %q, which tells of no residue\nbefore:\n%s\nafter:\n%s", i, j, first, second, err, before, after)
	}
	keysAreOf(t, h, i, j)
	if err := bring(t, h, "wg0", files[j], backend); err != nil {
		t.Fatalf("from file %d to %d, after changes %d and %d failed: %v", i, j, first, second, err)
	}
	return both, residue
}

// keysAreOf asks that each key of the device be one of two files'.
func keysAreOf(t *testing.T, h *fakeHost, of ...int) {
	t.Helper()
	d, err := h.Device(t.Context(), "wg0")
	if err != nil {
		return // there is none
	}
	private := map[netlinkx.Secret]bool{}
	preshared := map[netlinkx.Key]map[netlinkx.Secret]bool{}
	for _, n := range of {
		if n < 0 {
			private[netlinkx.Secret{}] = true
			continue
		}
		cfg := parse(t, files[n])
		key := netlinkx.Secret{}
		if cfg.Interface.PrivateKey != nil {
			key = netlinkx.Secret(*cfg.Interface.PrivateKey).Clamped()
		}
		private[key] = true
		for _, p := range cfg.Peers {
			k := netlinkx.Key(p.PublicKey)
			if preshared[k] == nil {
				preshared[k] = map[netlinkx.Secret]bool{}
			}
			psk := netlinkx.Secret{}
			if p.PresharedKey != nil {
				psk = netlinkx.Secret(*p.PresharedKey)
			}
			preshared[k][psk] = true
		}
	}
	if !private[d.PrivateKey] {
		t.Fatalf("files %v: the private key is none of theirs; zero: %v", of, d.PrivateKey.IsZero())
	}
	for _, p := range d.Peers {
		if !preshared[p.PublicKey][p.PresharedKey] {
			t.Fatalf("files %v: the preshared key of %s is none of theirs; zero: %v", of, p.PublicKey, p.PresharedKey.IsZero())
		}
	}
}

// A reload that fails, and of which the way back fails once too, leaves the
// keys that were there: also those that somebody had set by hand.
func TestFailedWayBackKeepsKeys(t *testing.T) {
	from := files[12] // with a preshared key
	to := strings.NewReplacer("PrivateKey = "+key("one"), "PrivateKey = "+key("two"),
		"PresharedKey = "+key("other"), "PresharedKey = "+key("third"), "AllowedIPs = 10.8.0.0/24", "AllowedIPs = 10.8.0.0/24, 172.20.0.0/16").Replace(from)
	for _, byHand := range []bool{false, true} {
		h := newFakeHost(t)
		if err := bring(t, h, "wg0", from, config.BackendKernel); err != nil {
			t.Fatal(err)
		}
		if byHand {
			h.EditDevice("wg0", func(d *netlinkx.Device) {
				d.PrivateKey, d.Peers[0].PresharedKey = netlinkx.Secret{8, 1, 31: 64}, netlinkx.Secret{7}
			})
		}
		before, configures, routeFailed := h.String(), 0, false
		h.OnCall = func(verb string) error {
			switch {
			case verb == "Configure":
				if configures++; configures == 2 {
					return errInjected
				}
			case strings.HasPrefix(verb, "RouteAdd") && !routeFailed:
				routeFailed = true
				return errInjected
			}
			return nil
		}
		err := bring(t, h, "wg0", to, config.BackendKernel)
		if !errors.Is(err, errInjected) || Residue(err) || configures != 3 {
			t.Errorf("by hand %v: error %v, %d changes of the device", byHand, err, configures)
		}
		if after := h.String(); after != before {
			t.Errorf("by hand %v: left\n%s\nbefore\n%s", byHand, after, before)
		}
	}
}

// A way back that is told to have succeeded, and hasn't, is residue.
func TestRetakeLooksAgain(t *testing.T) {
	h := newFakeHost(t)
	if err := bring(t, h, "wg0", files[0], config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	host := h.host()
	host.Addresses = deafAddresses{h.Fake}
	to := strings.Replace(files[0], "10.8.0.2/24", "10.8.0.2/24, 10.50.0.1/24", 1)
	to = strings.Replace(to, "192.168.7.0/24", "192.168.7.0/24, 172.20.0.0/16", 1)
	h.OnCall = func(verb string) error {
		if strings.HasPrefix(verb, "RouteAdd") {
			return errInjected
		}
		return nil
	}
	err := bringOn(t, host, "wg0", to, config.BackendKernel)
	if !errors.Is(err, errInjected) || !Residue(err) {
		t.Errorf("error %v; residue %v", err, Residue(err))
	}
	left := (*StepError)(nil)
	if !errors.As(err, &left) || !slices.ContainsFunc(left.Left, func(e error) bool {
		return strings.Contains(e.Error(), "ip address delete 10.50.0.1/24 dev wg0")
	}) {
		t.Errorf("left is %v", left)
	}
}

// deafAddresses deletes nothing and says that it did.
type deafAddresses struct{ *netlinkx.Fake }

func (deafAddresses) AddressDel(context.Context, string, netip.Prefix) error { return nil }

// A key of which only the digest is known is never set.
func TestKeyThatWasReadBackIsNotSet(t *testing.T) {
	h := newFakeHost(t)
	if err := bring(t, h, "wg0", files[12], config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	h.EditDevice("wg0", func(d *netlinkx.Device) {
		d.PrivateKey, d.Peers[0].PresharedKey = netlinkx.Secret{8, 1, 31: 64}, netlinkx.Secret{9}
	})
	before := h.String()
	have, err := Observe(t.Context(), h.host(), "wg0")
	if err != nil {
		t.Fatal(err)
	}
	steps := Plan(have.Last(), have)
	if len(steps) != 1 || !strings.Contains(steps[0].String(), "private-key (hidden)") || !strings.Contains(steps[0].String(), "preshared-key (hidden)") {
		t.Fatalf("steps %s", texts(steps))
	}
	if _, err := Apply(t.Context(), h.host(), steps, quiet); !errors.Is(err, errUnknownKey) {
		t.Errorf("setting keys of a record: %v", err)
	}
	if after := h.String(); after != before {
		t.Errorf("a key of a record was set:\n%s\nbefore\n%s", after, before)
	}
}

// A peer that a failed reload gave an endpoint has none again.
func TestFailedWayBackForgetsEndpoint(t *testing.T) {
	h := newFakeHost(t)
	if err := bring(t, h, "wg0", files[10], config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	to := strings.Replace(files[10], "AllowedIPs = 10.8.0.0/24", "AllowedIPs = 10.8.0.0/24, 172.20.0.0/16\nEndpoint = 192.0.2.1:51820", 1)
	before, configures, routeFailed := h.String(), 0, false
	h.OnCall = func(verb string) error {
		switch {
		case verb == "Configure":
			if configures++; configures == 2 {
				return errInjected
			}
		case strings.HasPrefix(verb, "RouteAdd") && !routeFailed:
			routeFailed = true
			return errInjected
		}
		return nil
	}
	if err := bring(t, h, "wg0", to, config.BackendKernel); !errors.Is(err, errInjected) || Residue(err) {
		t.Errorf("error %v", err)
	}
	if after := h.String(); after != before {
		t.Errorf("left\n%s\nbefore\n%s", after, before)
	}
}

// What somebody else has changed is as he left it after a reload that fails,
// and fails once more on the way back.
func TestTwoFaultsWithDrift(t *testing.T) {
	for _, up := range []bool{true, false} {
		twoFaultsWithDrift(t, up)
	}
}

func twoFaultsWithDrift(t *testing.T, up bool) {
	t.Helper()
	for second := 2; second < 40; second++ {
		for first := 1; first < second; first++ {
			h := newFakeHost(t)
			if err := bring(t, h, "wg0", files[1], config.BackendKernel); err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			if err := errors.Join(h.SetSysctl(ctx, SrcValidMark, "0"),
				h.AddressDel(ctx, "wg0", netip.MustParsePrefix("fd00::2/64")),
				h.RouteDel(ctx, "wg0", routes.Route{Dst: netip.MustParsePrefix("::/0"), Table: 51820}),
				h.LinkSet(ctx, "wg0", 1338, up)); err != nil {
				t.Fatal(err)
			}
			before := h.String()
			h.failAt, h.again = h.calls+first, h.calls+second
			err := bring(t, h, "wg0", files[1]+"\n[Peer]\nPublicKey = "+key("b")+"\n", config.BackendKernel)
			h.failAt, h.again = 0, 0
			if after := h.String(); err != nil && !Residue(err) && after != before {
				t.Fatalf("changes %d and %d failed with %q\nbefore:\n%s\nafter:\n%s", first, second, err, before, after)
			}
		}
	}
}
