// SPDX-License-Identifier: MIT

package integration

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Ping reports whether the address answers one of a few echo requests.
func (h *Host) Ping(addr string) bool {
	h.t.Helper()
	interval := "0.2"
	if slowness() > 1 {
		interval = "1" // or the second goes before the first can be answered
	}
	limit := Timeout(2 * time.Second)
	// With a deadline it asks until it has one answer, or an error from the network.
	ask := func() bool {
		return h.Run("ping", "-n", "-q", "-c", "1", "-i", interval, "-w", strconv.Itoa(int(limit.Seconds())), addr).Code == 0
	}
	begin := time.Now()
	if ask() {
		return true
	}
	if time.Since(begin) >= limit {
		return false
	}
	time.Sleep(200 * time.Millisecond)
	return ask()
}

// MustPing fails the test unless the address answers.
func (h *Host) MustPing(addr string) {
	h.t.Helper()
	// Longer than a device waits before it repeats a handshake that was lost: 5 s,
	// and up to a third of a second.
	deadline := time.Now().Add(Timeout(6 * time.Second))
	for !h.Ping(addr) {
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: no answer from %s\n%s", h.Name, addr, h.Snapshot())
		}
	}
}

// Transfer sends n bytes by TCP from one host to an address (host:port) of
// another, which proves by their digest that it got them, and returns how long
// that took.
func Transfer(from, to *Host, addr string, n int64) time.Duration {
	from.t.Helper()
	sink := to.startRole("tcp-sink", addr)
	sink.Expect(20*time.Second, "listening")
	begin := time.Now()
	if out := from.startRole("tcp-send", addr, strconv.FormatInt(n, 10)).Wait(runLimit); out.Code != 0 {
		from.t.Fatalf("%s: sending %d bytes to %s: %v", from.Name, n, addr, out)
	}
	took := time.Since(begin)
	if out := sink.Wait(20 * time.Second); out.Code != 0 {
		to.t.Fatalf("%s: receiving %d bytes: %v", to.Name, n, out)
	}
	return took
}

// SendUDP sends n datagrams to an address (host:port), one every interval, and
// returns when they are sent. What has no route is not counted as an error:
// the receiver's count tells.
func (h *Host) SendUDP(addr string, n int, interval time.Duration) {
	h.t.Helper()
	out := h.startRole("udp-send", addr, strconv.Itoa(n), interval.String()).Wait(runLimit)
	if out.Code != 0 {
		h.t.Fatalf("%s: %v", h.Name, out)
	}
}

// StartUDP is SendUDP beside the test: it sends until it is stopped by Kill.
func (h *Host) StartUDP(addr string, interval time.Duration) *Process {
	h.t.Helper()
	p := h.startRole("udp-send", addr, "-1", interval.String())
	p.Expect(20*time.Second, "sending")
	return p
}

// A Counter counts the datagrams that reach a host.
type Counter struct{ p *Process }

// CountUDP starts to count datagrams that arrive at an address (host:port).
func (h *Host) CountUDP(addr string) Counter {
	h.t.Helper()
	p := h.startRole("udp-count", addr)
	p.Expect(20*time.Second, "listening")
	return Counter{p}
}

// Stop ends the count and returns it.
func (c Counter) Stop() int {
	c.p.h.t.Helper()
	c.p.Signal(syscall.SIGTERM)
	out := c.p.Wait(20 * time.Second)
	lines := strings.Fields(out.Stdout)
	n, err := strconv.Atoi(lines[len(lines)-1])
	if err != nil || out.Code != 0 {
		c.p.h.t.Fatalf("%s: counting datagrams: %v", c.p.h.Name, out)
	}
	return n
}

// Stop ends a program by SIGTERM and waits.
func (p *Process) Stop() Output {
	p.h.t.Helper()
	p.Signal(syscall.SIGTERM)
	return p.Wait(20 * time.Second)
}

// The roles: what runs in the hosts.

// tcpSink takes one connection and answers with the digest of what came.
func tcpSink(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, conn); err != nil {
		return err
	}
	_, err = conn.Write(digest.Sum(nil))
	return err
}

// tcpSend sends pseudo-random bytes, which nothing on the way can shorten, and
// compares the digest.
func tcpSend(addr, count string) error {
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		return err
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	digest := sha256.New()
	data := io.LimitReader(rand.NewChaCha8([32]byte{}), n)
	if _, err := io.Copy(io.MultiWriter(conn, digest), data); err != nil {
		return err
	}
	return sameDigest(conn.(*net.TCPConn), digest.Sum(nil))
}

// tcpStream sends 16 KiB every 20 ms until SIGTERM, then compares the digest and
// prints how many bytes there were.
func tcpStream(addr string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Println("sending")
	digest, data, n := sha256.New(), rand.NewChaCha8([32]byte{1}), int64(0)
	for tick := time.NewTicker(Timeout(20 * time.Millisecond)); ; {
		select {
		case <-tick.C:
			sent, err := io.CopyN(io.MultiWriter(conn, digest), data, 16<<10)
			if n += sent; err != nil {
				return err
			}
			continue
		case <-stop:
		}
		if err := sameDigest(conn.(*net.TCPConn), digest.Sum(nil)); err != nil {
			return err
		}
		fmt.Println(n)
		return nil
	}
}

// sameDigest ends what is sent and compares what the other end answers.
func sameDigest(conn *net.TCPConn, digest []byte) error {
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	reply, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if string(reply) != string(digest) {
		return errors.New("the other end got other bytes")
	}
	return nil
}

// udpSend sends count datagrams, for ever if that is negative, by a link if one
// is named.
func udpSend(addr, count, interval, link string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	pause, err := time.ParseDuration(interval)
	if err != nil {
		return err
	}
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return err
	}
	// Not connected: a connected socket keeps the route and the source address
	// of its first packet, and reports the refusals of others.
	conn, err := listenOn(link)
	if err != nil {
		return err
	}
	fmt.Println("sending")
	for i := 0; i != n; i++ {
		conn.WriteTo([]byte(strconv.Itoa(i)), to)
		time.Sleep(pause)
	}
	return nil
}

// udpCount counts datagrams until SIGTERM, then prints how many came.
func udpCount(addr string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	socket, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	counted := make(chan int)
	go func() {
		buf, n := make([]byte, 1<<16), 0
		for ; ; n++ {
			if _, _, err := conn.ReadFrom(buf); err != nil {
				break
			}
		}
		// Who is late finds the time to be over, and looks at nothing.
		socket.Control(func(fd uintptr) {
			for ; ; n++ {
				if _, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT); err != nil {
					return
				}
			}
		})
		counted <- n
	}()
	fmt.Println("listening")
	<-stop
	// What is under way still counts.
	if err := conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		return err
	}
	fmt.Println(<-counted)
	return nil
}
