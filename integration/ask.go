// SPDX-License-Identifier: MIT

package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Answer lets the host answer on these addresses (host:port), by TCP and UDP:
// each asker is told the address that it was seen to come from.
func (h *Host) Answer(addrs ...string) {
	h.t.Helper()
	h.startRole("answer", addrs...).Expect(20*time.Second, "listening")
}

// Ask asks an address (host:port) by "tcp" or "udp", and returns the address
// that the other end saw the question come from, without its port, or "" if
// no answer came.
func (h *Host) Ask(network, addr string) string {
	h.t.Helper()
	out := h.startRole("ask", network, addr).Wait(runLimit)
	if out.Code != 0 {
		return ""
	}
	host, _, err := net.SplitHostPort(strings.TrimSpace(out.Stdout))
	if err != nil {
		h.t.Fatalf("%s: asking %s %s: %v", h.Name, network, addr, out)
	}
	return host
}

// StartUDPOn is StartUDP from a socket that is bound to a link.
func (h *Host) StartUDPOn(link, addr string, interval time.Duration) *Process {
	h.t.Helper()
	p := h.startRole("udp-send", addr, "-1", interval.String(), link)
	p.Expect(20*time.Second, "sending")
	return p
}

// answer is the role of Answer.
func answer(addrs []string) error {
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintln(conn, conn.RemoteAddr())
				conn.Close()
			}
		}()
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			return err
		}
		go func() {
			buf := make([]byte, 1<<16)
			for {
				_, from, err := u.ReadFrom(buf)
				if err != nil {
					return
				}
				u.WriteTo([]byte(from.String()+"\n"), from)
			}
		}()
	}
	fmt.Println("listening")
	select {}
}

// ask is the role of Ask. A datagram may be lost: it is sent a few times.
func ask(network, addr string) error {
	limit := Timeout(2 * time.Second)
	conn, err := net.DialTimeout(network, addr, limit)
	if err != nil {
		return err
	}
	defer conn.Close()
	for try := 1; ; try++ {
		if network == "udp" {
			if _, err := conn.Write([]byte("?")); err != nil {
				return err
			}
			limit = Timeout(500 * time.Millisecond)
		}
		conn.SetReadDeadline(time.Now().Add(limit))
		buf := make([]byte, 256)
		n, err := conn.Read(buf)
		if n > 0 {
			fmt.Print(string(buf[:n]))
			return nil
		}
		if err == io.EOF || try == 3 {
			return fmt.Errorf("no answer: %w", err)
		}
	}
}

// listenOn is a UDP socket that is bound to a link, if one is named.
func listenOn(link string) (net.PacketConn, error) {
	var bound error
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			if link != "" {
				bound = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, link)
			}
		})
	}}
	conn, err := c.ListenPacket(context.Background(), "udp", ":0")
	if err == nil {
		err = bound
	}
	return conn, err
}
