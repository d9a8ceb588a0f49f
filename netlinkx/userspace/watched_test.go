// SPDX-License-Identifier: MIT

package userspace

import (
	"errors"
	"os"
	"testing"

	"golang.zx2c4.com/wireguard/tun"
)

// A failingTUN fails to read.
type failingTUN struct {
	linkless
	err error
}

func (f failingTUN) Read([][]byte, []int, int) (int, error) { return 0, f.err }

// However the end of a link is told, it is no fault that the device would log.
func TestReadOfLinkThatIsGone(t *testing.T) {
	notPollable := &os.PathError{Op: "read", Path: cloneDevice, Err: errors.New("not pollable")}
	for _, test := range []struct{ err, want error }{
		{notPollable, os.ErrClosed}, {os.ErrClosed, os.ErrClosed}, {os.ErrPermission, os.ErrPermission},
	} {
		link := newWatchedTUN(failingTUN{linkless{make(chan tun.Event)}, test.err}, 0, newIntake())
		if _, err := link.Read(nil, nil, 0); !errors.Is(err, test.want) {
			t.Errorf("of %v comes %v", test.err, err)
		}
	}
}
