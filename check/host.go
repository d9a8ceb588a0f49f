// SPDX-License-Identifier: MIT

package check

import (
	"strings"
	"time"

	"github.com/wgctl/wgctl/config"
)

var hostRules = []Rule{
	{
		Name: "host-wireguard", Severity: Warning, OfHost: true, host: hostWireGuard,
		Finds: "a kernel without WireGuard",
		Why:   "tunnels run on the embedded device, a process that takes more of the processor",
		Mend:  "load the module: modprobe wireguard; it is part of Linux since 5.6",
	}, {
		Name: "host-tun", Severity: Error, OfHost: true, host: hostTUN,
		Finds: "neither WireGuard in the kernel nor /dev/net/tun",
		Why:   "there is nothing that a tunnel could run on",
		Mend:  "modprobe tun; in a container --device /dev/net/tun --cap-add NET_ADMIN",
	}, {
		Name: "host-packet-filter", Severity: Error, OfHost: true, host: hostPacketFilter,
		Finds: "no packet filter that can be programmed",
		Why:   "default routes, Masquerade, PortForward and KillSwitch need rules, and don't come up without",
		Mend:  "a kernel with nf_tables, or iptables installed",
	}, {
		Name: "host-policy-routing", Severity: Error, OfHost: true, host: hostPolicyRouting,
		Finds: "a kernel without policy rules",
		Why:   "a tunnel with a default route needs them",
		Mend:  "a kernel with CONFIG_IP_MULTIPLE_TABLES and CONFIG_IPV6_MULTIPLE_TABLES",
	}, {
		Name: "host-ipv6", Severity: Info, OfHost: true, host: hostIPv6,
		Finds: "IPv6 that is disabled or not there",
		Why:   "files with IPv6 addresses don't come up here",
		Mend:  "sysctl net.ipv6.conf.all.disable_ipv6=0 and .default too; no ipv6.disable=1 on the kernel's command line",
	}, {
		Name: "host-resolver", Severity: Warning, OfHost: true, host: hostResolver,
		Finds: "no resolver that can be told of nameservers",
		Why:   "files with DNS don't come up here",
		Mend:  "docs/dns.md says who can be told; wgctl dns what was found",
	}, {
		Name: "host-run-dir", Severity: Error, OfHost: true, host: hostRunDir,
		Finds: "a folder for records that can't be written",
		Why:   "what was done couldn't be undone after a crash, so nothing is done",
		Mend:  "a tmpfs at /run; in a container --tmpfs /run",
	}, {
		Name: "host-sysctls", Severity: Warning, OfHost: true, host: hostSysctls,
		Finds: "kernel parameters that can't be set",
		Why:   "default routes and forwarding need some, and fail unless they have the value already",
		Mend:  "in a container --sysctl net.ipv4.conf.all.src_valid_mark=1 --sysctl net.ipv4.ip_forward=1",
	}, {
		Name: "host-forward-drop", Severity: Info, OfHost: true, host: hostForwardDrop,
		Finds: "another packet filter that drops what is forwarded",
		Why:   "tunnels with Forward, Masquerade or PortForward get accepts there; hooks of iptables may not",
		Mend:  "none is needed with these keys; docs/firewalls.md",
	}, {
		Name: "host-clock", Severity: Error, OfHost: true, host: hostClock,
		Finds: "a clock that is behind the files of the tunnels",
		Why:   "handshakes carry the time: a peer that has seen a later one answers none until then",
		Mend:  "set the clock, by NTP or date, before the tunnels come up",
	}, {
		Name: "host-folder", Severity: Warning, OfHost: true, Fixes: true, host: hostFolder,
		Finds: "a folder of files that others can enter or write",
		Why:   "files that are not closed themselves are open then, and whoever writes the folder makes hooks that root runs",
		Mend:  "chmod 0700 " + config.Dir,
	}, {
		Name: "host-networkd", Severity: Warning, OfHost: true, host: hostNetworkd,
		Finds: "systemd-networkd, which removes rules and routes that aren't its own",
		Why:   "when it is restarted, tunnels lose theirs until the next reload",
		Mend:  "ManageForeignRoutingPolicyRules=no and ManageForeignRoutes=no in /etc/systemd/networkd.conf",
	},
}

func hostWireGuard(l *look) {
	if m := l.machine; m.WireGuard != "" && m.Userspace == "" {
		l.whole("the kernel has no WireGuard: %s", m.WireGuard)
	}
}

func hostTUN(l *look) {
	if m := l.machine; m.WireGuard != "" && m.Userspace != "" {
		l.whole("no device can be made: %s; and the kernel has no WireGuard: %s", m.Userspace, m.WireGuard)
	}
}

func hostPacketFilter(l *look) {
	if l.machine.PacketFilter != "" {
		l.whole("%s", l.machine.PacketFilter)
	}
}

func hostPolicyRouting(l *look) {
	if l.machine.PolicyRouting != "" {
		l.whole("%s", l.machine.PolicyRouting)
	}
}

func hostIPv6(l *look) {
	if l.machine.IPv6 != "" {
		l.whole("%s", l.machine.IPv6)
	}
}

func hostResolver(l *look) {
	if l.host.Resolver.Error != "" {
		l.whole("%s", l.host.Resolver.Error)
	}
}

func hostRunDir(l *look) {
	if l.machine.RunDir != "" {
		l.whole("%s", l.machine.RunDir)
	}
}

func hostSysctls(l *look) {
	if l.machine.ProcSys != "" {
		l.whole("%s", l.machine.ProcSys)
	}
}

func hostForwardDrop(l *look) {
	m := l.machine
	if len(m.Dropping) > 0 {
		l.whole("what is forwarded is dropped by default at %s", strings.Join(m.Dropping, ", "))
	}
	for _, note := range m.Notes {
		l.whole("%s", note)
	}
}

// hostClock allows for a clock that is set by minutes.
func hostClock(l *look) {
	const slack = time.Hour
	if m := l.machine; !m.Newest.IsZero() && m.Now.Add(slack).Before(m.Newest) {
		l.whole("the clock says %s, and a file of %s was written %s", m.Now.UTC().Format(time.DateTime), config.Dir, m.Newest.UTC().Format(time.DateTime))
	}
}

func hostFolder(l *look) {
	if mode := l.machine.Folder.Mode; mode&0o027 != 0 {
		f := l.whole("%s has mode %04o", config.Dir, mode.Perm())
		f.Fix = &Fix{Path: config.Dir, Mode: 0o700}
	}
	if u := l.machine.Folder.Untrusted; u != "" {
		l.whole("%s", u)
	}
}

func hostNetworkd(l *look) {
	if l.machine.Flushes {
		l.whole("systemd-networkd runs, and takes routes and rules of others away when it starts")
	}
}
