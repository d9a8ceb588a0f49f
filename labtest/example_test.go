// SPDX-License-Identifier: MIT

package labtest_test

import (
	"testing"

	"github.com/wgctl/wgctl/labtest"
)

// A lab in a test of yours.
func Example() {
	_ = func(t *testing.T) {
		l := labtest.New(t, `
			[Network wire]
			Subnet = 192.0.2.0/24
			[Host a]
			Link = wire
			[Host b]
			Link = wire
		`)
		l.Run("a", "ping", "-c", "1", l.Address("b", "wire").String())
	}
}
