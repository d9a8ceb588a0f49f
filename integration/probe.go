// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// sendSynAcks is the role that sends SYN/ACK segments, which no connection
// asked for, to ports of an address: whoever takes them in answers with RST.
func sendSynAcks(to, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	conn, err := net.Dial("ip4:tcp", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	from, dst := conn.LocalAddr().(*net.IPAddr).IP.To4(), conn.RemoteAddr().(*net.IPAddr).IP.To4()
	for i := range n {
		segment := make([]byte, 20)
		binary.BigEndian.PutUint16(segment[0:], 443)
		binary.BigEndian.PutUint16(segment[2:], uint16(40000+i))
		segment[12], segment[13] = 5<<4, 0x12 // five words; SYN and ACK
		binary.BigEndian.PutUint16(segment[14:], 65535)
		pseudo := append(append(append([]byte{}, from...), dst...), 0, unix.IPPROTO_TCP, 0, 20)
		binary.BigEndian.PutUint16(segment[16:], checksum(append(pseudo, segment...)))
		if _, err := conn.Write(segment); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// checksum is the Internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// sendARPs is the role that asks for an address on a link, and prints how many
// answers came.
func sendARPs(link, addr, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	target, err := netip.ParseAddr(addr)
	if err != nil {
		return err
	}
	ifc, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}
	const arp = unix.ETH_P_ARP<<8 | unix.ETH_P_ARP>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, arp&0xffff)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Protocol: arp & 0xffff, Ifindex: ifc.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	raw := target.As4()
	request := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	request = append(append(request, ifc.HardwareAddr...), 192, 0, 2, 1)
	request = append(append(request, 0, 0, 0, 0, 0, 0), raw[:]...)
	answers := 0
	for range n {
		if err := unix.Sendto(fd, request, 0, to); err != nil {
			return err
		}
		deadline := time.Now().Add(Timeout(200 * time.Millisecond))
		for time.Now().Before(deadline) {
			buf := make([]byte, 64)
			got, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
			if errors.Is(err, unix.EAGAIN) {
				time.Sleep(time.Millisecond)
				continue
			}
			if err != nil {
				return os.NewSyscallError("recvfrom", err)
			}
			if got >= 28 && buf[7] == 2 && string(buf[14:18]) == string(raw[:]) {
				answers++
				break
			}
		}
	}
	fmt.Println(answers)
	return nil
}
