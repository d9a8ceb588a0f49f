// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// networkManagerDir is where NetworkManager keeps what it knows until the next
// boot.
const networkManagerDir = "/run/NetworkManager"

// networkManager is NetworkManager, where it makes resolv.conf. It is told by
// files of its configuration, which it is then made to read: global nameservers
// for a tunnel for all names, and servers of its dnsmasq for one with routing
// domains. So it knows them after its own restart, and forgets them with the
// file.
//
// It is not told of the link. What org.freedesktop.NetworkManager.Device.Reapply
// says of nameservers is lost when NetworkManager is restarted, and takes the
// link over: NetworkManager 1.42 then removed an IPv6 route, changed metrics and
// added a link-local address, with the flag that was to preserve them. A link
// that it doesn't manage has no nameservers there at all.
type networkManager struct {
	bus  string // socket of the system bus
	rc   string // path of resolv.conf
	run  string // networkManagerDir
	etc  string // of its configuration
	conf string // files of ours: for all names
	masq string // for some
}

func newNetworkManager(bus, rc, run, etc string) *networkManager {
	return &networkManager{
		bus: bus, rc: rc, run: run, etc: etc,
		conf: filepath.Join(run, "conf.d", "zz-wgctl.conf"), // what comes last counts
		masq: filepath.Join(etc, "dnsmasq.d", "wgctl.conf"),
	}
}

// ready finds what NetworkManager would not take.
func (n *networkManager) ready(s Settings) error {
	if len(s.Routing) > 0 {
		if len(s.Search) > 0 {
			return fmt.Errorf("NetworkManager can't search %s beside what is sent to the tunnel by domain: write ~%s, or leave it out", s.Search[0], s.Search[0])
		}
		return unwritable(n.masq, unix.Access(n.etc, unix.W_OK))
	}
	files, err := filepath.Glob(filepath.Join(n.etc, "conf.d", "*.conf"))
	if err != nil {
		return err
	}
	for _, path := range append(files, filepath.Join(n.etc, "NetworkManager.conf")) {
		for line := range strings.Lines(readText(path)) {
			if strings.TrimSpace(line) == "[global-dns-domain-*]" {
				return fmt.Errorf("NetworkManager has nameservers for all names in %s, which count for more", path)
			}
		}
	}
	return nil
}

// installed goes by our files, and by those in which NetworkManager says what
// it does. That can be done though the bus hangs.
func (n *networkManager) installed(ctx context.Context, ifname string) (Settings, error) {
	s := Settings{Interface: ifname}
	stale := false
	for _, path := range []string{n.conf, n.masq} {
		text, err := readIfThere(path)
		if err != nil {
			return s, err
		}
		f := parseNM(text)
		e, ok := f.find(ifname)
		if ok && e.state != nmLeaving {
			s = e.Settings
		}
		stale = stale || ok && (e.state != nmTold || !n.inEffect(path, f))
		if _, err := os.Lstat(temporaryBeside(path, ifname)); err == nil {
			stale = true
		}
	}
	s.Stale = stale
	if s.Empty() || seenElsewhere(ctx, n.bus, nmName) {
		return Settings{Interface: ifname}, nil
	}
	s.Backend = BackendNetworkManager
	return s, nil
}

// inEffect reports whether look-ups go by a file of ours, as far as can be seen:
// NetworkManager may have been configured another way since, and resolv.conf
// made by somebody else.
func (n *networkManager) inEffect(path string, f nmFragment) bool {
	now := parse("", readText(n.rc)).Servers
	if path == n.masq {
		return slices.ContainsFunc(now, netip.Addr.IsLoopback)
	}
	if used := parse("", readText(filepath.Join(n.run, "no-stub-resolv.conf"))).Servers; !slices.Equal(used, f.servers()) {
		return false
	}
	written := parse("", readText(filepath.Join(n.run, "resolv.conf"))).Servers
	return len(written) > 0 && slices.Contains(now, written[0])
}

// nmFragments are our two files.
type nmFragments struct{ conf, masq nmFragment }

func (n *networkManager) add(ctx context.Context, s Settings) error {
	return n.change(ctx, s.Interface, func(old nmFragments) nmFragments {
		if len(s.Routing) > 0 {
			return nmFragments{old.conf.leave(s.Interface), old.masq.set(s, nmTelling)}
		}
		if len(old.conf.entries) == 0 {
			old.conf.before = readText(filepath.Join(n.run, "no-stub-resolv.conf"))
		}
		return nmFragments{old.conf.set(s, nmTelling), old.masq.leave(s.Interface)}
	})
}

func (n *networkManager) remove(ctx context.Context, s Settings) error {
	return n.change(ctx, s.Interface, func(old nmFragments) nmFragments {
		return nmFragments{old.conf.leave(s.Interface), old.masq.leave(s.Interface)}
	})
}

// change writes the files, has them read, and writes what is to stand: three
// times, so that a run that is killed in between leaves in them how far it came.
// If NetworkManager doesn't take it, what was there before stands again.
func (n *networkManager) change(ctx context.Context, ifname string, with func(nmFragments) nmFragments) error {
	unlock, err := (&file{path: n.rc}).lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	conf, err := readIfThere(n.conf)
	masq, err2 := readIfThere(n.masq)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	old := nmFragments{parseNM(conf), parseNM(masq)}
	next := with(old)
	if next.empty(ifname) {
		return n.tidy(ifname)
	}
	if err := n.write(ifname, next); err != nil {
		return errors.Join(err, n.write(ifname, old))
	}
	if err := n.tell(ctx, ifname, next); err != nil {
		if failed := n.write(ifname, old); failed != nil {
			return errors.Join(err, failed)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			_ = n.tell(context.WithoutCancel(ctx), ifname, next) // the first error says why
			return err
		}
		if e, _ := next.conf.find(ifname); e.state == nmLeaving {
			// It is to be told again; but look-ups don't wait for that.
			err = errors.Join(err, n.standIn(next.conf))
		}
		return err
	}
	return errors.Join(n.write(ifname, nmFragments{next.conf.settled(ifname), next.masq.settled(ifname)}), n.tidy(ifname))
}

// empty reports whether nothing is there of a tunnel, nor to be.
func (t nmFragments) empty(ifname string) bool {
	_, all := t.conf.find(ifname)
	_, some := t.masq.find(ifname)
	return !all && !some
}

// tell has NetworkManager read those of the files in which the tunnel is.
func (n *networkManager) tell(ctx context.Context, ifname string, t nmFragments) error {
	var flags uint32
	var servers []netip.Addr
	if _, ok := t.conf.find(ifname); ok {
		flags |= reloadConf | reloadRC
		servers = t.conf.servers()
	}
	if _, ok := t.masq.find(ifname); ok {
		flags |= reloadDNSFull
	}
	if e, _ := t.conf.find(ifname); e.state != nmTelling && !t.masq.telling(ifname) && nmGone(ctx, n.bus) {
		return n.standIn(t.conf)
	}
	return nmTell(ctx, n.bus, flags, servers)
}

func (f nmFragment) telling(ifname string) bool {
	e, _ := f.find(ifname)
	return e.state == nmTelling
}

// standIn writes resolv.conf for a NetworkManager that has ended and left ours
// there. It writes its own when it comes back.
func (n *networkManager) standIn(f nmFragment) error {
	text := readText(n.rc)
	if f.before == "" || len(f.servers()) > 0 || !strings.Contains((Facts{Text: text}).comments(), "NetworkManager") {
		return nil
	}
	return writeInPlace(n.rc, f.before)
}

// write makes both files what they are to be.
func (n *networkManager) write(ifname string, t nmFragments) error {
	return errors.Join(
		replace(n.conf, ifname, t.conf.render(globalDNS)),
		replace(n.masq, ifname, t.masq.render(splitDNS)))
}

// tidy removes what a killed run was writing.
func (n *networkManager) tidy(ifname string) error {
	return errors.Join(gone(os.Remove(temporaryBeside(n.conf, ifname))), gone(os.Remove(temporaryBeside(n.masq, ifname))))
}

// replace replaces a file at once, or removes it for no text. The folder stays:
// who reads it may have made it.
func replace(path, tunnel, text string) error {
	switch old, err := readIfThere(path); {
	case err != nil:
		return err
	case old == text:
		return nil
	case text == "":
		return os.Remove(path)
	}
	// #nosec G301 -- the folders of NetworkManager's settings, which are no secret
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := temporaryBeside(path, tunnel)
	err := writeSynced(temporary, text)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, gone(os.Remove(temporary)))
	}
	return syncDir(filepath.Dir(path))
}

// temporaryBeside is the name of a file that is being written for a tunnel.
// dnsmasq would read it without the dot.
func temporaryBeside(path, tunnel string) string {
	return filepath.Join(filepath.Dir(path), ".wgctl-new-"+tunnel)
}
