// SPDX-License-Identifier: MIT

package integration

import (
	"testing"
)

// asNobody runs a line of shell as an ordinary user who is root in a user
// namespace with a network and mounts of its own: unshare -rnm.
func (h *Host) asNobody(script string) Output {
	h.t.Helper()
	return h.Run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
		"env", "-u", "XDG_RUNTIME_DIR", "unshare", "-rnm", "sh", "-c", script)
}

// Without any rights on the machine a tunnel comes up, carries packets and goes;
// what is missing is said.
func TestRootless(t *testing.T) {
	Only(t, Userspace)
	Need(t, "setpriv", "unshare", "ping")
	h := newTunnelHost(t, "h")
	// The program's folder may be closed to others, and so may the device be.
	h.Must("install", "-D", "-m", "0755", Bin(t), "/run/rootless/wgctl")
	h.Must("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/dev/net")
	h.Must("mknod", "-m", "0600", "/dev/net/tun", "c", "10", "200")
	if out := h.asNobody("exit 0"); out.Code != 0 {
		unable(t, "users can't make namespaces here: %v", out)
	}
	a, b := newKeyPair(t), newKeyPair(t)
	h.WriteFileMode("/run/rootless/wg0.conf", interfaceSection(a, "Address = 10.8.0.1/24", "ListenPort = 51820")+
		peerSection(b, "Endpoint = 10.0.0.2:51821", "AllowedIPs = 0.0.0.0/0"), 0o600)
	h.WriteFileMode("/run/rootless/wg1.conf", interfaceSection(b, "Address = 10.8.0.2/24", "ListenPort = 51821")+
		peerSection(a, "AllowedIPs = 10.8.0.1/32"), 0o600)
	h.Must("chown", "-R", "65534:65534", "/run/rootless")
	const bare = "cd /run/rootless; w=./wgctl; "
	before := h.Snapshot()
	said(t, h.asNobody(bare+"$w up ./wg0.conf").Stderr, "permission denied (who is root in a user namespace alone names a folder in XDG_RUNTIME_DIR, or mounts a tmpfs on /run)")
	const ready = bare + "export XDG_RUNTIME_DIR=$PWD/state; mkdir -p state; "
	said(t, h.asNobody(ready+"$w up ./wg0.conf").Stderr, "chmod 0666 /dev/net/tun")
	h.Must("chmod", "0666", "/dev/net/tun")
	// The other end is in a namespace below, which is kept by a process.
	out := h.asNobody(ready + `set -e
		ip link set lo up
		unshare -n sleep 1000 & far=$!; trap "kill $far" EXIT
		until [ "$(readlink /proc/$far/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.01; done
		ip link add v0 type veth peer name v1 netns $far
		ip address add 10.0.0.1/24 dev v0; ip link set v0 up
		nsenter -n -t $far sh -c 'ip address add 10.0.0.2/24 dev v1; ip link set v1 up; ip link set lo up'
		$w up --netns-all $far ./wg1.conf
		$w up ./wg0.conf
		ping -n -q -c 3 -i 0.3 10.8.0.2 >/dev/null
		$w status wg0 | grep "drift:        none"
		$w down wg0
		$w exec ./wg0.conf -- ping -n -q -c 3 -i 0.3 10.8.0.2 >/dev/null
		$w down --netns-all $far wg1
		echo whole`)
	if out.Code != 0 {
		t.Errorf("%v", out)
	}
	said(t, out.Stdout, "whole")
	h.Sh("find /run/rootless/state -type f; rm -r /run/rootless/state")
	h.Unchanged(before)
}
