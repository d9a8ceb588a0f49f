// SPDX-License-Identifier: MIT

// Command floor brings a tunnel up and does nothing else: it sends messages
// that were made before. Nothing that makes them at run time, checks, records
// or undoes can be faster.
//
//	floor prepare kernel|userspace FILE OUT
//	floor run OUT [DEVICE]
//
// FILE is one that the benchmark wrote. DEVICE is a program that starts a
// userspace device, as wireguard-go does.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Kinds of records in a prepared file. Each has a length and a payload after
// it; the first is the name of the interface.
const (
	named    = 'n'
	route    = 'r' // a datagram for the route socket
	generic  = 'g' // one for the generic netlink socket
	toDevice = 'u' // a request to a userspace device, which starts before the first
)

func main() {
	err := errors.New("usage: floor prepare kernel|userspace FILE OUT | floor run OUT [DEVICE]")
	switch {
	case len(os.Args) == 5 && os.Args[1] == "prepare":
		err = prepare(os.Args[2] == "kernel", os.Args[3], os.Args[4])
	case len(os.Args) == 3 && os.Args[1] == "run":
		err = run(os.Args[2], "")
	case len(os.Args) == 4 && os.Args[1] == "run":
		err = run(os.Args[2], os.Args[3])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "floor: %v\n", err)
		os.Exit(1)
	}
}

func run(path, device string) error {
	all, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	r := runner{device: device, sockets: map[byte]int{}}
	for len(all) > 0 {
		if len(all) < 5 {
			return io.ErrUnexpectedEOF
		}
		kind, size := all[0], int(binary.NativeEndian.Uint32(all[1:]))
		if err := r.record(kind, all[5:5+size]); err != nil {
			return fmt.Errorf("sending a record of kind %q: %w", kind, err)
		}
		all = all[5+size:]
	}
	return nil
}

// A runner sends what was prepared.
type runner struct {
	device, ifname string
	socket         net.Conn // of the userspace device
	sockets        map[byte]int
	index          uint32 // of the link, once there is one
	family         uint16
	in             [32 << 10]byte
}

func (r *runner) record(kind byte, payload []byte) error {
	switch kind {
	case named:
		r.ifname = string(payload)
		return nil
	case toDevice:
		return r.tell(payload)
	}
	fd, ok := r.sockets[kind]
	if !ok {
		var err error
		if fd, err = r.open(kind); err != nil {
			return err
		}
		r.sockets[kind] = fd
	}
	if bytes.Contains(payload, indexMark) {
		if r.index == 0 {
			l, err := net.InterfaceByName(r.ifname)
			if err != nil {
				return err
			}
			r.index = uint32(l.Index)
		}
		payload = bytes.ReplaceAll(payload, indexMark, binary.NativeEndian.AppendUint32(nil, r.index))
	}
	return r.exchange(fd, payload)
}

func (r *runner) open(kind byte) (int, error) {
	protocol := unix.NETLINK_ROUTE
	if kind == generic {
		protocol = unix.NETLINK_GENERIC
		conn, err := genetlink.Dial(nil)
		if err != nil {
			return 0, err
		}
		defer func() { _ = conn.Close() }()
		f, err := conn.GetFamily(unix.WG_GENL_NAME)
		if err != nil {
			return 0, err
		}
		r.family = f.ID
	}
	return unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
}

// exchange sends a datagram, whose last message asks for an acknowledgement,
// and reads it.
func (r *runner) exchange(fd int, datagram []byte) error {
	var last uint32
	for m := datagram; len(m) > 0; m = m[binary.NativeEndian.Uint32(m):] {
		if binary.NativeEndian.Uint16(m[4:]) == familyMark {
			binary.NativeEndian.PutUint16(m[4:], r.family)
		}
		last = binary.NativeEndian.Uint32(m[8:])
	}
	if err := unix.Sendto(fd, datagram, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		n, _, err := unix.Recvfrom(fd, r.in[:], 0)
		if err != nil {
			return err
		}
		if n < 20 || binary.NativeEndian.Uint16(r.in[4:]) != unix.NLMSG_ERROR {
			return unix.EBADMSG
		}
		if errno := -int32(binary.NativeEndian.Uint32(r.in[16:])); errno != 0 {
			return unix.Errno(errno)
		}
		if binary.NativeEndian.Uint32(r.in[8:]) == last {
			return nil
		}
	}
}

// tell sends a request to the userspace device, which it starts if need be.
func (r *runner) tell(request []byte) error {
	if r.socket == nil {
		if out, err := exec.Command(r.device, r.ifname).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		conn, err := net.Dial("unix", "/var/run/wireguard/"+r.ifname+".sock")
		if err != nil {
			return err
		}
		r.socket = conn
	}
	if _, err := r.socket.Write(request); err != nil {
		return err
	}
	n, err := r.socket.Read(r.in[:])
	if err == nil && string(r.in[:n]) != "errno=0\n\n" {
		err = fmt.Errorf("the device says %q", r.in[:n])
	}
	return err
}

// marshal makes a datagram of messages.
func marshal(msgs []netlink.Message) ([]byte, error) {
	var out []byte
	for i := range msgs {
		sequence++
		m := &msgs[i]
		m.Header.Sequence = sequence
		m.Header.Flags |= netlink.Request
		if i == len(msgs)-1 {
			m.Header.Flags |= netlink.Acknowledge
		}
		m.Header.Length = uint32(unix.SizeofNlMsghdr+len(m.Data)+3) &^ 3
		b, err := m.MarshalBinary()
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

var sequence uint32
