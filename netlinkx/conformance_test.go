// SPDX-License-Identifier: MIT

package netlinkx

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestConformance(t *testing.T) {
	for _, c := range append(conformance, deadEndConformance) {
		t.Run(c.name, func(t *testing.T) {
			worlds := []world{fakeWorld{NewFake()}, realWorld{newNamespace(t)}}
			for n, line := range c.lines {
				command, want, _ := strings.Cut(line, " => ")
				var states [2]string
				for i, w := range worlds {
					out, err := perform(t, w, command)
					if got := answer(out, err); got != want {
						t.Fatalf("line %d on %T: %s => %s (%v)", n+1, w, line, got, err)
					}
					states[i] = stateOf(t, w, c.lines[:n+1])
				}
				if states[0] != states[1] {
					t.Fatalf("line %d: %s\nfake:\n%s\nreal:\n%s", n+1, line, states[0], states[1])
				}
			}
		})
	}
}

// answer says an outcome in the words of the table.
func answer(out string, err error) string {
	if err == nil {
		return out
	}
	var words []string
	var errno unix.Errno
	if errors.As(err, &errno) && errno != unix.ENOENT || errors.Is(err, unix.ENOENT) && out == "" {
		words = append(words, unix.ErrnoName(errno))
	}
	if errors.Is(err, os.ErrNotExist) {
		words = append(words, "not there")
	}
	if len(words) == 0 {
		return err.Error()
	}
	return strings.Join(words, ", ")
}

// stateOf describes the links that the lines have made, except for what the
// worlds needn't share: the kind of a device's link and what follows from it, and
// a listen port that nobody chose. A wireguard-go device takes one as soon as it
// is made, and forgets the old one when it can't have another.
func stateOf(t *testing.T, w world, lines []string) string {
	t.Helper()
	var links []string
	chosen := make(map[string]bool)
	for _, line := range lines {
		switch f := strings.Fields(line); f[0] {
		case "tun", "device":
			links = append(links, f[1])
		case "wg":
			if strings.Contains(line, " port ") {
				chosen[f[1]] = !strings.Contains(line, "EADDRINUSE")
			}
		}
	}
	s, err := describe(t.Context(), w, slices.Compact(slices.Sorted(slices.Values(links))),
		[]string{"net.ipv4.conf.all.src_valid_mark"})
	if err != nil {
		t.Fatal(err)
	}
	var keep []string
	for l := range strings.Lines(s) {
		ours := strings.Contains(l, "wg0") || strings.Contains(l, "wg1")
		if ours && (strings.Contains(l, " type ") || strings.Contains(l, "fe80::/64")) {
			continue
		}
		if f := strings.Fields(l); f[0] == "wg" && !chosen[f[2]] {
			l = anyPort.ReplaceAllString(l, "listen-port any")
		}
		keep = append(keep, l)
	}
	return strings.Join(keep, "")
}

var anyPort = regexp.MustCompile(`listen-port \d+`)

// perform runs one line of the table on a world.
func perform(t *testing.T, w world, line string) (string, error) {
	t.Helper()
	ctx := t.Context()
	f := strings.Fields(line)
	switch f[0] {
	case "tun":
		w.tun(t, f[1])
	case "device":
		w.device(t, f[1])
	case "foreign":
		w.foreign(t, strings.TrimPrefix(line, "foreign "))
	case "link":
		l, err := w.Link(ctx, f[1])
		return fmt.Sprintf("%s %s %d %s", l.Kind, l.Alias, l.MTU, map[bool]string{true: "up", false: "down"}[l.Up]), err
	case "claim": // by its index and so many more
		l, _ := w.Link(ctx, f[1])
		return "", w.LinkClaim(ctx, f[1], l.Index+int(number(t, f[2], 0)))
	case "note":
		_, note, _ := strings.Cut(line, " "+f[1]+" ")
		err := w.LinkNote(ctx, f[1], note)
		l, _ := w.Link(ctx, f[1])
		if err != nil {
			return "", err
		}
		return strings.TrimSpace(l.Kind + " " + l.Alias + " " + l.Note), nil
	case "del":
		return "", w.LinkDel(ctx, f[1])
	case "set":
		return "", w.LinkSet(ctx, f[1], number(t, f[2], 0), f[3] == "up")
	case "address":
		return "", w.AddressAdd(ctx, f[1], netip.MustParsePrefix(f[2]))
	case "address-":
		return "", w.AddressDel(ctx, f[1], netip.MustParsePrefix(f[2]))
	case "route":
		return "", w.RouteAdd(ctx, f[1], parseRoute(t, f[2:]))
	case "route-":
		return "", w.RouteDel(ctx, f[1], parseRoute(t, f[2:]))
	case "routes":
		return "", failures(w.RoutesAdd(ctx, f[1], parseRoutes(t, f[2:])))
	case "routes-":
		return "", failures(w.RoutesDel(ctx, f[1], parseRoutes(t, f[2:])))
	case "owner":
		return ownerOf(ctx, w, parseRoute(t, f[1:]))
	case "tables":
		tables, err := w.TablesInUse(ctx)
		return strings.Trim(fmt.Sprint(slices.Sorted(maps.Keys(tables))), "[]"), err
	case "path":
		var a netip.Addr
		if f[1] != "default" {
			a = netip.MustParseAddr(f[1])
		}
		mark := uint32(0)
		if len(f) > 3 && f[2] == "mark" {
			mark = uint32(number(t, f[3], 0))
		}
		p, err := w.PathTo(ctx, a, mark)
		return fmt.Sprintf("%s %d", p.Link, p.MTU), err
	case "rules":
		rules, err := w.Rules(ctx)
		rules = slices.DeleteFunc(rules, func(r InstalledRule) bool { return r.Protocol != number(t, f[1], 0) })
		return strconv.Itoa(len(rules)), err
	case "rule":
		return "", w.RuleAdd(ctx, parseRuleWords(t, f[1:]))
	case "rule-":
		return "", w.RuleDel(ctx, parseRuleWords(t, f[1:]))
	case "sysctl":
		return "", w.SetSysctl(ctx, f[1], f[2])
	case "sysctl?":
		return w.Sysctl(ctx, f[1])
	case "device?":
		_, err := w.Device(ctx, f[1])
		return "", err
	case "names":
		names, err := w.DeviceNames(ctx)
		return strings.Join(names, " "), err
	case "wg":
		return "", w.Configure(ctx, f[1], parseChange(t, f[2:]))
	default:
		t.Fatalf("no such command: %s", line)
	}
	return "", nil
}
