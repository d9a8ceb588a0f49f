// SPDX-License-Identifier: MIT

package integration

import "strings"

// The reasons for which ours differs.
const (
	wraps = "Debian's takes the port modulo 65536"
	loose = "a sign or white space before a number"
	short = "an IPv4 address of fewer than four numbers is surely a mistake"
	old   = "Debian's is of 2021"
)

// wgCases are the cases of TestLikeWg. $K1 and $K2 are peers of the device, $K3
// is not, $KSELF is its own key; files are those of newWgHost.
func wgCases() (all []wgCase) {
	for _, list := range [][]wgCase{
		wgShowCases(), wgInterfaceCases(), wgPeerCases(), wgAllowedCases(), wgEndpointCases(), wgFileCases(), wgKeyCases(),
	} {
		all = append(all, list...)
	}
	return all
}

// each makes a case of each value that a line is tried with.
func each(format string, values ...string) (out []wgCase) {
	for _, v := range values {
		out = append(out, wgCase{sh: strings.ReplaceAll(format, "%", v)})
	}
	return out
}

// refused is what ours says where Debian's does something doubtful.
func refused(sh, stderr, why string) wgCase {
	return wgCase{sh: sh, ours: &wgResult{code: 1, stderr: stderr + "\n"}, why: why}
}

func wgShowCases() []wgCase {
	cases := each("wg %",
		"| sort", "help", "-h", "--help", "help x", "bogus", "''", "-v x", "showconf wg0", "showconf", "showconf wg0 x", "showconf nosuch",
		"show interfaces", "show interfaces x", "show a b c", "show -h", "show --help", "show help", "show nosuch", "show nosuch peers",
		"show wg0 bogus", "show all bogus", "show wg0 ''", "show ''")
	if Backend() == Kernel {
		cases = append(cases, refused("wg show wg0123456789abcdef", "Unable to access interface: File name too long", old))
	}
	for _, which := range []string{"wg0", "all"} {
		// The order of peers is the device's, and userspace has a new one each time.
		cases = append(cases, each("wg show "+which+" % | sort", "peers", "public-key", "private-key", "listen-port", "fwmark", "preshared-keys",
			"allowed-ips", "latest-handshakes", "transfer", "persistent-keepalive", "dump")...)
	}
	cases = append(cases,
		wgCase{sh: "wg show wg0 endpoints | sort"},
		wgCase{sh: "wg show all endpoints | sort", why: "Debian's names the interface in the first line only",
			ours: &wgResult{stdout: "wg0\t" + wgKey1 + "\t192.0.2.1:5\nwg0\t" + wgKey2 + "\t(none)\n"}})
	cases = append(cases, each("wg set wg0 peer $K2 remove; %", "wg", "wg show wg0", "wg show all", "WG_COLOR_MODE=always wg show",
		"WG_HIDE_KEYS=never wg", "WG_HIDE_KEYS=always wg", "WG_COLOR_MODE=never wg", "WG_COLOR_MODE=x wg", "wg showconf wg0", "wg | wc")...)
	return append(cases, each("wg setconf wg0 /dev/null; wg %", "", "showconf wg0", "show wg0 dump", "show wg0 peers")...)
}

func wgInterfaceCases() []wgCase {
	cases := each("wg set %", "", "wg0", "wg0 bogus", "wg0 bogus 1", "nosuch listen-port 5", "wg0 listen-port", "wg0 Listen-Port 5",
		"wg0 listen-port 5 listen-port 6", "wg0 listen-port 5 fwmark", "-h", "--help")
	cases = append(cases, each("wg set wg0 listen-port %", "0", "1", "65535", "00005", "domain", "nosuch", "''", "0x10", "5x", "' '", "domain,x")...)
	cases = append(cases,
		refused("wg set wg0 listen-port 99999", "Servname not supported for ai_socktype: `99999'", wraps),
		refused("wg set wg0 listen-port 65536", "Servname not supported for ai_socktype: `65536'", wraps),
		refused("wg set wg0 listen-port +5", "Servname not supported for ai_socktype: `+5'", loose),
		refused("wg set wg0 listen-port ' 5'", "Servname not supported for ai_socktype: ` 5'", loose),
	)
	cases = append(cases, each("wg set wg0 fwmark %", "0", "off", "OFF", "Off", "1", "0xff", "0xFFFFFFFF", "4294967295", "4294967296",
		"0x100000000", "010", "0X10", "0x", "-1", "+1", "''", "1x", "' 1'", "on")...)
	cases = append(cases, each("wg set wg0 private-key %", "private", "psk", "empty", "/dev/null", "newline", "short", "spaces", "trailing",
		"two", "leading", "bad", "nosuch", "/run", "''", "<(echo "+wgPSK+")")...)
	return append(cases, wgCase{sh: "wg set wg0 private-key nul", why: "a NUL byte isn't for a terminal",
		ours: &wgResult{code: 1, stderr: "Found trailing character in key file: `?'\n"}})
}

func wgPeerCases() []wgCase {
	cases := each("wg set wg0 peer %", "", "$K1", "$K1 remove", "$K3 remove", "$K3", "$K1 remove $K2", "$K1 remove peer $K2 remove",
		"$KSELF", "x", "''", "${K1%=}", "${K1%=}x", "$K1=", "A$K1", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQF=",
		"$K1 listen-port 5", "$K1 private-key private", "$K1 fwmark 1", "$K1 bogus x", "$K1 Remove", "$K1 endpoint",
		"$K1 persistent-keepalive 5 peer $K1 persistent-keepalive 6", "$K3 allowed-ips 10.0.0.1 remove",
		"$K3 preshared-key psk endpoint 192.0.2.9:9 persistent-keepalive 9 allowed-ips 10.9.0.0/16,fd09::/16",
		"$K3 peer $K1 allowed-ips 10.9.0.0/16 peer $K2 remove")
	cases = append(cases, each("wg set wg0 allowed-ips %", "10.0.0.1")...)
	cases = append(cases, each("wg set wg0 remove%", "")...)
	cases = append(cases, each("wg set wg0 peer $K1 persistent-keepalive %", "0", "off", "OFF", "1", "25", "025", "65535", "65536", "-1", "+1", "0x10", "''", "25s")...)
	return append(cases, each("wg set wg0 peer $K1 preshared-key %", "psk", "private", "empty", "/dev/null", "short", "trailing", "bad", "nosuch", "leading")...)
}

func wgAllowedCases() []wgCase {
	cases := each("wg set wg0 peer $K1 allowed-ips %", "''", "' '", "10.0.0.1", "10.0.0.1/32", "10.0.0.0/8", "0.0.0.0/0", "::/0", "0.0.0.0/0,::/0",
		"fd00::1", "fd00::/64", "10.0.0.1/24", "fd00::1/64", "10.0.0.1/0", "10.0.0.1,fd00::/64,10.0.0.2", "' 10.0.0.1 , 10.0.0.2 '",
		"10.0.1.0/24", "10.0.0.1,10.0.0.1", "10.0.0.1/032", "::ffff:1.2.3.4/128", "::ffff:1.2.3.0/120", "::1.2.3.4", "::1:0/112", "::5", "1::",
		"1:0:0:2:0:0:0:3/128", "1:0:2:3:4:5:6:7/128", "FD00::AB",
		",", "10.0.0.1,", ",10.0.0.1", "10.0.0.1,,10.0.0.2", "10.0.0.1/33", "::/129", "10.0.0.1/", "10.0.0.1/x", "10.0.0.1/-1", "10.0.0.1/+8",
		"10.0.0.1/255.255.255.0", "10.0.0", "010.0.0.1", "10.0.0.256", "fe80::1%lo", ":::", "x", "relay.example", "10.0.0.1/8/8", "10.0.0.1;10.0.0.2")
	added := func(ips string) string {
		return wgDump(dumpDevice, strings.Replace(dumpPeer1, "10.0.0.1/32,fd00::/64", ips, 1), dumpPeer2)
	}
	return append(cases,
		wgCase{sh: "wg set wg0 peer $K1 allowed-ips +10.9.0.0/16", ours: &wgResult{dump: added("10.0.0.1/32,fd00::/64,10.9.0.0/16")}, why: old},
		wgCase{sh: "wg set wg0 peer $K1 allowed-ips -10.0.0.1", ours: &wgResult{dump: added("fd00::/64")}, why: old})
}

func wgEndpointCases() []wgCase {
	cases := each("wg set wg0 peer $K1 endpoint %", "192.0.2.9:9", "[2001:db8::9]:9", "2001:db8::9:9", "::1:5", "'[fe80::1%lo]:domain'", "192.0.2.9:domain", "192.0.2.9:0",
		"0.0.0.0:5", "[::]:5", "[192.0.2.9]:9", "relay.example:5", "relay:5", "six.example:domain", "localhost:5",
		"192.0.2.9:", "192.0.2.9", "[::1", "[::1]5", "[::1]:", "[::1]", "[]:5", ":5", "''", "192.0.2.9:nosuch", "nosuch.example:5", "192.0.2.9:9x", "relay.example", "[::1]::5")
	mapped := wgCase{sh: "wg set wg0 peer $K1 endpoint [::ffff:192.0.2.9]:9"}
	if Backend() == Kernel {
		mapped.why = "the kernel's IPv6 socket sends nothing to a mapped IPv4 address"
		mapped.ours = &wgResult{dump: wgDump(dumpDevice, strings.Replace(dumpPeer1, "192.0.2.1:5", "192.0.2.9:9", 1), dumpPeer2)}
	}
	return append(cases, mapped,
		wgCase{sh: "WG_ENDPOINT_RESOLUTION_RETRIES=infinity wg set wg0 peer $K1 endpoint relay.example:5"},
		wgCase{sh: "WG_ENDPOINT_RESOLUTION_RETRIES=x wg set wg0 peer $K1 endpoint 192.0.2.9:9"},
		wgCase{sh: "WG_ENDPOINT_RESOLUTION_RETRIES=x wg set wg0 peer $K1 remove"},
		wgCase{sh: "WG_ENDPOINT_RESOLUTION_RETRIES=1 wg set wg0 peer $K1 endpoint nosuch.example:5"},
		refused("wg set wg0 peer $K1 endpoint 192.0.2.9:65536", "Servname not supported for ai_socktype: `192.0.2.9:65536'", wraps),
		refused("wg set wg0 peer $K1 endpoint 127.1:5", "Name or service not known: `127.1:5'", short),
		refused("wg set wg0 peer $K1 endpoint 2130706433:5", "Name or service not known: `2130706433:5'", short),
	)
}

func wgFileCases() []wgCase {
	var cases []wgCase
	for _, verb := range []string{"setconf", "addconf", "syncconf"} {
		cases = append(cases, each("wg "+verb+" %", "", "wg0", "wg0 a b", "wg0 nosuch", "-h", "--help x", "nosuch base", "wg0 base", "wg0 /dev/null", "wg0 <(cat base)")...)
		for _, text := range []string{
			`[Interface]\n`, `[Interface]\nListenPort=5\n[Peer]\nPublicKey=$K1\nAllowedIPs=10.0.0.1/32, fd00::/64\nEndpoint=192.0.2.1:5\nPresharedKey=` + wgPSK,
			`[Peer]\nPublicKey=$K3\nAllowedIPs=10.0.0.1,10.0.1.0/24\n`, `[Peer]\nPublicKey=$K3\n[Peer]\nPublicKey=$K2\nEndpoint=192.0.2.9:9\nPersistentKeepalive=off\n`,
			`[Peer]\nPublicKey=$K2\nAllowedIPs=10.2.0.0/16\nPersistentKeepalive=0\n[Peer]\nPublicKey=$K1\nPresharedKey=` + wgKey3 + `\nAllowedIPs=10.0.0.1/32\n`,
			`[Peer]\nPublicKey=$K1\nAllowedIPs=10.1.0.1\n[Peer]\nPublicKey=$K1\nPresharedKey=` + wgPSK + `\nAllowedIPs=10.1.0.2\nPersistentKeepalive=3\n`,
			`[Peer]\nPublicKey=$K2\nAllowedIPs=10.0.0.1\nPersistentKeepalive=25\n[Peer]\nPublicKey=$K1\nPresharedKey=` + wgPSK + `\nAllowedIPs=10.0.0.1/32,fd00::/64\n`,
			`[Interface]\nPrivateKey=` + wgPSK + `\nFwMark=0xca6c\n`, `[Interface]\nAddress = 10.0.0.1\n`,
		} {
			cases = append(cases, wgFile(verb, text))
		}
	}
	// What the grammar takes, and what not: one verb is enough.
	for _, text := range []string{
		`# only a comment`, `\n\n   \n\t\n`, `[interface] # c\nlistenport=7`, `[ Inter face ]\r\nLISTEN port = 5 # x\r\n [PEER]\r\nPub lic Key = $K1\r\n`,
		`[Interface]\nListenPort=5\n[Interface]\nListenPort=6\nFwMark=7`, `[Interface]\nListenPort=domain`, `[Interface]\nFwMark=off`,
		`[Peer]\nPublicKey=$K1\nAllowedIPs=10.0.0.1/24\nAllowedIPs=fd00::1/8`, `[Peer]\nEndpoint=relay.example:5\nPublicKey=$K1\nPublicKey=$K3`,
		`[Peer]\nPublicKey=$KSELF\nAllowedIPs=10.0.0.1`, `[Interface]\nListenPort=5`, `[Interface]\n#ListenPort=5\nFwMark=1#2`,
		`[Peer]\nPublicKey=$K1\nPersistentKeepalive=OFF`, `[Peer]\nPublicKey=$K1\nAllowedIPs=10.0.0.1\nAllowedIPs=10.0.0.2`,
		`\357\273\277[Interface]\n`, `Foo`, `Foo=1`, `[Foo]`, `[Interface]x`, `[Interface`, `ListenPort=5`, `; x`, `[Interface]\nListenPort`, `[Interface]\nListenPort=`, `[Interface]\n=5`,
		`[Interface]\nPrivateKye=` + wgPrivate, `[Interface]\nPrivateKey ` + wgPrivate, `[Interface]\nPublicKey=$K1`, `[Peer]\nListenPort=5`, `[Interface]\nDNS=1.1.1.1`,
		`[Interface]\nPrivateKey=x`, `[Interface]\nPrivateKey=$K1=`, `[Interface]\nFwMark=x`, `[Interface]\nFwMark=0X10`, `[Interface]\nListenPort=nosuch`,
		`[Peer]\nAllowedIPs=10.0.0.1`, `[Peer]\n[Peer]\nPublicKey=$K1`, `[Peer]\nPublicKey=x`, `[Peer]\nPublicKey=$K1\nPresharedKey=x`,
		`[Peer]\nPublicKey=$K1\nAllowedIPs=`, `[Peer]\nPublicKey=$K1\nAllowedIPs=10.0.0.1,`, `[Peer]\nPublicKey=$K1\nAllowedIPs=10.0.0.1/33`,
		`[Peer]\nPublicKey=$K1\nEndpoint=x`, `[Peer]\nPublicKey=$K1\nEndpoint=[::1`, `[Peer]\nPublicKey=$K1\nEndpoint=nosuch.example:5`, `[Peer]\nPublicKey=$K1\nPersistentKeepalive=x`,
		`[Interface]\nListenPort=5\n[Peer]\nPublicKey=$K1\nfoo`,
	} {
		cases = append(cases, wgFile("setconf", text))
	}
	return append(cases, wgFileDifferences()...)
}

// wgFile is a case with a file, in which $K1 and the like are keys.
func wgFile(verb, text string) wgCase {
	return wgCase{sh: `printf "` + text + `" > conf; wg ` + verb + ` wg0 conf`}
}

func wgFileDifferences() []wgCase {
	differs := func(verb, text, stderr, why string) wgCase {
		c := wgFile(verb, text)
		c.ours, c.why = &wgResult{code: 1, stderr: stderr + "\nConfiguration parsing error\n"}, why
		return c
	}
	synced := func(text, dump string) wgCase {
		c := wgFile("syncconf", `[Interface]\nPrivateKey=`+wgPrivate+`\nListenPort=51820\nFwMark=1\n`+text)
		c.ours, c.why = &wgResult{dump: dump}, old+": it leaves a preshared key and a keepalive that the file lacks"
		return c
	}
	return []wgCase{
		differs("setconf", `[Interface]\nListenPort=70000`, "Servname not supported for ai_socktype: `70000'", wraps),
		differs("setconf", `[Interface]\nListenPort=5\000x\n`, "Line unrecognized: it has a NUL byte", "Debian's reads the line up to the NUL"),
		synced(`[Peer]\nPublicKey=$K1\nAllowedIPs=10.0.0.1/32,fd00::/64\n[Peer]\nPublicKey=$K2\nAllowedIPs=10.0.1.0/24\nPersistentKeepalive=25\n`,
			wgDump(dumpDevice, strings.Replace(dumpPeer1, wgPSK, "(none)", 1), dumpPeer2)),
		synced(`[Peer]\nPublicKey=$K2\nAllowedIPs=10.0.1.0/24\n`, wgDump(dumpDevice, strings.Replace(dumpPeer2, "\t25", "\toff", 1))),
	}
}

func wgKeyCases() []wgCase {
	cases := each("wg %", "genkey x", "genkey -h", "genpsk x", "pubkey x", "pubkey", "pubkey <private", "pubkey <psk", "pubkey <short", "pubkey <trailing",
		"pubkey <spaces", "pubkey <two", "pubkey <leading", "pubkey <bad", "pubkey <nul", "pubkey <newline", "genkey | wg pubkey | wc -c", "genpsk | wc -c")
	cases = append(cases, each("wg % && stat -c %s key && rm key", "genkey >key", "genpsk >key")...)
	cases = append(cases, each("umask 077; wg % && stat -c %s key && rm key", "genkey >key")...)
	return append(cases, wgCase{sh: "head -c 32 /dev/zero | base64 | wg pubkey"})
}
