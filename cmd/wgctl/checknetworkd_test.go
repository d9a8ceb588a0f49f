// SPDX-License-Identifier: MIT

package main

import (
	"os"
	"path/filepath"
	"testing"
)

// Drop-ins count by their names across folders, and of two of one name the one
// in /etc is read alone.
func TestNetworkdSpares(t *testing.T) {
	const (
		both = "[Network]\nManageForeignRoutingPolicyRules=no\nManageForeignRoutes = off\n"
		yes  = "[Network]\nManageForeignRoutes=yes\n"
	)
	for _, c := range []struct {
		name  string
		files map[string]string
		want  bool
	}{
		{"nothing", nil, false},
		{"the main file", map[string]string{"etc/systemd/networkd.conf": both}, true},
		{"one of two keys", map[string]string{"etc/systemd/networkd.conf": "[Network]\nManageForeignRoutes=no\n"}, false},
		{"another section", map[string]string{"etc/systemd/networkd.conf": "[DHCPv4]\n" + both[len("[Network]\n"):]}, false},
		{"the vendor's main file is not read", map[string]string{"etc/systemd/networkd.conf": "", "usr/lib/systemd/networkd.conf": both}, false},
		{"the vendor's alone is", map[string]string{"usr/lib/systemd/networkd.conf": both}, true},
		{"a drop-in", map[string]string{"etc/systemd/networkd.conf": yes, "run/systemd/networkd.conf.d/a.conf": both}, true},
		{"a later name in an earlier folder", map[string]string{"etc/systemd/networkd.conf.d/10-ours.conf": both, "usr/lib/systemd/networkd.conf.d/90-vendor.conf": yes}, false},
		{"an earlier name", map[string]string{"etc/systemd/networkd.conf.d/95-ours.conf": both, "usr/lib/systemd/networkd.conf.d/90-vendor.conf": yes}, true},
		{"one name in two folders", map[string]string{"etc/systemd/networkd.conf.d/a.conf": "", "usr/lib/systemd/networkd.conf.d/a.conf": both}, false},
		{"local before vendor", map[string]string{"usr/local/lib/systemd/networkd.conf.d/a.conf": both, "usr/lib/systemd/networkd.conf.d/a.conf": yes}, true},
	} {
		root := t.TempDir()
		for path, text := range c.files {
			path = filepath.Join(root, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := networkdSpares(root); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
