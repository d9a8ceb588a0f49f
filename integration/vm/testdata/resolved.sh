# SPDX-License-Identifier: MIT
# After boot: a unit whose tunnel has nameservers, and systemd-resolved as a
# unit of its own, a line for each thing that is seen.

# answered NAME ADDRESS: as programs look it up.
answered() {
	got=$(getent ahostsv4 "$1" | head -n 1)
	says "$got" "$2 "
}
inside=10.8.0.99 outside=192.0.2.99
# What there is to be put back, the tunnel aside.
view() {
	stat -c '%N %a %U:%G' /etc/resolv.conf /run/systemd/resolve/stub-resolv.conf
	cat /etc/resolv.conf
	resolvectl status --no-pager | sed 's/ *Current DNS Server.*//; s/^ *//'
}

up() {
	check "tunnel up at boot" active wgctl@wg0
	check "systemd-resolved was told" says "$(resolvectl domain wg0)" "corp.example ~."
	check "by its own name on the bus" says "$(wgctl status -v wg0)" "dns: [rc=stub resolved=yes ret=resolved]"
	around >/dev/null
	check "look-ups go inside" answered a.example $inside
	check "resolvectl says so" says "$(resolvectl query -4 b.example)" "$inside"
	check "query says so" says "$(wgctl dns --query c.example)" "$inside (by 10.8.0.53:53 over wg0)"
}

restart() {
	check "systemd-resolved restarts" systemctl restart systemd-resolved
	check "look-ups go inside after that" within 60 answered d.example $inside
	check "whole after that" within 60 whole wg0
	check "none went around" [ "$(around)" = 0 ]
	resolvectl revert wg0
	check "told again when it has forgotten" within 90 answered h.example $inside
}

split() {
	sed -i 's/corp.example/~inside.example/' /etc/wireguard/wg0.conf
	check "reload to split DNS" systemctl reload wgctl@wg0
	check "names of the domain go inside" answered e.inside.example $inside
	check "others don't" answered e.example $outside
}

stop() {
	check "stop" systemctl stop wgctl@wg0
	check "look-ups go as before" answered f.example $outside
	before=$(view)
	check "start" systemctl start wgctl@wg0
	check "look-ups go inside again" answered g.inside.example $inside
	check "and stop" systemctl stop wgctl@wg0
	check "all is as it was" [ "$(view)" = "$before" ]
	check "by the link to the stub" [ "$(readlink /etc/resolv.conf)" = ../run/systemd/resolve/stub-resolv.conf ]
}

up
restart
split
stop
