// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// undoTimeout bounds the way back after an error, which takes no notice of a
// context that has ended.
const undoTimeout = 2 * commandTimeout

// netifDir is where systemd-resolved keeps the settings of links, one file a
// link index. Its lines are those of link_save_user in systemd's
// src/resolve/resolved-link.c.
const netifDir = "/run/systemd/resolve/netif"

// A Resolver tells resolvconf what tunnels want. Where there is no resolvconf
// it does for all tunnels that want nothing.
type Resolver struct {
	choice Choice
	trace  string // of the choice
	err    error  // why there is no backend
}

// Open returns the resolver of this host and the trace of the choice. A host
// without resolvconf is no error: see Ready. The error is the context's.
func Open(ctx context.Context) (*Resolver, string, error) {
	r, trace := New(Detect(ctx))
	return r, trace, ctx.Err()
}

// New returns the resolver that Choose names, and the trace of the choice.
func New(f Facts) (*Resolver, string) {
	choice, trace, err := Choose(f)
	return &Resolver{choice, trace, err}, trace
}

// Ready returns nil if settings could be applied, else why not: an ErrNoBackend,
// or the errno of a resolv.conf that can't be written. Ask before anything else
// is changed.
func (r *Resolver) Ready() error {
	if r.err != nil || r.choice.ResolvConf == "" {
		return r.err
	}
	// openresolv's libc script takes no notice of whether it could write the
	// file (seen with 3.12), so its exit status doesn't tell.
	switch err := unix.Access(r.choice.ResolvConf, unix.W_OK); err {
	case unix.EROFS, unix.EPERM: // read-only mount, immutable file
		return fmt.Errorf("writing %s: %w", r.choice.ResolvConf, err)
	}
	return nil
}

// Choose returns the trace of the choice that s goes by, and an error if s can't
// be applied with it, changing nothing. Empty settings need no choice: they have
// no trace.
func (r *Resolver) Choose(ctx context.Context, s Settings) (trace string, err error) {
	if s.Empty() {
		return "", ctx.Err()
	}
	if err := s.validate(); err != nil {
		return r.trace, err
	}
	if r.err == nil && r.choice.Flavour == Systemd && len(s.Servers) == 0 {
		return r.trace, errors.New("resolvectl takes no search domains without a nameserver")
	}
	return r.trace, errors.Join(r.Ready(), ctx.Err())
}

// Installed returns what stands for the tunnel of that interface: empty
// settings, with the interface's name, when nothing does. It reads resolvconf's
// files, and runs it only where it isn't known where they are.
func (r *Resolver) Installed(ctx context.Context, ifname string) (Settings, error) {
	none := Settings{Interface: ifname}
	if err := ctx.Err(); err != nil || r.err != nil {
		return none, err
	}
	if err := none.validate(); err != nil {
		return none, err
	}
	var text string
	var err error
	switch {
	case r.choice.Flavour == Systemd:
		text, err = resolvedRecord(ifname)
	case len(r.choice.Records) == 0:
		// Exits with an error when there is nothing, in words that vary.
		text, _ = run(ctx, "", r.choice.Path, "-l", r.record(ifname))
		err = ctx.Err()
	default:
		text, err = r.readRecord(ifname)
	}
	if err != nil {
		return none, fmt.Errorf("reading the resolver's settings of %s: %w", ifname, err)
	}
	return parse(ifname, text), nil
}

// Apply replaces what stands for s.Interface by s; empty settings take it away.
// If resolvconf fails, what it may have taken in is replaced by what was there
// before.
func (r *Resolver) Apply(ctx context.Context, s Settings) error {
	if err := s.validate(); err != nil {
		return err
	}
	if r.err != nil {
		if s.Empty() {
			return nil
		}
		return r.err
	}
	if s.Empty() {
		if err := r.remove(ctx, s.Interface); err != nil {
			return fmt.Errorf("removing the resolver's settings of %s: %w", s.Interface, err)
		}
		return nil
	}
	if err := r.Ready(); err != nil {
		return fmt.Errorf("applying the resolver's settings of %s: %w", s.Interface, err)
	}
	have, err := r.Installed(ctx, s.Interface)
	if err != nil {
		return err
	}
	if err := r.add(ctx, s); err != nil {
		err = fmt.Errorf("applying the resolver's settings of %s: %w", s.Interface, err)
		return errors.Join(err, r.putBack(ctx, have))
	}
	return nil
}

// putBack makes the settings of have stand again after a failure.
func (r *Resolver) putBack(ctx context.Context, have Settings) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	var err error
	if have.Empty() {
		err = r.remove(ctx, have.Interface)
	} else {
		err = r.add(ctx, have)
	}
	// What broke the first call, such as a resolv.conf that can't be written,
	// breaks this one too; what counts is that the entry is as it was.
	if now, readErr := r.Installed(ctx, have.Interface); readErr == nil && now.Equal(have) {
		return nil
	}
	if err == nil {
		err = errors.New("resolvconf did not take it")
	}
	return fmt.Errorf("putting the resolver's settings of %s back: %w", have.Interface, err)
}

// add gives resolvconf the settings as wg-quick does (its set_dns): metric 0
// and exclusive.
func (r *Resolver) add(ctx context.Context, s Settings) error {
	_, err := run(ctx, s.text(), r.choice.Path, "-a", r.record(s.Interface), "-m", "0", "-x")
	return err
}

// remove takes the tunnel's entry away, if there is one (wg-quick's unset_dns).
func (r *Resolver) remove(ctx context.Context, ifname string) error {
	_, err := run(ctx, "", r.choice.Path, "-d", r.record(ifname), "-f")
	return err
}

// record returns the name that resolvconf knows the tunnel by.
func (r *Resolver) record(ifname string) string { return r.choice.Prefix + ifname }

// readRecord returns the text of the tunnel's record, "" if there is none.
func (r *Resolver) readRecord(ifname string) (string, error) {
	for _, dir := range r.choice.Records {
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		return readIfThere(filepath.Join(dir, r.record(ifname)))
	}
	return "", nil
}

// resolvedRecord returns what systemd-resolved has of the link, in the words of
// resolv.conf. A link that is gone took its settings along.
func resolvedRecord(ifname string) (string, error) {
	link, err := net.InterfaceByName(ifname)
	if err != nil {
		return "", nil
	}
	text, err := readIfThere(filepath.Join(netifDir, strconv.Itoa(link.Index)))
	return resolvedText(text), err
}

// resolvedText turns a file of systemd-resolved's into resolv.conf's words.
// The root as a routing domain is left out: it is how resolvectl, when called
// as resolvconf, writes down that the settings are exclusive.
func resolvedText(state string) string {
	var b strings.Builder
	for line := range strings.Lines(state) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		for _, word := range strings.Fields(value) {
			switch {
			case key == "SERVERS":
				fmt.Fprintf(&b, "nameserver %s\n", word)
			case key == "DOMAINS" && word != "~.":
				fmt.Fprintf(&b, "search %s\n", word)
			}
		}
	}
	return b.String()
}

// readIfThere reads a file that may be missing.
func readIfThere(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// text returns the settings in the words of resolv.conf(5), as wg-quick pipes
// them to resolvconf.
func (s Settings) text() string {
	var b strings.Builder
	for _, a := range s.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(s.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(s.Search, " "))
	}
	return b.String()
}

// parse reads the words of resolv.conf(5) that text writes; others are left
// out.
func parse(ifname, text string) Settings {
	s := Settings{Interface: ifname}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) < 2:
		case words[0] == "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil {
				s.Servers = append(s.Servers, a)
			}
		case words[0] == "search":
			s.Search = append(s.Search, words[1:]...)
		}
	}
	return s
}

var ifnamePattern = regexp.MustCompile(`^[a-zA-Z0-9_=+.-]{1,15}$`)

// validate refuses what resolvconf would misread. It is made of shell scripts
// that evaluate what they are given, so a domain must hold nothing that means
// something to a shell.
func (s Settings) validate() error {
	if !ifnamePattern.MatchString(s.Interface) {
		return fmt.Errorf("reading resolver settings: interface name %q: %w", s.Interface, unix.EINVAL)
	}
	for _, a := range s.Servers {
		if !a.IsValid() {
			return fmt.Errorf("reading resolver settings of %s: an empty nameserver: %w", s.Interface, unix.EINVAL)
		}
	}
	for _, d := range s.Search {
		if d == "" || strings.HasPrefix(d, "-") || strings.ContainsFunc(d, notInDomain) {
			return fmt.Errorf("reading resolver settings of %s: search domain %q: %w", s.Interface, d, unix.EINVAL)
		}
	}
	return nil
}

// notInDomain reports whether no name of the DNS that people use has that
// character. The tilde is for routing domains.
func notInDomain(c rune) bool {
	return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("-._~", c)
}
