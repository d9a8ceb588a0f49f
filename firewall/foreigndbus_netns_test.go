// SPDX-License-Identifier: MIT

package firewall

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startFirewalld runs firewalld, and a system bus, in mounts and processes of
// the test's own. scripts/witnesses unpacks it, and never installs it.
func startFirewalld(t *testing.T) {
	t.Helper()
	need(t, "dbus-daemon", "python3", "unshare")
	dir := cmp.Or(os.Getenv("WGCTL_FIREWALLS"), "/var/cache/wgctl-firewalls")
	if _, err := os.Stat(filepath.Join(dir, "usr/sbin/firewalld")); err != nil {
		skip(t, "firewalld is not unpacked: %v", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		skip(t, "making a mount namespace: %v", err)
	}
	// Without services to start the bus doesn't start polkit: root needs none.
	sh(t, strings.ReplaceAll(`
		mount --make-rprivate /
		mount -t tmpfs tmpfs /run
		mkdir -p /run/dbus /run/lock /run/upper /run/work /run/none
		mount -t overlay overlay -o lowerdir=DIR/usr:/usr /usr
		mount -t overlay overlay -o lowerdir=DIR/etc:/etc,upperdir=/run/upper,workdir=/run/work /etc
		mount --bind /run/none /usr/share/dbus-1/system-services`, "DIR", dir))
	// The first process of a PID namespace takes the others with it.
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "sh", "-c",
		"dbus-daemon --system --nofork --nopidfile & while ! test -S /run/dbus/system_bus_socket; do sleep 0.05; done; exec firewalld --nofork --nopid --log-file=/run/log")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	for end := time.Now().Add(60 * time.Second); exec.Command("firewall-cmd", "--state").Run() != nil; {
		if time.Now().After(end) {
			log, _ := os.ReadFile("/run/log")
			t.Fatalf("firewalld does not answer: %s", log)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// owned are the facts as they are where firewalld owns its table, as it does
// from 2.2 on: the kernel lets nobody else write to it.
func owned(t *testing.T) ForeignFacts {
	t.Helper()
	fw, _, err := Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f, err := fw.Foreign().Facts(t.Context(), "wg0")
	if err != nil {
		t.Fatal(err)
	}
	if f.Firewalld {
		t.Error("firewalld was asked though its table tells all")
	}
	for i := range f.Chains {
		f.Chains[i].Owned = isFirewalld(f.Chains[i].Place)
	}
	if err := f.readDaemon(t.Context(), "wg0"); err != nil {
		t.Fatal(err)
	}
	return f
}

// Where firewalld owns its table, the tunnel is put into the zone that is
// trusted: what comes in from it passes, and so do the replies.
func TestFirewalldZone(t *testing.T) {
	notEmulated(t)
	c := newCrossing(t)
	startFirewalld(t)
	// The chains of a zone that was used once stay, as firewalld has it.
	all := func() string {
		return sh(t, "firewall-cmd --list-all-zones; nft -s list ruleset | grep wg0 || true")
	}
	fo := &Foreign{}
	trusted := Place{Kind: PlaceZone, Chain: trustedZone}
	p := Passage{Interface: "wg0", Accepts: ForwardAll("wg0")}
	standing := func(digest string) {
		t.Helper()
		want := []Standing{{Place: trusted, Wanted: true, Digest: digest}}
		if got := owned(t).standings("wg0"); !slices.Equal(got, want) {
			t.Errorf("standing: %+v, want %+v", got, want)
		}
	}
	before := all()
	c.forwards("before", false)
	standing("")
	for range 2 {
		if err := fo.Apply(t.Context(), trusted, p); err != nil {
			t.Fatal(err)
		}
	}
	standing(p.Digest(trusted))
	if got, want := c.open(c.ways(), "in", "in6"), []string{"in", "in6"}; !slices.Equal(got, want) {
		t.Errorf("open are %v, want %v", got, want)
	}
	sh(t, "firewall-cmd --reload")
	standing("")
	if err := fo.Apply(t.Context(), trusted, p); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := fo.Apply(t.Context(), trusted, Passage{Interface: "wg0"}); err != nil {
			t.Fatal(err)
		}
	}
	standing("")
	if after := all(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	c.forwards("after", false)

	// A zone that the administrator has chosen stays.
	sh(t, "firewall-cmd --permanent --zone=trusted --add-interface=wg0; firewall-cmd --reload")
	if f := owned(t); f.Zone != trustedZone || len(f.standings("wg0")) != 0 {
		t.Errorf("in a zone of the administrator's: zone %q, standing %+v", f.Zone, f.standings("wg0"))
	}
}

// A firewalld that is gone has nothing of ours, and takes nothing.
func TestFirewalldGone(t *testing.T) {
	notEmulated(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+t.TempDir()+"/none")
	trusted := Place{Kind: PlaceZone, Chain: trustedZone}
	fo := &Foreign{}
	if err := fo.Apply(t.Context(), trusted, Passage{Interface: "wg0"}); err != nil {
		t.Error(err)
	}
	err := fo.Apply(t.Context(), trusted, Passage{Interface: "wg0", Accepts: ForwardAll("wg0")})
	if err == nil || err.Error() != "opening firewalld-trusted for wg0: firewalld does not run any more" {
		t.Errorf("error %v", err)
	}
}
