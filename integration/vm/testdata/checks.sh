# SPDX-License-Identifier: MIT
# What the scripts of guests that systemd boots are written in.
#
# check NAME COMMAND...: "ok NAME", or "FAIL NAME" and what was printed.
check() {
	name=$1
	shift
	if printed=$("$@" 2>&1); then
		echo "ok $name"
	else
		echo "FAIL $name: $printed" | tr '\n' '|'
		echo
	fi
}
# within SECONDS COMMAND...: until it succeeds.
within() {
	end=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt "$end" ] || return 1
		sleep 0.2
	done
}
around() { ip netns exec hub nft -j reset counter inet witness around | jq '.nftables[] | .counter? // empty | .packets'; }
no_packets() { [ "$(around)" = 0 ]; }
some_packets() { [ "$(around)" != 0 ]; }
says() { case $1 in *"$2"*) ;; *) echo "$1" && false ;; esac; }
status() { systemctl show -p StatusText --value "$1"; }
whole() { [ "$(wgctl status --json "$1" | jq -c '.[0] | [.state, (.drift | length)]')" = '["up",0]' ]; }
active() { systemctl -q is-active "$1" || { systemctl status --no-pager -l -n 30 "$1" && false; }; }
# left NAME: what there is of a tunnel that should be gone.
left() { ip -o link show "$1" 2>/dev/null; ip rule | grep "proto 87"; nft list tables | grep -w "wgctl-$1"; ls /run/wgctl 2>/dev/null | grep "$1"; }
# start_pings, end_pings: to a host that is behind the tunnel; the second has what
# ping says of them in /run/ping.
start_pings() {
	ping -i 0.2 -c 100000 203.0.113.5 >/run/ping 2>&1 &
	pinger=$!
}
end_pings() {
	sleep 1
	kill -INT $pinger
	wait $pinger
}
# The last may be under way still.
all_answered() {
	[ "$(grep -c 'bytes from' /run/ping)" = "$(sed -n 's/.*icmp_seq=\([0-9]*\) .*/\1/p' /run/ping | sort -n | tail -n 1)" ] ||
		{ sed -n 's/.*icmp_seq=\([0-9]*\) .*/\1/p' /run/ping | tr '\n' ' ' && false; }
}
