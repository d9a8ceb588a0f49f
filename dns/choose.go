// SPDX-License-Identifier: MIT

package dns

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Names of the backends. Auto and off are only asked for, none is only chosen.
const (
	BackendAuto           = "auto"
	BackendResolved       = "resolved"
	BackendNetworkManager = "networkmanager"
	BackendResolvconf     = "resolvconf"
	BackendFile           = "file"
	BackendOff            = "off"
	BackendNone           = "none"
)

// Backends are the names that can be asked for.
var Backends = []string{BackendAuto, BackendResolved, BackendNetworkManager, BackendResolvconf, BackendFile, BackendOff}

// Errors of a choice that finds nobody.
var (
	// ErrNoBackend is that of a host on which nobody can be told.
	ErrNoBackend = errors.New("nobody here can be told of nameservers: there is no systemd-resolved and no resolvconf, and")
	// ErrNoResolvconf is that of a host that is to have resolvconf.
	ErrNoResolvconf = errors.New("resolvconf is not installed: install openresolv or remove DNSBackend from the file")
)

// An Owner is who makes /etc/resolv.conf, as far as the file tells.
type Owner string

// The owners.
const (
	OwnerMissing        Owner = "missing"
	OwnerPlain          Owner = "plain" // written by hand, or by who leaves no name
	OwnerUs             Owner = "wgctl"
	OwnerResolvedStub   Owner = "stub"   // of systemd-resolved
	OwnerResolvedUplink Owner = "uplink" // systemd-resolved's list of nameservers, without itself
	OwnerNetworkManager Owner = "networkmanager"
	OwnerOpenResolv     Owner = "openresolv"
	OwnerDebian         Owner = "debian"
)

// An Answer is what came of asking systemd-resolved, or NetworkManager.
type Answer string

// The answers.
const (
	AnswerUnasked   Answer = ""
	AnswerYes       Answer = "yes"
	AnswerNo        Answer = "no"
	AnswerHangs     Answer = "hangs"     // within busTimeout there was none
	AnswerElsewhere Answer = "elsewhere" // it runs in another network namespace, and sees other links
)

// Facts are what the choice of a backend is made from.
type Facts struct {
	Forced string // a name of a backend, or "" for auto
	Last   string // who was told the last time, "" if nobody was
	Split  bool   // names below some domains are to go to the tunnel alone

	// Of /etc/resolv.conf.
	Target   string   // what it leads to if it is a symbolic link, else ""
	Text     string   // "" if there is none
	Missing  bool     // it, or what it leads to, doesn't exist
	Writable error    // nil if the file backend could write it
	Hosts    []string // the services of "hosts" in /etc/nsswitch.conf

	Resolved       Answer
	NetworkManager NetworkManager

	// SearchAlone says that search domains are wanted, and no nameserver.
	SearchAlone bool

	// Of the program resolvconf.
	Path           string // of resolvconf, "" if there is none
	Link           string // what Path leads to if it is a symbolic link, else ""
	Script         string // the text of resolvconf, if it is a script
	InterfaceOrder string // /etc/resolvconf/interface-order, "" if there is none
	Config         string // /etc/resolvconf.conf, "" if there is none

	// Installed reports whether a program is: one of the local resolvers that
	// openresolv knows. It is asked where openresolv is to tell one.
	Installed func(program string) bool
}

// A Choice is the backend to use.
type Choice struct {
	Name   string // one of the names of backends
	Splits bool   // names below some domains can go to the tunnel alone

	// The rest is of resolvconf.
	Path    string
	Flavour Flavour

	// Prefix is put before the interface name, as in "tun.wg0": Debian's
	// resolvconf sorts its records by name.
	Prefix string

	// Local is the resolver of this host, such as dnsmasq, that openresolv
	// tells which nameservers are for which domains; "" if there is none.
	Local string

	// Records are the folders that may hold what resolvconf was told, one
	// file a name, the first that exists being the one in use. There are
	// none where it has to be asked.
	Records []string

	// ResolvConf is the file that resolvconf writes in place, or "" where it
	// writes none or another way.
	ResolvConf string
}

// Choose returns the backend to use and how it was found, as one line. It goes
// by who answers the host's look-ups, not by what is installed: a resolver that
// runs and that nobody asks is none. Whoever was told the last time is told
// again, as long as that can be. Else it is
//
//  1. systemd-resolved, where look-ups go to it: by resolv.conf or by
//     nsswitch.conf;
//  2. NetworkManager, where it makes resolv.conf, unless all that is wanted is
//     a search domain beside its nameservers;
//  3. resolvconf, unless that is systemd's by another name, or look-ups
//     wouldn't go by what it writes;
//  4. the file itself.
func Choose(f Facts) (Choice, string, error) {
	t := trace{}
	owner := f.owner()
	t.add("rc", string(owner))
	if f.asksResolved() {
		if owner != OwnerResolvedStub && owner != OwnerResolvedUplink && slices.Contains(f.Hosts, "resolve") {
			t.add("nss", "resolve")
		}
		t.add("resolved", cmp.Or(string(f.Resolved), "unasked"))
	}
	if f.asksNetworkManager() {
		t.networkManager(f.NetworkManager)
	}
	if f.Forced != "" && f.Forced != BackendAuto {
		t.add("forced", f.Forced)
	}
	if last := f; f.Last != "" && (f.Forced == "" || f.Forced == BackendAuto) {
		last.Forced = f.Last
		if c, err := last.choose(&trace{}); err == nil && (c.Splits || !f.Split) {
			t.add("last", f.Last)
			return c, t.line(c.Name), nil
		}
	}
	c, err := f.choose(&t)
	return c, t.line(c.Name), err
}

func (f Facts) choose(t *trace) (Choice, error) {
	none := Choice{Name: BackendNone}
	switch f.Forced {
	case BackendOff:
		return Choice{Name: BackendOff}, nil
	case BackendResolved:
		return f.resolved()
	case BackendNetworkManager:
		return f.networkManager()
	case BackendFile:
		if f.Writable != nil {
			return none, f.Writable
		}
		return Choice{Name: BackendFile}, nil
	case BackendResolvconf:
		c := f.resolvconf()
		t.resolvconf(c)
		switch {
		case c.Path == "":
			return none, ErrNoResolvconf
		case c.Flavour == Systemd:
			return f.resolved()
		}
		return c, nil
	}
	if f.asksResolved() && f.Resolved != AnswerNo && f.Resolved != AnswerElsewhere {
		return f.resolved()
	}
	if c, err := f.networkManager(); f.asksNetworkManager() && (err == nil || f.NetworkManager.Answer == AnswerHangs) {
		return c, err
	}
	// resolvconf would take the nameservers away that the search is beside.
	beside := f.SearchAlone && f.owner() == OwnerNetworkManager
	c := f.resolvconf()
	t.resolvconf(c)
	usable := c.Path != "" && c.Flavour != Systemd && !beside
	if why := f.inVain(c); usable && f.Writable == nil && why != "" {
		t.add("unused", why)
		usable = false
	}
	switch {
	case usable:
		return c, nil
	case f.Writable != nil:
		return none, fmt.Errorf("%w %w", ErrNoBackend, f.Writable)
	}
	return Choice{Name: BackendFile}, nil
}

// resolved is the choice of systemd-resolved, if it can be spoken to.
func (f Facts) resolved() (Choice, error) {
	switch f.Resolved {
	case AnswerYes:
		return Choice{Name: BackendResolved, Splits: true}, nil
	case AnswerHangs:
		return Choice{Name: BackendNone}, fmt.Errorf("systemd-resolved did not answer on the system bus within %s", busTimeout)
	case AnswerElsewhere:
		return Choice{Name: BackendNone}, errors.New("systemd-resolved runs in another network namespace, and can't be told of this one's links")
	}
	return Choice{Name: BackendNone}, errors.New("systemd-resolved isn't on the system bus")
}

// asksResolved reports whether it matters if systemd-resolved answers.
func (f Facts) asksResolved() bool {
	switch f.Forced {
	case BackendResolved:
		return true
	case BackendResolvconf:
		return f.Path != "" && f.flavour() == Systemd
	case "", BackendAuto:
		o := f.owner()
		return f.Last == BackendResolved || o == OwnerResolvedStub || o == OwnerResolvedUplink || slices.Contains(f.Hosts, "resolve")
	}
	return false
}

// passedBy returns the nameservers that programs ask which read resolv.conf
// themselves, where that doesn't lead to systemd-resolved: it is listed there at
// the most among others.
func (f Facts) passedBy() (list []netip.Addr) {
	for _, a := range parse("", f.Text).Servers {
		if a.IsLoopback() {
			return nil
		}
		list = append(list, a)
	}
	return list
}

// owner says who makes resolv.conf. Where that is a tunnel of ours, it is
// still said, and not who was before: look-ups go by our file now.
func (f Facts) owner() Owner {
	switch {
	case strings.HasPrefix(f.Text, mark):
		return OwnerUs
	case isResolvedFile(f.Target, "stub-resolv.conf"):
		return OwnerResolvedStub
	case isResolvedFile(f.Target, "resolv.conf"):
		return OwnerResolvedUplink
	case isNetworkManagerFile(f.Target) && !f.only("127.0.0.53"): // else it only says whom to ask
		return OwnerNetworkManager
	case f.Missing:
		return OwnerMissing
	}
	head := f.comments()
	switch {
	case f.only("127.0.0.53"):
		return OwnerResolvedStub // a copy of the stub's file
	case strings.Contains(head, "systemd-resolved") && f.names("127.0.0.53"):
		return OwnerResolvedStub
	case strings.Contains(head, "systemd-resolved(8)"):
		return OwnerResolvedUplink
	case strings.Contains(head, "NetworkManager"):
		return OwnerNetworkManager
	case strings.Contains(head, "Generated by resolvconf"), strings.Contains(head, "openresolv"):
		return OwnerOpenResolv
	case strings.Contains(head, "generated by resolvconf(8)"):
		return OwnerDebian
	}
	return OwnerPlain
}

// isResolvedFile reports whether a path is one of systemd-resolved's own files:
// where they are now, where they were (/run/systemd/resolve since v216), or
// that of /usr, which never changes.
func isResolvedFile(path, name string) bool {
	return path == "/run/systemd/resolve/"+name || path == "/var/run/systemd/resolve/"+name ||
		name == "stub-resolv.conf" && (path == "/usr/lib/systemd/resolv.conf" || path == "/lib/systemd/resolv.conf")
}

// isNetworkManagerFile reports whether a path is one of NetworkManager's own
// files: what resolv.conf holds or would hold, and the same without a dnsmasq of
// its own.
func isNetworkManagerFile(path string) bool {
	path = strings.TrimPrefix(path, "/var")
	return path == networkManagerDir+"/resolv.conf" || path == networkManagerDir+"/no-stub-resolv.conf"
}

// comments returns the comments at the head of resolv.conf.
func (f Facts) comments() string {
	var b strings.Builder
	for line := range strings.Lines(f.Text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			break
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// only reports whether one address is the only nameserver.
func (f Facts) only(address string) bool {
	s := parse("", f.Text)
	return len(s.Servers) == 1 && s.Servers[0].String() == address
}

func (f Facts) names(address string) bool {
	return slices.Contains(parse("", f.Text).Servers, netip.MustParseAddr(address))
}

// A trace is how a choice was made.
type trace []string

func (t *trace) add(key, value string) { *t = append(*t, key+"="+value) }

func (t *trace) resolvconf(c Choice) {
	if c.Path == "" {
		t.add("resolvconf", "-")
		return
	}
	t.add("resolvconf", c.Path)
	t.add("flavour", string(c.Flavour))
	t.add("prefix", fmt.Sprintf("%q", c.Prefix))
	if c.Local != "" {
		t.add("local", c.Local)
	}
}

func (t *trace) line(name string) string {
	return "dns: [" + strings.Join(append(*t, "ret="+name), " ") + "]"
}
