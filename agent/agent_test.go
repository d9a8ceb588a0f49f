// SPDX-License-Identifier: MIT

package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/tunnel"
)

// turn orders what a test sets before what the agent then reads, for the race
// detector, which doesn't see that of a bubble's time.
var turn sync.Mutex

func pass() {
	turn.Lock()
	defer turn.Unlock()
}

// A fake is a Tunnel that stands for the host, and notes the calls.
type fake struct {
	calls   []string
	state   tunnel.State
	missing func() error
	read    error
	made    error
	looked  error
}

func (f *fake) note(format string, args ...any) {
	pass()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fake) Read(context.Context) error {
	f.note("read")
	return f.read
}

func (f *fake) Make(_ context.Context, reload bool, again []netlinkx.Key) (error, error) {
	switch {
	case reload:
		f.note("reload")
	case len(again) > 0:
		f.note("move %d", len(again))
	default:
		f.note("make")
	}
	if f.made != nil {
		return nil, f.made
	}
	f.up()
	if f.missing != nil {
		return f.missing(), nil
	}
	return nil, nil
}

func (f *fake) Look(context.Context) (*tunnel.State, error) {
	pass()
	return &f.state, f.looked
}

func (f *fake) Down(_ context.Context, keep bool) error {
	f.note("down keep=%v", keep)
	return nil
}

var peerKey = netlinkx.Key{1}

// up makes the state that of a whole tunnel with one peer.
func (f *fake) up() {
	spec := &tunnel.Spec{
		Name: "wg0", Backend: netlinkx.BackendKernel, MTU: 1420,
		Device: tunnel.Device{Peers: tunnel.Peers{{PublicKey: peerKey, Configured: "hub.example:51820", Endpoint: netip.MustParseAddrPort("192.0.2.1:51820")}}},
	}
	f.state = tunnel.State{
		Name: "wg0", Link: &tunnel.Link{Ours: true, Index: 1, Backend: netlinkx.BackendKernel, MTU: 1420, Up: true},
		Device: netlinkx.Device{Backend: netlinkx.BackendKernel, Peers: []netlinkx.Peer{{PublicKey: peerKey, Endpoint: netip.MustParseAddrPort("192.0.2.1:51820")}}},
		Record: &tunnel.Record{Phase: tunnel.PhaseUp, Spec: spec},
	}
}

func (f *fake) drifts() { f.state.Link.MTU = 1300 }

// A trial is an agent under way, in a bubble of time.
type trial struct {
	*fake
	commands chan Command
	changes  chan struct{}
	told     []string
	said     []string
	ended    chan error
}

// try runs an agent while the test plays with it.
func try(t *testing.T, f *fake, a Agent, play func(*trial)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &trial{fake: f, commands: make(chan Command), changes: make(chan struct{}), ended: make(chan error, 1)}
		a.Name, a.Tunnel, a.Commands, a.Changes = "wg0", f, p.commands, p.changes
		a.Notify = func(words ...string) { p.told = append(p.told, strings.Join(words, " ")) }
		a.Say = func(text string) { p.said = append(p.said, text) }
		go func() { p.ended <- a.Run(t.Context()) }()
		synctest.Wait()
		play(p)
		select {
		case err := <-p.ended:
			p.ended <- err
		default:
			p.commands <- Stop
			synctest.Wait()
		}
	})
}

func (p *trial) after(d time.Duration) {
	pass()
	time.Sleep(d)
	synctest.Wait()
}

func (p *trial) count(call string) (n int) {
	for _, c := range p.calls {
		if c == call {
			n++
		}
	}
	return n
}

func (p *trial) pings() (n int) {
	for _, w := range p.told {
		if strings.HasPrefix(w, "WATCHDOG=1") {
			n++
		}
	}
	return n
}

func TestUpAndStop(t *testing.T) {
	for how, want := range map[Command]string{Stop: "down keep=false", Restart: "down keep=true"} {
		f := &fake{}
		try(t, f, Agent{}, func(p *trial) {
			p.commands <- how
			if err := <-p.ended; err != nil {
				t.Error(err)
			}
			p.ended <- nil
			if !slices.Equal(p.calls, []string{"read", "make", want}) {
				t.Errorf("calls %q", p.calls)
			}
			wantTold := []string{"STATUS=bringing wg0 up", "READY=1 STATUS=up", "STOPPING=1 STATUS=taking wg0 down"}
			if !slices.Equal(p.told, wantTold) {
				t.Errorf("told %q", p.told)
			}
		})
	}
}

// The watchdog hears of a tunnel that is well, four times as often as it wants
// to, and not of one that isn't, or that can't be looked at.
func TestWatchdog(t *testing.T) {
	try(t, &fake{}, Agent{Watchdog: 40 * time.Second}, func(p *trial) {
		p.after(time.Minute + time.Second)
		if n := p.pings(); n != 6 {
			t.Errorf("%d pings in a minute", n)
		}
		p.looked = errors.New("the device does not answer")
		p.after(11 * time.Second)
		if n := p.pings(); n != 6 {
			t.Error("a ping for a look that failed")
		}
		p.looked = nil
		p.after(10 * time.Second)
		if n := p.pings(); n != 7 {
			t.Error("no ping for a look that passed")
		}
		p.looked = errors.New("the device does not answer")
		p.after(31 * time.Second)
		if err := <-p.ended; !errors.Is(err, p.looked) {
			t.Errorf("after three looks in a row that failed: %v", err)
		}
		p.ended <- nil
	})
}

// Another command at work is no fault.
func TestBusy(t *testing.T) {
	try(t, &fake{}, Agent{Watchdog: 40 * time.Second, Repair: true}, func(p *trial) {
		p.looked = ErrBusy
		p.drifts()
		p.after(5 * time.Minute)
		if p.pings() < 29 || p.count("make") != 1 {
			t.Errorf("%d pings, calls %q", p.pings(), p.calls)
		}
	})
}

// Missing endpoints are looked for after 1, 2, 4 and so on seconds, up to a
// minute; a change of the host makes it one again.
func TestMissing(t *testing.T) {
	found := false
	f := &fake{missing: func() error {
		if found {
			return nil
		}
		return errors.New("wg0.conf:4: no such host: hub.example")
	}}
	try(t, f, Agent{}, func(p *trial) {
		if last := p.told[len(p.told)-1]; last != "READY=1 STATUS=up, but an endpoint could not be found: wg0.conf:4: no such host: hub.example" {
			t.Errorf("told %q", last)
		}
		for _, at := range []struct {
			after time.Duration
			makes int
		}{{900 * time.Millisecond, 1}, {200 * time.Millisecond, 2}, {2 * time.Second, 3}, {4 * time.Second, 4}, {8 * time.Second, 5}, {10 * time.Minute, 16}} {
			p.after(at.after)
			if n := p.count("make"); n != at.makes {
				t.Errorf("%v later: made %d times, want %d", at.after, n, at.makes)
			}
		}
		p.changes <- struct{}{}
		found = true
		p.after(1100 * time.Millisecond)
		if n := p.count("make"); n != 17 {
			t.Errorf("after a change: made %d times", n)
		}
		if last := p.told[len(p.told)-1]; last != "STATUS=up" {
			t.Errorf("told %q", last)
		}
		p.after(time.Hour)
		if n := p.count("make"); n != 17 {
			t.Errorf("with all found: made %d times", n)
		}
		if want := []string{"wg0.conf:4: no such host: hub.example", "wg0 goes without, and looks again", "all endpoints of wg0 are found"}; !slices.Equal(p.said, want) {
			t.Errorf("said %q", p.said)
		}
	})
}

// Drift is put back soon after the change that made it if that is asked for,
// and told of if not. Who fights is met ever more slowly.
func TestDrift(t *testing.T) {
	try(t, &fake{}, Agent{}, func(p *trial) {
		p.drifts()
		p.after(31 * time.Second)
		if last := p.told[len(p.told)-1]; p.count("make") != 1 || !strings.Contains(last, "WATCHDOG=1 STATUS=up; not as it was brought up: ip link set wg0 mtu 1420") {
			t.Errorf("calls %q, told %q", p.calls, last)
		}
	})
	try(t, &fake{}, Agent{Repair: true}, func(p *trial) {
		p.drifts()
		p.changes <- struct{}{}
		p.after(300 * time.Millisecond)
		if n := p.count("make"); n != 2 || p.state.Link.MTU != 1420 {
			t.Errorf("made %d times", n)
		}
		for range 600 { // a minute of fight
			p.drifts()
			p.changes <- struct{}{}
			p.after(100 * time.Millisecond)
		}
		if n := p.count("make"); n < 5 || n > 10 {
			t.Errorf("made %d times in a fight of a minute", n)
		}
	})
}

// A tunnel that is broken ends an agent that shall not repair it, with the
// reason; one that was taken down by somebody ends any, without.
func TestBrokenAndGone(t *testing.T) {
	try(t, &fake{}, Agent{}, func(p *trial) {
		p.state.Link = nil
		p.after(31 * time.Second)
		if err := <-p.ended; err == nil || err.Error() != "wg0 is broken: the link was deleted" {
			t.Error(err)
		}
		p.ended <- nil
		if last := p.told[len(p.told)-1]; last != "STATUS=wg0 is broken: the link was deleted" {
			t.Errorf("told %q", last)
		}
	})
	try(t, &fake{}, Agent{Repair: true}, func(p *trial) {
		p.state.Link = nil
		p.after(31 * time.Second)
		if p.count("make") != 2 || !p.state.Up() {
			t.Errorf("calls %q", p.calls)
		}
		p.state = tunnel.State{Name: "wg0"}
		p.after(31 * time.Second)
		if err := <-p.ended; err != nil || p.count("down keep=false") != 0 {
			t.Errorf("%v, calls %q", err, p.calls)
		}
		p.ended <- nil
	})
}

// A device that doesn't answer is looked at again before its tunnel is given up.
func TestHung(t *testing.T) {
	try(t, &fake{}, Agent{Repair: true}, func(p *trial) {
		p.state.Link.Hung, p.state.Link.Backend = true, ""
		p.after(lookEvery + time.Second)
		if p.count("make") != 1 || len(p.said) != 1 || p.said[0] != "wg0 is broken: the process of its device does not answer; looking again" {
			t.Errorf("at the first look: calls %q, said %q", p.calls, p.said)
		}
		p.up()
		p.after(hungAgain)
		p.state.Link.Hung, p.state.Link.Backend = true, ""
		p.after(lookEvery)
		if p.count("make") != 1 {
			t.Errorf("it answered in between: calls %q", p.calls)
		}
		p.after(hungAgain)
		if p.count("make") != 2 || !p.state.Up() {
			t.Errorf("at the second look: calls %q, said %q", p.calls, p.said)
		}
	})
}

// A tunnel that can't be brought up is an error; so is one that can't be
// repaired, at the third attempt.
func TestFailures(t *testing.T) {
	for _, f := range []*fake{{read: errors.New("wg0.conf:1: bad")}, {made: errors.New("adding route: file exists")}} {
		try(t, f, Agent{Repair: true}, func(p *trial) {
			err := <-p.ended
			if !errors.Is(err, f.read) && !errors.Is(err, f.made) || err == nil {
				t.Error(err)
			}
			p.ended <- nil
			if last := p.told[len(p.told)-1]; last != "STATUS="+err.Error() {
				t.Errorf("told %q", last)
			}
		})
	}
	try(t, &fake{}, Agent{Repair: true}, func(p *trial) {
		p.drifts()
		p.made = errors.New("adding route: no such device")
		p.after(2 * lookEvery * maxFailures)
		if err := <-p.ended; !errors.Is(err, p.made) || p.count("make") != 1+maxFailures {
			t.Errorf("%v, calls %q", err, p.calls)
		}
		p.ended <- nil
	})
}

func TestReload(t *testing.T) {
	try(t, &fake{}, Agent{}, func(p *trial) {
		p.commands <- Reload
		synctest.Wait()
		p.read = errors.New("wg0.conf:3: bad")
		p.commands <- Reload
		synctest.Wait()
		if want := []string{"read", "make", "read", "reload", "read"}; !slices.Equal(p.calls, want) {
			t.Errorf("calls %q", p.calls)
		}
		told := strings.Join(p.told[2:], "\n")
		if strings.Count(told, "RELOADING=1 MONOTONIC_USEC=") != 2 || !strings.HasSuffix(told, "READY=1 STATUS=as before a reload that failed: wg0.conf:3: bad") {
			t.Errorf("told %s", told)
		}
	})
}

// answers are those of a nameserver.
type answers struct {
	addrs []netip.Addr
	asked int
}

func (a *answers) LookupHost(context.Context, string) ([]netip.Addr, error) {
	pass()
	a.asked++
	return a.addrs, nil
}

func (a *answers) LookupPort(context.Context, string) (uint16, error) {
	return 0, errors.New("nobody asks for a service")
}

// A peer without a session moves where its name leads, once for each answer; one
// with a session, or at one of the addresses, stays.
func TestMoved(t *testing.T) {
	names := &answers{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.1")}}
	try(t, &fake{}, Agent{Names: names}, func(p *trial) {
		p.after(91 * time.Second)
		if names.asked != 3 || p.count("move 1") != 0 {
			t.Errorf("asked %d times, calls %q", names.asked, p.calls)
		}
		names.addrs = names.addrs[:1]
		p.after(90 * time.Second)
		if p.count("move 1") != 1 {
			t.Errorf("calls %q", p.calls)
		}
		p.state.Device.Peers[0].LatestHandshake = time.Now()
		names.addrs[0] = netip.MustParseAddr("192.0.2.10")
		names.asked = 0
		p.after(2 * time.Minute)
		if names.asked != 0 {
			t.Error("looked up a peer that has a session")
		}
		p.after(3 * time.Minute)
		if p.count("move 1") != 2 {
			t.Errorf("calls %q", p.calls)
		}
	})
}

// silent is a nameserver that never answers.
type silent struct{ *answers }

func (s silent) LookupHost(ctx context.Context, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// Names of many peers, and a nameserver that is dead: the watchdog hears of the
// tunnel all the same, for which it is well.
func TestMovedHoldsNothingUp(t *testing.T) {
	for _, watchdog := range []time.Duration{2 * time.Minute, 20 * time.Second} {
		f := &fake{}
		try(t, f, Agent{Names: silent{}, Watchdog: watchdog}, func(p *trial) {
			peers, applied := &p.state.Device.Peers, &p.state.Record.Spec.Device.Peers
			for i := range 100 {
				n, a := (*peers)[0], (*applied)[0]
				n.PublicKey = netlinkx.Key{2, byte(i)}
				a.PublicKey, a.Configured = n.PublicKey, fmt.Sprintf("peer%d.example:51820", i)
				*peers, *applied = append(*peers, n), append(*applied, a)
			}
			for range 10 {
				before := p.pings()
				p.after(watchdog)
				if p.pings() == before {
					t.Errorf("nothing told to a watchdog of %v", watchdog)
				}
			}
		})
	}
}

// Peers that are behind one name need one look-up.
func TestMovedTogether(t *testing.T) {
	names := &answers{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.9")}}
	try(t, &fake{}, Agent{Names: names}, func(p *trial) {
		peer, applied := p.state.Device.Peers[0], p.state.Record.Spec.Device.Peers[0]
		peer.PublicKey = netlinkx.Key{2}
		applied.PublicKey = peer.PublicKey
		p.state.Device.Peers = append(p.state.Device.Peers, peer)
		p.state.Record.Spec.Device.Peers = append(p.state.Record.Spec.Device.Peers, applied)
		p.after(31 * time.Second)
		if names.asked != 1 || p.count("move 2") != 1 {
			t.Errorf("asked %d times, calls %q", names.asked, p.calls)
		}
	})
}

func TestNameservers(t *testing.T) {
	n := Names{}
	n.SetServers([]string{"", "nameserver 127.0.0.53\n", "nameserver 10.8.0.1\n", "nameserver 10.8.0.1\nnameserver 192.0.2.1\n"}, []netip.Addr{netip.MustParseAddr("10.8.0.1")})
	n.SetServers([]string{"nameserver 10.8.0.1\n"}, []netip.Addr{netip.MustParseAddr("10.8.0.1")})
	if s := n.servers.Load(); s == nil || len(*s) != 1 || (*s)[0].String() != "192.0.2.1:53" {
		t.Errorf("outside are %v", s)
	}
	got := nameservers("# x\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch example\nnameserver ::1\n nameserver fe80::1%eth0 # y\nnameserver\nnameserver nobody\n")
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[fe80::1%eth0]:53")}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
