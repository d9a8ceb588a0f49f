// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"strings"
	"testing"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
)

// A meddled device is changed by somebody else whenever this run has changed it.
type meddled struct {
	netlinkx.Devices
	meddle func()
}

func (m meddled) Configure(ctx context.Context, name string, c netlinkx.DeviceChange) error {
	err := m.Devices.Configure(ctx, name, c)
	m.meddle()
	return err
}

// A device that this run alone has changed since it began isn't read, and is what the
// run takes it for: the sum of the seal, which is of that, is the device's.
func TestMadeDeviceIsNotRead(t *testing.T) {
	made := 0
	for i, file := range files {
		if !strings.Contains(file, "ListenPort") {
			file = strings.Replace(file, "[Interface]\n", "[Interface]\nListenPort = 51820\n", 1)
		}
		h := newFakeHost(t)
		host := h.host()
		spec := resolved(t, h, file)
		if spec.ifMade(&State{}) != nil {
			made++
			host.Devices = unread{host.Devices, t}
		}
		if err := bringOn(t, host, "wg0", file, config.BackendUserspace); err != nil {
			t.Errorf("file %d: %v", i, err)
			continue
		}
		r, err := h.records.Head("wg0")
		if err != nil || r == nil {
			t.Fatalf("file %d: its record: %v", i, err)
		}
		_, sum, err := h.DeviceSum(t.Context(), "wg0")
		if err != nil || r.Seal != nil && r.Seal.Peers != sum {
			t.Errorf("file %d: the seal is on %+v, the device has %+v: %v", i, r.Seal.Peers, sum, err)
		}
		if r.Seal != nil && spec.Device.PrivateKey != nil && r.Seal.Generation == "" {
			t.Errorf("file %d: the seal has no generation", i)
		}
	}
	if made < len(files)/2 {
		t.Errorf("%d of %d files have all that a device needs", made, len(files))
	}
}

// resolved is what a file wants on a host without the tunnel.
func resolved(t *testing.T, h *fakeHost, file string) *Spec {
	t.Helper()
	cfg := parse(t, file)
	host := h.host()
	endpoints, err := Lookup{}.Endpoints(t.Context(), host.Names, cfg)
	if err != nil {
		t.Fatal(err)
	}
	have, err := Observe(t.Context(), host, "wg0", SharedSysctls...)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Resolve(t.Context(), host, cfg, endpoints, have, Options{Backend: config.BackendUserspace})
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// Where somebody else changed it meanwhile the device is read, and made what the file
// says.
func TestMadeDeviceThatOthersChange(t *testing.T) {
	file := "[Interface]\nPrivateKey = " + key("a") + "\nListenPort = 51820\n[Peer]\nPublicKey = " + key("b") + "\nAllowedIPs = 10.1.0.0/16\nPersistentKeepalive = 25\n"
	h := newFakeHost(t)
	host := h.host()
	times := 0
	host.Devices = meddled{host.Devices, func() {
		if times++; times == 1 {
			h.EditDevice("wg0", func(d *netlinkx.Device) { d.Peers[0].PersistentKeepalive = 7 })
		}
	}}
	if resolved(t, h, file).ifMade(&State{}) == nil {
		t.Fatal("the file hasn't all that a device needs")
	}
	if err := bringOn(t, host, "wg0", file, config.BackendUserspace); err != nil {
		t.Fatal(err)
	}
	d, err := h.Device(t.Context(), "wg0")
	if err != nil || d.Peers[0].PersistentKeepalive != 25 || times != 2 {
		t.Errorf("after %d changes the device is %+v: %v", times, d, err)
	}
}

// What isn't known of a device from its file is read.
func TestMadeDeviceThatIsNotKnown(t *testing.T) {
	own := netlinkx.Secret{7}.Clamped().PublicKey()
	for name, change := range map[string]func(*Spec){
		"another backend":          func(s *Spec) { s.Backend = netlinkx.BackendKernel },
		"no private key":           func(s *Spec) { s.Device.PrivateKey = nil },
		"a key that was read back": func(s *Spec) { s.Device.PrivateKey.forget() },
		"no port":                  func(s *Spec) { s.Device.ListenPort = nil },
		"any port":                 func(s *Spec) { *s.Device.ListenPort = 0 },
		"itself for a peer":        func(s *Spec) { s.Device.Peers[0].PublicKey = own },
	} {
		port := uint16(51820)
		s := &Spec{Name: "wg0", Backend: netlinkx.BackendUserspace, Device: Device{
			PrivateKey: NewSecret(netlinkx.Secret{7}.Clamped()), PublicKey: &own, ListenPort: &port, Peers: Peers{{PublicKey: netlinkx.Key{1}}},
		}}
		if s.ifMade(&State{}) == nil {
			t.Fatal("it isn't known as it is")
		}
		if s.ifMade(&State{Link: &Link{}}) != nil {
			t.Error("it is known though there was a link")
		}
		if change(s); s.ifMade(&State{}) != nil {
			t.Errorf("%s: it is known", name)
		}
	}
}

// A record of an earlier version, which has other digests, tells of the same keys.
func TestDigestOfEarlierVersion(t *testing.T) {
	k, other := netlinkx.Secret{7}, netlinkx.Secret{8}
	for _, digest := range []secretDigest{digestOf(&k), earlierDigestOf(&k)} {
		s := Secret{digest: digest, back: true}
		if !s.Is(k) || s.Is(other) {
			t.Errorf("digest %x is of the key: %v, of another: %v", digest, s.Is(k), s.Is(other))
		}
	}
	if digestOf(&k) == earlierDigestOf(&k) {
		t.Error("the digests are the same")
	}
}
