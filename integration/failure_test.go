// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A rig is a host with the config of a tunnel that makes up take every kind of
// step, and with the two states that it may ever be found in between runs.
type rig struct {
	*Host
	down, up string // snapshots
}

// newRig makes a rig whose programs have each made their own folders already.
func newRig(t testing.TB) *rig {
	t.Helper()
	Need(t, "resolvconf", "bash", "nft", "wg")
	r := &rig{Host: NewHost(t, "h")}
	r.Sh(`ip link add eth0 type veth peer name eth1
		ip address add 192.0.2.2/24 dev eth0; ip address add 2001:db8::2/64 dev eth0 nodad
		ip link set eth0 up; ip link set eth1 up
		ip route add default via 192.0.2.1; ip route add default via 2001:db8::1`)
	r.WriteFile("/etc/wireguard/wg0.conf", peerConfig(t, r.Host, "10.8.0.1/24, fd08::1/64", "0.0.0.0/0, ::/0",
		"ListenPort = 51820\nDNS = 10.8.0.53, fd08::53, corp.example\n"+
			"PreUp = ip link show %i >/dev/null\nPostUp = ip rule show >/dev/null\n"+
			"PreDown = ip link show >/dev/null\nPostDown = ip rule show >/dev/null"))
	r.mustUp()
	r.mustDown()
	r.down = r.shape()
	r.mustUp()
	r.up = r.shape()
	r.mustDown()
	if got := r.settles(r.down); got != "" {
		t.Fatalf("without any fault, down leaves:\n%s", got)
	}
	return r
}

func (r *rig) mustUp()   { r.t.Helper(); r.Must(Bin(r.t), "up", "wg0") }
func (r *rig) mustDown() { r.t.Helper(); r.Must(Bin(r.t), "down", "wg0") }

// Of a TUN, the kernel makes up the link-local address.
var madeUp = regexp.MustCompile(`(?m)^.*(fe80::[0-9a-f]|\.test (error|kill|term|int) ).*\n`)

// shape is a snapshot without what differs between two runs of up, and without
// the process that injects.
func (r *rig) shape() string {
	r.t.Helper()
	return madeUp.ReplaceAllString(r.Snapshot(), "")
}

// settles waits until the host has a shape, and returns the difference if it
// does not come to that.
func (r *rig) settles(want string) string {
	r.t.Helper()
	deadline := time.Now().Add(Timeout(2 * time.Second))
	for {
		now := r.shape()
		if now == want {
			return ""
		}
		if time.Now().After(deadline) {
			return Diff(want, now)
		}
		time.Sleep(Timeout(20 * time.Millisecond))
	}
}

// whole returns what is wrong with the tunnel, if it should be up: as ip, nft
// and others see it, and as wgctl itself does.
func (r *rig) whole() string {
	r.t.Helper()
	if diff := r.settles(r.up); diff != "" {
		return "not the whole tunnel:\n" + diff
	}
	out := r.Wgctl("status", "wg0", "--json")
	var status []struct {
		State string
		Drift []string
	}
	if err := json.Unmarshal([]byte(out.Stdout), &status); err != nil {
		return fmt.Sprintf("status: %v: %v", err, out)
	}
	if len(status) != 1 || status[0].State != "up" || len(status[0].Drift) > 0 {
		return "status: " + out.String()
	}
	return ""
}

// errorLines are the lines in which wgctl says what went wrong.
func errorLines(o Output) []string {
	var lines []string
	for line := range strings.Lines(o.Stderr) {
		if rest, ok := strings.CutPrefix(line, "wgctl: "); ok && !strings.HasPrefix(rest, "warning: ") {
			lines = append(lines, strings.TrimSpace(rest))
		}
	}
	return lines
}

func TestG2Sweep(t *testing.T) {
	for _, c := range []struct{ kind, verb string }{{FaultError, "up"}, {FaultKill, "up"}, {FaultTerm, "up"}, {FaultError, "down"}, {FaultKill, "down"}} {
		if v := os.Getenv("G2"); v != "" && v != c.kind+c.verb { continue }
		t.Run(c.kind+c.verb, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			begin := time.Now()
			hit, bad := map[string]int{}, 0
			at := 1
			if v := os.Getenv("G2AT"); v != "" { at, _ = strconv.Atoi(v) }
			for ; ; at++ {
				if c.verb == "down" { r.mustUp() }
				i := r.Inject(Fault{c.kind, at}, c.verb, "wg0")
				if i.Hit == "" { break }
				wrong := ""
				switch {
				case c.verb == "up" && c.kind != FaultKill: wrong = r.afterUp(i, at)
				case c.verb == "down" && c.kind == FaultError: wrong = r.afterDown(i)
				default:
					wrong = r.afterKill(at)
				}
				hit[fmt.Sprint(i.Code)]++
				if wrong != "" {
					bad++
					t.Errorf("%s %s at call %d, %s: %s\n%v", c.kind, c.verb, at, i.Hit, wrong, i)
					r.Wgctl("down", "wg0")
					if r.settles(r.down) != "" { r = newRig(t) }
				}
				if os.Getenv("G2AT") != "" { t.Log(i); break }
			}
			t.Log(at-1, "points", hit, "bad", bad, time.Since(begin))
		})
	}
}

func (r *rig) afterUp(i Injected, at int) string {
	switch i.Code {
	case 0:
		if wrong := r.whole(); wrong != "" { return wrong }
		if out := r.Wgctl("down", "wg0"); out.Code != 0 { return out.String() }
	case 1:
		if n := errorLines(i.Output); len(n) != 1 { return fmt.Sprintf("%d error lines", len(n)) }
	case 128+15:
		if at > 5 { return "exit" }
	default:
		return "exit"
	}
	return r.settles(r.down)
}

func (r *rig) afterDown(i Injected) string {
	if len(errorLines(i.Output)) == 0 && i.Code != 0 { return "no error line" }
	switch i.Code {
	case 0:
	case 1:
		if wrong := r.whole(); wrong != "" { 
			if wrong = r.settles(r.down); wrong == "" { return "exit 1 but wholly down" }
			return wrong
		}
		if out := r.Wgctl("down", "wg0"); out.Code != 0 { return out.String() }
		if out := r.Wgctl("down", "wg0"); out.Code != 0 { return out.String() }
	case 3:
		if out := r.Wgctl("down", "wg0"); out.Code != 0 { return out.String() }
	default:
		return "exit"
	}
	return r.settles(r.down)
}

func (r *rig) afterKill(at int) string {
	var steps []string
	_ = slices.Contains(steps, "")
	if at%2 == 0 {
		if out := r.Wgctl("up", "wg0"); out.Code != 0 { 
			if strings.Contains(out.Stderr, "up already") { 
				if w := r.whole(); w != "" { return "up says up:" + w }
			} else {
			return out.String() 
			}
		}
		if w := r.whole(); w != "" { return w }
		if out := r.Wgctl("down", "wg0"); out.Code != 0 { return out.String() }
	} else {
		if out := r.Wgctl("down", "wg0"); out.Code != 0 { 
			if !strings.Contains(out.Stderr, "is not up") { 
			return out.String() 
			}
		}
	}
	return r.settles(r.down)
}
