// SPDX-License-Identifier: MIT

package tunnel

import (
	"fmt"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
)

// backendFacts are all that the choice of a backend depends on.
type backendFacts struct {
	Module    bool             // the kernel knows the link type
	Userspace error            // why an embedded device can't be started; only asked for where it matters
	File      config.Backend   // what the file says
	Forced    config.Backend   // what the command line says
	Running   netlinkx.Backend // what the tunnel runs on now, if it is up
}

// chooseBackend decides what implements the device. The command line beats
// the file, and "auto" is the kernel if it can and the embedded device if not,
// but a tunnel that is up stays on what it runs on.
func chooseBackend(f backendFacts) (netlinkx.Backend, string, error) {
	want := f.Forced
	if want == "" {
		want = f.File
	}
	if want == "" {
		want = config.BackendAuto
	}
	module, tun := "no", "unasked"
	if f.Module {
		module = "yes"
	}
	choice := netlinkx.Backend(want)
	switch {
	case want == config.BackendAuto && f.Running != "":
		choice = f.Running
	case want == config.BackendAuto && f.Module:
		choice = netlinkx.BackendKernel
	case want == config.BackendAuto:
		choice = netlinkx.BackendUserspace
	}
	if choice == netlinkx.BackendUserspace {
		tun = "ok"
		if f.Userspace != nil {
			tun = "no"
		}
	}
	trace := func(ret string) string {
		return fmt.Sprintf("backend: [want=%s module=%s tun=%s ret=%s]", want, module, tun, ret)
	}
	switch {
	case choice == netlinkx.BackendKernel && !f.Module && f.Running != choice:
		return "", trace("none"), fmt.Errorf("this kernel has no WireGuard: install the wireguard module, or allow the embedded device with Backend = auto")
	case choice == netlinkx.BackendUserspace && f.Userspace != nil && f.Running != choice:
		if want == config.BackendAuto {
			return "", trace("none"), fmt.Errorf("this kernel has no WireGuard, and the embedded device can't run: %w", f.Userspace)
		}
		return "", trace("none"), fmt.Errorf("the embedded device can't run: %w", f.Userspace)
	case f.Running != "" && f.Running != choice:
		return "", trace("none"), fmt.Errorf("the tunnel runs on the %s backend, and another needs a new link: take it down and up again", f.Running)
	}
	return choice, trace(string(choice)), nil
}
