
# What is beside the units in this guest: a ruleset that flushes all others, at
# boot as Debian has it; systemd-resolved comes with the guest.
systemctl --root=/ -q enable nftables.service wgctl.target
systemctl --root=/ -q disable wgctl@wg1.service wgctl@bad.service
# Tunnels of all that a unit may do; each has its own key.
peer=$(wgctl genkey | wgctl pubkey)
tunnel() {
	printf '[Interface]\nPrivateKey = %s\n%s\n[Peer]\nPublicKey = %s\nEndpoint = 192.0.2.1:5555\n%s\n' \
		"$(wgctl genkey)" "$2" "$peer" "$3" >/etc/wireguard/"$1".conf
}
tunnel gate "Address = 10.20.0.1/24, fd20::1/64
ListenPort = 443
Masquerade = eth0
ClampMSS = 1300
PortForward = tcp/2222 -> 10.20.0.2:22
PortForward = udp/5353 -> [fd20::2]:53
PostUp = iptables -A FORWARD -i %i -d 10.21.0.0/16 -j ACCEPT
PostUp = sysctl -w net.ipv4.conf.%i.rp_filter=2
PostDown = true" "AllowedIPs = 10.20.0.2/32, fd20::2/128"
tunnel old "Address = 10.22.0.1/24, fd22::1/64
Masquerade = auto
KillSwitch = on
PortForward = tcp/2222 -> 10.22.0.2:22" "AllowedIPs = 0.0.0.0/0, ::/0"
tunnel embedded "Address = 10.23.0.1/24, fd23::1/64
Backend = userspace
DNS = 10.23.0.53" "AllowedIPs = 0.0.0.0/0, ::/0"
tunnel asked "Address = 10.24.0.1/24
DNSBackend = resolvconf
DNS = 10.24.0.53, asked.example" "AllowedIPs = 10.24.0.0/16"
tunnel resolved "Address = 10.25.0.1/24
DNSBackend = resolved
DNS = 10.25.0.53, ~resolved.example" "AllowedIPs = 10.25.0.0/16"
tunnel hooked "Address = 10.26.0.1/24
Hooks = shell
PostUp = iptables -A FORWARD -i %i -j ACCEPT; nft add table ip hooked; ip route add 10.27.0.0/16 dev %i; echo x >/run/hooked
PostDown = iptables -D FORWARD -i %i -j ACCEPT; nft delete table ip hooked; rm /run/hooked" "AllowedIPs = 10.26.0.0/16"
tunnel kept "Address = 10.28.0.1/24
SaveConfig = true" "AllowedIPs = 10.28.0.2/32"
tunnel needy "Address = 10.29.0.1/24
Hooks = shell
PostUp = ip netns add needy && ip -n needy link set lo up
PostDown = ip netns delete needy" "AllowedIPs = 10.29.0.2/32"
tunnel filed "Address = 10.30.0.1/24" "AllowedIPs = 10.30.0.2/32"
sed -n 's/^PrivateKey = //p' /etc/wireguard/filed.conf >/etc/wireguard/filed.key
sed -i 's/^PrivateKey = .*/PrivateKeyFile = filed.key/' /etc/wireguard/filed.conf
sed 's/^PrivateKeyFile = .*/PrivateKeyFile = credential:sealed.key/; s/10.30.0/10.31.0/' /etc/wireguard/filed.conf >/etc/wireguard/sealed.conf
mkdir /etc/systemd/system/wgctl@sealed.service.d
printf '[Service]\nLoadCredentialEncrypted=sealed.key:/etc/wireguard/sealed.key.cred\nExecReload=\nExecReload=/bin/kill -HUP $MAINPID\n' >/etc/systemd/system/wgctl@sealed.service.d/key.conf
mkdir /etc/systemd/system/wgctl@old.service.d
printf '[Service]\nEnvironment=WGCTL_FIREWALL=iptables\nRestartSec=30\n' >/etc/systemd/system/wgctl@old.service.d/old.conf
# NetworkManager, which a part of the script starts; it leaves such cables alone
# unless it is told.
cp -a "$NETWORKMANAGER"/. /
mkdir -p /etc/NetworkManager/conf.d /etc/NetworkManager/system-connections
cat >/etc/NetworkManager/conf.d/vm.conf <<-END
	[main]
	plugins=keyfile
	no-auto-default=*
	[device-eth0]
	match-device=interface-name:eth0
	managed=1
END
cat >/etc/NetworkManager/system-connections/eth0.nmconnection <<-END
	[connection]
	id=eth0
	type=ethernet
	interface-name=eth0
	[ipv4]
	method=manual
	address1=192.0.2.2/24,192.0.2.1
	dns=192.0.2.1;
	[ipv6]
	method=disabled
END
chmod 600 /etc/NetworkManager/system-connections/eth0.nmconnection
