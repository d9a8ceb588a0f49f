# SPDX-License-Identifier: MIT
# Prints what programs know of a host, for Snapshot: $1 and $2 are the tables
# of iptables-legacy and ip6tables-legacy. A tool that is missing prints
# nothing. As few processes as can be: in an emulated guest each costs as much
# as all that it prints.
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
exec 2>/dev/null

echo "== links and addresses"
ip -o -batch - <<-END
	link show
	address show
END
for family in -4 -6; do
	echo "== rules and routes $family"
	ip $family -batch - <<-END
		rule show
		route show table all
	END
done
echo "== nftables"
nft -s list ruleset
# Only for tables that exist: to ask for another would make it.
echo "== iptables"
[ -z "$1" ] || iptables-legacy-save
[ -z "$2" ] || ip6tables-legacy-save
exit 0
