// SPDX-License-Identifier: MIT

package dns

import (
	"reflect"
	"testing"
)

// Whatever stands in resolv.conf: what we make of it is ours, says of the
// tunnels what was read of them, and is the same when it is made again.
func FuzzResolvConf(f *testing.F) {
	two := fileText{tunnels: []Settings{tunnelSettings("wg0", "10.8.0.1 fe80::1%eth0", "corp.example"), tunnelSettings("wg1", "", "a.example b.example")}}
	two.tunnels[0].Routing = []string{"lab.example"}
	f.Add("nameserver 192.0.2.1\nsearch a b\noptions trust-ad ndots:2\n")
	f.Add(two.render("nameserver 192.0.2.1\noptions edns0\n"))
	f.Add(fileText{absent: true}.render(""))
	f.Add("# This is private data. Do not parse.\nSERVERS=10.8.0.1 fd00::1\nDOMAINS=~. ~corp.example a.example\n")
	f.Fuzz(func(t *testing.T, text string) {
		_ = answererOf(parse("wg0", resolvedText(text)))
		read := parseFile(text)
		made := read.render(text)
		if !isOurs(made) {
			t.Fatalf("%q isn't ours", made)
		}
		if again := parseFile(made); !reflect.DeepEqual(again, read) {
			t.Fatalf("read %+v, and again from %q %+v", read, made, again)
		}
		if again := read.render(made); again != made && len(read.tunnels) == 0 {
			t.Fatalf("made %q, and again %q", made, again)
		}
		read.set(tunnelSettings("wg0", "10.8.0.1", ""))
		if s, ok := parseFile(read.render(text)).find("wg0"); !ok || !s.Exclusive() {
			t.Fatalf("wg0 has %+v in %q", s, read.render(text))
		}
		for range len(read.tunnels) {
			read.drop(read.tunnels[0].Interface)
			if len(read.tunnels) == 0 {
				break
			}
		}
		if len(read.tunnels) != 0 {
			t.Fatalf("left %+v", read.tunnels)
		}
	})
}
