// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"net/netip"
	"strconv"

	"github.com/wgctl/wgctl/netlinkx"
)

// show prints interfaces: whole, for people, or one parameter, for programs.
func (w *wg) show(ctx context.Context, args []string) error {
	if len(args) > 2 {
		return wgUsageError{verb: "show"}
	}
	which, param := "all", ""
	if len(args) > 0 {
		which = args[0]
	}
	if len(args) > 1 {
		param = args[1]
	}
	if len(args) == 1 && (which == "-h" || which == "--help" || which == "help") {
		w.printUsage("show") // on standard error, and yet no failure
		return nil
	}
	devices, err := w.open()
	if err != nil {
		return wgSysError{"Unable to access interface", err}
	}
	out := bufio.NewWriterSize(w.out, 64<<10)
	switch {
	case which == "interfaces" && len(args) > 1:
		return wgUsageError{verb: "show"}
	case which == "interfaces":
		err = w.showNames(ctx, devices, out)
	case which == "all":
		err = w.showAll(ctx, devices, out, param, len(args) > 1)
	default:
		err = w.showOne(ctx, devices, out, which, param, len(args) > 1)
	}
	if flushed := out.Flush(); err == nil && flushed != nil {
		err = wgSysError{"Unable to write", flushed}
	}
	return err
}

func (w *wg) showNames(ctx context.Context, devices wgDevices, out *bufio.Writer) error {
	names, err := devices.DeviceNames(ctx)
	if err != nil {
		return wgSysError{"Unable to list interfaces", err}
	}
	for i, name := range names {
		if i > 0 {
			_ = out.WriteByte(' ')
		}
		_, _ = out.WriteString(name)
	}
	if len(names) > 0 {
		_ = out.WriteByte('\n')
	}
	return nil
}

// showAll goes on after a device that can't be read, and fails if all can't.
func (w *wg) showAll(ctx context.Context, devices wgDevices, out *bufio.Writer, param string, one bool) error {
	names, err := devices.DeviceNames(ctx)
	if err != nil {
		return wgSysError{"Unable to list interfaces", err}
	}
	shown := 0
	for _, name := range names {
		d, err := devices.Device(ctx, name)
		if err != nil {
			w.complain("Unable to access interface " + name + ": " + strerror(err))
			continue
		}
		if !one && shown > 0 {
			_ = out.WriteByte('\n')
		}
		shown++
		if !one {
			w.pretty(out, d)
		} else if err := showParam(out, d, param, name+"\t"); err != nil {
			return err
		}
	}
	if len(names) > 0 && shown == 0 {
		return errSaid
	}
	return nil
}

func (w *wg) showOne(ctx context.Context, devices wgDevices, out *bufio.Writer, name, param string, one bool) error {
	d, err := devices.Device(ctx, name)
	if err != nil {
		return wgSysError{"Unable to access interface", err}
	}
	if one {
		return showParam(out, d, param, "")
	}
	w.pretty(out, d)
	return nil
}

// A wgParam appends one parameter of a device as a line, or as a line for each
// peer. Each line starts with prefix.
type wgParam struct {
	name   string
	device func(b []byte, d netlinkx.Device) []byte
	peer   func(b []byte, p *netlinkx.Peer) []byte
}

var wgParams = []wgParam{
	{name: "public-key", device: func(b []byte, d netlinkx.Device) []byte { return appendKey(b, d.PublicKey) }},
	{name: "private-key", device: func(b []byte, d netlinkx.Device) []byte { return appendKey(b, d.PrivateKey) }},
	{name: "listen-port", device: func(b []byte, d netlinkx.Device) []byte { return strconv.AppendUint(b, uint64(d.ListenPort), 10) }},
	{name: "fwmark", device: func(b []byte, d netlinkx.Device) []byte { return appendMark(b, d.FwMark) }},
	{name: "peers", peer: func(b []byte, _ *netlinkx.Peer) []byte { return b[:len(b)-1] }},
	{name: "preshared-keys", peer: func(b []byte, p *netlinkx.Peer) []byte { return appendKey(b, p.PresharedKey) }},
	{name: "endpoints", peer: func(b []byte, p *netlinkx.Peer) []byte { return appendEndpoint(b, p.Endpoint) }},
	{name: "allowed-ips", peer: func(b []byte, p *netlinkx.Peer) []byte { return appendPrefixes(b, p.AllowedIPs, ' ') }},
	{name: "latest-handshakes", peer: func(b []byte, p *netlinkx.Peer) []byte { return appendHandshake(b, p) }},
	{name: "transfer", peer: func(b []byte, p *netlinkx.Peer) []byte { return appendTransfer(b, p) }},
	{name: "persistent-keepalive", peer: func(b []byte, p *netlinkx.Peer) []byte { return appendKeepalive(b, p.PersistentKeepalive) }},
	{name: "dump", device: appendDumpDevice, peer: appendDumpPeer},
}

func wgParamNames() []string {
	names := make([]string, len(wgParams))
	for i, p := range wgParams {
		names[i] = p.name
	}
	return names
}

// showParam prints a parameter. Peers come in the device's own order, after
// their key and a tab.
func showParam(out *bufio.Writer, d netlinkx.Device, name, prefix string) error {
	for _, p := range wgParams {
		if p.name != name {
			continue
		}
		if p.device != nil {
			b := p.device(append(out.AvailableBuffer(), prefix...), d)
			_, _ = out.Write(append(b, '\n'))
		}
		for i := range d.Peers {
			if p.peer == nil {
				break
			}
			b := appendKey(append(out.AvailableBuffer(), prefix...), d.Peers[i].PublicKey)
			_, _ = out.Write(append(p.peer(append(b, '\t'), &d.Peers[i]), '\n'))
		}
		return nil
	}
	return wgUsageError{verb: "show", msg: "Invalid parameter: `" + name + "'"}
}

func appendDumpDevice(b []byte, d netlinkx.Device) []byte {
	b = append(appendKey(b, d.PrivateKey), '\t')
	b = append(appendKey(b, d.PublicKey), '\t')
	b = append(strconv.AppendUint(b, uint64(d.ListenPort), 10), '\t')
	return appendMark(b, d.FwMark)
}

func appendDumpPeer(b []byte, p *netlinkx.Peer) []byte {
	b = append(appendKey(b, p.PresharedKey), '\t')
	b = append(appendEndpoint(b, p.Endpoint), '\t')
	b = append(appendPrefixes(b, p.AllowedIPs, ','), '\t')
	b = append(appendHandshake(b, p), '\t')
	b = append(appendTransfer(b, p), '\t')
	return appendKeepalive(b, p.PersistentKeepalive)
}

const none = "(none)"

// appendKey shows a key, whoever it belongs to.
func appendKey[K ~[32]byte](b []byte, k K) []byte {
	if k == (K{}) {
		return append(b, none...)
	}
	return base64.StdEncoding.AppendEncode(b, k[:])
}

func appendMark(b []byte, mark uint32) []byte {
	if mark == 0 {
		return append(b, "off"...)
	}
	return strconv.AppendUint(append(b, "0x"...), uint64(mark), 16)
}

func appendKeepalive(b []byte, seconds uint16) []byte {
	if seconds == 0 {
		return append(b, "off"...)
	}
	return strconv.AppendUint(b, uint64(seconds), 10)
}

func appendHandshake(b []byte, p *netlinkx.Peer) []byte {
	if p.LatestHandshake.IsZero() {
		return append(b, '0')
	}
	return strconv.AppendInt(b, p.LatestHandshake.Unix(), 10)
}

func appendTransfer(b []byte, p *netlinkx.Peer) []byte {
	b = append(strconv.AppendUint(b, uint64(p.ReceiveBytes), 10), '\t')
	return strconv.AppendUint(b, uint64(p.TransmitBytes), 10)
}

func appendEndpoint(b []byte, e netip.AddrPort) []byte {
	if !e.IsValid() {
		return append(b, none...)
	}
	if !e.Addr().Is6() {
		return e.AppendTo(b)
	}
	b = append(appendAddr(append(b, '['), e.Addr()), "]:"...)
	return strconv.AppendUint(b, uint64(e.Port()), 10)
}

// appendPrefixes appends allowed IPs with a separator between them.
func appendPrefixes(b []byte, ps []netip.Prefix, sep byte) []byte {
	if len(ps) == 0 {
		return append(b, none...)
	}
	for i, p := range ps {
		if i > 0 {
			b = append(b, sep)
		}
		b = append(appendAddr(b, p.Addr()), '/')
		b = strconv.AppendInt(b, int64(p.Bits()), 10)
	}
	return b
}

// appendAddr is inet_ntop(3), which writes the last 32 bits of ::/96 as IPv4
// where more than 16 of them are in use.
func appendAddr(b []byte, a netip.Addr) []byte {
	if raw := a.As16(); a.Is6() && a.Zone() == "" && [12]byte(raw[:12]) == [12]byte{} && (raw[12] != 0 || raw[13] != 0) {
		return netip.AddrFrom4([4]byte(raw[12:])).AppendTo(append(b, "::"...))
	}
	return a.AppendTo(b)
}
