# SPDX-License-Identifier: MIT
# After boot: what docs/systemd.md says of the units, a line each, and what the
# packages do with them.

# The guest itself: what Machine.Init promises to tests.
guest() {
	check "environment" [ "$WORD" = "it's a word" ]
	check "all is started" [ "$(systemctl list-jobs --no-legend | wc -l)" = 0 ]
	ip link add d0 type dummy
	check "udev" within 30 sh -c 'udevadm info -q property -p /sys/class/net/d0 | grep -q ^IFINDEX='
	check "bus" says "$(busctl --list --acquired)" org.freedesktop.systemd1
	check "journal" says "$(journalctl -u vm-command.service --no-pager)" Started
}

boot() {
	check "tunnel up at boot" active wgctl@wg0
	check "dependent service" active dependent
	check "status text" says "$(status wgctl@wg0)" up
	check "nameserver in the sandbox" grep -q 10.8.0.53 /etc/resolv.conf
	out=$(systemctl status --no-pager -l wgctl@bad)
	check "failed unit" [ "$(systemctl is-failed wgctl@bad)" = failed ]
	check "failed unit says why" says "$out" 'wgctl: /etc/wireguard/bad.conf:2: [Interface] ListenPort: "99999" is not a port'
	check "failed unit has a status text" says "$out" 'Status: "/etc/wireguard/bad.conf:2:'
	check "failed unit is not tried again" says "$out" "status=78"
	check "up without its endpoint" active wgctl@wg1
	check "says what it lacks" says "$(status wgctl@wg1)" "an endpoint could not be found: /etc/wireguard/wg1.conf:11:"
	echo "192.0.2.1 late.example" >>/etc/hosts
	check "endpoint found later" within 90 sh -c 'wg show wg1 endpoints | grep -q 192.0.2.1:51821'
	check "peer reached then" sh -c 'ping -q -c 1 -w 60 10.9.0.1 || { wg show wg1; ip netns exec hub wg show; false; }'
	check "hook in the sandbox" says "$(iptables -S FORWARD)" "-A FORWARD -i wg1 -j ACCEPT"
	check "systemd-analyze verify" sh -c 'out=$(systemd-analyze verify --man=no --generators=no wgctl@wg0.service wgctl.target 2>&1) && [ -z "$out" ] || { echo "$out"; false; }'
	check "systemd-analyze security" says "$(systemd-analyze security --no-pager wgctl@wg0.service | tail -n 1)" "wgctl@wg0.service: 2.1 OK"
	check "device in the unit's cgroup" grep -q 'wgctl@wg1.service' /proc/"$(pgrep -x -f 'wgctl device-serve wg1')"/cgroup
}

reload() {
	start_pings
	before=$(wg show wg0 transfer | cut -f 2)
	sed -i 's/^KillSwitch/MTU = 1380\nKillSwitch/' /etc/wireguard/wg0.conf
	check "reload" systemctl reload wgctl@wg0
	check "reload took" says "$(ip link show wg0)" "mtu 1380"
	echo "Oops = 1" >>/etc/wireguard/wg0.conf
	check "reload of a bad file fails" [ "$(systemctl reload wgctl@wg0 2>/dev/null && echo done)" = "" ]
	sed -i '/^Oops/d' /etc/wireguard/wg0.conf
	check "and changes nothing" whole wg0
	check "peer is the same" [ "$(wg show wg0 transfer | cut -f 2)" -ge "$before" ]
	end_pings
	check "no packet lost" all_answered
}

restart() {
	ping -i 0.05 203.0.113.5 >/dev/null 2>&1 &
	pinger=$!
	around >/dev/null
	pid=$(systemctl show -p MainPID --value wgctl@wg0)
	check "restart" systemctl restart wgctl@wg0
	check "another process" [ "$pid" != "$(systemctl show -p MainPID --value wgctl@wg0)" ]
	check "whole after restart" whole wg0
	check "nothing in clear through a restart" no_packets
	kill -9 "$(systemctl show -p MainPID --value wgctl@wg0)"
	check "comes back when killed" within 90 sh -c "[ \$(systemctl show -p NRestarts --value wgctl@wg0) = 1 ] && systemctl -q is-active wgctl@wg0"
	check "nothing in clear through that" no_packets
	mkdir -p /run/systemd/network
	printf '[Match]\nName=other*\n[Network]\nAddress=198.51.100.9/24\n' >/run/systemd/network/other.network
	ip link add other0 type dummy
	check "networkd" systemctl start systemd-networkd
	check "networkd configures its link" within 90 sh -c 'ip address show other0 | grep -q 198.51.100.9'
	check "networkd takes rules and routes away, which are put back" within 90 sh -c 'journalctl -u wgctl@wg0 --no-pager | grep "putting it back: ip .*\(rule\|route\) add"'
	check "whole after that" within 90 whole wg0
	check "networkd restarts" systemctl restart systemd-networkd
	check "rules are back" within 90 whole wg0
	check "nothing in clear through that either" no_packets
	systemctl stop systemd-networkd.socket systemd-networkd
	check "stop" systemctl stop wgctl@wg0
	check "packets in clear after stop, which the witness must see" within 20 some_packets
	kill $pinger
	check "nothing left of the tunnel" [ -z "$(ip -o link show wg0 2>/dev/null)$(ip rule | grep 'proto 87')$(nft list tables | grep -w wgctl-wg0)$(ls /run/wgctl | grep wg0)" ]
	check "nameserver is gone" sh -c '! grep 10.8.0.53 /etc/resolv.conf'
	check "stop of the unit it was required by" [ "$(systemctl is-active dependent)" = inactive ]
}

watchdog() {
	pid=$(systemctl show -p MainPID --value wgctl@wg1)
	kill -STOP "$pid"
	check "watchdog" within 120 sh -c "[ \$(systemctl show -p NRestarts --value wgctl@wg1) = 1 ] && systemctl -q is-active wgctl@wg1"
	check "watchdog's doing" says "$(journalctl -u wgctl@wg1 --no-pager)" "Watchdog timeout"
	check "whole after the watchdog" within 60 whole wg1
}

# The units of wg-quick: Debian's with our wg-quick, and ours.
quick() {
	systemctl stop wgctl.target
	check "wgctl.target stops what is a part of it" within 60 sh -c '! systemctl -q is-active wgctl@wg1 && ! ip link show wg1 2>/dev/null'
	wgctl install-links --force /usr/bin 2>/dev/null
	check "Debian's unit" systemctl start wg-quick@wg0
	check "carries" ping -q -c 1 -w 60 10.8.0.1
	check "Debian's unit reloads" systemctl reload wg-quick@wg0
	check "Debian's unit stops" systemctl stop wg-quick@wg0
	check "and leaves nothing" [ -z "$(ip -o link show wg0 2>/dev/null)$(ip rule | grep 'proto 87')$(nft list tables | grep wgctl)" ]
	check "package of the tools' names" sh -c 'dpkg -i "$0" && ! dpkg-query -W -f "\${db:Status-Status}" wireguard-tools | grep -x installed' "$(echo "$PACKAGES"/2/wgctl-wireguard-tools_*)"
	check "our unit of that name" systemctl start wg-quick@wg0
	check "has its status" says "$(status wg-quick@wg0)" up
	check "excludes the other" systemctl start wgctl@wg0
	check "which took it over" [ "$(systemctl is-active wg-quick@wg0 wgctl@wg0 | tr '\n' ' ')" = "inactive active " ]
}

# The package, whose scripts run beside tunnels that are up. What is known of the
# session stays: a new handshake comes two minutes after the last at the soonest.
same_session() { [ "$1" = "$2" ] || [ $((${2##*	} - ${1##*	})) -ge 120 ]; }
upgrade() {
	systemctl start wgctl@wg0
	start_pings
	check "carries before the upgrade" within 60 some_traffic
	pid=$(systemctl show -p MainPID --value wgctl@wg0) before=$(wg show wg0 latest-handshakes)
	check "upgrade" dpkg -i "$PACKAGES"/2/wgctl_*
	check "upgrade took" says "$(dpkg-query -W wgctl)" 1.0.1
	check "same process" [ "$(systemctl show -p MainPID --value wgctl@wg0)" = "$pid" ]
	check "of the binary that was there" says "$(readlink /proc/"$pid"/exe)" "(deleted)"
	check "systemd knows the units that came" [ "$(systemctl show -p NeedDaemonReload --value wgctl@wg0)" = no ]
	check "same session" same_session "$before" "$(wg show wg0 latest-handshakes)"
	check "reload by the new one" systemctl reload wgctl@wg0
	check "whole after it" whole wg0
	end_pings
	check "no packet lost by the upgrade" all_answered
	kill -9 "$(pgrep -x -f 'wgctl device-serve wg1')"
	check "the old one brings a device up again" within 90 whole wg1
	check "restart" systemctl restart wgctl@wg0
	check "is the new one" [ "$(readlink /proc/"$(systemctl show -p MainPID --value wgctl@wg0)"/exe)" = /usr/bin/wgctl ]
}
some_traffic() { grep -q 'bytes from' /run/ping; }

# One that another unit names is listed as not found.
no_unit() { ! systemctl list-units --all --no-legend 'wgctl*' 'wg-quick*' | grep -v 'not-found inactive\|wgctl-vm'; }

purge() {
	check "another tunnel" systemctl start wg-quick@wg1
	check "purge" dpkg -P wgctl-wireguard-tools wgctl
	check "purge takes tunnels down" [ -z "$(left wg0)$(left wg1)" ]
	check "purge takes nameservers away" sh -c '! grep 10.8.0.53 /etc/resolv.conf'
	check "purge leaves nothing in /run" [ ! -e /run/wgctl ]
	check "purge leaves no unit" no_unit
	check "purge leaves no link to one" [ -z "$(find /etc/systemd /usr/lib/systemd -name 'wgctl*' ! -name '*.d')" ]
	check "purge leaves files of tunnels" [ -s /etc/wireguard/wg0.conf ]
	check "install" dpkg -i "$PACKAGES"/1/wgctl_*
	check "enable and start" systemctl enable --now wgctl@wg0
	check "carries again" ping -q -c 1 -w 60 10.8.0.1
	check "purge once more" dpkg -P wgctl
	check "leaves nothing once more" [ -z "$(left wg0)" ]
}

for part in guest boot reload restart watchdog upgrade quick purge; do
	$part
done
