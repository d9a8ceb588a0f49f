// SPDX-License-Identifier: MIT

package integration

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// newServer is a host as a provider hands it out: cloud-init and Ansible are
// there, whatever is installed stays in it, and the package of wgctl is in
// /srv/packages.
func newServer(t *testing.T) *Host {
	t.Helper()
	tools := cmp.Or(os.Getenv("WGCTL_PROVISIONING"), "/var/cache/wgctl-provisioning")
	if _, err := os.Stat(filepath.Join(tools, "usr/bin/cloud-init")); err != nil {
		unable(t, "cloud-init and Ansible are not unpacked: %v", err)
	}
	out := t.TempDir()
	if text, err := exec.Command("../scripts/package", Bin(t), "v1.0.0", "amd64", Bin(t), out).CombinedOutput(); err != nil {
		t.Fatalf("scripts/package: %v\n%s", err, text)
	}
	h := NewHost(t, "server")
	h.Sh(strings.NewReplacer("TOOLS", tools, "OUT", out).Replace(`
		mount -t tmpfs layers /mnt
		mkdir -p /mnt/usr /mnt/usr.work /mnt/var /mnt/var.work
		mount -t overlay overlay -o lowerdir=TOOLS/usr:/usr,upperdir=/mnt/usr,workdir=/mnt/usr.work /usr
		mount -t overlay overlay -o lowerdir=/var,upperdir=/mnt/var,workdir=/mnt/var.work /var
		mkdir /mnt/srv && mount --bind /mnt/srv /srv
		mkdir /mnt/root && mount --bind /mnt/root /root
		mkdir /srv/packages
		cp OUT/wgctl_1.0.0-1_amd64.deb /srv/packages/wgctl.deb
		cp -a TOOLS/etc/cloud /etc/`))
	Connect(t, h.At("eth0", "192.0.2.1/24"), NewHost(t, "provider").At("eth0", "192.0.2.254/24"))
	h.Must("ip", "route", "add", "default", "via", "192.0.2.254")
	// Units are enabled and not started: nothing here is process 1.
	h.Setenv("SYSTEMD_OFFLINE", "1")
	return h
}

// provisioned asks that the tunnel has its file, and comes up at boot.
func provisioned(h *Host) {
	h.t.Helper()
	if !h.Exists("/etc/systemd/system/multi-user.target.wants/wgctl@wg0.service") {
		h.t.Error("the unit is not enabled")
	}
	if mode := h.Must("stat", "-c", "%a %U", "/etc/wireguard/wg0.conf").Stdout; mode != "600 root\n" {
		h.t.Errorf("/etc/wireguard/wg0.conf is %s", mode)
	}
}

// The user data of packaging/examples make a server with a tunnel in one go.
func TestCloudInit(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newServer(t)
	text, err := os.ReadFile("../packaging/examples/cloud-init.yaml")
	if err != nil {
		t.Fatal(err)
	}
	h.WriteFile("/var/lib/cloud/seed/nocloud/user-data", string(text))
	h.WriteFile("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: one\n")
	// What it is to do here, and no more: names and keys of the machine stay.
	h.WriteFile("/etc/cloud/cloud.cfg", `datasource_list: [NoCloud]
network: {config: disabled}
cloud_init_modules: [write_files]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts_user]
syslog_fix_perms: root:root
`)
	h.Sh("rm -rf /etc/cloud/cloud.cfg.d")
	h.Must("cloud-init", "schema", "--config-file", "/var/lib/cloud/seed/nocloud/user-data")
	for _, stage := range [][]string{{"init", "--local"}, {"init"}, {"modules", "--mode", "config"}, {"modules", "--mode", "final"}} {
		h.Must(append([]string{"cloud-init"}, stage...)...)
	}
	provisioned(h)
	h.Must("wgctl", "up", "wg0")
	h.Must("wgctl", "down", "wg0")
}

// ansible plays the book, which takes its time.
func ansible(h *Host) Output {
	h.t.Helper()
	p := h.Start("ansible-playbook", "-i", "localhost,", "-c", "local", "-e", "ansible_become=false", "/srv/ansible.yml")
	return p.Wait(5 * time.Minute)
}

// fakeSystemctl is what a playbook asks of systemd, where nothing is process 1:
// one unit, which is started and reloaded as the real one is.
const fakeSystemctl = `#!/bin/sh
case $1 in
is-active) kill -0 "$(cat /run/main.pid)" 2>/dev/null ;;
reload-or-restart)
	echo "$@" >>/run/asked
	if kill -0 "$(cat /run/main.pid 2>/dev/null)" 2>/dev/null; then
		exec wgctl reload wg0
	fi
	wgctl run --repair wg0 >/run/main.log 2>&1 &
	echo $! >/run/main.pid
	;;
*) exit 1 ;;
esac
`

// The playbook of packaging/examples installs, brings up and reloads, and
// changes nothing the second time.
func TestAnsible(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newServer(t)
	text, err := os.ReadFile("../packaging/examples/ansible.yml")
	if err != nil {
		t.Fatal(err)
	}
	h.WriteFile("/srv/ansible.yml", string(text))
	conf := interfaceSection(newKeyPair(t), "Address = 10.8.0.1/24")
	h.WriteFile("/srv/tunnels/wg0.conf", conf)
	recap := regexp.MustCompile(`changed=(\d+)`)
	play := func(changed string) {
		t.Helper()
		out := ansible(h)
		if out.Code != 0 {
			t.Fatal(out)
		}
		if got := recap.FindStringSubmatch(out.Stdout); got == nil || got[1] != changed {
			t.Errorf("want %s tasks that changed something: %v", changed, out)
		}
	}
	play("5")
	provisioned(h)
	h.Must("wgctl", "plan", "wg0", "--check")
	play("0")
	h.WriteFile("/srv/tunnels/wg0.conf", conf+peerSection(newKeyPair(t), "AllowedIPs = 10.8.0.3/32"))
	play("3")
	if got := h.Must("wg", "show", "wg0", "allowed-ips").Stdout; !strings.Contains(got, "10.8.0.3/32") {
		t.Errorf("the peer that was added: %q", got)
	}
	// Where systemd runs, the unit looks after the tunnel: it is started beside one
	// that is up, and reloaded from then on.
	h.Sh("mkdir -p /run/systemd/system")
	h.WriteFileMode("/usr/local/sbin/systemctl", fakeSystemctl, 0o755)
	play("2")
	h.Must("systemctl", "is-active", "wgctl@wg0.service")
	play("0")
	h.WriteFile("/srv/tunnels/wg0.conf", conf+peerSection(newKeyPair(t), "AllowedIPs = 10.8.0.3/32")+peerSection(newKeyPair(t), "AllowedIPs = 10.8.0.4/32"))
	play("3")
	if got := h.ReadFile("/run/asked"); got != "reload-or-restart wgctl@wg0.service\nreload-or-restart wgctl@wg0.service\n" {
		t.Errorf("systemd was asked: %s", got)
	}
	if got := h.Must("wg", "show", "wg0", "allowed-ips").Stdout; !strings.Contains(got, "10.8.0.4/32") {
		t.Errorf("the peer that was added beside systemd: %q", got)
	}
	h.WriteFile("/srv/tunnels/wg0.conf", conf+"[Peer]\nPublicKey = nonsense\n")
	if out := ansible(h); out.Code == 0 || !strings.Contains(out.Stdout, "PublicKey") {
		t.Errorf("a file that can't be read: %v", out)
	}
	if got := h.Must("wg", "show", "wg0", "allowed-ips").Stdout; !strings.Contains(got, "10.8.0.3/32") {
		t.Errorf("after it: %q", got)
	}
	h.Must("wgctl", "down", "wg0")
}
