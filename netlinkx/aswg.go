// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// AsWg is a Kernel that finds devices as wg does: a process that answers on a
// UAPI socket is a device by the socket's name, in whatever namespace its link
// may be, and comes before a device of the kernel.
type AsWg struct{ *Kernel }

// Device returns the device. Its errors are those that wg shows: without the
// kernel's WireGuard, every name that has no socket is unix.EPROTONOSUPPORT.
func (k AsWg) Device(ctx context.Context, name string) (Device, error) {
	if k.hasSocket(ctx, name) {
		return uapiGet(ctx, k.uapiPath(name), name)
	}
	if err := k.asWgName(ctx, name); err != nil {
		return Device{}, err
	}
	return k.kernelDevice(ctx, name)
}

// Configure changes a device; see Kernel.Configure and AsWg.Device.
func (k AsWg) Configure(ctx context.Context, name string, c DeviceChange) error {
	if k.hasSocket(ctx, name) {
		return k.uapiConfigure(ctx, name, 0, c)
	}
	if err := k.asWgName(ctx, name); err != nil {
		return err
	}
	return k.kernelChange(ctx, name, c)
}

// DeviceNames returns the kernel's devices, by link number, then those behind
// sockets, sorted.
func (k AsWg) DeviceNames(ctx context.Context) ([]string, error) {
	links, err := k.links(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range links {
		if l.Kind == kindWireGuard {
			names = append(names, l.Name)
		}
	}
	entries, err := os.ReadDir(k.uapiDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) && len(names) == 0 {
		return nil, err
	}
	if k.ownDir != "" {
		own, _ := os.ReadDir(k.ownDir)
		entries = append(own, entries...)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".sock")
		if ok && !slices.Contains(names, name) && k.hasSocket(ctx, name) {
			names = append(names, name)
		}
	}
	return names, ctx.Err()
}

// hasSocket reports whether somebody answers on the socket of that name, or
// would answer to a more privileged caller. A socket in a folder that isn't
// for the caller isn't there: he may have rights to the kernel's devices.
func (k AsWg) hasSocket(ctx context.Context, name string) bool {
	if !isSocketName(name) {
		return false
	}
	if _, err := os.Stat(k.uapiPath(name)); err != nil {
		return false
	}
	conn, err := uapiDial(ctx, k.uapiPath(name))
	if err == nil {
		_ = conn.Close()
	}
	return !errors.Is(err, os.ErrNotExist)
}

// asWgName refuses a name that the kernel's devices can't have.
func (k AsWg) asWgName(ctx context.Context, name string) error {
	switch has, err := k.KernelHasWireGuard(ctx); {
	case err != nil:
		return err
	case !has:
		return missingError{unix.EPROTONOSUPPORT}
	case len(name) >= unix.IFNAMSIZ:
		return missingError{unix.ENAMETOOLONG}
	case name == "":
		return missingError{unix.ENODEV}
	}
	return nil
}

// isSocketName reports whether a name can't lead out of the sockets' folder.
func isSocketName(name string) bool {
	return name != "" && !strings.Contains(name, "/") && len(name) < unix.IFNAMSIZ
}
