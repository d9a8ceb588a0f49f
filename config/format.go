// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
)

// perLine is the most items of a list that Format writes on one line, far
// below what Parse takes.
const perLine = 1024

// Format writes the config in its canonical spelling, with the secrets. What
// it writes, Parse reads as an equal config; a config for which that can't be
// so (a hook with a line break in it) is an error, and nothing is written.
//
// Names of peers are written as comments, so that wg-quick takes the file.
func (c *Config) Format(w io.Writer) error {
	var out bytes.Buffer
	c.Interface.format(&out)
	for i := range c.Peers {
		c.Peers[i].format(&out)
	}
	again, _, err := Parse("formatted config", bytes.NewReader(out.Bytes()))
	if err != nil {
		return fmt.Errorf("formatting config: %w", err)
	}
	if !Equal(c, again) {
		return fmt.Errorf("formatting config: a value can't be written on one line")
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("writing config: %w", err)
	}
	return nil
}

func (i *Interface) format(w *bytes.Buffer) {
	w.WriteString("[Interface]\n")
	if i.PrivateKey != nil && i.PrivateKeyFile == "" {
		entry(w, "PrivateKey", base64.StdEncoding.EncodeToString(i.PrivateKey[:]))
	}
	if i.ListenPort != nil {
		entry(w, "ListenPort", i.ListenPort.String())
	}
	if i.FwMark != nil {
		entry(w, "FwMark", formatFwMark(*i.FwMark))
	}
	list(w, "Address", strs(i.Addresses, netip.Prefix.String))
	list(w, "DNS", append(strs(i.DNS, netip.Addr.String), i.DNSSearch...))
	if i.MTU != 0 {
		entry(w, "MTU", fmt.Sprint(i.MTU))
	}
	if i.Table != (Table{}) {
		entry(w, "Table", i.Table.String())
	}
	for _, h := range i.Hooks.byKey() {
		for _, hook := range *h.hooks {
			entry(w, h.key, hook)
		}
	}
	if i.SaveConfig {
		entry(w, "SaveConfig", "true")
	}
	if i.PrivateKeyFile != "" {
		entry(w, "PrivateKeyFile", i.PrivateKeyFile)
	}
	if i.Backend != "" {
		entry(w, "Backend", string(i.Backend))
	}
	if i.HookMode != "" {
		entry(w, "Hooks", string(i.HookMode))
	}
	if i.HookTimeout != 0 {
		entry(w, "HookTimeout", formatDuration(i.HookTimeout))
	}
	i.formatForwarding(w)
}

func (i *Interface) formatForwarding(w *bytes.Buffer) {
	if i.RouteMetric != 0 {
		entry(w, "RouteMetric", fmt.Sprint(i.RouteMetric))
	}
	if i.RouteAggregation {
		entry(w, "RouteAggregation", onOff(true))
	}
	list(w, "ExcludedIPs", strs(i.ExcludedIPs, netip.Prefix.String))
	if i.Forward != nil {
		entry(w, "Forward", onOff(*i.Forward))
	}
	links := i.Masquerade.Links
	if i.Masquerade.Auto {
		links = append([]string{"auto"}, links...)
	}
	list(w, "Masquerade", links)
	for _, f := range i.PortForwards {
		entry(w, "PortForward", f.String())
	}
	if i.ClampMSS != (ClampMSS{}) {
		entry(w, "ClampMSS", i.ClampMSS.String())
	}
	if i.KillSwitch {
		entry(w, "KillSwitch", onOff(true))
	}
	if i.DNSBackend != "" {
		entry(w, "DNSBackend", string(i.DNSBackend))
	}
	if i.DNSFailure != "" {
		entry(w, "DNSFailure", string(i.DNSFailure))
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

type hookList struct {
	key   string
	hooks *[]string
}

func (h *Hooks) byKey() []hookList {
	return []hookList{{"PreUp", &h.PreUp}, {"PostUp", &h.PostUp}, {"PreDown", &h.PreDown}, {"PostDown", &h.PostDown}}
}

func (p *Peer) format(w *bytes.Buffer) {
	w.WriteString("\n[Peer]\n")
	if p.Name != "" {
		entry(w, "# friendly_name", p.Name)
	}
	entry(w, "PublicKey", p.PublicKey.String())
	if p.PresharedKeyFile != "" {
		entry(w, "PresharedKeyFile", p.PresharedKeyFile)
	} else if p.PresharedKey != nil {
		entry(w, "PresharedKey", base64.StdEncoding.EncodeToString(p.PresharedKey[:]))
	}
	if !p.Endpoint.IsZero() {
		entry(w, "Endpoint", p.Endpoint.String())
	}
	list(w, "AllowedIPs", strs(p.AllowedIPs, AllowedIP.String))
	if p.PersistentKeepalive != nil {
		entry(w, "PersistentKeepalive", formatKeepalive(*p.PersistentKeepalive))
	}
}

func entry(w *bytes.Buffer, key, value string) {
	w.WriteString(key)
	w.WriteString(" = ")
	w.WriteString(value)
	w.WriteByte('\n')
}

func list(w *bytes.Buffer, key string, items []string) {
	for chunk := range slices.Chunk(items, perLine) {
		entry(w, key, strings.Join(chunk, ", "))
	}
}

func strs[T any](in []T, str func(T) string) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = str(v)
	}
	return out
}

func formatFwMark(m uint32) string {
	if m == 0 {
		return "off"
	}
	return fmt.Sprintf("%#x", m)
}

func formatKeepalive(seconds uint16) string {
	if seconds == 0 {
		return "off"
	}
	return fmt.Sprint(seconds)
}

// String returns the table as it is written in a file.
func (t Table) String() string {
	switch t.Mode {
	case TableOff:
		return "off"
	case TableNumber:
		return fmt.Sprint(t.Number)
	case TableName:
		return t.Name
	}
	return "auto"
}

// String returns the endpoint as it is written in a file: an IPv6 address in
// brackets. Of no endpoint that is "".
func (e Endpoint) String() string {
	switch {
	case e.IsZero():
		return ""
	case strings.Contains(e.Host, ":"):
		return "[" + e.Host + "]:" + e.Port.String()
	}
	return e.Host + ":" + e.Port.String()
}

// String returns the prefix after its sign.
func (a AllowedIP) String() string {
	switch a.Sign {
	case Plus:
		return "+" + a.Prefix.String()
	case Minus:
		return "-" + a.Prefix.String()
	}
	return a.Prefix.String()
}

// Equal reports whether two configs say the same, wherever they were read
// from. A nil and an empty list are the same.
func Equal(a, b *Config) bool {
	return a.Interface.equal(&b.Interface) && slices.EqualFunc(a.Peers, b.Peers, func(p, q Peer) bool {
		return p.Name == q.Name && p.PublicKey == q.PublicKey && p.Endpoint == q.Endpoint &&
			p.PresharedKeyFile == q.PresharedKeyFile && (p.PresharedKeyFile != "" || same(p.PresharedKey, q.PresharedKey)) &&
			same(p.PersistentKeepalive, q.PersistentKeepalive) &&
			slices.Equal(p.AllowedIPs, q.AllowedIPs)
	})
}

func (i *Interface) equal(j *Interface) bool {
	hooks := i.Hooks.byKey()
	for n, h := range j.Hooks.byKey() {
		if !slices.Equal(*hooks[n].hooks, *h.hooks) {
			return false
		}
	}
	return i.PrivateKeyFile == j.PrivateKeyFile && (i.PrivateKeyFile != "" || same(i.PrivateKey, j.PrivateKey)) && same(i.ListenPort, j.ListenPort) && same(i.FwMark, j.FwMark) &&
		slices.Equal(i.Addresses, j.Addresses) && slices.Equal(i.DNS, j.DNS) && slices.Equal(i.DNSSearch, j.DNSSearch) &&
		i.MTU == j.MTU && i.Table == j.Table && i.SaveConfig == j.SaveConfig && i.Backend == j.Backend &&
		i.HookMode == j.HookMode && i.HookTimeout == j.HookTimeout &&
		slices.Equal(i.ExcludedIPs, j.ExcludedIPs) && same(i.Forward, j.Forward) && i.Masquerade.Auto == j.Masquerade.Auto &&
		slices.Equal(i.Masquerade.Links, j.Masquerade.Links) && slices.Equal(i.PortForwards, j.PortForwards) &&
		i.RouteMetric == j.RouteMetric && i.RouteAggregation == j.RouteAggregation && i.ClampMSS == j.ClampMSS && i.KillSwitch == j.KillSwitch &&
		i.DNSBackend == j.DNSBackend && i.DNSFailure == j.DNSFailure
}

// same reports whether two optional values are equal, or both missing.
func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
