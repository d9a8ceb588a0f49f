// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/tunnel"
	"github.com/wgctl/wgctl/tunnel/hook"
)

// trusted refuses the hooks of a file that others than root and whoever runs
// wgctl can write. wg-quick doesn't ask.
func trusted(ui *ui, cfg *config.Config, path string) error {
	if ui.quick || cfg.Interface.HookMode == config.HooksOff || cfg.Interface.Hooks.Empty() {
		return nil
	}
	err := cfg.Trusted(trustedUsers()...)
	if fault := (*config.Untrusted)(nil); errors.As(err, &fault) {
		return withHint(fmt.Errorf("%s: %w", path, err),
			fmt.Sprintf(`"chown root %[1]s; chmod go-w %[1]s" makes it root's alone; "Hooks = off" in the file runs none`, fault.Path))
	}
	return err
}

// trustedUsers are those beside root whose hooks may run.
func trustedUsers() []int {
	users := []int{os.Geteuid()}
	if uid, err := strconv.Atoi(os.Getenv("SUDO_UID")); err == nil {
		users = append(users, uid)
	}
	return users
}

// A planHook is what becomes of one hook.
type planHook struct {
	Phase   string   `json:"phase"`
	Command string   `json:"command"`
	Fate    string   `json:"fate"` // "shell", "lifted", "undone" or "off"
	Why     string   `json:"why,omitempty"`
	Changes []string `json:"changes,omitempty"` // of a lifted one
}

// planHooks says what becomes of the hooks of one way, up or down.
func planHooks(verdicts []hook.Verdict, down bool, spec *tunnel.Spec) (out []planHook) {
	public := spec.PublicKeys()
	for _, v := range verdicts {
		if (v.Phase == hook.PreDown || v.Phase == hook.PostDown) != down {
			continue
		}
		h := planHook{Phase: string(v.Phase), Command: tunnel.HideKeys(v.Text, public), Fate: string(v.Fate), Why: v.Why}
		for _, c := range v.Changes {
			h.Changes = append(h.Changes, c.String())
		}
		out = append(out, h)
	}
	return out
}

// text prints a hook and below it what becomes of it.
func (h planHook) text(b *strings.Builder) {
	fmt.Fprintf(b, "%s = %s\n  %s", h.Phase, h.Command, h.Fate)
	if h.Why != "" {
		b.WriteString(": " + h.Why)
	}
	b.WriteString("\n")
	for _, c := range h.Changes {
		b.WriteString("  " + c + "\n")
	}
}
