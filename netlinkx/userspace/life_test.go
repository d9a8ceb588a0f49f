// SPDX-License-Identifier: MIT

package userspace

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Each way that a device ends takes link, socket and process along.
func TestDeviceEnds(t *testing.T) {
	if !isolated(t) {
		return
	}
	signal := func(sig unix.Signal) func(t *testing.T) {
		return func(t *testing.T) {
			signalDevice(t, "wg0", sig)
		}
	}
	for name, end := range map[string]func(t *testing.T){
		"SIGTERM":            signal(unix.SIGTERM),
		"SIGINT":             signal(unix.SIGINT),
		"link deleted":       func(t *testing.T) { run(t, "ip", "link", "del", "wg0") },
		"socket removed":     func(t *testing.T) { run(t, "rm", "/run/wireguard/wg0.sock") },
		"up, link deleted":   func(t *testing.T) { run(t, "ip", "link", "set", "wg0", "up"); run(t, "ip", "link", "del", "wg0") },
		"up, socket removed": func(t *testing.T) { run(t, "ip", "link", "set", "wg0", "up"); run(t, "rm", "/run/wireguard/wg0.sock") },
		"namespace deleted": func(t *testing.T) {
			run(t, "ip", "netns", "add", "short")
			run(t, "ip", "link", "set", "wg0", "netns", "short")
			run(t, "ip", "netns", "del", "short")
		},
		"in the middle of a request": func(t *testing.T) {
			conn, err := net.Dial("unix", socketPath(SocketDir, "wg0"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			// After a first request that isn't known to be harmless, the next goes to
			// the device as it comes.
			for _, part := range []string{"set=1\n\n", "set=1\nfwmark=1\n"} {
				if _, err := io.WriteString(conn, part); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(20 * time.Millisecond) // the device has its lock
			signalDevice(t, "wg0", unix.SIGTERM)
		},
	} {
		t.Run(name, func(t *testing.T) {
			mustStart(t, "wg0")
			end(t)
			wantGone(t, "wg0")
		})
	}
}

// A socket that was replaced is not the device's to remove.
func TestDeviceLeavesAnothersSocket(t *testing.T) {
	if !isolated(t) {
		return
	}
	mustStart(t, "wg0")
	path := socketPath(SocketDir, "wg0")
	other, err := net.Listen("unix", path+".other")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := os.Rename(path+".other", path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "device ended", func() bool { return deviceProcess(t, "wg0") == 0 })
	if ok, err := answers(path); !ok || err != nil {
		t.Errorf("the other socket doesn't answer: %v, %v", ok, err)
	}
	if linkExists("wg0") {
		t.Error("link is left")
	}
}

func TestStartAfterKill(t *testing.T) {
	if !isolated(t) {
		return
	}
	for range 5 {
		mustStart(t, "wg0")
		signalDevice(t, "wg0", unix.SIGKILL)
		eventually(t, "link gone", func() bool { return !linkExists("wg0") })
		if !socketExists("wg0") {
			t.Fatal("the socket is gone: this test no longer tests a stale one")
		}
	}
	mustStart(t, "wg0")
	run(t, "wg", "show", "wg0")
}

// Down and up at once: the last device's process may not have noticed yet that
// its link is gone, and still answers.
func TestStartWaitsForPredecessor(t *testing.T) {
	if !isolated(t) {
		return
	}
	mustStart(t, "wg0")
	old := wantProcess(t, "wg0")
	if err := unix.Kill(old, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "link", "del", "wg0")
	time.AfterFunc(200*time.Millisecond, func() { _ = unix.Kill(old, unix.SIGCONT) })
	mustStart(t, "wg0")
	eventually(t, "one process", func() bool { return unix.Kill(old, 0) == unix.ESRCH })
	run(t, "wg", "set", "wg0", "fwmark", "1")
}

// A device whose link is in another namespace than its sockets tells of a port that
// is taken, however soon or late before its link is up it is asked for that: who
// brings the link up then has a device that is deaf.
func TestPortTakenAway(t *testing.T) {
	if !isolated(t) {
		return
	}
	taken, err := net.ListenPacket("udp", ":5182")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	outer, err := os.Open(threadNamespace)
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	run(t, "ip", "netns", "add", "box")
	box, err := netns.GetFromName("box")
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	s := starter()
	s.Sockets = outer
	for n := range 10 {
		ended := make(chan error)
		go func() {
			runtime.LockOSThread() // and the thread ends with this
			if err := netns.Set(box); err != nil {
				ended <- err
				return
			}
			ended <- s.Start(t.Context(), "wg0")
		}()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("unix", socketPath(SocketDir, "wg0"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answers, want := bufio.NewScanner(conn), fmt.Sprintf("errno=-%d", unix.EADDRINUSE)
		for ask := range 2 {
			if _, err := io.WriteString(conn, "set=1\nlisten_port=5182\n\n"); err != nil {
				t.Fatal(err)
			}
			if !answers.Scan() || answers.Text() != want || !answers.Scan() || answers.Text() != "" {
				t.Fatalf("asked for a port that is taken, %d times before: %q, %v", ask, answers.Text(), answers.Err())
			}
			if n > 0 {
				break
			}
			time.Sleep(lookAfter * 3 / 2)
		}
		run(t, "ip", "-n", "box", "link", "del", "wg0")
		if err := s.Reap(t.Context(), "wg0"); err != nil {
			t.Fatal(err)
		}
	}
}

// When the socket is gone, so are link and port: what the next device needs.
func TestSocketGoesLast(t *testing.T) {
	if !isolated(t) {
		return
	}
	for name, end := range map[string]func(){
		"SIGTERM":      func() { signalDevice(t, "wg0", unix.SIGTERM) },
		"link deleted": func() { run(t, "ip", "link", "del", "wg0") },
	} {
		t.Run(name, func(t *testing.T) {
			mustStart(t, "wg0")
			run(t, "wg", "set", "wg0", "listen-port", "5182")
			run(t, "ip", "link", "set", "wg0", "up")
			busy := func() bool {
				c, err := net.ListenPacket("udp", ":5182")
				if err == nil {
					c.Close()
				}
				return err != nil
			}
			eventually(t, "port taken", busy)
			end()
			if err := starter().Reap(t.Context(), "wg0"); err != nil {
				t.Fatal(err)
			}
			if busy() || linkExists("wg0") {
				t.Error("the socket is gone, but not the port or the link")
			}
		})
	}
}

func TestReap(t *testing.T) {
	if !isolated(t) {
		return
	}
	if err := starter().Reap(t.Context(), "wg0"); err != nil {
		t.Errorf("with no device: %v", err)
	}
	if _, err := os.Lstat(SocketDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory of sockets was made: %v", err)
	}
	if err := starter().Reap(t.Context(), "../wg0"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("with a path for a name: %v", err)
	}
	mustStart(t, "wg0")
	signalDevice(t, "wg0", unix.SIGKILL)
	eventually(t, "link gone", func() bool { return !linkExists("wg0") })
	if err := starter().Reap(t.Context(), "wg0"); err != nil {
		t.Errorf("after a kill: %v", err)
	}
	wantNothing(t, "wg0")

	// The process is gone as well, however little of a processor it gets.
	mustStart(t, slowToEnd)
	run(t, "ip", "link", "del", slowToEnd)
	if err := starter().Reap(t.Context(), slowToEnd); err != nil {
		t.Errorf("of one that ends slowly: %v", err)
	}
	if pid := deviceProcess(t, slowToEnd); pid != 0 {
		t.Errorf("process %d is still there", pid)
	}

	// What a start leaves that is killed before the socket has its name.
	temp := filepath.Join(SocketDir, ".wg0.sock.new")
	if err := os.WriteFile(temp, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if stale, err := starter().Stale(t.Context(), "wg0"); !stale || err != nil {
		t.Errorf("a socket without its name: stale %v, %v", stale, err)
	}
	if err := starter().Reap(t.Context(), "wg0"); err != nil {
		t.Errorf("a socket without its name: %v", err)
	}
	if _, err := os.Lstat(temp); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a socket without its name is still there: %v", err)
	}

	mustStart(t, "wg0") // and its link isn't gone
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := starter().Reap(ctx, "wg0"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a device that lives: %v", err)
	}
	run(t, "wg", "show", "wg0")
}

// One that stops in the middle of a request doesn't keep the others out.
func TestRequestLimit(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	r := &request{Conn: here, limit: 30 * time.Millisecond, intake: new(intake)}
	go func() {
		time.Sleep(3 * r.limit) // idle: no limit
		_, _ = io.WriteString(there, "set=1\n")
	}()
	in := bufio.NewReader(r)
	if line, err := in.ReadString('\n'); err != nil || line != "set=1\n" {
		t.Fatalf("read %q, %v", line, err)
	}
	if _, err := in.ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("inside a request: %v, want a time-out", err)
	}
	if _, err := r.Write([]byte("errno=0\n\n")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing to one who doesn't read: %v, want a time-out", err)
	}
	go func() {
		time.Sleep(3 * r.limit)
		_, _ = io.WriteString(there, "get=1\n")
	}()
	if line, err := in.ReadString('\n'); err != nil || line != "get=1\n" {
		t.Errorf("after the answer: read %q, %v", line, err)
	}
}

func TestForeground(t *testing.T) {
	if !isolated(t) {
		return
	}
	cmd := role("foreground", "wg0")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "wg show", func() bool { return exec.Command("wg", "show", "wg0").Run() == nil })
	if link := run(t, "ip", "link", "show", "dev", "wg0"); strings.Contains(link, "alias") {
		t.Errorf("has an alias that wasn't asked for:\n%s", link)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if !strings.Contains(out.String(), "DEBUG: (wg0) ") {
		t.Errorf("log:\n%s", out.String())
	}
	wantNothing(t, "wg0")
}

// Descriptors that aren't what they should be are refused with words.
func TestServeRefuses(t *testing.T) {
	if !isolated(t) {
		return
	}
	none := func() int { return 0 }
	null := func() int {
		fd, err := unix.Open("/dev/null", unix.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	tun := func() int {
		fd, err := makeTUN("wg9", "")
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	for _, tt := range []struct {
		name, says string
		tun, uapi  func() int
		ifname     string
	}{
		{"not a TUN", "as a TUN", null, none, "wg0"},
		{"another's TUN", "is the TUN of wg9, not of wg0", tun, none, "wg0"},
		{"not a socket", "as a UAPI socket", none, null, "wg0"},
		{"no name", "can't be an interface name", none, none, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tun := tt.tun()
			if tun != 0 {
				defer unix.Close(tun) // refused, it stays ours
			}
			if err := Serve(t.Context(), ServeOptions{Interface: tt.ifname, TUN: tun, UAPI: tt.uapi()}); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got error %v, want one that says %q", err, tt.says)
			}
			wantNothing(t, "wg0")
		})
	}
}

// startTwo starts wg0 and wg1 in two namespaces, ns0 and ns1, joined by a cable.
func startTwo(t testing.TB) {
	t.Helper()
	run(t, "ip", "link", "add", "cable0", "type", "veth", "peer", "name", "cable1")
	for i := range 2 {
		ns := fmt.Sprintf("ns%d", i)
		run(t, "ip", "netns", "add", ns)
		run(t, "ip", "link", "set", fmt.Sprintf("cable%d", i), "netns", ns)
		run(t, "ip", "-n", ns, "addr", "add", fmt.Sprintf("192.0.2.%d/24", i+1), "dev", fmt.Sprintf("cable%d", i))
		run(t, "ip", "-n", ns, "link", "set", fmt.Sprintf("cable%d", i), "up")
		startIn(t, ns, fmt.Sprintf("wg%d", i))
	}
}

func startIn(t testing.TB, ns, ifname string) {
	t.Helper()
	start := role("start", ifname)
	if out, err := exec.Command("ip", append([]string{"netns", "exec", ns}, start.Args...)...).CombinedOutput(); err != nil {
		t.Fatalf("start in %s: %v\n%s", ns, err, out)
	}
}

// pair makes two devices as startTwo does, wg0 with 10.0.0.1 and wg1 with 10.0.0.2,
// that know each other.
func pair(t testing.TB) {
	t.Helper()
	startTwo(t)
	var keys, public [2]string
	for i := range 2 {
		keys[i] = fmt.Sprintf("/run/key%d", i)
		public[i] = strings.TrimSpace(run(t, "sh", "-c", "umask 077; wg genkey > "+keys[i]+"; wg pubkey < "+keys[i]))
	}
	for i := range 2 {
		ns, wg, other := fmt.Sprintf("ns%d", i), fmt.Sprintf("wg%d", i), 1-i
		run(t, "wg", "set", wg, "private-key", keys[i], "listen-port", "51820", "peer", public[other],
			"allowed-ips", fmt.Sprintf("10.0.0.%d/32", other+1), "endpoint", fmt.Sprintf("192.0.2.%d:51820", other+1))
		run(t, "ip", "-n", ns, "addr", "add", fmt.Sprintf("10.0.0.%d/24", i+1), "dev", wg)
		run(t, "ip", "-n", ns, "link", "set", wg, "up")
	}
}

// Two devices in two namespaces, joined by a cable: a real handshake, real
// pings, packets of all sizes.
func TestPing(t *testing.T) {
	if !isolated(t, "ping") {
		return
	}
	pair(t)
	for _, size := range []string{"0", "56", "1392", "8000"} {
		run(t, "ip", "netns", "exec", "ns0", "ping", "-c", "3", "-i", "0.01", "-W", "15", "-s", size, "10.0.0.2")
	}
	if out := run(t, "wg", "show", "wg0", "latest-handshakes"); strings.HasSuffix(out, "\t0\n") {
		t.Errorf("no handshake: %s", out)
	}
}

func BenchmarkStart(b *testing.B) {
	// A thread of its own in namespaces of its own, never to be used again.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		missing(b, "probe: making namespaces: %v", err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		b.Fatal(err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		b.Fatal(err)
	}
	s := starter()
	if err := s.Available(b.Context()); err != nil {
		missing(b, "probe: %v", err)
	}
	for b.Loop() {
		if err := s.Start(b.Context(), "wg0"); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := netlink.LinkDel(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "wg0"}}); err != nil {
			b.Fatal(err)
		}
		eventually(b, "socket gone", func() bool { return !socketExists("wg0") })
		b.StartTimer()
	}
}
