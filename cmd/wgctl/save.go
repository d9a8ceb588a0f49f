// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"os"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/tunnel"
)

// saveConfig writes a tunnel's state back into its file, as SaveConfig asks
// for on down.
func saveConfig(ui *ui, path string, s *tunnel.State) error {
	if s.Link == nil || s.Link.Backend == "" {
		return fmt.Errorf("saving %s: %s has no device any more", path, s.Name)
	}
	original, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("saving %s: %w", path, err)
	}
	content, err := config.Update(original, saved(s))
	if err != nil {
		return fmt.Errorf("saving %s: %w", path, err)
	}
	if string(content) == string(original) {
		return nil
	}
	_, _ = fmt.Fprintln(ui.err, "[#] wg showconf "+s.Name+" > "+path)
	return config.Save(path, original, content)
}

func saved(s *tunnel.State) config.Saved {
	d := s.Device
	key := config.Secret(d.PrivateKey)
	out := config.Saved{ListenPort: d.ListenPort, FwMark: d.FwMark, MTU: s.Link.MTU, Addresses: s.Addresses}
	if s.Last().MarkChosen {
		out.FwMark = 0 // the choice of this once
	}
	if !s.DNS.Empty() {
		out.DNS = s.DNS.Servers
	}
	if !d.PrivateKey.IsZero() {
		out.PrivateKey = &key
	}
	for _, p := range d.Peers {
		q := config.SavedPeer{
			PublicKey: config.Key(p.PublicKey), Endpoint: p.Endpoint,
			AllowedIPs: p.AllowedIPs, PersistentKeepalive: p.PersistentKeepalive,
		}
		if !p.PresharedKey.IsZero() {
			psk := config.Secret(p.PresharedKey)
			q.PresharedKey = &psk
		}
		out.Peers = append(out.Peers, q)
	}
	return out
}
