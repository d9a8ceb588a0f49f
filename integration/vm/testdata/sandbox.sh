# SPDX-License-Identifier: MIT
# After boot: what a tunnel may want of its host, in the unit's sandbox, and
# what else changes the host while the unit looks after a tunnel.

property() { systemctl show -p "$2" --value "$1"; }

# What a tunnel makes of the host, but for what is chosen or counted.
host() {
	for family in 4 6; do
		ip -$family -o address | grep -v ' fe80' | sed 's/^[0-9]*: //; s/ *valid_lft.*//'
		ip -$family route show table all | grep -v '^multicast\|^local\|^broadcast' | sort
		ip -$family rule
	done
	ip -o link | sed 's/^[0-9]*: //'
	nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//'
	iptables-legacy-save | grep -v '^[#:]'
	ip6tables-legacy-save | grep -v '^[#:]'
	grep -s . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/*mark /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv6/conf/*/forwarding
	cat /etc/resolv.conf
	! systemctl -q is-active systemd-resolved || resolvectl | sed '/Current DNS/d; s/^Link [0-9]*/Link/'
}

# started NAME: or why not.
started() { systemctl restart wgctl@"$1" || { systemctl status --no-pager -l wgctl@"$1" && false; }; }

# same NAME: the unit makes of the host what wgctl makes of it where nothing is
# forbidden, and its stop undoes all of it.
same() {
	host >/run/before
	wgctl up "$1" 2>/run/said && host >/run/outside && wgctl down "$1" 2>/run/said || { cat /run/said && false; } || return
	started "$1" || return
	host >/run/inside
	diff /run/outside /run/inside && ! diff /run/before /run/inside >/dev/null && systemctl reload wgctl@"$1" || return
	host >/run/reloaded
	diff /run/inside /run/reloaded || return
	systemctl stop wgctl@"$1"
	host >/run/after
	diff /run/before /run/after
}

# Who loads a ruleset at boot comes first, and who does so later takes the
# tunnel's table away.
nftables() {
	check "nftables.service at boot" active nftables
	check "before the tunnel" [ "$(property nftables ExecMainExitTimestampMonotonic)" -lt "$(property wgctl@wg0 ExecMainStartTimestampMonotonic)" ]
	check "whose table stands" whole wg0
	check "beside that of the host" says "$(nft list tables)" "table inet filter"
	check "after firewalls and resolvers" says "$(property wgctl@wg0 After)" firewalld.service
	start_pings
	check "traffic" within 60 grep -q 'bytes from' /run/ping
	check "nftables restarts" systemctl restart nftables
	check "the table comes back" within 60 sh -c 'nft list tables | grep -w wgctl-wg0'
	check "whole after that" within 60 whole wg0
	check "said in the journal" says "$(journalctl -u wgctl@wg0 --no-pager)" "putting it back: nft"
	end_pings
	check "no packet lost" all_answered
}

target() {
	check "target is enabled" [ "$(systemctl is-enabled wgctl.target)" = enabled ]
	check "target at boot" active wgctl.target
	check "stop of the target" systemctl stop wgctl.target
	check "stops tunnels" within 60 sh -c '[ "$(systemctl is-active wgctl@wg0)" = inactive ]'
	check "start of the target" systemctl start wgctl.target
	check "starts those that are enabled" active wgctl@wg0
	systemctl stop wgctl@wg0
}

sandbox() {
	systemctl stop wgctl@wg0
	iptables -A FORWARD -j ACCEPT && iptables -D FORWARD -j ACCEPT # for its table to be there before
	check "gateway as outside" same gate
	check "embedded device as outside" same embedded
	check "hooks as outside" same hooked
	check "resolvconf as outside" same asked
	check "key in a file as outside" same filed
	systemctl start systemd-resolved
	ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
	check "systemd-resolved as outside" same resolved
	systemctl stop systemd-resolved
	rm /etc/resolv.conf
	echo nameserver 192.0.2.1 >/etc/resolv.conf
	systemctl start wgctl@kept
	wg set kept peer "$(wg pubkey </etc/wireguard/filed.key)" allowed-ips 10.28.0.3/32
	check "stop saves" systemctl stop wgctl@kept
	check "into the file" grep -q 10.28.0.3/32 /etc/wireguard/kept.conf
}

# A key that the disk has encrypted, and nobody sees but the unit.
credentials() {
	check "without the credential it fails" [ "$(systemctl start wgctl@sealed 2>/dev/null && echo done)" = "" ]
	systemctl stop wgctl@sealed
	systemd-creds encrypt --name=sealed.key /etc/wireguard/filed.key /etc/wireguard/sealed.key.cred
	check "with it it comes up" started sealed
	check "by that key" [ "$(wg show sealed public-key)" = "$(wg pubkey </etc/wireguard/filed.key)" ]
	check "which stays out of sight" [ "$(wgctl plan reload sealed 2>/dev/null && echo done)" = "" ]
	sed -i 's/10.31.0.1/10.31.0.9/' /etc/wireguard/sealed.conf
	check "reload of the unit has it" systemctl reload wgctl@sealed
	check "and does what it is for" within 60 sh -c 'ip -br address show dev sealed | grep 10.31.0.9'
	systemctl stop wgctl@sealed
}

# A NetworkManager that comes beside the tunnel, and once more: it makes
# resolv.conf, and the agent tells it of the tunnel's nameserver.
networkmanager() {
	systemctl start wgctl@wg0
	start_pings
	check "traffic before NetworkManager" within 60 grep -q 'bytes from' /run/ping
	around >/dev/null
	systemctl reload dbus # for the policy that came with it
	check "NetworkManager" systemctl start NetworkManager
	check "takes the cable" within 120 nmcli connection up eth0
	check "has it" says "$(nmcli -g GENERAL.STATE device show eth0)" "(connected)"
	check "nameserver is the tunnel's" within 90 grep -q 10.8.0.53 /etc/resolv.conf
	check "whole beside it" within 90 whole wg0
	check "NetworkManager restarts" systemctl restart NetworkManager
	check "takes the cable again" within 120 nmcli connection up eth0
	check "nameserver is the tunnel's again" within 90 grep -q 10.8.0.53 /etc/resolv.conf
	check "whole again" within 90 whole wg0
	check "nothing in clear" no_packets
	end_pings
	check "traffic beside it" ping -q -c 1 -w 60 203.0.113.5
	check "stop beside it" systemctl stop wgctl@wg0
	check "nameserver is NetworkManager's" within 60 sh -c '! grep 10.8.0.53 /etc/resolv.conf && grep 192.0.2.1 /etc/resolv.conf'
	check "nothing is left beside it" [ -z "$(left wg0)" ]
	systemctl stop NetworkManager
}

# The iptables of old needs a module that no kernel loads by itself, and which
# the sandbox can't.
legacy() {
	for t in iptables ip6tables; do
		for verb in "" -save -restore; do
			ln -sf "/usr/sbin/$t-legacy$verb" "/etc/alternatives/$t$verb"
		done
	done
	modprobe -r iptable_raw iptable_mangle iptable_filter iptable_nat ip6table_raw ip6table_mangle ip6table_filter ip6table_nat
	modprobe -r ip_tables ip6_tables
	check "without the module it fails" [ "$(systemctl start wgctl@old 2>/dev/null && echo done)" = "" ]
	check "says so" says "$(status wgctl@old)" ip_tables
	systemctl stop wgctl@old
	modprobe -a ip_tables ip6_tables
	systemctl start wgctl@old 2>/dev/null # here each of its programs may take longer than it gets, at first
	check "with the module it comes up" within 180 active wgctl@old
	check "with rules for IPv4" says "$(iptables-legacy-save)" wgctl-old-post
	check "with rules for IPv6" says "$(ip6tables-legacy-save)" wgctl-old-post
	check "and stops" systemctl stop wgctl@old
}

hooks() {
	check "a hook that needs more fails" [ "$(systemctl start wgctl@needy 2>/dev/null && echo done)" = "" ]
	check "which is said" says "$(journalctl -u wgctl@needy --no-pager)" 'PostUp'
	systemctl stop wgctl@needy
	mkdir /etc/systemd/system/wgctl@needy.service.d
	cp /usr/share/doc/wgctl/examples/hooks.conf /etc/systemd/system/wgctl@needy.service.d
	systemctl daemon-reload
	check "works with the drop-in" started needy
	check "and is seen outside" says "$(ip -n needy link)" "lo: <LOOPBACK,UP"
	check "and is undone" sh -c 'systemctl stop wgctl@needy && ! ip netns | grep needy'
}

for part in nftables target sandbox credentials networkmanager legacy hooks; do
	$part
done
