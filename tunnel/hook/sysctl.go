// SPDX-License-Identifier: MIT

package hook

import (
	"strings"
)

// forwarding are the parameters that make a host forward. Those of single links
// are left to the shell: a link may not be there yet.
var forwarding = map[string]bool{
	"net.ipv4.ip_forward":              true,
	"net.ipv4.conf.all.forwarding":     true,
	"net.ipv4.conf.default.forwarding": true,
	"net.ipv6.conf.all.forwarding":     true,
	"net.ipv6.conf.default.forwarding": true,
}

// Forwards reports whether a parameter is one that hooks may be lifted for.
func Forwards(key string) bool { return forwarding[key] }

func (r *reader) sysctl(_ command, args []string) (out []Change, why string) {
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "-w" || a == "--write" || a == "-q" || a == "--quiet" || a == "-qw" || a == "-wq":
		case strings.HasPrefix(a, "-"):
			return nil, "option " + a + " is beyond what is understood"
		default:
			key, value, ok := strings.Cut(a, "=")
			if !ok {
				return nil, "it reads a parameter"
			}
			c, why := r.parameter(strings.TrimSpace(key), strings.TrimSpace(value))
			if why != "" {
				return nil, why
			}
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, "it sets nothing"
	}
	return out, ""
}

// parameter turns forwarding on, or on the way down, where it goes back to
// what it was, to anything.
func (r *reader) parameter(key, value string) (Change, string) {
	key = dotted(key)
	if !forwarding[key] {
		return Change{}, key + " is none of the parameters that make a host forward"
	}
	if !r.up {
		return Change{Remove: true, Thing: Sysctl{Key: key}}, ""
	}
	if value != "1" {
		return Change{}, "it turns forwarding off"
	}
	return Change{Thing: Sysctl{Key: key, Value: "1"}}, ""
}

// dotted spells a key as sysctl(8) takes it: a "/" that comes first separates,
// and dots in between are those of a link's name.
func dotted(key string) string {
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '/' {
		return strings.NewReplacer("/", ".", ".", "/").Replace(key)
	}
	return key
}

// write reads "echo 1 > /proc/sys/…".
func (r *reader) write(c command, file string) ([]Change, string) {
	args, ok := []string(nil), false
	if c.name() == "echo" || c.name() == "printf" {
		args, ok = c.literal()
	}
	if !ok || len(args) != 1 {
		return nil, "what it writes isn't known before it runs"
	}
	change, why := r.parameter(strings.TrimPrefix(file, "/proc/sys/"), args[0])
	if why != "" {
		return nil, why
	}
	return []Change{change}, ""
}

func sysctlTouches(words []string) (out []string) {
	for _, w := range words {
		key, _, ok := strings.Cut(w, "=")
		switch {
		case w == "$", strings.HasPrefix(w, "-p"), strings.HasPrefix(w, "--load"), strings.HasPrefix(w, "--system"):
			return []string{touchSysctl}
		case ok:
			out = append(out, touchSysctl+" "+dotted(strings.TrimSpace(key)))
		}
	}
	return out
}
