// SPDX-License-Identifier: MIT

package netlinkx

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The configuration protocol of userspace devices is described at
// https://www.wireguard.com/xplatform/#cross-platform-userspace-implementation.
// wgctrl's own speaker of it gives errors as text and waits without limit.

const uapiDir = "/var/run/wireguard"

// SocketsIn names a folder with sockets of devices of this namespace alone. It
// comes before /var/run/wireguard, which all namespaces share.
func (k *Kernel) SocketsIn(dir string) { k.ownDir = dir }

func (k *Kernel) uapiPath(name string) string {
	if k.ownDir != "" {
		own := filepath.Join(k.ownDir, name+".sock")
		if _, err := os.Lstat(own); err == nil {
			return own
		}
	}
	return filepath.Join(k.uapiDir, name+".sock")
}

// uapiDial connects to a socket. None, and one that nobody listens on, is
// unix.EOPNOTSUPP: that link isn't a WireGuard device.
func uapiDial(ctx context.Context, path string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, busyPatience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if isOneOf(err, unix.ENOENT, unix.ENOTDIR, unix.ECONNREFUSED) {
		return nil, missingError{unix.EOPNOTSUPP}
	}
	return conn, err
}

func uapiAnswers(ctx context.Context, path string) bool {
	conn, err := uapiDial(ctx, path)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// uapiDo sends a request and hands the lines of the reply to line, up to the
// empty line that ends it. "errno" is read here.
func uapiDo(ctx context.Context, path string, request []byte, line func(key, value []byte) error) error {
	conn, err := uapiDial(ctx, path)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	v := newVigil(conn, path)
	err = uapiTalk(v, request, line)
	v.end(!errors.Is(err, os.ErrDeadlineExceeded))
	if cause := ctx.Err(); err != nil && cause != nil {
		return cause
	}
	return err
}

// uapiBuffers are for replies. Each is clear.
var uapiBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

func uapiTalk(conn io.ReadWriter, request []byte, line func(key, value []byte) error) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	buf := uapiBuffers.Get().(*[256 << 10]byte)
	defer func() {
		clear(buf[:]) // of keys
		uapiBuffers.Put(buf)
	}()
	s := bufio.NewScanner(conn)
	s.Buffer(buf[:], bufio.MaxScanTokenSize)
	for s.Scan() {
		key, value, _ := bytes.Cut(s.Bytes(), []byte{'='})
		if len(key) == 0 {
			return nil
		}
		if string(key) == "errno" {
			n, err := strconv.ParseInt(string(value), 10, 32)
			if err != nil {
				return fmt.Errorf("reading the UAPI reply: errno isn't a number")
			}
			if err := errnoOf(n); err != nil {
				return err
			}
			continue
		}
		if err := line(key, value); err != nil {
			// The value may be a key, so it isn't quoted.
			return fmt.Errorf("reading the UAPI reply: bad value of %s", key)
		}
	}
	if err := s.Err(); err != nil {
		return err
	}
	return fmt.Errorf("reading the UAPI reply: %w", io.ErrUnexpectedEOF)
}

// generationRequest is userspace.GenerationRequest, which says what it means.
const generationRequest = "wgctl-generation=1\n\n"

// uapiGeneration asks a device for its generation. One that doesn't know the
// request hangs up, as wireguard-go's, or refuses it, as boringtun's by EIO.
func uapiGeneration(ctx context.Context, path string) (generation string, err error) {
	err = uapiDo(ctx, path, []byte(generationRequest), func(key, value []byte) error {
		if string(key) == "generation" {
			generation = string(value)
		}
		return nil
	})
	if err == nil {
		return generation, nil
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || isOneOf(err, unix.EBUSY, unix.ECONNRESET, unix.EPIPE, unix.EIO, unix.EINVAL, unix.EPROTO, unix.EOPNOTSUPP) {
		err = nil
	}
	return "", err
}

func uapiGet(ctx context.Context, path, name string) (Device, error) {
	return uapiDeviceOf(name, uapiAt(ctx, path))
}

// A uapiExchange sends a request and hands on the lines of the reply: uapiDo or
// uapiTalk.
type uapiExchange func(request []byte, line func(key, value []byte) error) error

func uapiAt(ctx context.Context, path string) uapiExchange {
	return func(request []byte, line func(key, value []byte) error) error {
		return uapiDo(ctx, path, request, line)
	}
}

// uapiDeviceOf reads a device by an exchange.
func uapiDeviceOf(name string, exchange uapiExchange) (Device, error) {
	var peers peerList
	d := Device{Name: name, Backend: BackendUserspace}
	defer func() { clear(d.PrivateKey[:]) }() // whoever called has a copy
	var peer *Peer
	err := exchange([]byte("get=1\n\n"), func(key, value []byte) error {
		if string(key) == "public_key" {
			peer = peers.add()
		}
		if peer == nil {
			return d.uapiField(key, value)
		}
		return peer.uapiField(key, value)
	})
	if err != nil {
		return Device{}, err
	}
	d.PublicKey, d.Peers = d.PrivateKey.PublicKey(), peers.all()
	return d, nil
}

func (d *Device) uapiField(key, value []byte) (err error) {
	switch string(key) {
	case "private_key":
		err = hexKey(d.PrivateKey[:], value)
	case "listen_port":
		d.ListenPort, err = uint16Of(value)
	case "fwmark":
		var n uint64
		n, err = strconv.ParseUint(string(value), 10, 32)
		d.FwMark = uint32(n)
	}
	return err
}

func (p *Peer) uapiField(key, value []byte) (err error) {
	var n int64
	switch string(key) {
	case "public_key":
		err = hexKey(p.PublicKey[:], value)
	case "preshared_key":
		err = hexKey(p.PresharedKey[:], value)
	case "endpoint":
		p.Endpoint, err = netip.ParseAddrPort(string(value))
	case "persistent_keepalive_interval":
		p.PersistentKeepalive, err = uint16Of(value)
	case "last_handshake_time_sec":
		if n, err = strconv.ParseInt(string(value), 10, 64); n != 0 {
			p.LatestHandshake = time.Unix(n, 0)
		}
	case "last_handshake_time_nsec":
		if n, err = strconv.ParseInt(string(value), 10, 64); n != 0 {
			p.LatestHandshake = time.Unix(p.handshakeSecond(), n)
		}
	case "rx_bytes":
		p.ReceiveBytes, err = strconv.ParseInt(string(value), 10, 64)
	case "tx_bytes":
		p.TransmitBytes, err = strconv.ParseInt(string(value), 10, 64)
	case "allowed_ip":
		var a netip.Prefix
		a, err = netip.ParsePrefix(string(value))
		p.AllowedIPs = append(p.AllowedIPs, a)
	}
	return err
}

func (p *Peer) handshakeSecond() int64 {
	if p.LatestHandshake.IsZero() {
		return 0
	}
	return p.LatestHandshake.Unix()
}

func hexKey(dst, value []byte) error {
	if len(value) != hex.EncodedLen(len(dst)) {
		return hex.ErrLength
	}
	_, err := hex.Decode(dst, value)
	return err
}

func uint16Of(value []byte) (uint16, error) {
	n, err := strconv.ParseUint(string(value), 10, 16)
	return uint16(n), err
}

// requestSize is at least what appendRequest appends: what is grown leaves a copy
// behind, and keys in it.
func requestSize(c DeviceChange) int {
	n := 256
	for i := range c.Peers {
		n += 384 + 64*(len(c.Peers[i].AllowedIPs)+len(c.Peers[i].RemoveAllowedIPs))
	}
	return n
}

// appendRequest appends a set operation. The order of a peer's keys matters:
// those that say what to do with the peer come before those that do it.
func appendRequest(b []byte, c DeviceChange) []byte {
	b = append(b, "set=1\n"...)
	if c.PrivateKey != nil {
		b = append(hex.AppendEncode(append(b, "private_key="...), c.PrivateKey[:]), '\n')
	}
	if c.ListenPort != nil {
		b = append(strconv.AppendUint(append(b, "listen_port="...), uint64(*c.ListenPort), 10), '\n')
	}
	if c.FwMark != nil {
		b = append(strconv.AppendUint(append(b, "fwmark="...), uint64(*c.FwMark), 10), '\n')
	}
	if c.ReplacePeers {
		b = append(b, "replace_peers=true\n"...)
	}
	for i := range c.Peers {
		b = appendPeer(b, &c.Peers[i])
	}
	return append(b, '\n')
}

// appendPeer spares the formatter: there may be 100,000 peers.
func appendPeer(b []byte, p *PeerChange) []byte {
	b = append(hex.AppendEncode(append(b, "public_key="...), p.PublicKey[:]), '\n')
	if p.Remove {
		b = append(b, "remove=true\n"...)
	}
	if p.UpdateOnly {
		b = append(b, "update_only=true\n"...)
	}
	if p.PresharedKey != nil {
		b = append(hex.AppendEncode(append(b, "preshared_key="...), p.PresharedKey[:]), '\n')
	}
	if p.Endpoint.IsValid() {
		e := netip.AddrPortFrom(p.Endpoint.Addr().Unmap(), p.Endpoint.Port())
		b = append(e.AppendTo(append(b, "endpoint="...)), '\n')
	}
	if p.PersistentKeepalive != nil {
		b = append(b, "persistent_keepalive_interval="...)
		b = append(strconv.AppendUint(b, uint64(*p.PersistentKeepalive), 10), '\n')
	}
	if p.ReplaceAllowedIPs {
		b = append(b, "replace_allowed_ips=true\n"...)
	}
	for _, a := range p.AllowedIPs {
		b = append(a.AppendTo(append(b, "allowed_ip="...)), '\n')
	}
	for _, a := range p.RemoveAllowedIPs {
		b = append(a.AppendTo(append(b, "allowed_ip=-"...)), '\n')
	}
	return b
}
