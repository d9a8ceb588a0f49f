// SPDX-License-Identifier: MIT

package tunnel

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
)

// A sealed is a tunnel that is up and under seal, and its file.
type sealed struct {
	*fakeHost
	t    *testing.T
	file string // path
}

func newSealed(t *testing.T, text string, on config.Backend) *sealed {
	t.Helper()
	s := &sealed{fakeHost: newFakeHost(t), t: t, file: filepath.Join(memoryDir(t), "wg0.conf")}
	s.write(text)
	if err := bring(t, s.fakeHost, "wg0", text, on); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sealed) write(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sealed) unchanged() bool {
	return Unchanged(context.Background(), s.host(), "wg0", "wg0.conf", Options{}, func() (*config.Config, error) {
		cfg, _, err := config.LoadInterface(context.Background(), s.file)
		return cfg, err
	}) != nil
}

// plan is what a whole reload would do.
func (s *sealed) plan() []Step {
	s.t.Helper()
	ctx := s.t.Context()
	text, err := os.ReadFile(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := parse(s.t, string(text))
	have, err := Observe(ctx, s.host(), "wg0", SharedSysctls...)
	if err != nil {
		s.t.Fatal(err)
	}
	endpoints, err := Lookup{Known: have.Settled()}.Endpoints(ctx, fakeNames{}, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	want, err := Resolve(ctx, s.host(), cfg, endpoints, have, Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	return Plan(want, have)
}

func (s *sealed) edit(change func(*netlinkx.Device)) { s.EditDevice("wg0", change) }

// must takes the error of what is done by hand.
func (s *sealed) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// tampering is what people and programs do to a tunnel and its file behind a
// seal. What applies to a tunnel, with thing, breaks it.
var tampering = []struct {
	name string
	do   func(s *sealed) (applies bool)
}{
	{"preshared key", func(s *sealed) (ok bool) {
		s.edit(func(d *netlinkx.Device) {
			if ok = len(d.Peers) > 0; ok {
				d.Peers[0].PresharedKey[7]++
			}
		})
		return ok
	}},
	{"keepalive", func(s *sealed) (ok bool) {
		s.edit(func(d *netlinkx.Device) {
			if ok = len(d.Peers) > 0; ok {
				d.Peers[0].PersistentKeepalive++
			}
		})
		return ok
	}},
	{"allowed IP moved to another peer", func(s *sealed) (ok bool) {
		s.edit(func(d *netlinkx.Device) {
			if ok = len(d.Peers) > 1 && len(d.Peers[0].AllowedIPs) > 0; ok {
				a := d.Peers[0].AllowedIPs
				d.Peers[1].AllowedIPs = append(d.Peers[1].AllowedIPs, a[0])
				d.Peers[0].AllowedIPs = a[1:]
			}
		})
		return ok
	}},
	{"allowed IPs swapped between peers", func(s *sealed) (ok bool) {
		s.edit(func(d *netlinkx.Device) {
			if ok = len(d.Peers) > 1; ok {
				d.Peers[0].AllowedIPs, d.Peers[1].AllowedIPs = d.Peers[1].AllowedIPs, d.Peers[0].AllowedIPs
			}
		})
		return ok
	}},
	{"peer removed", func(s *sealed) (ok bool) {
		s.edit(func(d *netlinkx.Device) {
			if ok = len(d.Peers) > 0; ok {
				d.Peers = d.Peers[1:]
			}
		})
		return ok
	}},
	{"peer replaced", func(s *sealed) (ok bool) {
		s.edit(func(d *netlinkx.Device) {
			if ok = len(d.Peers) > 0; ok {
				d.Peers[0].PublicKey[0] ^= 1
			}
		})
		return ok
	}},
	{"endpoint lost", func(s *sealed) (ok bool) {
		s.edit(func(d *netlinkx.Device) {
			if ok = len(d.Peers) > 0 && d.Peers[0].Endpoint.IsValid(); ok {
				d.Peers[0].Endpoint = netip.AddrPort{}
			}
		})
		return ok
	}},
	{"private key", func(s *sealed) (ok bool) {
		s.edit(func(d *netlinkx.Device) {
			ok = !d.PrivateKey.IsZero()
			d.PrivateKey[9]++
		})
		return ok
	}},
	{"mark", func(s *sealed) (ok bool) {
		s.edit(func(d *netlinkx.Device) {
			ok = d.FwMark != 0
			d.FwMark++
		})
		return ok
	}},
	{"route deleted", func(s *sealed) bool {
		list, err := s.Routes(s.t.Context(), "wg0")
		s.must(err)
		i := slices.IndexFunc(list, func(r netlinkx.InstalledRoute) bool { return r.Protocol == netlinkx.Protocol })
		if i >= 0 {
			s.must(s.RouteDel(s.t.Context(), "wg0", list[i].Route))
		}
		return i >= 0
	}},
	{"dead end deleted", func(s *sealed) bool {
		list, err := s.Fake.DeadEnds(s.t.Context())
		s.must(err)
		if len(list) > 0 {
			s.must(s.RouteDel(s.t.Context(), "wg0", list[0].Route))
		}
		return len(list) > 0
	}},
	{"rule deleted", func(s *sealed) bool {
		list, err := s.Fake.Rules(s.t.Context())
		s.must(err)
		i := slices.IndexFunc(list, func(r netlinkx.InstalledRule) bool { return r.Protocol == netlinkx.Protocol })
		if i >= 0 {
			s.must(s.RuleDel(s.t.Context(), list[i].Rule))
		}
		return i >= 0
	}},
	{"address deleted", func(s *sealed) bool {
		list, err := s.Addresses(s.t.Context(), "wg0")
		s.must(err)
		s.must(s.AddressDel(s.t.Context(), "wg0", list[len(list)-1].Prefix))
		return true
	}},
	{"MTU", func(s *sealed) bool { s.must(s.LinkSet(s.t.Context(), "wg0", 1290, true)); return true }},
	{"link down", func(s *sealed) bool { s.must(s.LinkSet(s.t.Context(), "wg0", 0, false)); return true }},
	{"link deleted", func(s *sealed) bool { s.DropLink("wg0"); return true }},
	{"firewall", func(s *sealed) (ok bool) {
		_, ok = s.firewalls["wg0"]
		delete(s.firewalls, "wg0")
		return ok
	}},
	{"nameservers", func(s *sealed) (ok bool) {
		_, ok = s.resolvers["wg0"]
		delete(s.resolvers, "wg0")
		return ok
	}},
	{"forwarding", func(s *sealed) bool {
		v, err := s.Sysctl(s.t.Context(), forward4)
		s.must(err)
		s.must(s.SetSysctl(s.t.Context(), forward4, "0"))
		return v != "0"
	}},
	{"a byte of a comment", func(s *sealed) bool { return s.append("# x") }},
	{"a hook", func(s *sealed) bool {
		return s.replace("[Interface]", "[Interface]\nPostUp = true")
	}},
	{"a key of [Interface]", func(s *sealed) bool { return s.replace("[Interface]", "[Interface]\nListenPort = 999") }},
	{"file gone", func(s *sealed) bool { s.must(os.Remove(s.file)); return true }},
	{"file empty", func(s *sealed) bool { s.write(""); return true }},
	{"record gone", func(s *sealed) bool { s.must(s.records.Remove("wg0")); return true }},
	{"record cut short", func(s *sealed) bool { return s.rewrite(func(b []byte) []byte { return b[:len(b)-1] }) }},
	{"record of another program", func(s *sealed) bool {
		return s.rewrite(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(program()), []byte("1-2-3-4")) })
	}},
	{"record of an older wgctl", func(s *sealed) bool {
		r, err := s.records.Load("wg0")
		s.must(err)
		if r == nil {
			return false
		}
		r.Version, r.Seal = allInHead, nil
		old, err := json.Marshal(r)
		s.must(err)
		return s.rewrite(func([]byte) []byte { return old })
	}},
	{"record of a run that was killed", func(s *sealed) bool {
		r, err := s.records.Load("wg0")
		s.must(err)
		if r == nil {
			return false
		}
		r.Phase = PhaseChanging
		s.must(s.records.Save(r))
		return true
	}},
}

func (s *sealed) append(line string) bool {
	text, err := os.ReadFile(s.file)
	s.must(err)
	s.write(string(text) + "\n" + line)
	return true
}

func (s *sealed) replace(old, with string) bool {
	text, err := os.ReadFile(s.file)
	s.must(err)
	s.write(strings.Replace(string(text), old, with, 1))
	return true
}

func (s *sealed) rewrite(change func([]byte) []byte) bool {
	path := s.records.path("wg0")
	b, err := os.ReadFile(path)
	if err != nil {
		return false // it is gone already
	}
	s.must(os.WriteFile(path, change(b), 0o600))
	return true
}

var bothBackends = []config.Backend{config.BackendKernel, config.BackendUserspace}

// A seal holds on what nobody touched, and breaks with whatever is done to the
// tunnel, its file or its record.
func TestSealBreaks(t *testing.T) {
	for n, text := range files {
		for _, on := range bothBackends {
			lifts := strings.Contains(text, "ip route add")
			if s := newSealed(t, text, on); s.unchanged() == lifts {
				t.Errorf("file %d: unchanged %t", n, !lifts)
			} else if lifts {
				continue
			}
			for _, c := range tampering {
				if s := newSealed(t, text, on); c.do(s) && s.unchanged() {
					t.Errorf("file %d on %s: the seal holds in spite of: %s", n, on, c.name)
				}
			}
		}
	}
}

// What roams, comes to talk, or lies in another place than the tunnel's is no
// drift.
func TestSealHolds(t *testing.T) {
	for name, do := range map[string]func(*sealed){
		"roamed": func(s *sealed) {
			s.edit(func(d *netlinkx.Device) { d.Peers[0].Endpoint = netip.MustParseAddrPort("198.51.100.7:9") })
		},
		"traffic": func(s *sealed) {
			s.edit(func(d *netlinkx.Device) { d.Peers[0].ReceiveBytes, d.Peers[0].TransmitBytes = 5, 6 })
		},
		"port that was chosen": func(s *sealed) { s.edit(func(d *netlinkx.Device) { d.ListenPort = 999 }) },
		"route of another link": func(s *sealed) {
			s.AddRoute("eth0", netlinkx.InstalledRoute{Route: routes.Route{Dst: netip.MustParsePrefix("10.77.0.0/16"), Table: routes.TableMain}, Plain: true})
		},
	} {
		for _, on := range bothBackends {
			s := newSealed(t, files[0]+"\n[Peer]\nPublicKey = "+key("z")+"\n", on)
			do(s)
			if plan := s.plan(); len(plan) > 0 {
				t.Fatalf("%s: %s", name, texts(plan))
			}
			if !s.unchanged() {
				t.Errorf("%s on %s: broken", name, on)
			}
		}
	}
}

// Whatever is done to a tunnel, two things at a time: an intact seal means that
// a whole reload would find nothing to do.
func TestSealAgreesWithReload(t *testing.T) {
	hidden, held := 0, 0
	for n, text := range files {
		for i := range tampering {
			first, second := tampering[i], tampering[(i*7+n)%len(tampering)]
			s := newSealed(t, text, bothBackends[(i+n)%2])
			first.do(s)
			if _, err := os.Stat(s.file); err != nil || s.find() == nil || strings.Contains(second.name, "file") {
				continue
			}
			second.do(s)
			if !s.unchanged() {
				hidden++
				continue
			}
			held++
			if plan := s.plan(); len(plan) > 0 {
				t.Errorf("file %d: after %s and %s the seal holds, and this is to be done: %s", n, first.name, second.name, texts(plan))
			}
		}
	}
	if hidden < 100 {
		t.Errorf("%d seals broke and %d held: this test tells nothing", hidden, held)
	}
}

func (s *sealed) find() *netlinkx.Link {
	l, err := s.Link(s.t.Context(), "wg0")
	if err != nil {
		return nil
	}
	return &l
}

// A reload that finds nothing to do puts the seal back.
func TestSealComesBack(t *testing.T) {
	s := newSealed(t, files[2], "")
	s.edit(func(d *netlinkx.Device) { // somebody else's peer stays
		d.Peers = append(d.Peers, netlinkx.Peer{PublicKey: netlinkx.Key{9}})
	})
	if s.unchanged() {
		t.Fatal("holds with a peer more")
	}
	if err := bring(t, s.fakeHost, "wg0", files[2], ""); err != nil {
		t.Fatal(err)
	}
	if !s.unchanged() {
		t.Error("is still broken after a reload")
	}
	calls := s.calls
	if !s.unchanged() || s.calls != calls {
		t.Errorf("a look made %d changes", s.calls-calls)
	}
}

// unread are devices that nobody reads.
type unread struct {
	netlinkx.Devices
	t *testing.T
}

func (u unread) Device(context.Context, string) (netlinkx.Device, error) {
	u.t.Error("the device is read")
	return netlinkx.Device{}, errInjected
}

func (u unread) DeviceSum(context.Context, string) (netlinkx.Device, netlinkx.Sum, error) {
	u.t.Error("the device's peers are read")
	return netlinkx.Device{}, netlinkx.Sum{}, errInjected
}

// A device that counts its changes isn't read while it has none, whether up or a
// reload put the seal on; nor is one asked to count that never did.
func TestSealGoesByGeneration(t *testing.T) {
	s := newSealed(t, files[0], config.BackendUserspace)
	look := func() *Spec {
		h := s.host()
		h.Devices = unread{h.Devices, t}
		return Unchanged(t.Context(), h, "wg0", "wg0.conf", Options{}, func() (*config.Config, error) {
			cfg, _, err := config.LoadInterface(t.Context(), s.file)
			return cfg, err
		})
	}
	if look() == nil {
		t.Error("is broken after up")
	}
	s.edit(func(d *netlinkx.Device) { d.Peers[0].PersistentKeepalive = 77 })
	if err := bring(t, s.fakeHost, "wg0", files[0], ""); err != nil {
		t.Fatal(err)
	}
	if look() == nil {
		t.Error("is broken after a reload")
	}
	// Of another key than that of the file nothing is known.
	s.rewrite(func(b []byte) []byte {
		was, _ := NewSecret(netlinkx.Secret(*parse(t, files[0]).Interface.PrivateKey).Clamped()).MarshalText()
		return bytes.Replace(b, was, bytes.Repeat([]byte("0"), len(was)), 1)
	})
	if look() != nil {
		t.Error("holds though the device has another key than the file")
	}
	for name, old := range map[string]func(*Record){
		"kernel":     func(r *Record) { r.Spec.Backend = netlinkx.BackendKernel },
		"an old one": func(*Record) {},
	} {
		s := newSealed(t, files[0], config.BackendUserspace)
		r, err := s.records.Load("wg0")
		s.must(err)
		r.Counts = false
		old(r)
		r.Seal.Generation = ""
		s.must(s.records.Save(r))
		if err := bring(t, s.fakeHost, "wg0", files[0]+"\n", ""); err != nil {
			t.Fatal(err)
		}
		r, err = s.records.Load("wg0")
		s.must(err)
		if r.Counts || r.Seal == nil || r.Seal.Generation != "" {
			t.Errorf("%s: its record says that it counts: %+v", name, r.Seal)
		}
	}
}

// What a file says of peers is all there is to know of them, or there is no
// seal.
func TestSealable(t *testing.T) {
	for text, want := range map[string]bool{
		files[0]: true, files[3]: true, files[5]: true,
		strings.Replace(files[0], "[Peer]", "RouteAggregation = on\n[Peer]", 1): false,
		strings.Replace(files[0], "[Peer]", "Table = office\n[Peer]", 1):        false,
	} {
		if got := Sealable(parse(t, text)); got != want {
			t.Errorf("%t for\n%s", got, text)
		}
	}
}
