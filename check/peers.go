// SPDX-License-Identifier: MIT

package check

import (
	"crypto/ecdh"
	"slices"
	"strings"

	"github.com/wgctl/wgctl/config"
)

var peerRules = []Rule{
	{
		Name: "peer-twice", Severity: Error, file: peerTwice,
		Finds: "two sections with one public key",
		Why:   "they are one peer, of whose allowed IPs only those of the last section count",
		Mend:  "put them together, or give the other machine a key of its own",
	}, {
		Name: "peer-is-self", Severity: Error, file: peerIsSelf,
		Finds: "a peer with the interface's own public key",
		Why:   "a device doesn't talk to itself: the kernel leaves that peer out",
		Mend:  "give the public key of the other end",
	}, {
		Name: "peer-name-twice", Severity: Info, file: peerNameTwice,
		Finds: "two peers of one name",
		Why:   "status, metrics and messages can't tell them apart for people",
		Mend:  "give each a name of its own",
	}, {
		Name: "preshared-key-shared", Severity: Warning, file: presharedShared,
		Finds: "a preshared key that two peers have",
		Why:   "each of the two can take part in what protects the other: a preshared key is a secret of two",
		Mend:  "wgctl genpsk, once for each peer",
	}, {
		Name: "public-key-zero", Severity: Error, file: publicKeyZero,
		Finds: "a peer whose public key is all zeros",
		Why:   "that is what a placeholder decodes to: no handshake will ever work",
		Mend:  "give the key that wgctl pubkey prints at the other end",
	}, {
		Name: "private-key-missing", Severity: Warning, file: privateKeyMissing,
		Finds: "no private key, and no hook that sets one",
		Why:   "the interface comes up, and no handshake works",
		Mend:  "wgctl genkey makes one",
	}, {
		Name: "key-file", Severity: Error, file: keyFile,
		Finds: "a PrivateKeyFile or PresharedKeyFile that can't be used: it isn't there, holds no key, or others can read it",
		Why:   "the tunnel doesn't come up",
		Mend:  "give the file one key, and mode 0600",
	}, {
		Name: "private-key-published", Severity: Error, file: privateKeyPublished,
		Finds: "a private key that a document shows: wg(8), wg-quick(8), or one of wgctl's",
		Why:   "everybody has it, and can read and speak for this host",
		Mend:  "wgctl genkey makes one; give its public key to the peers",
	}, {
		Name: "keepalive-odd", Severity: Warning, file: keepaliveOdd,
		Finds: "a PersistentKeepalive below 10 or above 120 seconds",
		Why:   "below, it only wakes radios; above, most NATs have forgotten the way back (RFC 4787 has 120 s, many take 30)",
		Mend:  "25 fits nearly all",
	}, {
		Name: "keepalive-missing", Severity: Info, file: keepaliveMissing,
		Finds: "an endpoint on the internet, this host behind NAT, and no PersistentKeepalive",
		Why:   "after some seconds of silence the NAT drops what the peer sends, until this host speaks again",
		Mend:  "PersistentKeepalive = 25 if the other end is to reach this host at any time",
	}, {
		Name: "listen-port-missing", Severity: Warning, file: listenPortMissing,
		Finds: "a peer without Endpoint, and no ListenPort",
		Why:   "the peer has to call, and the port is another one after each up",
		Mend:  "give a ListenPort, or the peer's Endpoint",
	}, {
		Name: "listen-port-taken", Severity: Error, file: listenPortTaken,
		Finds: "a ListenPort that another socket of the host has",
		Why:   "the tunnel doesn't come up: address already in use",
		Mend:  `take another port; "ss -lunp" shows whose it is`,
	},
}

func peerTwice(l *look) {
	first := map[config.Key]int{}
	for i, p := range l.cfg.Peers {
		if had, again := first[p.PublicKey]; again {
			l.at(i, "PublicKey", 0, "is that of %s, too", l.peer(had))
			continue
		}
		first[p.PublicKey] = i
	}
}

// publicKey is that of the interface, if the file gives its private key.
func publicKey(cfg *config.Config) (key config.Key, ok bool) {
	if cfg == nil || cfg.Interface.PrivateKey == nil || *cfg.Interface.PrivateKey == (config.Secret{}) {
		return key, false
	}
	priv, err := ecdh.X25519().NewPrivateKey(cfg.Interface.PrivateKey[:])
	if err != nil {
		return key, false
	}
	return config.Key(priv.PublicKey().Bytes()), true
}

func peerIsSelf(l *look) {
	own, ok := publicKey(l.cfg)
	if !ok {
		return
	}
	for i, p := range l.cfg.Peers {
		if p.PublicKey == own {
			l.at(i, "PublicKey", 0, "of %s is this interface's own", l.peer(i))
		}
	}
}

func peerNameTwice(l *look) {
	first := map[string]int{}
	for i, p := range l.cfg.Peers {
		had, again := first[p.Name]
		if again && p.Name != "" && !l.samePeer(had, i) {
			l.at(i, "Name", 0, "%s is called like %s", l.peer(i), l.peer(had))
			continue
		}
		first[p.Name] = i
	}
}

func presharedShared(l *look) {
	first := map[config.Secret]int{}
	for i, p := range l.cfg.Peers {
		if p.PresharedKey == nil || *p.PresharedKey == (config.Secret{}) {
			continue
		}
		if had, again := first[*p.PresharedKey]; again && !l.samePeer(had, i) {
			l.at(i, "PresharedKey", 0, "of %s is that of %s, too", l.peer(i), l.peer(had))
			continue
		}
		first[*p.PresharedKey] = i
	}
}

func publicKeyZero(l *look) {
	for i, p := range l.cfg.Peers {
		if p.PublicKey == (config.Key{}) {
			l.at(i, "PublicKey", 0, "is all zeros")
		}
	}
}

// mentions reports whether a hook holds a word.
func (l *look) mentions(words ...string) bool {
	return slices.ContainsFunc(l.hooks(), func(h hookLine) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(h.text, w) })
	})
}

func privateKeyMissing(l *look) {
	if l.cfg.Interface.PrivateKey == nil && l.cfg.Interface.PrivateKeyFile == "" && !l.mentions("private-key", "setconf", "addconf") {
		l.at(config.InInterface, "", 0, "has no PrivateKey")
	}
}

func keyFile(l *look) {
	if fault := l.file.KeyFiles[l.cfg.Interface.PrivateKeyFile]; fault != "" {
		l.at(config.InInterface, "PrivateKeyFile", 0, "%s", fault)
	}
	for i, p := range l.cfg.Peers {
		if fault := l.file.KeyFiles[p.PresharedKeyFile]; fault != "" {
			l.at(i, "PresharedKeyFile", 0, "%s", fault)
		}
	}
}

func privateKeyPublished(l *look) {
	if own, ok := publicKey(l.cfg); ok && slices.Contains(published, own.String()) {
		l.at(config.InInterface, "PrivateKey", 0, "is an example that documents show")
	}
}

func keepaliveOdd(l *look) {
	for i, p := range l.cfg.Peers {
		if k := p.PersistentKeepalive; k != nil && *k != 0 && (*k < 10 || *k > 120) {
			l.at(i, "PersistentKeepalive", 0, "is %d s for %s", *k, l.peer(i))
		}
	}
}

func keepaliveMissing(l *look) {
	if l.host == nil {
		return
	}
	for i, p := range l.cfg.Peers {
		if p.PersistentKeepalive != nil && *p.PersistentKeepalive != 0 {
			continue
		}
		for _, a := range l.endpoints(i) {
			route, ok := l.path(a)
			link, _ := l.host.link(route.Link)
			if a.Is4() && !private(a) && ok && hidden(link) {
				l.at(i, "Endpoint", 0, "%s is reached from behind NAT (%s), without PersistentKeepalive", l.peer(i), link.Name)
				break
			}
		}
	}
}

// hidden reports whether a link has IPv4 addresses, all of them private.
func hidden(l Link) bool {
	any4 := false
	for _, a := range l.Addresses {
		if a.Addr().Is4() && !private(a.Addr()) {
			return false
		}
		any4 = any4 || a.Addr().Is4()
	}
	return any4
}

func listenPortMissing(l *look) {
	if l.cfg.Interface.ListenPort != nil || l.mentions("listen-port") {
		return
	}
	for i, p := range l.cfg.Peers {
		if p.Endpoint.IsZero() {
			l.at(i, "", 0, "%s has no Endpoint and has to call, but there is no ListenPort", l.peer(i))
			return
		}
	}
}

func listenPortTaken(l *look) {
	port := l.cfg.Interface.ListenPort
	if l.host == nil || port == nil || port.Number == 0 || !slices.Contains(l.host.UDPPorts, port.Number) {
		return
	}
	if _, up := l.host.link(l.file.Name); !up {
		l.at(config.InInterface, "ListenPort", 0, "%d is in use on this host", port.Number)
	}
}
