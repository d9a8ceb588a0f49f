# SPDX-License-Identifier: MIT
# Before boot: wgctl and its unit as a package would install them, a tunnel with
# nameservers, and systemd-resolved as Debian's package sets it up. The hub is a
# namespace with a dnsmasq on the cable and one inside; it counts what comes by
# the cable for a nameserver.
install -m 755 "$WGCTL_BIN" /usr/bin/wgctl
install -m 644 "$UNITS"/wgctl@.service "$UNITS"/wgctl.target /usr/lib/systemd/system
rm -rf /etc/wireguard
mkdir -m 700 /etc/wireguard
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
sed -i 's/^hosts:.*/hosts: files dns/' /etc/nsswitch.conf
printf '[Resolve]\nLLMNR=no\nMulticastDNS=no\nFallbackDNS=\nCache=no\n' >/etc/systemd/resolved.conf

key=$(wgctl genkey) hub=$(wgctl genkey)
umask 077
cat >/etc/wireguard/wg0.conf <<-END
	[Interface]
	PrivateKey = $key
	Address = 10.8.0.2/24
	DNS = 10.8.0.53, corp.example

	[Peer]
	PublicKey = $(echo "$hub" | wgctl pubkey)
	Endpoint = 192.0.2.1:51820
	AllowedIPs = 0.0.0.0/0
END
mkdir /etc/site
printf '[Interface]\nPrivateKey = %s\nListenPort = 51820\n[Peer]\nPublicKey = %s\nAllowedIPs = 10.8.0.2/32\n' \
	"$hub" "$(echo "$key" | wgctl pubkey)" >/etc/site/hub.conf
umask 022
cat >/etc/site/up <<-END
	set -e
	ip netns add hub
	ip link add eth0 type veth peer name eth0 netns hub
	ip address add 192.0.2.2/24 dev eth0
	ip link set eth0 up
	ip route add default via 192.0.2.1
	ip -n hub address add 192.0.2.1/24 dev eth0
	ip -n hub link set eth0 up
	ip -n hub address add 10.8.0.53/32 dev lo
	ip -n hub link set lo up
	ip -n hub link add hub0 type wireguard
	ip netns exec hub wg setconf hub0 /etc/site/hub.conf
	ip -n hub address add 10.8.0.1/24 dev hub0
	ip -n hub link set hub0 up
	ip netns exec hub nft -f - <<-NFT
		table inet witness {
			counter around {}
			chain arrived {
				type filter hook prerouting priority raw
				iifname "eth0" meta l4proto { tcp, udp } th dport { 53, 853 } counter name around
			}
		}
	NFT
	for pair in 192.0.2.1=192.0.2.99 10.8.0.53=10.8.0.99; do
		ip netns exec hub $DNSMASQ --conf-file=/dev/null --user=root --pid-file= --bind-interfaces \
			--no-resolv --no-hosts --local=/#/ --listen-address=\${pair%=*} --address=/#/\${pair#*=}
	done
END
cd /etc/systemd/system || exit
cat >site.service <<-END
	[Unit]
	Wants=network.target
	Before=network.target
	[Service]
	Type=oneshot
	RemainAfterExit=yes
	KillMode=none
	ExecStart=/bin/sh /etc/site/up
END
# Who has the cable tells of its nameserver, as a DHCP client does.
cat >lan.service <<-END
	[Unit]
	Requires=systemd-resolved.service site.service
	After=systemd-resolved.service site.service
	Before=nss-lookup.target
	[Service]
	Type=oneshot
	RemainAfterExit=yes
	ExecStart=resolvectl dns eth0 192.0.2.1
	ExecStart=resolvectl default-route eth0 yes
END
mkdir -p multi-user.target.wants
ln -s /usr/lib/systemd/system/systemd-resolved.service /usr/lib/systemd/system/wgctl.target /etc/systemd/system/site.service \
	/etc/systemd/system/lan.service multi-user.target.wants/
ln -s /usr/lib/systemd/system/wgctl@.service multi-user.target.wants/wgctl@wg0.service
