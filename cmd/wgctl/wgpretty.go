// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wgctl/wgctl/netlinkx"
	"golang.org/x/sys/unix"
)

// A paint is how terminals are told of colours; without any, nothing is.
type paint struct{ reset, bold, red, green, yellow, cyan string }

var colours = paint{"\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m"}

// paint obeys WG_COLOR_MODE before all else; NO_COLOR is https://no-color.org.
func (w *wg) paint() paint {
	switch w.env("WG_COLOR_MODE") {
	case "always":
		return colours
	case "never":
		return paint{}
	}
	if f, ok := w.out.(*os.File); ok && w.env("NO_COLOR") == "" && isTerminal(f) {
		return colours
	}
	return paint{}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// A prettyPrinter prints an interface for people, as wg does.
type prettyPrinter struct {
	*bufio.Writer
	paint
	keys bool // show the secret ones
	now  time.Time
}

func (w *wg) pretty(out *bufio.Writer, d netlinkx.Device) {
	p := prettyPrinter{out, w.paint(), w.env("WG_HIDE_KEYS") == "never", w.now()}
	var names map[netlinkx.Key]string
	if w.named != nil {
		names = w.named(d.Name)
	}
	p.device(d)
	for _, peer := range byHandshake(d.Peers) {
		p.peer(peer, names[peer.PublicKey])
	}
}

// byHandshake returns the peers with the most recent handshake first.
func byHandshake(peers []netlinkx.Peer) []netlinkx.Peer {
	out := slices.Clone(peers)
	slices.SortStableFunc(out, func(a, b netlinkx.Peer) int { return b.LatestHandshake.Compare(a.LatestHandshake) })
	return out
}

func (p prettyPrinter) device(d netlinkx.Device) {
	p.print(p.reset, p.green, p.bold, "interface", p.reset, ": ", p.green, d.Name, p.reset, "\n")
	if !d.PrivateKey.IsZero() {
		p.row("public key", d.PublicKey.String())
		p.row("private key", p.secret(d.PrivateKey))
	}
	if d.ListenPort != 0 {
		p.row("listening port", fmt.Sprint(d.ListenPort))
	}
	if d.FwMark != 0 {
		p.row("fwmark", fmt.Sprintf("0x%x", d.FwMark))
	}
}

func (p prettyPrinter) peer(q netlinkx.Peer, name string) {
	p.print("\n", p.yellow, p.bold, "peer", p.reset, ": ", p.yellow, q.PublicKey.String(), p.reset)
	if name != "" {
		p.print(" (", name, ")")
	}
	p.print("\n")
	if !q.PresharedKey.IsZero() {
		p.row("preshared key", p.secret(q.PresharedKey))
	}
	if q.Endpoint.IsValid() {
		p.row("endpoint", string(appendEndpoint(nil, q.Endpoint)))
	}
	p.row("allowed ips", p.prefixes(q.AllowedIPs))
	if !q.LatestHandshake.IsZero() {
		p.row("latest handshake", p.ago(q.LatestHandshake))
	}
	if q.ReceiveBytes != 0 || q.TransmitBytes != 0 {
		p.row("transfer", p.bytes(q.ReceiveBytes)+" received, "+p.bytes(q.TransmitBytes)+" sent")
	}
	if q.PersistentKeepalive != 0 {
		p.row("persistent keepalive", "every "+p.span(int64(q.PersistentKeepalive)))
	}
}

func (p prettyPrinter) print(words ...string) {
	for _, s := range words {
		_, _ = p.WriteString(s)
	}
}

func (p prettyPrinter) row(label, value string) {
	p.print("  ", p.bold, label, p.reset, ": ", value, "\n")
}

func (p prettyPrinter) secret(k netlinkx.Secret) string {
	if !p.keys {
		return k.String()
	}
	return string(appendKey(nil, k))
}

func (p prettyPrinter) prefixes(ps []netip.Prefix) string {
	if len(ps) == 0 {
		return none
	}
	words := make([]string, len(ps))
	for i, a := range ps {
		words[i] = fmt.Sprint(string(appendAddr(nil, a.Addr())), p.cyan, "/", p.reset, a.Bits())
	}
	return strings.Join(words, ", ")
}

// ago counts whole seconds, as the kernel's clock and ours may differ by less.
func (p prettyPrinter) ago(t time.Time) string {
	switch s := p.now.Unix() - t.Unix(); {
	case s < 0:
		return "(" + p.red + "System clock wound backward; connection problems may ensue." + p.reset + ")"
	case s == 0:
		return "Now"
	default:
		return p.span(s) + " ago"
	}
}

// span says how long so many seconds are. Its years have 365 days.
func (p prettyPrinter) span(seconds int64) string {
	var words []string
	for _, u := range []struct {
		name    string
		seconds int64
	}{{"year", 365 * 24 * 3600}, {"day", 24 * 3600}, {"hour", 3600}, {"minute", 60}, {"second", 1}} {
		n := seconds / u.seconds
		seconds %= u.seconds
		switch {
		case n == 1:
			words = append(words, "1 "+p.cyan+u.name+p.reset)
		case n > 1:
			words = append(words, fmt.Sprint(n, " ", p.cyan, u.name, "s", p.reset))
		}
	}
	return strings.Join(words, ", ")
}

func (p prettyPrinter) bytes(n int64) string {
	if uint64(n) < 1<<10 {
		return fmt.Sprint(n, " ", p.cyan, "B", p.reset)
	}
	f, unit := float64(uint64(n))/(1<<10), 0
	for f >= 1<<10 && unit < 3 {
		f, unit = f/(1<<10), unit+1
	}
	return fmt.Sprintf("%.2f %s%ciB%s", f, p.cyan, "KMGT"[unit], p.reset)
}
