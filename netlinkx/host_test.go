// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	wgconn "golang.zx2c4.com/wireguard/conn"
	wgdevice "golang.zx2c4.com/wireguard/device"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

// lacks skips the test because the machine can't do what it needs, or fails it
// where everything has to run.
func lacks(t testing.TB, what string, err error) {
	t.Helper()
	if os.Getenv("WGCTL_TEST_STRICT") == "1" {
		t.Fatalf("%s: %v", what, err)
	}
	t.Skipf("%s: %v", what, err)
}

// newNamespace returns a Kernel in a network namespace of its own, with the
// loopback link up. The namespace goes when the Kernel is closed.
func newNamespace(t testing.TB) *Kernel {
	t.Helper()
	type result struct {
		k     *Kernel
		probe error
		err   error
	}
	c := make(chan result)
	go func() {
		// Never unlocked: the thread dies with the goroutine, and what holds
		// the namespace from then on is the Kernel.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			c <- result{probe: err}
			return
		}
		k, err := NewKernel()
		c <- result{k: k, err: err}
	}()
	r := <-c
	if r.probe != nil {
		lacks(t, "making a network namespace", r.probe)
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() {
		if err := r.k.Close(); err != nil {
			t.Error(err)
		}
	})
	r.k.uapiDir = t.TempDir()
	ip(t, r.k, "link set lo up")
	for _, key := range []string{"all", "default"} {
		if err := r.k.SetSysctl(t.Context(), "net.ipv4.conf."+key+".promote_secondaries", "0"); err != nil {
			t.Fatal(err)
		}
	}
	return r.k
}

// ip runs ip(8) in k's namespace.
func ip(t testing.TB, k *Kernel, args string) string {
	t.Helper()
	out, err := ipTry(k, args)
	if err != nil {
		t.Fatalf("ip %s: %v", args, err)
	}
	return out
}

func ipTry(k *Kernel, args string) (string, error) {
	var out []byte
	err := k.inside(func() (err error) {
		out, err = exec.Command("ip", strings.Fields(args)...).CombinedOutput()
		return err
	})
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return string(out), nil
}

// newTUN makes a TUN link that has a carrier, with our alias.
func newTUN(t testing.TB, k *Kernel, name string) {
	t.Helper()
	err := k.inside(func() error {
		f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = f.Close() })
		var req struct {
			name  [unix.IFNAMSIZ]byte
			flags uint16
			_     [22]byte
		}
		copy(req.name[:], name)
		req.flags = unix.IFF_TUN | unix.IFF_NO_PI
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.TUNSETIFF, uintptr(unsafe.Pointer(&req)))
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		lacks(t, "making a TUN link", err)
	}
	ip(t, k, "link set dev "+name+" alias "+Alias)
}

// nsBind opens its sockets in k's namespace.
type nsBind struct {
	wgconn.Bind
	k *Kernel
}

func (b nsBind) Open(port uint16) (fns []wgconn.ReceiveFunc, actual uint16, err error) {
	nserr := b.k.inside(func() error {
		fns, actual, err = b.Bind.Open(port)
		return nil
	})
	return fns, actual, errors.Join(err, nserr)
}

// newUserspace starts a wireguard-go device in k's namespace and serves its UAPI
// socket.
func newUserspace(t testing.TB, k *Kernel, name string) {
	t.Helper()
	var tun wgtun.Device
	err := k.inside(func() (err error) {
		tun, err = wgtun.CreateTUN(name, mtuWireGuard)
		return err
	})
	if err != nil {
		lacks(t, "making a TUN link", err)
	}
	dev := wgdevice.NewDevice(tun, nsBind{wgconn.NewStdNetBind(), k}, wgdevice.NewLogger(wgdevice.LogLevelSilent, ""))
	l, err := net.Listen("unix", filepath.Join(k.uapiDir, name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.Close()
		dev.Close()
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go dev.IpcHandle(c)
		}
	}()
	ip(t, k, "link set dev "+name+" alias "+Alias)
}

// A world is a host, and what others than we do to it.
type world interface {
	Links
	Addresses
	Routes
	DeadEnds
	Tables
	Rules
	Devices
	Sysctls
	DeviceNames(context.Context) ([]string, error)
	tun(t *testing.T, name string)
	device(t *testing.T, name string)
	foreign(t *testing.T, args string)
}

type realWorld struct{ *Kernel }

func (w realWorld) tun(t *testing.T, name string) { newTUN(t, w.Kernel, name) }

func (w realWorld) device(t *testing.T, name string) {
	has, err := w.KernelHasWireGuard(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !has {
		newUserspace(t, w.Kernel, name)
		return
	}
	if err := w.LinkAdd(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

func (w realWorld) foreign(t *testing.T, args string) { ip(t, w.Kernel, args) }

type fakeWorld struct{ *Fake }

func (w fakeWorld) tun(_ *testing.T, name string) {
	w.AddLink(Link{Name: name, Kind: "tun", Alias: Alias})
}

func (w fakeWorld) device(t *testing.T, name string) {
	if err := w.StartUserspace(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

// foreign does what ip(8) would do, for the few commands of the table.
func (w fakeWorld) foreign(t *testing.T, args string) {
	t.Helper()
	f := strings.Fields(args)
	word := func(name string) string {
		for i := range f[:len(f)-1] {
			if f[i] == name {
				return f[i+1]
			}
		}
		return ""
	}
	switch {
	case strings.HasPrefix(args, "address add"):
		w.mu.Lock()
		defer w.mu.Unlock()
		l := w.find(word("dev"))
		l.connect(l.insert(netip.MustParsePrefix(f[2]), false))
	case strings.HasPrefix(args, "route add"):
		w.AddRoute(word("dev"), InstalledRoute{
			Route: parseRoute(t, f[2:]), Protocol: number(t, word("proto"), 3), Plain: word("via") == "",
		})
	case strings.HasPrefix(args, "rule add"):
		w.AddRule(InstalledRule{
			Rule:     parseRule4(t, f[2:]),
			Protocol: number(t, word("protocol"), 0),
			Plain:    word("dport") == "",
		})
	case strings.HasPrefix(args, "link add"):
		w.AddLink(Link{Name: word("dev"), Kind: word("type")})
	default:
		t.Fatalf("no such foreign command: %s", args)
	}
}
