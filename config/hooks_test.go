// SPDX-License-Identifier: MIT

package config

import (
	"strings"
	"testing"
	"time"
)

func TestHookKeys(t *testing.T) {
	tests := []struct {
		line    string
		mode    HookMode
		timeout time.Duration
		fault   string
	}{
		{line: "Hooks = native", mode: HooksNative},
		{line: "hooks=SHELL", mode: HooksShell},
		{line: "Hooks = off # none", mode: HooksOff},
		{line: "Hooks = on", fault: `x.conf:2: [Interface] Hooks: "on" is none of native, shell and off`},
		{line: "HookTimeout = 5", timeout: 5 * time.Second},
		{line: "HookTimeout = 1m30s", timeout: 90 * time.Second},
		{line: "HookTimeout = 250ms", timeout: 250 * time.Millisecond},
		{line: "HookTimeout = 0", fault: `x.conf:2: [Interface] HookTimeout: "0" is not a time`},
		{line: "HookTimeout = -5s", fault: `x.conf:2: [Interface] HookTimeout: "-5s" is not a time`},
		{line: "HookTimeout = soon", fault: `x.conf:2: [Interface] HookTimeout: "soon" is not a time`},
		{line: "HookTimeout = 9999999999999", fault: `x.conf:2: [Interface] HookTimeout: "9999999999999" is not a time`},
	}
	for _, tt := range tests {
		c, _, err := Parse("x.conf", strings.NewReader("[Interface]\n"+tt.line+"\n"))
		if tt.fault != "" {
			if err == nil || !strings.HasPrefix(err.Error(), tt.fault) {
				t.Errorf("%s: %v, want %s", tt.line, err, tt.fault)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		if c.Interface.HookMode != tt.mode || c.Interface.HookTimeout != tt.timeout {
			t.Errorf("%s: %q, %v", tt.line, c.Interface.HookMode, c.Interface.HookTimeout)
		}
		if again := reformat(t, c); !Equal(c, again) {
			t.Errorf("%s: formatted and read again it is %q, %v", tt.line, again.Interface.HookMode, again.Interface.HookTimeout)
		}
		if s := stripped([]byte("[Interface]\n" + tt.line + "\n")); s != "[Interface]\n" {
			t.Errorf("%s: strip leaves %q", tt.line, s)
		}
	}
}
