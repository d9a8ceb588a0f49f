// SPDX-License-Identifier: MIT

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
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
	return d.in(`find / -xdev \( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path /tmp \) -prune -o \
		! -type d -printf '%M %u:%g %p %l\n' | LC_ALL=C sort`)
}

// makePackages makes the packages of the wgctl under test in a folder that the
// Debian sees as /tmp/VERSION.
func (d *plainDebian) makePackages(version string) {
	d.t.Helper()
	out := d.t.TempDir()
	cmd := exec.Command("../scripts/package", Bin(d.t), "v"+version, "amd64", Bin(d.t), out)
	if text, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("scripts/package: %v\n%s", err, text)
	}
	d.Must("cp", "-a", out, d.root+"/tmp/"+version)
}

// The packages go into a Debian that has nothing else, work, are upgraded while
// a tunnel is up without a lost packet, take the place of wireguard-tools, and
// when purged leave the files of tunnels and nothing more.
func TestPackages(t *testing.T) {
	Only(t, Userspace)
	Need(t, "rpm", "dpkg-deb", "debootstrap")
	d := newPlainDebian(t)
	d.makePackages("1.0.0")
	d.makePackages("1.0.1")
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

	d.WriteFile(d.root+"/etc/wireguard/wg0.conf", conf)
	d.in("wgctl up wg0")
	if got := d.in("ip -4 rule show >/dev/null; ip route show proto wgctl table all; wg-quick strip wg0 | head -1"); !strings.Contains(got, "[Interface]") {
		t.Errorf("ip by the protocol's name, and wg-quick: %s", got)
	}
	WaitFor(t, 10*time.Second, "the tunnel", func() bool { return d.Ping("10.9.0.2") })
	ping := relay.Start("ping", "-q", "-i", "0.05", "10.9.0.1")
	d.in("dpkg -i /tmp/1.0.1/*.deb")
	d.in("wgctl status --json >/tmp/status; wgctl plan reload wg0 --check; wgctl reload wg0")
	ping.Signal(syscall.SIGINT)
	out := ping.Wait(10 * time.Second)
	if m := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`).FindStringSubmatch(out.Stdout); m == nil || m[1] != m[2] || m[1] == "0" {
		t.Errorf("while the package was upgraded: %v", out)
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
	d.in("dpkg -P wgctl-wireguard-tools")
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

// The rpm packages do the same by rpm's ways.
func TestRPM(t *testing.T) {
	Only(t, Userspace)
	Need(t, "rpm", "debootstrap")
	d := newPlainDebian(t)
	d.makePackages("1.0.0")
	before := d.files()
	rpm := func(args ...string) { d.Must(append([]string{"rpm", "--root", d.root, "--nodeps"}, args...)...) }
	d.in("mkdir -p /var/lib/rpm")
	rpm("-i", d.root+"/tmp/1.0.0/wgctl-1.0.0-1.x86_64.rpm", d.root+"/tmp/1.0.0/wgctl-wireguard-tools-1.0.0-1.x86_64.rpm")
	d.WriteFile(d.root+"/etc/wireguard/wg0.conf", interfaceSection(newKeyPair(t), "Address = 10.9.0.1/24"))
	d.in("wg-quick up wg0 && wgctl status wg0")
	rpm("-e", "wgctl-wireguard-tools", "wgctl")
	if out := d.Run("ip", "link", "show", "dev", "wg0"); out.Code == 0 {
		t.Errorf("after the removal: %v", out)
	}
	d.in("rm -f /etc/wireguard/wg0.conf; rm -rf /var/lib/rpm /root/.rpmdb")
	if diff := Diff(before, d.files()); diff != "" {
		t.Errorf("the removal left or took:\n%s", diff)
	}
}
