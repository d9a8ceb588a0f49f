// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"os/exec"
	"testing"
	"time"
)

// Each kind of change is announced, what isn't a change is not, and the channel
// ends with the context.
func TestWatch(t *testing.T) {
	k := newNamespace(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var changes <-chan struct{}
	err := k.inside(func() (err error) {
		changes, err = Watch(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	announced := func(within time.Duration) bool {
		select {
		case _, ok := <-changes:
			return ok
		case <-time.After(within):
			return false
		}
	}
	quiet := func() {
		for announced(300 * time.Millisecond) {
		}
	}
	quiet()
	ip(t, k, "route show")
	if announced(300 * time.Millisecond) {
		t.Error("a look at the routes was announced")
	}
	changed := []string{
		"link set lo mtu 1400", "address add 192.0.2.1/32 dev lo", "address add 2001:db8::1/128 dev lo",
		"route add 198.51.100.0/24 dev lo", "-6 route add 2001:db8:1::/64 dev lo",
		"rule add priority 100 table 100", "-6 rule add priority 100 table 100",
	}
	for _, args := range changed {
		ip(t, k, args)
		if !announced(time.Minute) {
			t.Errorf("not announced: ip %s", args)
		}
		quiet()
	}
	if _, err := exec.LookPath("nft"); err != nil {
		lacks(t, "looking for nft", err)
	}
	err = k.inside(func() error { return exec.Command("nft", "add", "table", "inet", "x").Run() })
	if err != nil {
		lacks(t, "making a table of nf_tables", err)
	}
	if !announced(time.Minute) {
		t.Error("not announced: a table of nf_tables")
	}
	quiet()
	cancel()
	select {
	case _, ok := <-changes:
		if ok {
			t.Error("a change was announced at the end")
		}
	case <-time.After(time.Minute):
		t.Error("the channel doesn't end with the context")
	}
}
