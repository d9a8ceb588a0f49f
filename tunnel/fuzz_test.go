// SPDX-License-Identifier: MIT

package tunnel

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
)

// A record may hold anything: it counts as lost, or it is one to plan by, and
// is the same when it is written and read again.
func FuzzRecord(f *testing.F) {
	h := newFakeHost(f)
	for _, file := range files {
		if err := bring(f, h, "wg0", file, config.BackendKernel); err != nil {
			f.Fatal(err)
		}
		r, err := h.records.Load("wg0")
		if err != nil {
			f.Fatal(err)
		}
		text, err := r.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"version":2,"phase":"changing","spec":{"name":"wg0","device":{},"firewall":{"interface":""},"hooks":{}},"before":{}}`))
	f.Add([]byte(`{"version":2,"phase":"up","spec":{"name":"wg0","device":{},"firewall":{"interface":"wg0","extra":[{"chain":{"table":"x","hook":"y"},"verdict":"accept"}]}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := decodeRecord(text, "wg0")
		if r == nil {
			return
		}
		once, err := r.encode()
		if err != nil {
			t.Fatalf("writing %+v: %v", r, err)
		}
		again := decodeRecord(once, "wg0")
		if again == nil {
			t.Fatalf("%s is lost", once)
		}
		if twice, err := again.encode(); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("wrote %s, then %s, %v", once, twice, err)
		}
		have := &State{Name: "wg0", Record: again, Link: &Link{Ours: true, Index: again.Link}, Device: netlinkx.Device{Backend: netlinkx.BackendKernel}}
		steps := Plan(nil, have)
		steps = append(steps, Plan(again.Spec, have)...)
		for _, s := range steps {
			_ = s.String()
			if u := s.Undo(); u != nil {
				_ = u.String()
			}
		}
		_ = have.Status()
		_ = have.Leftover()
		_ = have.Cleared()
	})
}

// anyFile makes a config of what the fuzzer chose.
func anyFile(rnd *rand.Rand) string {
	var b strings.Builder
	some := func(most int, from ...string) string {
		var out []string
		for range 1 + rnd.IntN(most) {
			if x := from[rnd.IntN(len(from))]; !slices.Contains(out, x) {
				out = append(out, x)
			}
		}
		return strings.Join(out, ", ")
	}
	maybe := func(key string, values ...string) {
		if n := rnd.IntN(2 * len(values)); n < len(values) {
			fmt.Fprintf(&b, "%s = %s\n", key, values[n])
		}
	}
	b.WriteString("[Interface]\n")
	maybe("PrivateKey", key("one"), key("two"))
	maybe("ListenPort", "0", "51820", "51821")
	maybe("FwMark", "off", "0x42", "51820")
	maybe("Address", some(4, "10.8.0.2/24", "10.8.0.3/24", "10.8.1.2/16", "10.8.0.4/32", "fd00::2/64", "fd00::3/128"))
	maybe("MTU", "576", "1280", "1420", "9000")
	maybe("Table", "off", "auto", "1234", "main")
	maybe("RouteMetric", "1", "77")
	maybe("ExcludedIPs", some(2, "10.0.0.0/8", "192.168.7.0/25", "fd00::/8"))
	maybe("DNS", some(3, "10.8.0.1", "fd00::1", "corp.example", "~lab.example"))
	maybe("Forward", "on", "off")
	maybe("Masquerade", some(2, "eth0", "eth7"))
	maybe("PortForward", "tcp/2222 -> 10.8.0.7:22", "udp/7000-7003 -> 10.8.0.7:8000-8003 on eth0")
	maybe("KillSwitch", "on", "off")
	maybe("RouteAggregation", "on", "off")
	maybe("PostUp", "iptables -A FORWARD -i %i -j ACCEPT", "ip rule add from 10.9.0.0/16 table 200", "ip route add 10.66.0.0/16 dev %i table 200",
		"sysctl -w net.ipv4.ip_forward=1")
	prefixes := []string{"0.0.0.0/0", "::/0", "10.8.0.0/24", "192.168.7.0/24", "192.168.7.128/25", "192.168.8.0/24", "fd00::/64", "fd01::/16", "0.0.0.0/1", "128.0.0.0/1"}
	rnd.Shuffle(len(prefixes), func(i, j int) { prefixes[i], prefixes[j] = prefixes[j], prefixes[i] })
	for _, name := range []string{"a", "b", "c"}[:rnd.IntN(4)] {
		fmt.Fprintf(&b, "[Peer]\nPublicKey = %s\n", key(name))
		maybe("PresharedKey", key("psk"), key("other"))
		maybe("Endpoint", "192.0.2.1:51820", "192.0.2.2:51820", "[2001:db8::1]:51820", "peer.example:domain")
		maybe("PersistentKeepalive", "25", "off")
		n := rnd.IntN(min(4, len(prefixes)))
		if n > 0 {
			fmt.Fprintf(&b, "AllowedIPs = %s\n", strings.Join(prefixes[:n], ", "))
		}
		prefixes = prefixes[n:]
	}
	return b.String()
}

// A planned tunnel is one on a host in memory, without files: the record is
// the one that is kept here.
type planned struct {
	*testing.T
	*fakeHost
	on     *Host
	record *Record
	rnd    *rand.Rand // chooses which change fails
}

func (p *planned) observe() *State {
	p.Helper()
	have, err := Observe(context.Background(), p.on, "wg0", SharedSysctls...)
	if err != nil {
		p.Fatal(err)
	}
	if have.Record = p.record; p.record == nil {
		return have
	}
	if err := have.observeSysctls(context.Background(), p.on, SharedSysctls); err != nil {
		p.Fatal(err)
	}
	if err := have.observeDeadEnds(context.Background(), p.on); err != nil {
		p.Fatal(err)
	}
	return have
}

// resolve returns what the file asks for; nil if this host can't have it.
func (p *planned) resolve(file string, have *State) *Spec {
	p.Helper()
	cfg, _, err := config.Parse("wg0.conf", strings.NewReader(file))
	if err != nil {
		return nil // as of two forwards of one port
	}
	endpoints, err := Lookup{}.Endpoints(context.Background(), fakeNames{}, cfg)
	if err != nil {
		p.Fatal(err)
	}
	want, err := Resolve(context.Background(), p.on, cfg, endpoints, have, Options{Backend: config.BackendKernel})
	if err != nil {
		return nil
	}
	return want
}

// alone takes from steps the claims on what tunnels share: there is no other.
func alone(steps []Step) []Step {
	for i, s := range steps {
		if set, ok := s.(sysctlSet); ok {
			set.tunnel, set.release = "", false
			steps[i] = set
		}
	}
	return steps
}

// lastStraw is a step that fails.
type lastStraw struct{ hookRun }

func (lastStraw) Do(context.Context, *Host) error { return errInjected }

// gainsIPv4 reports whether a link without an IPv4 address is to have one.
func gainsIPv4(want *Spec, have *State) bool {
	is4 := func(a netip.Prefix) bool { return a.Addr().Is4() }
	return have.Link != nil && !slices.ContainsFunc(have.Addresses, is4) && slices.ContainsFunc(want.Addresses, is4)
}

// become goes to what is wanted: first so that a change on the way fails, and
// then the very last step, after each of which the host has to be as before, and
// then for good.
func (p *planned) become(want *Spec, have *State) {
	p.Helper()
	steps := alone(Plan(want, have))
	if len(steps) > 0 {
		p.failNext(1 + p.rnd.IntN(len(steps)))
		p.fail(want, have, steps)
		p.failAt = 0
	}
	p.fail(want, have, steps)
	if _, err := Apply(context.Background(), p.on, steps, quiet); err != nil {
		p.Fatalf("%s: %v\non\n%s", texts(steps), err, p)
	}
	p.record = &Record{Version: recordVersion, Phase: PhaseUp, Spec: want}
	if text, err := p.record.encode(); err != nil {
		p.Fatal(err)
	} else if p.record = decodeRecord(text, "wg0"); p.record == nil {
		p.Fatalf("record %s is lost", text)
	}
	if left := Plan(want, p.observe()); len(left) > 0 {
		p.Fatalf("after\n%s\nthere is left\n%s\non\n%s", strings.ReplaceAll(texts(steps), "; ", "\n"), texts(left), p)
	}
}

// fail takes steps of which one fails, at the latest one behind them all.
func (p *planned) fail(want *Spec, have *State, steps []Step) {
	p.Helper()
	before := p.String()
	if _, err := Apply(context.Background(), p.on, append(slices.Clip(steps), lastStraw{}), quiet); err == nil {
		p.Fatal("the last straw didn't fail")
	}
	if gainsIPv4(want, have) {
		// Undoing that takes the IPv4 routes along, kept ones too: a session
		// looks once more then, rather than to take them away before.
		if err := ApplyAll(context.Background(), p.on, alone(Plan(have.Last(), p.observe())), quiet); err != nil {
			p.Fatal(err)
		}
	}
	if after := p.String(); after != before {
		p.Fatalf("undone: %s\n(-before +after):\n%s", strings.ReplaceAll(texts(steps), "; ", "\n"), cmp.Diff(before, after))
	}
}

// From any tunnel to any other, a plan leads there, its undo leads back, and
// down leaves the host as it was before the first.
func FuzzPlan(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, seed*seed)
	}
	f.Fuzz(plans)
}

// plans is one such walk.
func plans(t *testing.T, first, second uint64) {
	rnd := rand.New(rand.NewPCG(first, second))
	p := &planned{T: t, fakeHost: newFakeHostAt(t, "/nonexistent"), rnd: rand.New(rand.NewPCG(second, first))}
	p.on = p.host()
	clean := p.String()
	var files []string
	for range 3 {
		files = append(files, anyFile(rnd))
	}
	for _, file := range append(files, files[0]) {
		have := p.observe()
		t.Log(file)
		want := p.resolve(file, have)
		if want == nil {
			continue
		}
		p.become(want, have)
	}
	if p.record == nil {
		return
	}
	if err := ApplyAll(context.Background(), p.on, alone(Plan(nil, p.observe())), quiet); err != nil {
		t.Fatal(err)
	}
	if after := p.String(); after != clean {
		t.Fatalf("after down\n%s\nbefore up\n%s", after, clean)
	}
}
