// SPDX-License-Identifier: MIT

package tunnel

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Peers are a list that is written as text, a line a peer, in columns as of "wg
// show dump": ten thousand of them are read many times as fast as objects of
// JSON.
type Peers []Peer

// nothing stands in a column without a value.
const nothing = "-"

// MarshalText writes key, digest of the preshared key, endpoint, endpoint as
// configured, keepalive, allowed IPs, and name.
func (ps Peers) MarshalText() ([]byte, error) {
	out := make([]byte, 0, 128*len(ps))
	for i := range ps {
		p := &ps[i]
		out = base64.StdEncoding.AppendEncode(out, p.PublicKey[:])
		out = append(out, '\t')
		if p.PresharedKey != nil {
			out = p.PresharedKey.appendDigest(out)
		} else {
			out = append(out, nothing...)
		}
		out = append(out, '\t')
		if p.Endpoint.IsValid() {
			out = p.Endpoint.AppendTo(out)
		} else {
			out = append(out, nothing...)
		}
		out = append(out, '\t')
		if p.Configured != "" {
			out = append(out, p.Configured...)
		} else {
			out = append(out, nothing...)
		}
		out = append(out, '\t')
		if p.PersistentKeepalive != nil {
			out = strconv.AppendUint(out, uint64(*p.PersistentKeepalive), 10)
		} else {
			out = append(out, nothing...)
		}
		out = append(out, '\t')
		for n, a := range p.AllowedIPs {
			if n > 0 {
				out = append(out, ',')
			}
			out = a.AppendTo(out)
		}
		out = append(append(append(out, '\t'), p.Name...), '\n')
	}
	return out, nil
}

var errPeers = errors.New("reading peers of a record: not as they were written")

// UnmarshalText reads what MarshalText writes.
func (ps *Peers) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*ps = nil
		return nil
	}
	out := make(Peers, 0, bytes.Count(b, []byte("\n")))
	for line := range strings.Lines(string(b)) {
		var p Peer
		var f [7]string
		if !columns(strings.TrimSuffix(line, "\n"), f[:]) {
			return errPeers
		}
		if err := p.read(&f); err != nil {
			return err
		}
		out = append(out, p)
	}
	*ps = out
	return nil
}

func (p *Peer) read(columns *[7]string) (err error) {
	if p.PublicKey.UnmarshalText([]byte(columns[0])) != nil {
		return errPeers
	}
	if c := columns[1]; c != nothing {
		p.PresharedKey = new(Secret)
		if p.PresharedKey.UnmarshalText([]byte(c)) != nil {
			return errPeers
		}
	}
	if c := columns[2]; c != nothing {
		if p.Endpoint, err = netip.ParseAddrPort(c); err != nil {
			return errPeers
		}
	}
	if c := columns[3]; c != nothing {
		p.Configured = c
	}
	if c := columns[4]; c != nothing {
		n, err := strconv.ParseUint(c, 10, 16)
		if err != nil {
			return errPeers
		}
		seconds := uint16(n)
		p.PersistentKeepalive = &seconds
	}
	if c := columns[5]; c != "" {
		p.AllowedIPs = make([]netip.Prefix, 0, strings.Count(c, ",")+1)
		for item := range strings.SplitSeq(c, ",") {
			a, err := netip.ParsePrefix(item)
			if err != nil {
				return errPeers
			}
			p.AllowedIPs = append(p.AllowedIPs, a)
		}
	}
	p.Name = columns[6]
	return nil
}
