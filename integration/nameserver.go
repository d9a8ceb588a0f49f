// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"net"
	"net/netip"
)

// Of the header of a DNS message: RFC 1035, section 4.1.1.
const (
	dnsHeader  = 12
	dnsQR      = 0x80 // in the third byte: an answer
	dnsRA      = 0x80 // in the fourth: recursion is to be had
	dnsTypeA   = 1
	dnsQuestID = 0xc00c // a pointer to the name of the question
)

// serveNames is a nameserver that knows one IPv4 address for all names, and none of
// any other type. It runs until it is killed.
func serveNames(addr, ip string) error {
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	buf := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if reply := replyTo(buf[:n], a); reply != nil {
			_, _ = conn.WriteTo(reply, from) // who asked may be gone
		}
	}
}

// replyTo answers the only question of a query; what stands after it, such as
// the record of EDNS, is left out.
func replyTo(query []byte, a netip.Addr) []byte {
	end := dnsHeader
	for end < len(query) && query[end] != 0 {
		end += 1 + int(query[end])
	}
	end += 1 + 2 + 2 // the root, type and class
	if end > len(query) {
		return nil
	}
	reply := append([]byte{}, query[:end]...)
	reply[2], reply[3] = reply[2]|dnsQR, dnsRA
	copy(reply[4:dnsHeader], []byte{0, 1, 0, 0, 0, 0, 0, 0})
	if query[end-3] != dnsTypeA || query[end-4] != 0 {
		return reply
	}
	reply[7] = 1
	const ttl = 1 // seconds
	reply = append(reply, dnsQuestID>>8, dnsQuestID&0xff, 0, dnsTypeA, 0, 1, 0, 0, 0, ttl, 0, 4)
	return append(reply, a.AsSlice()...)
}

// mute takes connections on a socket and says nothing. It runs until it is
// killed.
func mute(path string) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	var taken []net.Conn // kept, for none to be closed
	for {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("after %d connections: %w", len(taken), err)
		}
		taken = append(taken, c)
	}
}
