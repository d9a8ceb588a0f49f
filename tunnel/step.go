// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
	"golang.org/x/sys/unix"
)

// A Step is one reversible change to the host. Steps are data: they name
// things, never hold indexes or handles, and can be printed and compared.
//
// A step that fails has done nothing, unless it is Partial: then it may have
// done some of its work, and its Undo takes that back too.
type Step interface {
	fmt.Stringer // as an administrator would type it; no secrets
	Do(ctx context.Context, h *Host) error
	Undo() Step // nil when there is nothing to undo
	Partial() bool
	Changes() []Change // at least one
}

// whole is embedded in steps that are one operation of the kernel's.
type whole struct{}

func (whole) Partial() bool { return false }

type (
	linkAdd struct {
		whole
		name, note string
	}
	deviceStart struct {
		whole
		name, note string
	} // an embedded device, which brings its link
	linkDel struct {
		whole
		name      string
		userspace bool
	}
	socketDel struct {
		whole
		name string
	}
	linkSet struct {
		whole
		name         string
		mtu, prevMTU int // 0: as it is
		up, prevUp   bool
	}
	addressAdd struct {
		whole
		link   string
		prefix netip.Prefix
	}
	addressDel struct {
		whole
		link   string
		prefix netip.Prefix
	}
	routeAdd struct {
		whole
		link  string
		route routes.Route
	}
	routeDel struct {
		whole
		link  string
		route routes.Route
	}
	ruleAdd struct {
		whole
		rule routes.Rule
	}
	ruleDel struct {
		whole
		rule routes.Rule
	}
	// linkNote changes what our alias says besides.
	linkNote struct {
		whole
		name, next, prev string
	}
	sysctlSet struct {
		whole
		key, value, previous string
		tunnel               string // that claims it, of a parameter that tunnels share
		release              bool   // the claim ends
	}

	firewallSet struct {
		whole
		next, prev firewall.Ruleset
	}
	dnsSet struct {
		whole
		next, prev dns.Settings
		mayFail    bool // the tunnel comes up all the same
	}

	hookRun struct {
		whole
		hook Hook
		text string // the command with keys hidden
	}

	// deviceSet takes as many messages as it needs.
	deviceSet struct {
		name       string
		verb       string // "addconf" for a new device, else "set"
		next, prev netlinkx.DeviceChange
	}
)

func (s linkAdd) Do(ctx context.Context, h *Host) error {
	if err := h.Links.LinkAdd(ctx, s.name); err != nil {
		return err
	}
	return h.noted(ctx, s.note, linkDel{name: s.name})
}
func (s linkAdd) Undo() Step     { return linkDel{name: s.name} }
func (s linkAdd) String() string { return "ip link add " + s.name + " type wireguard" }

func (s deviceStart) Do(ctx context.Context, h *Host) error {
	if err := h.Userspace.Start(ctx, s.name); err != nil {
		return err
	}
	return h.noted(ctx, s.note, linkDel{name: s.name, userspace: true})
}
func (s deviceStart) Undo() Step     { return linkDel{name: s.name, userspace: true} }
func (s deviceStart) String() string { return "wireguard-go " + s.name }

func (s linkDel) Do(ctx context.Context, h *Host) error {
	if err := h.reclaim(ctx, s.name); err != nil {
		return err
	}
	err := h.Links.LinkDel(ctx, s.name)
	if errors.Is(err, os.ErrNotExist) {
		var now string
		if now, err = h.renamed(ctx, s.name); err == nil && now != "" {
			err = h.Links.LinkDel(ctx, now)
		}
	}
	// Whoever deleted it before us did what was wanted.
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if s.userspace {
		return h.Userspace.Reap(ctx, s.name)
	}
	return nil
}
func (s linkDel) Undo() Step     { return nil }
func (s linkDel) String() string { return "ip link delete dev " + s.name }

func (s socketDel) Do(ctx context.Context, h *Host) error { return h.Userspace.Reap(ctx, s.name) }
func (s socketDel) Undo() Step                            { return nil }
func (s socketDel) String() string                        { return "rm -f /run/wireguard/" + s.name + ".sock" }

func (s linkSet) Do(ctx context.Context, h *Host) error {
	return h.onceFree(ctx, func() error { return h.Links.LinkSet(ctx, s.name, s.mtu, s.up) })
}
func (s linkSet) Undo() Step {
	return linkSet{name: s.name, mtu: s.prevMTU, prevMTU: s.mtu, up: s.prevUp, prevUp: s.up}
}
func (s linkSet) String() string {
	words := []string{"ip link set", s.name}
	if s.mtu != 0 {
		words = append(words, fmt.Sprintf("mtu %d", s.mtu))
	}
	if s.up {
		return strings.Join(append(words, "up"), " ")
	}
	return strings.Join(append(words, "down"), " ")
}

func (s addressAdd) Do(ctx context.Context, h *Host) error {
	return h.Addresses.AddressAdd(ctx, s.link, s.prefix)
}
func (s addressAdd) Undo() Step { return addressDel(s) }
func (s addressAdd) String() string {
	return fmt.Sprintf("ip address add %s dev %s", s.prefix, s.link)
}

func (s addressDel) Do(ctx context.Context, h *Host) error {
	return h.Addresses.AddressDel(ctx, s.link, s.prefix)
}
func (s addressDel) Undo() Step { return addressAdd(s) }
func (s addressDel) String() string {
	return fmt.Sprintf("ip address delete %s dev %s", s.prefix, s.link)
}

func (s routeAdd) Do(ctx context.Context, h *Host) error {
	err := h.Routes.RouteAdd(ctx, s.link, s.route)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	return s.taken(ctx, h, err)
}

// taken says whose the route is that is in the way; nil if it is the tunnel's.
func (s routeAdd) taken(ctx context.Context, h *Host, err error) error {
	owner, ownerErr := h.Routes.RouteOwner(ctx, s.route)
	switch {
	case ownerErr != nil || owner == "":
		return err
	case owner == s.link: // a hook was quicker
		return nil
	}
	return fmt.Errorf("%w: %s has that route", err, owner)
}
func (s routeAdd) Undo() Step     { return routeDel(s) }
func (s routeAdd) String() string { return "ip route add " + routeText(s.route, s.link) }

func (s routeDel) Do(ctx context.Context, h *Host) error {
	return h.Routes.RouteDel(ctx, s.link, s.route)
}
func (s routeDel) Undo() Step     { return routeAdd(s) }
func (s routeDel) String() string { return "ip route delete " + routeText(s.route, s.link) }

func routeText(r routes.Route, link string) string {
	if r.Kind != routes.Unicast {
		return r.String()
	}
	t := fmt.Sprintf("%s dev %s", r.Dst, link)
	if r.Table != routes.TableMain {
		t += fmt.Sprintf(" table %d", r.Table)
	}
	if r.Metric != 0 {
		t += fmt.Sprintf(" metric %d", r.Metric)
	}
	return t
}

func (s ruleAdd) Do(ctx context.Context, h *Host) error { return h.Rules.RuleAdd(ctx, s.rule) }
func (s ruleAdd) Undo() Step                            { return ruleDel(s) }
func (s ruleAdd) String() string                        { return fmt.Sprintf("ip -%d rule add %s", s.rule.Family, s.rule) }

func (s ruleDel) Do(ctx context.Context, h *Host) error { return h.Rules.RuleDel(ctx, s.rule) }
func (s ruleDel) Undo() Step                            { return ruleAdd(s) }
func (s ruleDel) String() string {
	return fmt.Sprintf("ip -%d rule delete %s", s.rule.Family, s.rule)
}

func (s sysctlSet) Do(ctx context.Context, h *Host) error {
	if s.release {
		unlock, held, err := h.release(ctx, s.tunnel, s.key)
		if err != nil {
			return err
		}
		defer unlock()
		if held {
			return nil // by a tunnel that came up since this was planned
		}
	}
	err := h.Sysctls.SetSysctl(ctx, s.key, s.value)
	if errors.Is(err, unix.EROFS) || errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: set it outside, as a container's --sysctl %s=%s does", err, s.key, s.value)
	}
	return err
}
func (s sysctlSet) Undo() Step {
	back := s
	back.value, back.previous, back.release = s.previous, s.value, s.tunnel != "" && !s.release
	return back
}
func (s sysctlSet) String() string { return fmt.Sprintf("sysctl -w %s=%s", s.key, s.value) }

// RulesDiff returns what the step does to the tunnel's own firewall rules, as a
// diff in nft's syntax; "" if it does nothing to them.
func RulesDiff(s Step) string {
	if set, ok := s.(firewallSet); ok {
		return firewall.Diff(set.prev, set.next)
	}
	return ""
}

func (s firewallSet) Do(ctx context.Context, h *Host) error { return h.Firewall.Apply(ctx, s.next) }
func (s firewallSet) Undo() Step                            { return firewallSet{next: s.prev, prev: s.next} }
func (s firewallSet) String() string {
	if s.next.Empty() {
		return "nft delete table inet " + firewall.TableName(s.next.Interface)
	}
	return fmt.Sprintf("nft -f - (table inet %s: %s)", firewall.TableName(s.next.Interface), count(s.next.Count(), "rule"))
}

func (s dnsSet) Do(ctx context.Context, h *Host) error { return h.DNS.Apply(ctx, s.next) }
func (s dnsSet) Undo() Step                            { return dnsSet{next: s.prev, prev: s.next} }
func (s dnsSet) String() string {
	text := dnsText(s.next, s.prev)
	if !s.mayFail {
		return text
	}
	if before, ok := strings.CutSuffix(text, ")"); ok {
		return before + "; may fail)"
	}
	return text + " (may fail)"
}

func (s hookRun) Do(ctx context.Context, h *Host) error {
	if s.hook.Phase == "PreUp" || s.hook.Phase == "PostUp" {
		if err := h.own(ctx, s.hook.Interface); err != nil {
			return err
		}
	}
	return h.Hooks.Run(ctx, s.hook)
}
func (s hookRun) Undo() Step     { return nil }
func (s hookRun) String() string { return s.text }

func (s deviceSet) Do(ctx context.Context, h *Host) error {
	if !keysKnown(s.next) {
		return errUnknownKey
	}
	part, rest := s.next, s.next.Peers
	for {
		n := min(len(rest), atOnce)
		part.Peers, rest = rest[:n], rest[n:]
		if err := h.onceFree(ctx, func() error { return h.Devices.Configure(ctx, s.name, part) }); err != nil {
			return err
		}
		h.progress(len(s.next.Peers)-len(rest), len(s.next.Peers), "peers")
		if len(rest) == 0 {
			return nil
		}
		part = netlinkx.DeviceChange{}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
}
func (s deviceSet) Undo() Step {
	return deviceSet{name: s.name, verb: "set", next: s.prev, prev: s.next}
}
func (s deviceSet) Partial() bool { return true }
func (s deviceSet) String() string {
	if s.verb == "addconf" {
		return fmt.Sprintf("wg addconf %s (%s)", s.name, count(len(s.next.Peers), "peer"))
	}
	words := []string{"wg set", s.name}
	if s.next.PrivateKey != nil {
		words = append(words, "private-key "+hidden)
	}
	if s.next.ListenPort != nil {
		words = append(words, fmt.Sprintf("listen-port %d", *s.next.ListenPort))
	}
	if s.next.FwMark != nil {
		words = append(words, fmt.Sprintf("fwmark %#x", *s.next.FwMark))
	}
	return strings.Join(append(words, peerWords(s.next.Peers)...), " ")
}

// Beyond these, peers and allowed IPs are counted, not named.
const (
	fewPeers      = 3
	fewAllowedIPs = 8
)

// peerWords are those of "wg set" for a few peers, and else their number.
func peerWords(peers []netlinkx.PeerChange) (words []string) {
	if len(peers) <= fewPeers {
		for _, p := range peers {
			words = append(words, wordsOf(p)...)
		}
		return words
	}
	set, removed := 0, 0
	for _, p := range peers {
		if p.Remove {
			removed++
		} else {
			set++
		}
	}
	if set > 0 {
		words = append(words, fmt.Sprintf("(%s set)", count(set, "peer")))
	}
	if removed > 0 {
		words = append(words, fmt.Sprintf("(%s removed)", count(removed, "peer")))
	}
	return words
}

func wordsOf(p netlinkx.PeerChange) []string {
	words := []string{"peer", p.PublicKey.String()}
	if p.Remove {
		return append(words, "remove")
	}
	if p.PresharedKey != nil {
		words = append(words, "preshared-key", hidden)
	}
	if p.Endpoint.IsValid() {
		words = append(words, "endpoint", p.Endpoint.String())
	}
	if p.PersistentKeepalive != nil {
		words = append(words, "persistent-keepalive", fmt.Sprint(*p.PersistentKeepalive))
	}
	sign := "+"
	if p.ReplaceAllowedIPs {
		sign = ""
	}
	var ips []string
	for _, a := range p.AllowedIPs {
		ips = append(ips, sign+a.String())
	}
	for _, a := range p.RemoveAllowedIPs {
		ips = append(ips, "-"+a.String())
	}
	if n := len(ips); n > fewAllowedIPs {
		ips = append(ips[:fewAllowedIPs], fmt.Sprintf("… (%d)", n))
	}
	if len(ips) > 0 {
		words = append(words, "allowed-ips", strings.Join(ips, ","))
	}
	return words
}

// count says "1 peer" or "3 peers".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
