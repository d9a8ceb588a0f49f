// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"net"
	"os"
	"strings"

	"github.com/wgctl/wgctl/dns"
)

// forgetDead takes the nameservers of tunnels away that a power cut or a reboot
// left in /etc: the names of endpoints could not be looked up by them. A tunnel
// that has neither a link nor a record is one of those.
func (in *input) forgetDead(ctx context.Context, ui *ui) error {
	resolver, ok := in.host.DNS.(*dns.Resolver)
	if !ok {
		return nil
	}
	names, err := resolver.Forget(ctx, func(name string) bool {
		if _, err := net.InterfaceByName(name); err == nil {
			return false
		}
		r, err := in.host.Records.Head(name)
		return err == nil && r == nil
	})
	if err != nil {
		ui.note("nameservers of a tunnel that is gone stay in %s: %v", resolver.Path(), err)
	}
	if len(names) == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	ui.note("took the nameservers of %s out of %s: that is gone since a run that was never ended", strings.Join(names, " and "), resolver.Path())
	if ui.place != nil {
		in.host.DNS = dns.At(ui.place.resolvConf())
		return nil
	}
	in.host.DNS, err = dns.Open(ctx) // it goes by what it saw
	return err
}

// outside returns what names nameservers that are reached without the tunnel, in
// the words of resolv.conf: where that is the tunnel's own, what was there before.
func (in *input) outside() []string {
	var texts []string
	if resolver, ok := in.host.DNS.(*dns.Resolver); ok {
		texts = append(texts, resolver.Before())
	}
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		if text, err := os.ReadFile(path); err == nil {
			texts = append(texts, string(text))
		}
	}
	return texts
}
