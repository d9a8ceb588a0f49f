// SPDX-License-Identifier: MIT

package userspace

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// A slowDevice carries out a request when it is told to.
type slowDevice struct {
	got  chan string // the requests, as they come
	done chan error  // what becomes of each
	up   func() error
}

func (d *slowDevice) IpcSetOperation(r io.Reader) error {
	b, _ := io.ReadAll(r)
	d.got <- string(b)
	return <-d.done
}

func (d *slowDevice) Up() error { return d.up() }

// A slowIntake is the intake of a slow device that is up.
func slowIntake() (*intake, *slowDevice) {
	in, d := newIntake(), &slowDevice{got: make(chan string), done: make(chan error), up: func() error { return nil }}
	in.dev = d
	return in, d
}

// asks sends a request on a connection of its own, and returns what was answered by
// the intake, or "" if it went on to the device.
func (i *intake) asks(text string) string {
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		defer there.Close()
		r := &request{Conn: there, limit: time.Minute, intake: i}
		if i.serve(r) {
			var in [64]byte
			_, _ = r.Read(in[:])
			r.settle()
		}
	}()
	if _, err := io.WriteString(here, text); err != nil {
		return "" // the device has enough of it
	}
	var in [64]byte
	n, _ := here.Read(in[:])
	return string(in[:n])
}

func keyText(n int) string { return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%d", n))) }

func peerText(n int) string {
	return fmt.Sprintf("public_key=%s\nreplace_allowed_ips=true\nallowed_ip=10.9.%d.%d/32\n", keyText(n), n>>8, n&255)
}

const accepted = "errno=0\n\n"

// begun runs a function elsewhere.
func begun(f func()) (done chan struct{}) {
	done = make(chan struct{})
	go func() { defer close(done); f() }()
	return done
}

func stillOn(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
		t.Errorf("%s didn't wait", what)
	case <-time.After(20 * time.Millisecond):
	}
}

func ends(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s waits for ever", what)
	}
}

// A request for peers is answered before the device has it, and whatever comes later
// waits for it, but for the question after the generation.
func TestIntakeAnswersEarly(t *testing.T) {
	in, d := slowIntake()
	request := "set=1\n" + peerText(1) + "\n"
	if got := in.asks(request); got != accepted {
		t.Fatalf("answered %q", got)
	}
	if got := <-d.got; "set=1\n"+got != request {
		t.Errorf("the device was given %q", got)
	}
	if got := in.asks(GenerationRequest); !strings.HasSuffix(got, "-1\nerrno=0\n\n") {
		t.Errorf("the generation is %q", got)
	}
	later := map[string]chan struct{}{
		"a packet":           begun(func() { in.meet(nil) }),
		"a get":              begun(func() { in.asks("get=1\n\n") }),
		"a set of all":       begun(func() { in.asks("set=1\nreplace_peers=true\n" + peerText(2) + "\n") }),
		"what isn't a word":  begun(func() { in.asks("x\n\n") }),
		"another for a peer": begun(func() { in.asks("set=1\n" + peerText(3) + "\n") }),
	}
	stop := make(chan struct{})
	stopped := begun(func() { in.meet(stop) })
	for what, done := range later {
		stillOn(t, what, done)
	}
	close(stop)
	ends(t, "a packet of a socket that is closed", stopped)
	d.done <- nil
	select { // which is taken in, or has come too late for that
	case <-d.got:
		d.done <- nil
	case <-later["a packet"]:
	}
	for what, done := range later {
		ends(t, what, done)
	}
	if !in.grown.Load() {
		t.Error("the device met a packet and is as before")
	}
	if got := in.asks("set=1\n" + peerText(4) + "\n"); got != "" {
		t.Errorf("a request after a packet is answered %q", got)
	}
}

// A request that may be for any number of peers is the last that is the device's own
// matter, and a packet still waits for what was taken in before.
func TestIntakeGrows(t *testing.T) {
	in, d := slowIntake()
	in.asks("set=1\n" + peerText(1) + "\n")
	<-d.got
	in.grow()
	packet := begun(func() { in.meet(nil) })
	stillOn(t, "a packet", packet)
	d.done <- nil
	ends(t, "a packet", packet)
	for _, text := range []string{"set=1\nlisten_port=1\n" + peerText(2) + "\n", "set=1\nx\n\n", "x\n\n"} {
		in, _ := slowIntake()
		if got := in.asks(text); got != "" || !in.grown.Load() {
			t.Errorf("%q: answered %q, and peers may come early: %v", text, got, !in.grown.Load())
		}
	}
	for _, text := range []string{"get=1\n\n", GenerationRequest} {
		in, _ := slowIntake()
		if in.asks(text); in.grown.Load() {
			t.Errorf("%q: peers don't come early any more", text)
		}
	}
}

// The end waits for what is under way, and lets nothing else begin.
func TestIntakeEnds(t *testing.T) {
	in, d := slowIntake()
	in.asks("set=1\n" + peerText(1) + "\n")
	<-d.got
	end := begun(in.end)
	stillOn(t, "the end", end)
	d.done <- nil
	ends(t, "the end", end)
	if got := in.asks("set=1\n" + peerText(2) + "\n"); got != "" {
		t.Errorf("a request after the end is answered %q", got)
	}
}

// What was accepted and then failed is another generation than what was promised.
func TestIntakeTellsOfFailure(t *testing.T) {
	in, d := slowIntake()
	in.asks("set=1\n" + peerText(1) + "\n")
	before := in.asks(GenerationRequest)
	<-d.got
	d.done <- errors.New("failed")
	in.settle()
	if now := in.asks(GenerationRequest); now == before {
		t.Errorf("the generation stays %q", now)
	}
}

// No more peers are accepted than a device can have.
func TestIntakeCounts(t *testing.T) {
	full, _ := slowIntake()
	full.peers = device.MaxPeers - 1
	if got := full.asks("set=1\n" + peerText(1) + peerText(2) + "\n"); got != "" {
		t.Errorf("one too many: answered %q", got)
	}
	in, d := slowIntake()
	in.peers = device.MaxPeers - 1
	if got := in.asks("set=1\n" + peerText(1) + "\n"); got != accepted {
		t.Errorf("the last: answered %q", got)
	}
	<-d.got
	d.done <- nil
}

// The device comes up with its first request, and has its port then, or the request
// fails and it is up on another.
func TestIntakeBringsUp(t *testing.T) {
	for _, test := range []struct {
		name, request, answer string
		ups                   []error
	}{
		{"own", "set=1\nlisten_port=4321\n\n", accepted, []error{nil}},
		{"taken", "set=1\nlisten_port=4321\n\n", "errno=-98\n\n", []error{unix.EADDRINUSE, nil}},
		{"no port at all", "set=1\nlisten_port=4321\n\n", "errno=-97\n\n", []error{unix.EADDRINUSE, unix.EAFNOSUPPORT}},
		{"peers", "set=1\n" + peerText(1) + "\n", accepted, []error{nil}},
		{"else", "get=1\n\n", "", []error{nil}},
	} {
		in, d := slowIntake()
		var mu sync.Mutex
		ups := 0
		d.up = func() error {
			mu.Lock()
			defer mu.Unlock()
			ups++
			return test.ups[ups-1]
		}
		go func() {
			for range d.got {
				d.done <- nil
			}
		}()
		for range 2 {
			want := test.answer
			if ups > 0 && want != "" {
				want = accepted // the port is the device's own matter from then on
			}
			if got := in.asks(test.request); got != want {
				t.Errorf("%s: answered %q", test.name, got)
			}
			in.settle()
		}
		select {
		case <-in.ready:
		default:
			t.Errorf("%s: it isn't told that it is up", test.name)
		}
		if ups != len(test.ups) {
			t.Errorf("%s: brought up %d times", test.name, ups)
		}
	}
}

// A connection that is closed, as of who looks whether somebody listens, brings
// nothing up.
func TestIntakeOfNothing(t *testing.T) {
	in, d := slowIntake()
	d.up = func() error { t.Error("it comes up"); return nil }
	here, there := net.Pipe()
	done := begun(func() {
		if in.serve(&request{Conn: there, limit: time.Minute, intake: in}) {
			t.Error("the device is to go on")
		}
	})
	here.Close()
	ends(t, "the connection", done)
}

// What was read and isn't the intake's comes to the device whole, with the error that
// came after it.
func TestRequestIsGivenBack(t *testing.T) {
	long := "set=1\n" + strings.Repeat(peerText(7), 20_000)
	for _, text := range []string{"x", "set=1\nprivate_key=x\n\n", "set=1\n\n", "get=1\n\n", "set=1\nfwmark=1\n\nget=1\n\n", "set=1\nfwmark=1\n", long + "\n", long} {
		in, _ := slowIntake()
		here, there := socketPair(t)
		var got bytes.Buffer
		done := begun(func() {
			defer there.Close()
			r := &request{Conn: there, limit: time.Minute, intake: in}
			if !in.serve(r) {
				t.Errorf("%.20q: it isn't the device's", text)
				return
			}
			_, err := io.Copy(&got, r)
			if err != nil {
				t.Errorf("%.20q: %v", text, err)
			}
			r.settle()
		})
		_, _ = io.WriteString(here, text)
		here.Close()
		ends(t, "the connection", done)
		if got.String() != text {
			t.Errorf("of %.20q... with %d bytes the device gets %d", text, len(text), got.Len())
		}
	}
}

func socketPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return ends[0], ends[1]
}

func TestKindOf(t *testing.T) {
	key, ones := keyText(1), strings.Repeat("1", 64)
	for _, test := range []struct {
		text  string
		kind  kind
		peers int
	}{
		{"set=1\nprivate_key=" + ones + "\nlisten_port=1\nfwmark=4294967295\nreplace_peers=true\n\n", ownFields, 0},
		{"set=1\npublic_key=" + key + "\n\n", peersOnly, 1},
		{"set=1\n" + peerText(1) + peerText(2) + "\n", peersOnly, 2},
		{"set=1\npublic_key=" + key + "\npreshared_key=" + ones + "\nendpoint=[fe80::1%eth0]:5\npersistent_keepalive_interval=65535\nupdate_only=true\nremove=true\nallowed_ip=::/0\n\n", peersOnly, 1},
		{"", something, 0},
		{"set=1\n", something, 0},
		{"set=1\n\n", something, 0},
		{"get=1\n\n", something, 0},
		{"set=1\n" + peerText(1), something, 0},
		{"set=1\n" + peerText(1) + "\n\n", something, 0},
		{"set=1\nlisten_port=1\n" + peerText(1) + "\n", something, 0},
		{"set=1\n" + peerText(1) + "listen_port=1\n\n", something, 0},
		{"set=1\nlisten_port=65536\n\n", something, 0},
		{"set=1\nfwmark=0x1\n\n", something, 0},
		{"set=1\nfwmark\n\n", something, 0},
		{"set=1\npublic_key=" + key[1:] + "\n\n", something, 0},
		{"set=1\npublic_key=" + strings.ToUpper(key) + "\n\n", something, 0},
		{"set=1\npublic_key=" + key + "\nendpoint=vpn.example:5\n\n", something, 0},
		{"set=1\npublic_key=" + key + "\nallowed_ip=10.0.0.1\n\n", something, 0},
		{"set=1\npublic_key=" + key + "\nremove=false\n\n", something, 0},
		{"set=1\nallowed_ip=10.0.0.0/8\n\n", something, 0},
	} {
		if k, n := kindOf([]byte(test.text)); k != test.kind || k != something && n != test.peers {
			t.Errorf("%q is %d with %d peers", test.text, k, n)
		}
	}
}

// A linkless TUN has no packets and no link.
type linkless struct{ events chan tun.Event }

func (linkless) File() *os.File                           { return nil }
func (l linkless) Read([][]byte, []int, int) (int, error) { <-l.events; return 0, os.ErrClosed }
func (linkless) Write(b [][]byte, _ int) (int, error)     { return len(b), nil }
func (linkless) MTU() (int, error)                        { return device.DefaultMTU, nil }
func (linkless) Name() (string, error)                    { return "wg0", nil }
func (l linkless) Events() <-chan tun.Event               { return l.events }
func (l linkless) Close() error                           { close(l.events); return nil }
func (linkless) BatchSize() int                           { return 1 }

// What kindOf says that a device can't refuse, wireguard-go doesn't.
func FuzzKindOf(f *testing.F) {
	for _, text := range []string{
		"private_key=" + keyText(1) + "\nlisten_port=1\nfwmark=4\nreplace_peers=true\n", peerText(1), peerText(1) + peerText(2) + peerText(1),
		peerText(1) + "remove=true\n" + peerText(1) + "update_only=true\nendpoint=1.2.3.4:5\n",
		"public_key=" + keyText(3) + "\npreshared_key=" + keyText(4) + "\nendpoint=[fe80::1%eth0]:5\npersistent_keepalive_interval=25\nallowed_ip=fd00::1/64\n",
		"public_key=" + strings.Repeat("0", 64) + "\nallowed_ip=0.0.0.0/0\n", "public_key=x\n", "fwmark=1\nallowed_ip=::/0\n",
	} {
		f.Add("set=1\n" + text + "\n")
	}
	dev := device.NewDevice(linkless{make(chan tun.Event)}, new(bind), device.NewLogger(device.LogLevelSilent, ""))
	f.Cleanup(dev.Close)
	f.Fuzz(func(t *testing.T, text string) {
		if k, _ := kindOf([]byte(text)); k == something {
			return
		}
		if err := dev.IpcSet(text[len(setLine):]); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if err := dev.IpcSet("replace_peers=true\n"); err != nil {
			t.Fatal(err)
		}
	})
}

// cabled makes two devices as startTwo does, of which wg1 alone knows of the other; the
// keys are in hexadecimal.
func cabled(t *testing.T) (private, public [2]string) {
	t.Helper()
	startTwo(t)
	for i := range 2 {
		key, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		private[i], public[i] = fmt.Sprintf("%x", key.Bytes()), fmt.Sprintf("%x", key.PublicKey().Bytes())
	}
	exchange(t, socketPath(SocketDir, "wg1"), "set=1\nprivate_key="+private[1]+"\nlisten_port=51820\n\n")
	run(t, "ip", "-n", "ns1", "addr", "add", "10.0.0.2/24", "dev", "wg1")
	run(t, "ip", "-n", "ns1", "link", "set", "wg1", "up")
	return private, public
}

// The first packet, from the one side or from the other, finds all peers, though it
// comes while they are computed.
func TestFirstPacketFindsPeers(t *testing.T) {
	if !isolated(t, "ping") {
		return
	}
	keys, public := cabled(t)
	request := "set=1\n"
	for n := range 1000 {
		request += peerText(n)
	}
	for _, from := range []string{"ns0", "ns1"} {
		run(t, "ip", "-n", "ns0", "link", "del", "wg0")
		wantGone(t, "wg0")
		startIn(t, "ns0", "wg0")
		path := socketPath(SocketDir, "wg0")
		if got := exchange(t, path, "set=1\nprivate_key="+keys[0]+"\nlisten_port=51820\n\n"); got != accepted {
			t.Fatalf("answered %q", got)
		}
		run(t, "ip", "-n", "ns0", "addr", "add", "10.0.0.1/24", "dev", "wg0")
		// The other one has no session from before.
		exchange(t, socketPath(SocketDir, "wg1"), "set=1\nreplace_peers=true\npublic_key="+public[0]+"\nendpoint=192.0.2.1:51820\nallowed_ip=10.0.0.1/32\n\n")
		last := "public_key=" + public[1] + "\nendpoint=192.0.2.2:51820\nallowed_ip=10.0.0.2/32\n\n"
		if got := exchange(t, path, request+last); got != accepted {
			t.Fatalf("answered %q", got)
		}
		ping := exec.Command("ip", "netns", "exec", "ns0", "sh", "-c", "ip link set wg0 up && ping -c 1 -W 10 10.0.0.2")
		if from == "ns1" {
			ping = exec.Command("ip", "netns", "exec", "ns1", "sh", "-c", "nsenter --net=/run/netns/ns0 ip link set wg0 up; ping -c 1 -W 10 10.0.0.1")
		}
		if out, err := ping.CombinedOutput(); err != nil {
			t.Errorf("from %s: %v\n%s", from, err, out)
		}
		if got := exchange(t, path, "get=1\n\n"); strings.Count(got, "public_key=") != 1001 {
			t.Errorf("from %s: the device has %d peers", from, strings.Count(got, "public_key="))
		}
	}
}
