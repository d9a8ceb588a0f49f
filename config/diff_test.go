// SPDX-License-Identifier: MIT

package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	const (
		one = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEE="
		two = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBEE="
	)
	base := "[Interface]\nPrivateKey = " + one + "\nAddress = 10.8.0.1/24, fd00::1/64\nPostUp = a\nPostUp = b\n" +
		"[Peer]\n# Name = phone\nPublicKey = " + one + "\nAllowedIPs = 10.8.0.2/32, 10.8.0.3/32\nPresharedKey = " + two + "\n"
	tests := []struct{ name, from, to, want string }{
		{"the same", "", "", ""},
		{"order of items", "10.8.0.2/32, 10.8.0.3/32", "10.8.0.3/32, 10.8.0.2/32", ""},
		{"order of hooks", "PostUp = a\nPostUp = b", "PostUp = b\nPostUp = a", "Interface PostUp [a b] [b a]"},
		{"a value comes", "Address", "MTU = 1400\nAddress", "Interface MTU [] [1400]"},
		{"an address goes", ", fd00::1/64", "", "Interface Address [fd00::1/64] []"},
		{"a private key", "PrivateKey = " + one, "PrivateKey = " + two, "Interface PrivateKey [(hidden)] [(hidden)]"},
		{"a preshared key", "PresharedKey = " + two, "PresharedKey = " + one, "phone PresharedKey [(hidden)] [(hidden)]"},
		{"an allowed IP", "10.8.0.3/32", "10.8.0.4/32", "phone AllowedIPs [10.8.0.3/32] [10.8.0.4/32]"},
		{"a name", "Name = phone", "Name = tablet", "tablet Name [phone] [tablet]"},
		{"another peer", "PublicKey = " + one, "PublicKey = " + two,
			"phone Name [phone] []\nphone PublicKey [" + one + "] []\nphone PresharedKey [(hidden)] []\nphone AllowedIPs [10.8.0.2/32 10.8.0.3/32] []\n" +
				"phone Name [] [phone]\nphone PublicKey [] [" + two + "]\nphone PresharedKey [] [(hidden)]\nphone AllowedIPs [] [10.8.0.2/32 10.8.0.3/32]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, _, err := Parse("a", strings.NewReader(base))
			if err != nil {
				t.Fatal(err)
			}
			b, _, err := Parse("b", strings.NewReader(strings.Replace(base, tt.from, tt.to, 1)))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range Diff(a, b) {
				section := "Interface"
				if d.Peer != nil {
					section = d.Name
				}
				got = append(got, fmt.Sprint(section, " ", d.Key, " ", d.Old, " ", d.New))
			}
			if text := strings.Join(got, "\n"); text != tt.want {
				t.Errorf("got\n%s\nwant\n%s", text, tt.want)
			}
		})
	}
}
