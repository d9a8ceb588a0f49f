// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wgctl/wgctl/agent"
	"github.com/wgctl/wgctl/tunnel"
)

// A tunnel that another command works on is no fault, however short the look at
// it has to be; one that was broken off is.
func TestLookAtBusyTunnel(t *testing.T) {
	records := &tunnel.Records{Dir: t.TempDir()}
	unlock, err := records.Lock(t.Context(), "wg0", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	r := &running{in: &input{host: &tunnel.Host{Records: records}, name: "wg0"}}
	synctest.Test(t, func(t *testing.T) {
		short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := r.Look(short); !errors.Is(err, agent.ErrBusy) {
			t.Errorf("a look of 2 s at a tunnel that is locked: %v", err)
		}
		if short.Err() != nil {
			t.Error("it took all of the time that there was")
		}
	})
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := r.Look(ended); err == nil || errors.Is(err, agent.ErrBusy) {
		t.Errorf("a look that was broken off: %v", err)
	}
}
