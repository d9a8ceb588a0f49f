// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
)

// Forget takes the tunnels that are dead out of resolv.conf, and returns them: a
// power cut or a reboot leaves the file as it was, and look-ups would go to
// nameservers that nobody reaches. With the last one what was there before comes
// back.
func (r *Resolver) Forget(ctx context.Context, dead func(ifname string) bool) (names []string, err error) {
	if r.path == "" {
		return nil, nil
	}
	text := readText(r.path)
	if !isOurs(text) {
		return nil, nil
	}
	var errs []error
	for _, t := range parseFile(text).tunnels {
		if !dead(t.Interface) {
			continue
		}
		if err := r.file().remove(ctx, Settings{Interface: t.Interface}); err != nil {
			errs = append(errs, err)
			continue
		}
		names = append(names, t.Interface)
	}
	return names, errors.Join(errs...)
}

// Path is that of resolv.conf, "" if there is none that could be told.
func (r *Resolver) Path() string { return r.path }

// Before returns what resolv.conf held before the first tunnel, "" if it is none
// of ours.
func (r *Resolver) Before() string {
	if r.path == "" || !isOurs(readText(r.path)) {
		return ""
	}
	return r.file().before()
}
