// SPDX-License-Identifier: MIT

package labtest_test

import (
	"testing"

	"github.com/wgctl/wgctl/labtest"
)

const pair = `
	[Network wire]
	Subnet = 192.0.2.0/24
	[Host a]
	Link = wire
	[Host b]
	Link = wire
	[Tunnel wg0]
	Subnet = 10.8.0.0/24
	Member = a
	Member = b roaming
`

// A lab in a test of yours: two hosts, the wire and the tunnel between them. It
// runs as what it is, a test.
func TestExample(t *testing.T) {
	build(t) // yours has wgctl in PATH
	l := labtest.New(t, pair)
	l.Up()
	l.Run("b", "ping", "-n", "-c", "1", "-W", "15", l.Address("a", "wg0").String())
}

// A lab in ten lines of a test. TestExample is this, and runs.
func Example() {
	_ = func(t *testing.T) {
		l := labtest.New(t, pair)
		l.Up()
		l.Run("b", "ping", "-c", "1", l.Address("a", "wg0").String())
	}
}
