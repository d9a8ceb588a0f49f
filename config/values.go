// SPDX-License-Identifier: MIT

package config

import (
	"encoding/base64"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// keyLen is the length of 32 bytes in base64.
const keyLen = 44

var strictBase64 = base64.StdEncoding.Strict()

// parseKey is strict: 44 characters, and the bits beyond the 256th are zero
// (key_from_base64 of wireguard-tools).
func parseKey(s string) (k [32]byte, ok bool) {
	if len(s) != keyLen {
		return k, false
	}
	var text [keyLen]byte // not of the heap, and cleared
	defer clear(text[:])
	copy(text[:], s)
	return parseKeyText(text[:])
}

// parseKeyText is parseKey for a text that the caller clears.
func parseKeyText(text []byte) (k [32]byte, ok bool) {
	if len(text) != keyLen {
		return k, false
	}
	var buf [33]byte
	defer clear(buf[:])
	n, err := strictBase64.Decode(buf[:], text)
	if err != nil || n != len(k) {
		return k, false
	}
	copy(k[:], buf[:])
	return k, true
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

// parseNumber takes digits only; leading zeros don't make it octal.
func parseNumber(s string, most uint64) (uint64, bool) {
	if !isDigits(s) {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n <= most
}

// parsePort takes what getaddrinfo(3) takes for a service, but for numbers
// above 65535, which wg wraps.
func parsePort(s string) (Port, bool) {
	if isDigits(s) {
		n, ok := parseNumber(s, math.MaxUint16)
		return Port{Number: uint16(n)}, ok
	}
	letters := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isLetter(c):
			letters = true
		case !isDigit(c) && (i == 0 || !strings.ContainsRune("-_.+", rune(c))):
			return Port{}, false
		}
	}
	return Port{Service: s}, letters && len(s) <= 64
}

// parseFwMark knows hexadecimal only after a lower-case "0x" (parse_fwmark of
// wireguard-tools).
func parseFwMark(s string) (uint32, bool) {
	if strings.EqualFold(s, "off") {
		return 0, true
	}
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		n, err := strconv.ParseUint(hex, 16, 32) // takes no sign, no prefix, no underscore
		return uint32(n), err == nil
	}
	n, ok := parseNumber(s, math.MaxUint32)
	return uint32(n), ok
}

func parseKeepalive(s string) (uint16, bool) {
	if strings.EqualFold(s, "off") {
		return 0, true
	}
	n, ok := parseNumber(s, math.MaxUint16)
	return uint16(n), ok
}

// maxMTU is the most that the netlink attribute holds as an int.
const maxMTU = math.MaxInt32

// parseMTU takes what ip(8) takes but for octal, which nobody means.
func parseMTU(s string) (int, bool) {
	n, ok := parseCNumber(s, maxMTU)
	return int(n), ok && n > 0
}

// parseCNumber takes a decimal number without leading zeros, or one after 0x.
func parseCNumber(s string, most uint64) (uint64, bool) {
	if len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' {
		n, err := strconv.ParseUint(s[2:], 16, 64)
		return n, err == nil && n <= most
	}
	n, ok := parseNumber(s, most)
	return n, ok && (s == "0" || s[0] != '0')
}

// mainTable is what the kernel makes of table 0.
const mainTable = 254

func parseTable(s string) (Table, bool) {
	switch {
	case strings.EqualFold(s, "auto"):
		return Table{}, true
	case strings.EqualFold(s, "off"):
		return Table{Mode: TableOff}, true
	case isDigit(s[0]):
		n, ok := parseCNumber(s, math.MaxUint32)
		if n == 0 {
			n = mainTable
		}
		return Table{Mode: TableNumber, Number: uint32(n)}, ok
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isLetter(c) && c != '_' && (i == 0 || !isDigit(c) && c != '-' && c != '.' && c != '+') {
			return Table{}, false
		}
	}
	return Table{Mode: TableName, Name: s}, len(s) <= 64
}

// parseAddress takes what "ip address add" takes, without its abbreviations
// ("10.8"): an address, and optionally a prefix length or an IPv4 netmask.
func parseAddress(s string) (netip.Prefix, string) {
	host, mask, masked := strings.Cut(s, "/")
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, "is not an address"
	}
	bits := a.BitLen()
	if masked {
		n, ok := parseCNumber(mask, uint64(a.BitLen()))
		bits = int(n)
		if !ok && a.Is4() {
			bits, ok = parseNetmask(mask)
		}
		if !ok {
			return netip.Prefix{}, "has a wrong prefix length: it goes from 0 to " + strconv.Itoa(a.BitLen())
		}
	}
	if a.Is6() && (a.IsUnspecified() || a.IsLoopback() || a.IsMulticast()) {
		return netip.Prefix{}, "is not an address that an interface can have"
	}
	return netip.PrefixFrom(a, bits), ""
}

// parseNetmask returns the prefix length of a mask such as 255.255.255.0.
func parseNetmask(s string) (int, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return 0, false
	}
	for n := 0; n <= 32; n++ {
		if p, _ := netip.MustParseAddr("255.255.255.255").Prefix(n); p.Addr() == a {
			return n, true
		}
	}
	return 0, false
}

// What can be wrong with values, where wg has words of its own for it.
const (
	noAddress          = "is not an address with an optional prefix length"
	noBracket          = "has no closing bracket"
	noPort             = "has no port"
	noPortAfterBracket = "has no port after the bracket"
	wrongPort          = "has a wrong port: a number from 0 to 65535, or the name of a service"
)

// parseAllowedIP takes what wg takes; unmasked is what was masked off.
func parseAllowedIP(s string) (ip AllowedIP, unmasked bool, fault string) {
	switch {
	case strings.HasPrefix(s, "+"):
		ip.Sign, s = Plus, s[1:]
	case strings.HasPrefix(s, "-"):
		ip.Sign, s = Minus, s[1:]
	}
	host, mask, masked := strings.Cut(s, "/")
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" {
		return ip, false, noAddress
	}
	bits := uint64(a.BitLen())
	if masked {
		var ok bool
		if bits, ok = parseNumber(mask, bits); !ok {
			return ip, false, "has a wrong prefix length: it goes from 0 to " + strconv.Itoa(a.BitLen())
		}
	}
	p := netip.PrefixFrom(a, int(bits))
	ip.Prefix = p.Masked()
	return ip, ip.Prefix != p, ""
}

// parseEndpoint takes "host:port", "address:port" and "[address]:port". Without
// brackets the last colon is the port's, so that "::1:51820" works as in wg.
func parseEndpoint(s string) (e Endpoint, fault string) {
	var port string
	if rest, ok := strings.CutPrefix(s, "["); ok {
		if e.Host, port, ok = strings.Cut(rest, "]"); !ok {
			return Endpoint{}, noBracket
		}
		if port, ok = strings.CutPrefix(port, ":"); !ok {
			return Endpoint{}, noPortAfterBracket
		}
	} else {
		colon := strings.LastIndexByte(s, ':')
		if colon < 0 {
			return Endpoint{}, noPort
		}
		e.Host, port = s[:colon], s[colon+1:]
	}
	if port == "" {
		return Endpoint{}, noPort
	}
	var ok bool
	if e.Port, ok = parsePort(port); !ok {
		return Endpoint{}, wrongPort
	}
	if fault := hostFault(e.Host); fault != "" {
		return Endpoint{}, fault
	}
	return e, ""
}

// hostFault says what is wrong with an endpoint's host, or nothing.
func hostFault(h string) string {
	a, err := netip.ParseAddr(h)
	switch {
	case h == "":
		return "has no host"
	case err == nil && a.Zone() == "":
		return ""
	case err == nil:
		if CheckName(a.Zone()) != nil {
			return "has a zone that is not the name of an interface"
		}
		return ""
	case strings.Contains(h, ":") && !strings.Contains(h, "/"):
		return "is not an IPv6 address and a port"
	case strings.Trim(h, "0123456789.") == "":
		return "is not an IPv4 address and a port"
	case !isHostName(h):
		return "has a host that is neither an address nor a name"
	}
	return ""
}

// isHostName reports whether a name can be asked for. Letters of all scripts
// may be in it: the host's resolver decides about them.
func isHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 || !utf8.ValidString(s) {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if r != '-' && r != '_' && !unicode.In(r, unicode.L, unicode.M, unicode.Nd) {
				return false
			}
		}
	}
	return true
}

// isDNSAddress decides as wg-quick does whether an item of DNS is meant to be
// an address.
func isDNSAddress(s string) bool {
	return strings.Contains(s, ":") || strings.Trim(s, "0123456789.") == "" && s != "."
}

// isSearchDomain reports whether s is a domain as it may stand in a "search"
// line; a leading "~" makes it a routing domain.
func isSearchDomain(s string) bool {
	s = strings.TrimPrefix(s, "~")
	if s == "." {
		return true
	}
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return isHostName(s)
}

// nameFault says why a name for people can't be one, or nothing.
func nameFault(s string) string {
	switch {
	case s == "" || len(s) > 255:
		return "is not between 1 and 255 bytes long"
	case !utf8.ValidString(s):
		return "is not UTF-8 text"
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "has characters that can't be printed"
	}
	return ""
}
