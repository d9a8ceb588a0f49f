// SPDX-License-Identifier: MIT

package tunnel

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/routes"
	"github.com/wgctl/wgctl/tunnel/hook"
)

// ToHooks turns wgctl's own keys into hooks, so that wg-quick takes the file.
// Each key that no hook can say is an error.
func ToHooks(cfg *config.Config) (Conversion, error) {
	c := &hookConversion{cfg: cfg, out: Conversion{Lines: map[int][]string{}}}
	c.refuse()
	c.dropKeys()
	c.forwarding()
	c.masquerade()
	c.portForwards()
	c.clamp()
	c.killSwitch()
	c.names()
	return c.out, errors.Join(c.errs...)
}

type hookConversion struct {
	cfg  *config.Config
	out  Conversion
	errs []error
}

// anyName stands for the interface, as in a file.
const anyName = "%i"

func (c *hookConversion) fail(key string, n int, format string, args ...any) {
	c.errs = append(c.errs, c.cfg.Errorf(config.InInterface, key, n, format, args...))
}

func (c *hookConversion) note(key, format string, args ...any) {
	c.out.Notes = append(c.out.Notes, c.cfg.Errorf(config.InInterface, key, 0, format, args...).Error())
}

// refuse finds what wg-quick has no word for.
func (c *hookConversion) refuse() {
	in := c.cfg.Interface
	if len(in.ExcludedIPs) > 0 {
		c.fail("ExcludedIPs", 0, "no hook takes a prefix out of the routes: say it by AllowedIPs")
	}
	if in.Masquerade.Auto {
		c.fail("Masquerade", 0, "a hook names its interface, and auto is none")
	}
	if in.RouteMetric != 0 {
		c.fail("RouteMetric", 0, "the routes of wg-quick have no metric")
	}
}

// dropKeys removes the lines of all keys of wgctl's in [Interface].
func (c *hookConversion) dropKeys() {
	in := c.cfg.Interface
	for _, key := range []string{
		"Backend", "Hooks", "HookTimeout", "RouteAggregation", "RouteMetric", "ExcludedIPs", "Forward", "Masquerade", "PortForward", "ClampMSS", "KillSwitch",
	} {
		for n := 0; c.cfg.Line(config.InInterface, key, n) != 0; n++ {
			c.out.Lines[c.cfg.Line(config.InInterface, key, n)] = nil
		}
	}
	if in.Backend != "" {
		c.note("Backend", "goes: wg-quick has nothing like it")
	}
	if in.HookTimeout != 0 {
		c.note("HookTimeout", "goes: wg-quick has nothing like it")
	}
	if in.HookMode == config.HooksOff && !in.Hooks.Empty() {
		c.fail("Hooks", 0, "the hooks of the file would run")
	}
}

// replace puts lines in the place of a key, behind those that are there.
func (c *hookConversion) replace(key string, n int, lines ...string) {
	num := c.cfg.Line(config.InInterface, key, n)
	c.out.Lines[num] = append(c.out.Lines[num], lines...)
}

// add puts the hooks for a thing in the place of a key.
func (c *hookConversion) add(key string, n int, things ...hook.Thing) {
	for _, t := range things {
		add, remove := hook.Commands(t, anyName)
		for _, line := range add {
			c.replace(key, n, "PostUp = "+line)
		}
		for _, line := range remove {
			c.replace(key, n, "PostDown = "+line)
		}
	}
}

// families are those whose packets go through the tunnel.
func (c *hookConversion) families() (out []routes.Family) {
	for _, f := range []routes.Family{routes.V4, routes.V6} {
		if slices.ContainsFunc(c.prefixes(), func(p netip.Prefix) bool { return routes.FamilyOf(p) == f }) {
			out = append(out, f)
		}
	}
	return out
}

// prefixes are those that packets out of the tunnel may come from: its own
// networks, and allowed IPs beyond them.
func (c *hookConversion) prefixes() (out []netip.Prefix) {
	for _, a := range c.cfg.Interface.Addresses {
		out = append(out, a.Masked())
	}
	for _, p := range c.cfg.Peers {
		for _, a := range p.AllowedIPs {
			covered := slices.ContainsFunc(out, func(o netip.Prefix) bool { return o.Bits() <= a.Prefix.Bits() && o.Contains(a.Prefix.Addr()) })
			if a.Sign != config.Minus && !covered {
				out = append(out, a.Prefix)
			}
		}
	}
	return out
}

// forwards is the key that makes the host forward, or "".
func (c *hookConversion) forwards() string {
	in := c.cfg.Interface
	switch {
	case in.Forward != nil && *in.Forward:
		return "Forward"
	case in.Forward != nil:
		return ""
	case !in.Masquerade.IsZero():
		return "Masquerade"
	case len(in.PortForwards) > 0:
		return "PortForward"
	}
	return ""
}

func (c *hookConversion) forwarding() {
	key := c.forwards()
	if key == "" {
		return
	}
	for _, f := range c.families() {
		sysctl := forward4
		if f == routes.V6 {
			sysctl = forward6
		}
		c.add(key, 0, hook.Sysctl{Key: sysctl, Value: "1"},
			hook.Filter{Chain: hook.Forward, Family: f, In: hook.Link{Name: anyName}, Action: hook.Accept},
			hook.Filter{Chain: hook.Forward, Family: f, Out: hook.Link{Name: anyName}, Action: hook.Accept})
	}
}

func (c *hookConversion) masquerade() {
	for _, link := range c.cfg.Interface.Masquerade.Links {
		for _, p := range c.prefixes() {
			f := hook.Filter{
				Chain: hook.Postrouting, Family: routes.FamilyOf(p), Src: hook.Net{Prefix: p}, Out: hook.Link{Name: link}, Action: hook.Masquerade,
			}
			if p.Bits() == 0 {
				f.Src = hook.Net{}
			}
			c.add("Masquerade", 0, f)
		}
	}
}

func (c *hookConversion) portForwards() {
	for n, p := range c.cfg.Interface.PortForwards {
		if p.Count > 1 && p.ToFirst != p.First {
			c.fail("PortForward", n, "a hook keeps the ports of a range, and this one shifts them")
			continue
		}
		to := netip.PrefixFrom(p.To, p.To.BitLen())
		f := hook.Filter{
			Chain: hook.Prerouting, Family: routes.FamilyOf(to), In: hook.Link{Name: p.On}, Local: true,
			Proto: string(p.Protocol), DPort: hook.Ports{First: p.First, Last: p.Last()}, Action: hook.DNAT, To: p.To,
		}
		if p.ToFirst != p.First {
			f.ToPort = p.ToFirst
		}
		c.add("PortForward", n, f)
		if !p.KeepSource {
			c.add("PortForward", n, hook.Filter{
				Chain: hook.Postrouting, Family: f.Family, Out: hook.Link{Name: anyName}, Dst: hook.Net{Prefix: to},
				Proto: f.Proto, DPort: hook.Ports{First: p.ToFirst, Last: p.ToLast()}, Action: hook.Masquerade,
			})
		}
	}
	if len(c.cfg.Interface.PortForwards) > 0 {
		c.note("PortForward", "the host's own connections aren't forwarded by a hook")
	}
}

func (c *hookConversion) clamp() {
	in, key := c.cfg.Interface, "ClampMSS"
	if in.ClampMSS.Off || in.ClampMSS.Size == 0 && c.forwards() == "" {
		return
	}
	if c.cfg.Line(config.InInterface, key, 0) == 0 {
		key = c.forwards()
	}
	for _, f := range c.families() {
		clamp := hook.Filter{Chain: hook.MangleFwd, Family: f, Proto: "tcp", Action: hook.Clamp, MSS: uint16(in.ClampMSS.Size)}
		from, to := clamp, clamp
		from.In, to.Out = hook.Link{Name: anyName}, hook.Link{Name: anyName}
		c.add(key, 0, from, to)
	}
}

// killSwitch is the example of wg-quick(8), which has a gap while the tunnel
// comes up and goes down.
func (c *hookConversion) killSwitch() {
	if !c.cfg.Interface.KillSwitch {
		return
	}
	const rule = " OUTPUT ! -o %i -m mark ! --mark $(wg show %i fwmark) -m addrtype ! --dst-type LOCAL -j REJECT"
	for _, tool := range []string{"iptables", "ip6tables"} {
		c.replace("KillSwitch", 0, "PostUp = "+tool+" -I"+rule, "PreDown = "+tool+" -D"+rule)
	}
	c.note("KillSwitch", "the hook has gaps while the tunnel comes up and goes down, and after a crash")
}

// names become the comments that both read.
func (c *hookConversion) names() {
	for n, p := range c.cfg.Peers {
		num := c.cfg.Line(n, "Name", 0)
		if num != 0 && p.Name != "" {
			c.out.Lines[num] = []string{"# Name = " + p.Name}
		}
	}
}
