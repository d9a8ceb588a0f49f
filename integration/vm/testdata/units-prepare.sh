# SPDX-License-Identifier: MIT
# Before boot: wgctl and its units as the package installs them, three
# tunnels, a service that needs one of them, and a unit that makes the network.
# The hub is a namespace; it counts what comes by the cable in clear.
rm -rf /etc/wireguard
# Of the machine's packages, dpkg gets to know the one that ours are about: it reads
# the lists of all, and has the index of manual pages made anew, at a guest's pace.
dpkg-query -s wireguard-tools >/run/status && mv /run/status /var/lib/dpkg/status
dpkg -i "$PACKAGES"/1/wgctl_* >/dev/null || exit
rm -f /etc/resolv.conf
echo nameserver 192.0.2.1 >/etc/resolv.conf

key=$(wgctl genkey) hub=$(wgctl genkey)
umask 077
cat >/etc/wireguard/wg0.conf <<-END
	[Interface]
	PrivateKey = $key
	Address = 10.8.0.2/24
	DNS = 10.8.0.53
	KillSwitch = on
	ExcludedIPs = 192.0.2.1/32, 10.9.0.0/24

	[Peer]
	PublicKey = $(echo "$hub" | wgctl pubkey)
	Endpoint = 192.0.2.1:51820
	AllowedIPs = 0.0.0.0/0
END
cat >/etc/wireguard/wg1.conf <<-END
	[Interface]
	PrivateKey = $key
	Address = 10.9.0.2/24
	Backend = userspace
	Hooks = shell
	PostUp = iptables -A FORWARD -i %i -j ACCEPT
	PostDown = iptables -D FORWARD -i %i -j ACCEPT

	[Peer]
	PublicKey = $(echo "$hub" | wgctl pubkey)
	Endpoint = late.example:51821
	AllowedIPs = 10.9.0.0/24
END
printf '[Interface]\nListenPort = 99999\n' >/etc/wireguard/bad.conf
mkdir /etc/site
for n in 0 1; do
	printf '[Interface]\nPrivateKey = %s\nListenPort = 5182%s\n[Peer]\nPublicKey = %s\nAllowedIPs = 10.%s.0.2/32\n' \
		"$hub" $n "$(echo "$key" | wgctl pubkey)" $((8 + n)) >/etc/site/wg$n.conf
done
cat >/etc/site/up <<-'END'
	set -e
	ip netns add hub
	ip link add eth0 type veth peer name eth0 netns hub
	ip address add 192.0.2.2/24 dev eth0
	ip link set eth0 up
	ip route add default via 192.0.2.1
	ip -n hub address add 192.0.2.1/24 dev eth0
	ip -n hub link set eth0 up
	ip -n hub address add 203.0.113.5/32 dev lo
	ip -n hub address add 10.8.0.53/32 dev lo # which refuses look-ups at once
	ip -n hub link set lo up
	for n in 0 1; do
		# Not wg$n: there are sockets of that name, which a namespace shares.
		ip -n hub link add hub$n type wireguard
		ip netns exec hub wg setconf hub$n /etc/site/wg$n.conf
		ip -n hub address add 10.$((8 + n)).0.1/24 dev hub$n
		ip -n hub link set hub$n up
	done
	ip netns exec hub nft -f - <<-NFT
		table inet witness {
			counter around {}
			chain arrived {
				type filter hook prerouting priority raw
				iifname "eth0" ip daddr 203.0.113.5 counter name around
			}
		}
	NFT
END
cd /etc/systemd/system || exit
cat >site.service <<-END
	[Unit]
	Wants=network.target
	Before=network.target
	[Service]
	Type=oneshot
	RemainAfterExit=yes
	ExecStart=/bin/sh /etc/site/up
	[Install]
	WantedBy=multi-user.target
END
# It fails unless its packets are led into the tunnel when it starts, and come
# back; the first may be lost, as udev gives a new eth0 another address.
cat >dependent.service <<-END
	[Unit]
	Requires=wgctl@wg0.service
	After=wgctl@wg0.service
	[Service]
	Type=oneshot
	RemainAfterExit=yes
	ExecStartPre=/bin/sh -c 'ip route get 203.0.113.5 | grep "dev wg0"'
	ExecStart=ping -q -c 1 -w 60 10.8.0.1
	[Install]
	WantedBy=multi-user.target
END
mkdir wgctl@wg1.service.d
printf '[Service]\nWatchdogSec=20\n' >wgctl@wg1.service.d/watchdog.conf
systemctl --root=/ -q enable site.service dependent.service wgctl@wg0.service wgctl@wg1.service wgctl@bad.service
