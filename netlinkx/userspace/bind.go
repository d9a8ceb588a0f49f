// SPDX-License-Identifier: MIT

package userspace

import "golang.zx2c4.com/wireguard/conn"

// newBind returns the UDP side of a device. This is the one place that
// chooses it.
func newBind() conn.Bind { return conn.NewDefaultBind() }
