// SPDX-License-Identifier: MIT

package lab

import (
	"errors"
	"testing"
)

// Whatever a file says, it is a topology that can be drawn and has its tunnels'
// files, or there is an error with a line.
func FuzzTopology(f *testing.F) {
	f.Add(office)
	f.Add("[Network n]\nSubnet = 10.0.0.0/30, fd00::/126\n[Host a]\nLink = n as x 10.0.0.1/30\nGateway = ,\n")
	f.Add("[Host a]\nLink = ,\nRoute = ::/0 via ,\n[Tunnel t]\nSubnet = ::/127\nMember = a at ::1 routes ::/0\n")
	f.Fuzz(func(t *testing.T, text string) {
		top, err := Parse("f.lab", text)
		if fault := (*Error)(nil); err != nil {
			if !errors.As(err, &fault) || fault.Line < 1 || fault.Msg == "" {
				t.Fatalf("not an error with a line: %v", err)
			}
			return
		}
		if top.Text() == "" || top.DOT() == "" || top.SVG() == "" {
			t.Fatal("it has no picture")
		}
		if files, err := top.Files(); err != nil {
			t.Fatalf("%d files: %v", len(files), err)
		}
	})
}
