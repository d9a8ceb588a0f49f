# SPDX-License-Identifier: MIT
# Second stage, process 1 in the machine's root: makes it a running system,
# and has the command run: at once, or as the last unit of systemd's boot. What
# varies (RELEASE, MODULES, NO_NFTABLES, INIT) stands in the file vars beside it.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM="${TERM:-vt100}"
vm=/results/.vm
. $vm/vars

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=0755 run /run
mount -t tmpfs -o mode=1777 shm /dev/shm 2>/dev/null || {
	mkdir -p /dev/shm && mount -t tmpfs -o mode=1777 shm /dev/shm
}
mkdir -p /dev/pts && mount -t devpts -o mode=0620,ptmxmode=0666 pts /dev/pts
ln -sf /proc/self/fd /dev/fd
mkdir -p /run/lock
hostname wgctl-vm
dmesg -n 1

# The kernel looks for modules, and for modprobe, in the usual place.
mkdir -p "/lib/modules/$RELEASE"
mount --bind "$MODULES" "/lib/modules/$RELEASE"
if [ -n "$NO_NFTABLES" ]; then
	# A host of before nf_tables: the module cannot come, nft is not
	# there, and iptables is the old one.
	echo 'install nf_tables /bin/false' >/etc/modprobe.d/no-nftables.conf
	rm -f /usr/sbin/nft
	for t in iptables ip6tables; do
		for verb in "" -save -restore; do
			ln -sf "/usr/sbin/$t-legacy$verb" "/etc/alternatives/$t$verb"
		done
	done
fi
wanted="wireguard autofs4 veth dummy tun bridge ifb macvlan sch_netem
	ip_tables iptable_raw iptable_mangle iptable_filter iptable_nat
	ip6_tables ip6table_raw ip6table_mangle ip6table_filter ip6table_nat
	xt_addrtype xt_comment xt_connmark xt_conntrack xt_mark xt_MASQUERADE xt_multiport xt_nat xt_tcpudp xt_TCPMSS"
[ -n "$NO_NFTABLES" ] || wanted="$wanted
	nf_tables nft_chain_nat nft_compat nft_ct nft_fib nft_fib_inet nft_fib_ipv4 nft_fib_ipv6 nft_masq nft_nat nft_redir
	nft_reject nft_reject_inet nft_log nft_limit"
# A kernel that has one of them built in, or not at all, is for the tests to
# judge: the others are loaded all the same.
modprobe -q -a $wanted
ip link set lo up

cd /
if [ "$INIT" = systemd ]; then
	. $vm/systemd
	sh $vm/prepare || echo "vm: preparing failed" >/dev/console
	exec /usr/lib/systemd/systemd --show-status=no --log-target=journal-or-kmsg
fi
exec sh $vm/run
