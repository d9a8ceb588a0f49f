// SPDX-License-Identifier: MIT

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A plainDebian is a host with another root inside: a Debian as debootstrap
// leaves it, in which packages of wgctl are put.
type plainDebian struct {
	*Host
	root string
}

// debianFolder is where scripts/witnesses puts the root.
func debianFolder() string {
	if dir := os.Getenv("WGCTL_DEBIAN"); dir != "" {
		return dir
	}
	return "/var/cache/wgctl-debian"
}

func newPlainDebian(t *testing.T) *plainDebian {
	t.Helper()
	lower := debianFolder()
	if _, err := os.Stat(filepath.Join(lower, "usr/bin/dpkg")); err != nil {
		unable(t, "there is no Debian to install in: %v", err)
	}
	d := &plainDebian{NewHost(t, "debian"), "/run/debian"}
	d.Sh(`mkdir /run/upper && mount -t tmpfs upper /run/upper && mkdir /run/upper/files /run/upper/work ` + d.root + `
		mount -t overlay overlay -o lowerdir=` + lower + `,upperdir=/run/upper/files,workdir=/run/upper/work ` + d.root + `
		for d in proc sys dev; do mount --rbind /$d ` + d.root + `/$d; done
		mount -t tmpfs run ` + d.root + `/run`)
	return d
}

// in runs a line of shell in the Debian, and fails the test unless it exits 0.
func (d *plainDebian) in(script string) string {
	d.t.Helper()
	return d.Must("chroot", d.root, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-ec", script).Stdout
}

// files are all of the Debian but what packaging itself writes down.
func (d *plainDebian) files() string {
	d.t.Helper()
	return d.in(`find / -xdev \( -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/log -o -path /var/cache -o -path /tmp \) -prune -o \
		! -type d -printf '%M %u:%g %p %l\n' | LC_ALL=C sort`)
}

// packagesOf makes the packages of a version once in a run: 1.0.0 of the wgctl
// under test, 1.0.1 by make as a user does it, of a binary that has that version
// too.
func packagesOf(t testing.TB, version string) (dir string) {
	t.Helper()
	packagesMade.Lock()
	defer packagesMade.Unlock()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(root, "build/packages-of-tests")
	if packagesMade.versions[version] {
		return dir
	}
	making := exec.Command(filepath.Join(root, "scripts/package"), Bin(t), "v"+version, "amd64", Bin(t), dir)
	if version == "1.0.1" {
		// In a copy of the source, as make writes its wgctl anew.
		making = exec.Command("sh", "-ec", `git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$1"
			export GIT_DIR=$(git rev-parse --absolute-git-dir)
			make -C "$1" package VERSION=v1.0.1 ARCH=amd64
			mkdir -p "$2" && cp "$1"/build/package/* "$2"`, "sh", t.TempDir(), dir)
		making.Dir = root
	}
	if out, err := making.CombinedOutput(); err != nil {
		t.Fatalf("making packages: %v\n%s", err, out)
	}
	packagesMade.versions[version] = true
	return dir
}

var packagesMade = struct {
	sync.Mutex
	versions map[string]bool
}{versions: map[string]bool{}}

// makePackages makes the packages of a version, in a folder that the Debian sees
// as /tmp/VERSION.
func (d *plainDebian) makePackages(versions ...string) {
	d.t.Helper()
	for _, version := range versions {
		dir := packagesOf(d.t, version)
		files, err := filepath.Glob(dir + "/*" + version + "-1[._]*")
		if err != nil || len(files) != 4 {
			d.t.Fatalf("%s has %q, %v", dir, files, err)
		}
		d.Must(append([]string{"install", "-D", "-m", "644", "-t", d.root + "/tmp/" + version}, files...)...)
	}
}

// contents are what the package of the tool itself must have, below /usr.
var contents = []string{
	"bin/wgctl", "lib/systemd/system/wgctl@.service", "lib/systemd/system/wgctl.target",
	"share/man/man8/wgctl.8.gz", "share/man/man5/wgctl.conf.5.gz", "share/man/man7/wgctl-compat.7.gz",
	"share/bash-completion/completions/wgctl", "share/zsh/site-functions/_wgctl", "share/fish/vendor_completions.d/wgctl.fish",
	"share/doc/wgctl/copyright", "share/doc/wgctl/README.md", "share/doc/wgctl/CHANGELOG.md", "share/doc/wgctl/first-steps.md", "share/doc/wgctl/howto/full-tunnel.md",
	"share/doc/wgctl/examples/hooks.conf", "share/doc/wgctl/examples/ansible.yml", "share/doc/wgctl/examples/cloud-init.yaml",
}

// namesContents are those of the package of the other names.
var namesContents = []string{
	"bin/wg", "bin/wg-quick", "bin/wireguard-go", "lib/systemd/system/wg-quick@.service", "lib/systemd/system/wg-quick.target",
	"share/man/man8/wg.8.gz", "share/man/man8/wg-quick.8.gz", "share/man/man8/wireguard-go.8.gz",
	"share/bash-completion/completions/wg", "share/bash-completion/completions/wg-quick", "share/zsh/site-functions/_wg", "share/zsh/site-functions/_wg-quick",
	"share/fish/vendor_completions.d/wg.fish", "share/fish/vendor_completions.d/wg-quick.fish",
}

// holds reports what a list of files lacks.
func holds(t testing.TB, list string, want []string) {
	t.Helper()
	files := strings.Fields(list)
	for _, w := range want {
		if !slices.Contains(files, "/usr/"+w) {
			t.Errorf("the package has no /usr/%s", w)
		}
	}
}

// The packages go into a Debian that has nothing else, work, are upgraded while
// a tunnel is up without a lost packet, take the place of wireguard-tools, and
// when purged leave the files of tunnels and nothing more.
func TestPackages(t *testing.T) {
	Only(t, Userspace)
	Need(t, "rpm", "dpkg-deb", "debootstrap")
	t.Parallel()
	d := newPlainDebian(t)
	d.makePackages("1.0.0", "1.0.1")
	relay := NewHost(t, "relay")
	Connect(t, d.At("eth0", "192.0.2.1/24"), relay.At("eth0", "192.0.2.2/24"))
	keys, relayKeys := newKeyPair(t), newKeyPair(t)
	conf := interfaceSection(keys, "Address = 10.9.0.1/24") +
		peerSection(relayKeys, "Endpoint = 192.0.2.2:51820", "AllowedIPs = 10.9.0.2/32")
	relay.WriteFile("/etc/wireguard/wg0.conf", interfaceSection(relayKeys, "Address = 10.9.0.2/24", "ListenPort = 51820")+
		peerSection(keys, "AllowedIPs = 10.9.0.1/32"))
	relay.Must(Bin(t), "up", "wg0")
	before := d.files()

	d.in("dpkg -i /tmp/wireguard-tools_*.deb")
	d.in("dpkg -i /tmp/1.0.0/*.deb")
	if got := d.in("dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n' 'wgctl*' wireguard-tools"); !strings.Contains(got, "wgctl 1.0.0-1 ii") ||
		!strings.Contains(got, "wgctl-wireguard-tools 1.0.0-1 ii") || strings.Contains(got, "wireguard-tools 1.0.20210914-1+b1 ii") {
		t.Errorf("installed: %s", got)
	}
	if got := d.in("cat '/usr/lib/systemd/system/wg-quick@.service'"); !strings.Contains(got, "ExecStart=/usr/bin/wgctl run") {
		t.Errorf("the unit that took the place of wireguard-tools': %s", got)
	}
	if got := d.in("wg --version; dpkg-query -W -f '${Conffiles}' wgctl wgctl-wireguard-tools; stat -c '%a %U' /etc/wireguard"); !strings.HasPrefix(got, "wireguard-tools v1.0.") ||
		!strings.HasSuffix(got, "\n700 root\n") || strings.Count(got, "\n") != 2 {
		t.Errorf("its wg, its conffiles, /etc/wireguard: %s", got)
	}

	holds(t, d.in("dpkg -L wgctl"), contents)
	holds(t, d.in("dpkg -L wgctl-wireguard-tools"), namesContents)
	// What is in there is whole: pages that unpack, links that lead somewhere,
	// completions of the shell that they are for.
	d.in(`for p in /usr/share/man/man*/wg*.gz /usr/share/man/man8/wireguard-go.8.gz; do gzip -t $p; zcat $p | grep -q '^.TH' || { echo "$p is no page" >&2; exit 1; }; done
		for f in $(dpkg -L wgctl wgctl-wireguard-tools); do [ -e $f ] || { echo "$f leads nowhere" >&2; exit 1; }; done
		for s in bash-completion/completions/ zsh/site-functions/_ zsh/vendor-completions/_; do for n in wgctl wg wg-quick; do test -s /usr/share/$s$n; done; done
		bash -n /usr/share/bash-completion/completions/wgctl; head -1 /usr/share/zsh/site-functions/_wgctl | grep -q '^#compdef wgctl'
		grep -q '^ExecStart=/usr/bin/wgctl ' /usr/lib/systemd/system/wgctl@.service
		grep -q '^87	*wgctl' /etc/iproute2/rt_protos.d/wgctl.conf || grep -q '^87 *wgctl' /etc/iproute2/rt_protos.d/wgctl.conf`)

	d.WriteFile(d.root+"/etc/wireguard/wg0.conf", conf)
	old := d.in("wgctl version")
	d.in("wgctl up wg0")
	if got := d.in("ip -4 rule show >/dev/null; ip route show proto wgctl table all; wg-quick strip wg0 | head -1"); !strings.Contains(got, "[Interface]") {
		t.Errorf("ip by the protocol's name, and wg-quick: %s", got)
	}
	WaitFor(t, 10*time.Second, "the tunnel", func() bool { return d.Ping("10.9.0.2") })
	ping := relay.Start("ping", "-i", "0.05", "10.9.0.1")
	d.in("dpkg -i /tmp/1.0.1/*.deb")
	d.in("wgctl status --json >/tmp/status; wgctl plan reload wg0 --check; wgctl reload wg0")
	if now := d.in("wgctl version"); now == old || !strings.Contains(now, "v1.0.1") {
		t.Errorf("it was upgraded from %sto %s", old, now)
	}
	ping.Signal(syscall.SIGINT)
	out := ping.Wait(10 * time.Second)
	if lost, top := lostPings(out.Stdout); len(lost) > 0 || top == 0 {
		t.Errorf("while the package was upgraded, of %d pings these were lost: %v", top, lost)
	}

	// Elsewhere: in namespaces with a name and without one, in one that is gone,
	// and on the hosts of a lab.
	away := "[Interface]\nPrivateKey = " + newKeyPair(t).private + "\nAddress = 10.30.0.1/24\nDNS = 10.30.0.53\n"
	d.WriteFile(d.root+"/etc/wireguard/away.conf", away)
	d.WriteFile(d.root+"/etc/wireguard/far.conf", away)
	d.WriteFile(d.root+"/tmp/office.lab", "[Network lan]\nSubnet = 192.0.2.0/24\n[Host one]\nLink = lan\n[Host two]\nLink = lan\n"+
		"[Tunnel wg0]\nSubnet = 10.31.0.0/24\nMember = one\nMember = two\n")
	d.in("ip netns add blue; wgctl up --netns blue away; ip netns exec blue wgctl up --dns-backend off far")
	d.in("ip netns add red; wgctl up --netns-all red away")
	nameless := d.Start("unshare", "-n", "chroot", d.root, "sh", "-c", "wgctl up --dns-backend off away; echo $$ >/tmp/nameless && exec sleep 1000")
	WaitFor(t, 10*time.Second, "a tunnel in a namespace without a name", func() bool { return d.Exists(d.root + "/tmp/nameless") })
	inNameless := "nsenter -n -t $(cat /tmp/nameless) ip -br link"
	d.in("wgctl lab up /tmp/office.lab")
	d.in("ip netns add gone; wgctl up --netns gone away; ip netns delete gone")
	if got := d.in("ls /run/wgctl/netns | wc -l; ls /run/wgctl/lab; " + inNameless); !strings.HasPrefix(got, "6\noffice\n") || !strings.Contains(got, "away") {
		t.Errorf("elsewhere: %s", got)
	}

	d.in("mkdir -p /etc/systemd/system/multi-user.target.wants; ln -s /lib/systemd/system/wgctl@.service /etc/systemd/system/multi-user.target.wants/wgctl@wg0.service")
	records := d.in("find /run/wgctl | sort")
	// And back to the original, which takes the names again and leaves the tunnel.
	d.in("apt-get install -y --no-install-recommends --allow-downgrades /tmp/wireguard-tools_*.deb")
	if got := d.in("wg --version; readlink /usr/bin/wg || echo a file; dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n' 'wgctl*' wireguard-tools; wgctl status wg0"); !strings.HasPrefix(got, "wireguard-tools v1.0.20210914") ||
		!strings.Contains(got, "\na file\n") || !strings.Contains(got, "wireguard-tools ii") || strings.Contains(got, "wgctl-wireguard-tools ii") || !strings.Contains(got, "drift:        none") {
		t.Errorf("back to wireguard-tools: %s", got)
	}
	d.in("dpkg -P wireguard-tools wgctl-wireguard-tools")
	if diff := Diff(records, d.in("find /run/wgctl | sort")); diff != "" {
		t.Errorf("the purge of the tools' names took records:\n%s", diff)
	}
	d.in("dpkg -P wgctl")
	if out := d.Run("ip", "link", "show", "dev", "wg0"); out.Code == 0 {
		t.Errorf("after the purge: %v", out)
	}
	if got := d.in("for n in blue red; do ip -n $n -br link; done; ls /run/netns"); strings.Contains(got, "away") || strings.Contains(got, "far") || !strings.HasSuffix(got, "\nblue\nred\n") {
		t.Errorf("in namespaces after the purge: %s", got)
	}
	if got := d.in(inNameless); strings.Contains(got, "away") {
		t.Errorf("in the namespace without a name after the purge: %s", got)
	}
	nameless.Signal(syscall.SIGTERM)
	nameless.Wait(10 * time.Second)
	d.in("ip netns delete blue; ip netns delete red; umount /run/netns; rmdir /run/netns; rm -r /run/mount; rm -f /etc/wireguard/away.conf /etc/wireguard/far.conf")
	if got := d.in("ls -A /run"); got != "" && got != "wireguard\n" {
		t.Errorf("left in /run: %s", got)
	}
	d.in("test -s /etc/wireguard/wg0.conf && rm /etc/wireguard/wg0.conf")
	if diff := Diff(before, d.files()); diff != "" {
		t.Errorf("the purge left or took:\n%s", diff)
	}
}

// The first steps begin with the package, in an empty Debian.
func TestInstalling(t *testing.T) {
	Only(t, Userspace)
	Need(t, "dpkg-deb", "debootstrap", "rpm")
	d := newPlainDebian(t)
	d.makePackages("1.0.0")
	commands := 0
	for _, b := range readPage(t, "../docs/first-steps.md").blocks {
		if b.host != "debian" {
			continue
		}
		for _, c := range b.typedLines(t) {
			commands++
			if got := d.in("cd /tmp/1.0.0; exec 2>&1\n" + c.command); c.printed && !fits(c.output, got) {
				t.Errorf("line %d: %sprints\n%sand not\n%s", c.line, c.command, got, c.output)
			}
		}
	}
	if commands < 4 {
		t.Errorf("only %d commands", commands)
	}
}

// The rpm packages do the same by rpm's ways.
func TestRPM(t *testing.T) {
	Only(t, Userspace)
	Need(t, "rpm", "debootstrap")
	d := newPlainDebian(t)
	d.makePackages("1.0.0", "1.0.1")
	before := d.files()
	one, names := d.root+"/tmp/1.0.0/wgctl-1.0.0-1.x86_64.rpm", d.root+"/tmp/1.0.0/wgctl-wireguard-tools-1.0.0-1.x86_64.rpm"
	query := func(what, file string) string { return d.Must("rpm", "-qp", what, file).Stdout }
	holds(t, query("--list", one), contents)
	holds(t, query("--list", names), namesContents)
	said(t, query("--requires", names), "wgctl = 1.0.0-1\n")
	said(t, query("--conflicts", names), "wireguard-tools\n", "wireguard-go\n")
	said(t, query("--provides", names), "wireguard-tools = 1.0.20260223\n", "wireguard-go\n")
	if got := query("--configfiles", one) + query("--configfiles", names) + query("--conflicts", one); got != "" {
		t.Errorf("conffiles, or conflicts of wgctl's own: %s", got)
	}
	rpm := func(args ...string) { d.Must(append([]string{"rpm", "--root", d.root, "--nodeps"}, args...)...) }
	d.in("mkdir -p /var/lib/rpm")
	if out := d.Run("rpm", "--root", d.root, "-i", names); out.Code == 0 || !strings.Contains(out.Stderr, "wgctl = 1.0.0-1 is needed by wgctl-wireguard-tools-1.0.0-1") {
		t.Errorf("the names without wgctl: %v", out)
	}
	rpm("-i", one, names)
	d.WriteFile(d.root+"/etc/wireguard/wg0.conf", interfaceSection(newKeyPair(t), "Address = 10.9.0.1/24"))
	d.in("wg-quick up wg0 && wgctl status wg0")
	index := d.Must("ip", "-o", "link", "show", "dev", "wg0").Stdout
	rpm("-U", strings.ReplaceAll(one, "1.0.0", "1.0.1"), strings.ReplaceAll(names, "1.0.0", "1.0.1"))
	if got := d.Must("rpm", "--root", d.root, "-qa").Stdout; !strings.Contains(got, "wgctl-1.0.1-1.") || !strings.Contains(got, "wgctl-wireguard-tools-1.0.1-1.") || strings.Contains(got, "1.0.0") {
		t.Errorf("after the upgrade: %s", got)
	}
	if now := d.Must("ip", "-o", "link", "show", "dev", "wg0").Stdout; now != index {
		t.Errorf("the upgrade changed the link from %sto %s", index, now)
	}
	d.in("wgctl plan reload wg0 --check")
	rpm("-e", "wgctl-wireguard-tools", "wgctl")
	if out := d.Run("ip", "link", "show", "dev", "wg0"); out.Code == 0 {
		t.Errorf("after the removal: %v", out)
	}
	d.in("rm -f /etc/wireguard/wg0.conf; rm -rf /var/lib/rpm /root/.rpmdb")
	if diff := Diff(before, d.files()); diff != "" {
		t.Errorf("the removal left or took:\n%s", diff)
	}
}
