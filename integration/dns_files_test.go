// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
)

// Whatever /etc/resolv.conf is, it says what the tunnel wants while that is up,
// and is the same afterwards, to the owner, the mode and the target of a link.
func TestDNSOddFiles(t *testing.T) {
	Only(t, Userspace)
	for _, c := range []struct{ name, do string }{
		{"another owner and mode", "chown 7:8 /etc/resolv.conf; chmod 640 /etc/resolv.conf"},
		{"a relative link", "mkdir /run/elsewhere; mv /etc/resolv.conf /run/elsewhere/; ln -s ../run/elsewhere/resolv.conf /etc/resolv.conf"},
		{"a link to another's file", "mkdir /run/elsewhere; mv /etc/resolv.conf /run/elsewhere/; chown 7:8 /run/elsewhere /run/elsewhere/resolv.conf; chmod 640 /run/elsewhere/resolv.conf; ln -s /run/elsewhere/resolv.conf /etc/resolv.conf; chown -h 7:8 /etc/resolv.conf"},
		{"a container's with another owner", "cp /etc/resolv.conf /run/theirs; chown 7:8 /run/theirs; chmod 664 /run/theirs; mount --bind /run/theirs /etc/resolv.conf"},
		{"a link that leads nowhere", "ln -sf ../run/nowhere/resolv.conf /etc/resolv.conf"},
		{"a link to a link", "mv /etc/resolv.conf /etc/resolv.conf.real; ln -s resolv.conf.real /etc/second; ln -s /etc/second /etc/resolv.conf"},
		{"no file", "rm /etc/resolv.conf"},
		{"an empty file", ": >/etc/resolv.conf"},
		{"a long file", "yes '# a comment' | head -n 3000 >>/etc/resolv.conf"},
		{"a container's", "cp /etc/resolv.conf /run/theirs; mount --bind /run/theirs /etc/resolv.conf"},
		{"a container's and the rest read-only", "cp /etc/resolv.conf /run/theirs; mount --rbind /etc /etc; mount -o remount,ro,bind /etc; mount --bind /run/theirs /etc/resolv.conf; mkdir -m 700 -p /run/wgctl/dns"},
		{"a link out of a read-only folder", "mkdir -m 700 -p /run/wgctl/dns; mkdir /run/elsewhere; mv /etc/resolv.conf /run/elsewhere/; ln -s /run/elsewhere/resolv.conf /etc/resolv.conf; mount --rbind /etc /etc; mount -o remount,ro,bind /etc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newTunnelHost(t, "h")
			h.Hide("resolvconf")
			h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53, corp.example"))
			h.Sh(c.do)
			before := h.Snapshot()
			wgctlOK(h, "up", "wg0")
			said(t, h.ReadFile("/etc/resolv.conf"), "\nnameserver 10.8.0.53\nsearch corp.example\n")
			whole(h, "wg0")
			h.Must("rm", "/run/wgctl/wg0.json") // down finds its way without
			wgctlOK(h, "down", "wg0")
			h.Sh("sysctl -qw net.ipv4.conf.all.src_valid_mark=0") // what only the record knew
			h.Unchanged(before)
		})
	}
}

// An immutable file is refused before anything is done, and DNSFailure lets the
// tunnel come up without.
func TestDNSImmutableFile(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	// The overlay of /etc may know no such flag: the file is the machine's.
	file := t.TempDir() + "/resolv.conf"
	h.WriteFileMode(file, nameserver, 0o644)
	if out := h.Run("chattr", "+i", file); out.Code != 0 {
		unable(t, "making a file immutable: %v", out)
	}
	defer h.Run("chattr", "-i", file)
	h.Must("mount", "--bind", file, "/etc/resolv.conf")
	before := h.Snapshot()
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53"))
	out := wgctlFails(h, 1, "up", "wg0")
	said(t, out.Stderr, "wgctl: /etc/wireguard/wg0.conf:4: [Interface] DNS: nobody here can be told of nameservers", "writing /etc/resolv.conf: operation not permitted")
	if lines := errorLines(out); len(lines) != 1 {
		t.Errorf("not one line: %v", out)
	}
	h.Unchanged(before)
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53", "DNSFailure = warn"))
	said(t, wgctlOK(h, "up", "wg0").Stderr, "comes up without its nameservers")
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)
}

// What somebody else writes while the tunnel is up is seen, not fought, put
// right by a reload if that is asked for, and stays on down.
func TestDNSOverwritten(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53"))
	before := h.Snapshot()
	const theirs = "nameserver 198.51.100.53\n"
	for _, then := range []string{"down", "reload and down"} {
		wgctlOK(h, "up", "wg0")
		h.Sh("printf '" + theirs + "' >/etc/resolv.conf.new; mv /etc/resolv.conf.new /etc/resolv.conf")
		if got := driftSteps(h, "wg0"); len(got) != 1 || !strings.HasPrefix(got[0], "edit /etc/resolv.conf") {
			t.Errorf("drift %q", got)
		}
		if then != "down" {
			wgctlOK(h, "reload", "wg0")
			said(t, h.ReadFile("/etc/resolv.conf"), "\nnameserver 10.8.0.53\n")
			whole(h, "wg0")
		}
		wgctlOK(h, "down", "wg0")
		if got := h.ReadFile("/etc/resolv.conf"); got != theirs {
			t.Errorf("%s: resolv.conf is %q", then, got)
		}
		h.WriteFileMode("/etc/resolv.conf", nameserver, 0o644)
		h.Unchanged(before)
	}
}

// A tunnel whose entry is gone from resolv.conf is down, though nobody can say
// whether that outlives a power cut. One that can't come up for that reason
// leaves what was there, a link with its target.
func TestDNSFolderUnsynced(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	w := newDNSWreck(t, killedBackends["file"])
	unsynced := Fault{Kind: "ENOMEM", At: EveryCall, Changes: true, Names: "fsync(/etc)"}
	w.bring("a")
	out := w.Inject(unsynced, "down", "wg0")
	if out.Hit == "" || out.Code != 0 {
		t.Errorf("met %q: %v", out.Hit, out)
	}
	w.is(w.down)

	w.Sh("cd /etc; mv resolv.conf resolv.theirs; chown 0:65534 resolv.theirs; chmod 640 resolv.theirs; ln -s resolv.theirs resolv.conf")
	look := func() string {
		return w.Sh("cd /etc; readlink resolv.conf; stat -Lc '%a %u:%g %i' resolv.conf; cat resolv.conf; ls -A | grep resolv").Stdout
	}
	before := look()
	for unsynced.At = 1; ; unsynced.At++ {
		out = w.Inject(unsynced, "up", "wg0")
		if out.Hit == "" {
			wgctlOK(w.Host, "down", "wg0")
			break
		}
		if after := look(); out.Code != 1 || after != before {
			t.Errorf("an up that failed at the %d. call: %v\n%sbefore:\n%s", unsynced.At, out, after, before)
		}
	}
	if unsynced.At < 3 {
		t.Errorf("up syncs the folder %d times", unsynced.At-1)
	}
}
