// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
)

// showconf prints a device in the form that setconf reads, secrets and all.
func (w *wg) showconf(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return wgUsageError{verb: "showconf"}
	}
	devices, err := w.open()
	if err != nil {
		return wgSysError{"Unable to access interface", err}
	}
	d, err := devices.Device(ctx, args[0])
	if err != nil {
		return wgSysError{"Unable to access interface", err}
	}
	out := bufio.NewWriterSize(w.out, 64<<10)
	writeConf(out, d)
	if err := out.Flush(); err != nil {
		return wgSysError{"Unable to write", err}
	}
	return nil
}

func writeConf(out *bufio.Writer, d netlinkx.Device) {
	b := append(out.AvailableBuffer(), "[Interface]\n"...)
	if d.ListenPort != 0 {
		b = fmt.Appendf(b, "ListenPort = %d\n", d.ListenPort)
	}
	if d.FwMark != 0 {
		b = fmt.Appendf(b, "FwMark = 0x%x\n", d.FwMark)
	}
	if !d.PrivateKey.IsZero() {
		b = append(appendKey(append(b, "PrivateKey = "...), d.PrivateKey), '\n')
	}
	_, _ = out.Write(append(b, '\n'))
	for i := range d.Peers {
		b := out.AvailableBuffer()
		if i > 0 {
			b = append(b, '\n')
		}
		_, _ = out.Write(appendPeerConf(b, &d.Peers[i]))
	}
}

func appendPeerConf(b []byte, p *netlinkx.Peer) []byte {
	b = append(b, "[Peer]\nPublicKey = "...)
	b = append(base64.StdEncoding.AppendEncode(b, p.PublicKey[:]), '\n')
	if !p.PresharedKey.IsZero() {
		b = append(appendKey(append(b, "PresharedKey = "...), p.PresharedKey), '\n')
	}
	for i, a := range p.AllowedIPs {
		sep := ", "
		if i == 0 {
			sep = "AllowedIPs = "
		}
		b = strconv.AppendInt(append(appendAddr(append(b, sep...), a.Addr()), '/'), int64(a.Bits()), 10)
	}
	if len(p.AllowedIPs) > 0 {
		b = append(b, '\n')
	}
	if p.Endpoint.IsValid() {
		b = append(appendEndpoint(append(b, "Endpoint = "...), p.Endpoint), '\n')
	}
	if p.PersistentKeepalive != 0 {
		b = fmt.Appendf(b, "PersistentKeepalive = %d\n", p.PersistentKeepalive)
	}
	return b
}

// genkey prints a private key.
func (w *wg) genkey(_ context.Context, args []string) error {
	if len(args) > 0 {
		return wgUsageError{verb: "genkey"}
	}
	return w.generate(netlinkx.Secret.Clamped)
}

// genpsk prints a preshared key.
func (w *wg) genpsk(_ context.Context, args []string) error {
	if len(args) > 0 {
		return wgUsageError{verb: "genpsk"}
	}
	return w.generate(func(k netlinkx.Secret) netlinkx.Secret { return k })
}

func (w *wg) generate(finish func(netlinkx.Secret) netlinkx.Secret) error {
	if f, ok := w.out.(*os.File); ok {
		if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o007 != 0 {
			w.complain("Warning: writing to world accessible file.\nConsider setting the umask to 077 and trying again.")
		}
	}
	var k netlinkx.Secret
	_, _ = rand.Read(k[:]) // which never fails
	return w.printKey(finish(k))
}

func (w *wg) printKey(k [32]byte) error {
	if _, err := fmt.Fprintln(w.out, base64.StdEncoding.EncodeToString(k[:])); err != nil {
		return wgSysError{"Unable to write", err}
	}
	return nil
}

// pubkey prints the public key of the private key on standard input.
func (w *wg) pubkey(_ context.Context, args []string) error {
	if len(args) > 0 {
		return wgUsageError{verb: "pubkey"}
	}
	k, err := config.ReadWgPrivateKey(w.in)
	if err != nil {
		return fmt.Errorf("%s: %w", w.prog, err)
	}
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		return fmt.Errorf("%s: %w", w.prog, err)
	}
	return w.printKey([32]byte(private.PublicKey().Bytes()))
}
