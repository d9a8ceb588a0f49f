// SPDX-License-Identifier: MIT

package dns

import (
	"cmp"
	"errors"
	"fmt"
)

// ErrNoFile is that of a network namespace whose programs have no resolv.conf
// that could be told.
var ErrNoFile = errors.New("nobody in this network namespace can be told of nameservers: only one with a name has a resolv.conf of its own, /etc/netns/NAME/resolv.conf")

// At returns the resolver of a network namespace that has a resolv.conf of its
// own at that path, as /etc/netns/NAME/resolv.conf (ip-netns(8)); "" if it has
// none. The daemons of the host answer look-ups there, and not in the namespace:
// they are neither asked nor told.
func At(path string) *Resolver { return &Resolver{path: path, alone: true} }

// chooseAlone is Choose for a namespace.
func (r *Resolver) chooseAlone(s Settings) (Choice, string, error) {
	t := trace{"netns=" + cmp.Or(r.path, "-")}
	switch {
	case s.Backend != "" && s.Backend != BackendAuto && s.Backend != BackendFile:
		t.add("forced", s.Backend)
		return Choice{Name: BackendNone}, t.line(BackendNone), fmt.Errorf("%s belongs to the host, and a network namespace has a file at the most", s.Backend)
	case r.path == "":
		return Choice{Name: BackendNone}, t.line(BackendNone), ErrNoFile
	}
	return Choice{Name: BackendFile}, t.line(BackendFile), nil
}
