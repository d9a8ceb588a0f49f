// SPDX-License-Identifier: MIT

package config

import (
	"io"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"gopkg.in/ini.v1"
)

// Parse reads a config. The file's name is for messages only.
//
// The error is an Errors with everything that is wrong with the file, by line;
// or, if r failed, that failure. The warnings are what wg and wg-quick take
// without a word though it surely isn't meant; they come with an error too.
func Parse(file string, r io.Reader) (*Config, []Warning, error) {
	return parse(&normaliser{report: &report{file: file}}, r)
}

func parse(n *normaliser, r io.Reader) (*Config, []Warning, error) {
	b, err := build(n, r)
	if err != nil {
		return nil, nil, err
	}
	if !b.crowded {
		b.check()
	}
	b.cfg.warned = len(n.report.warnings) > 0
	if err := n.report.err(); err != nil {
		return nil, n.report.warns(), err
	}
	return b.cfg, n.report.warns(), nil
}

// build makes values of the text, each by itself, while the normaliser goes on
// with the text behind.
func build(n *normaliser, r io.Reader) (*builder, error) {
	rep := n.report
	b := &builder{report: &report{file: rep.file}, cfg: &Config{file: rep.file, lines: newPlaces()}, badValue: map[place]bool{}}
	begun := reading{b: b, whole: rep}
	n.read, n.wait = begun.next, begun.end
	digest := xxhash.New()
	err := n.normalise(io.TeeReader(r, digest))
	begun.end()
	if err != nil {
		return nil, err
	}
	b.report = rep
	b.endSection()
	b.cfg.digest, b.cfg.refers = endDigest(digest), n.refers
	return b, nil
}

// iniOptions take the normaliser's lines literally and keep every one of them.
// Without AllowDuplicateShadowValues a hook that comes twice would come once.
var iniOptions = ini.LoadOptions{
	AllowNonUniqueSections:     true,
	AllowShadows:               true,
	AllowDuplicateShadowValues: true,
	IgnoreContinuation:         true,
	IgnoreInlineComment:        true,
	PreserveSurroundedQuote:    true,
	KeyValueDelimiters:         "=",
	ChildSectionDelimiter:      "\x00",
}

// A builder makes typed values of the text of keys. The fields from section on
// say where it is.
type builder struct {
	*report
	cfg *Config

	section section
	peer    int // index of cfg.Peers, or InInterface
	key     string
	at      place // of peer and key
	line    int

	named         bool // the peer has a Name key
	overruled     int  // how many values of the section are
	masqueradeOff bool // the file says so
	badValue      map[place]bool
	listed        map[string]int // how many items a list has, by its key
	hookText      int            // bytes of hooks
}

// read takes sections as the normaliser writes them, after those of the part before.
func (b *builder) read(p, before *part) {
	defer close(p.built)
	raw, err := ini.LoadSources(iniOptions, p.text)
	close(p.split)
	if before != nil {
		<-before.built
		p.report.crowded = p.report.crowded || before.report.crowded
	}
	b.report = p.report
	if err != nil {
		// The error would quote a line, and the line may hold a key.
		b.errorf(0, 0, "", "cannot be split into sections and keys")
		return
	}
	b.build(raw)
}

func (b *builder) build(raw *ini.File) {
	for _, s := range raw.Sections() {
		switch s.Name() {
		case interfaceSection.String():
			b.endSection()
			b.section, b.peer = interfaceSection, InInterface
		case peerSection.String():
			b.endSection()
			b.cfg.Peers = append(b.cfg.Peers, Peer{})
			b.section, b.peer, b.named = peerSection, len(b.cfg.Peers)-1, false
		case moreSection:
		default:
			continue // the reader's own section for what has no header
		}
		for _, k := range s.Keys() {
			known := keyByName[k.Name()]
			if known == nil { // what isn't a key in the file
				known = keyByFold[k.Name()]
			}
			b.values(known, k.ValueWithShadows())
		}
	}
}

// endSection looks at the section that was read as a whole.
func (b *builder) endSection() {
	if b.section == peerSection {
		b.needPublicKey()
	}
	b.overruled = 0
}

// values sets all the values of a key. Each starts with its line number.
func (b *builder) values(k *key, values []string) {
	b.key, b.at = k.name, placeOf(b.peer, k.name)
	for _, v := range values {
		num, text, _ := strings.Cut(v, " ")
		b.line, _ = strconv.Atoi(num)
		if b.crowded {
			return
		}
		if b.key == "" {
			b.item()
		}
		k.set(b, text)
	}
}

func (b *builder) needPublicKey() {
	if !b.crowded && b.cfg.lines.count(placeOf(b.peer, "PublicKey")) == 0 && !b.badValue[placeOf(b.peer, "PublicKey")] {
		b.errorf(b.cfg.Line(b.peer, "", 0), b.section, "", "has no PublicKey")
	}
}

// fail reports the value at hand as wrong.
func (b *builder) fail(format string, args ...any) {
	b.badValue[b.at] = true
	b.errorf(b.line, b.section, b.key, format, args...)
}

func (b *builder) warn(rule, format string, args ...any) {
	b.warnf(rule, b.line, b.section, b.key, format, args...)
}

// scalar notes where the value at hand of a single-valued key stands, and warns
// if it overrules another.
func (b *builder) scalar() {
	if old := b.cfg.lines.line(b.at, 0); old > 0 {
		if b.overruled++; b.overruled > maxReports {
			b.fail("is given again: there are more than %d such lines in this section", maxReports)
		}
		b.warn("key-twice", "is given twice: this value overrules that of line %d", old)
	}
	b.cfg.lines.set(b.at, b.line)
}

// crowds reports whether one more of a list is more than are read, which ends
// the reading.
func (b *builder) crowds() bool {
	if b.listed == nil {
		b.listed = map[string]int{}
	}
	b.listed[b.key]++
	if b.listed[b.key] <= maxItems[b.key] {
		return false
	}
	b.badValue[b.at] = true
	b.crowd(b.line, b.section, b.key, manyItems, maxItems[b.key])
	return true
}

// item notes where one more item of a list stands.
func (b *builder) item() {
	b.cfg.lines.add(b.at, b.line)
}

func (b *builder) privateKey(value string) {
	if k, ok := b.secret(value); ok {
		b.scalar()
		b.cfg.Interface.PrivateKey = k
	}
}

func (b *builder) publicKey(value string) {
	if k, ok := b.base64Key(value); ok {
		b.scalar()
		b.cfg.Peers[b.peer].PublicKey = k
	}
}

func (b *builder) presharedKey(value string) {
	if k, ok := b.secret(value); ok {
		b.scalar()
		b.cfg.Peers[b.peer].PresharedKey = k
	}
}

// base64Key never shows the value, not even of a public key: people mix them up.
func (b *builder) base64Key(value string) (k [32]byte, ok bool) {
	k, ok = parseKey(value)
	switch {
	case ok:
	case len(value) != keyLen:
		b.fail("is not a key: it has %d characters instead of %d", len(value), keyLen)
	default:
		b.fail("is not a key: its %d characters are not the base64 form of 32 bytes", keyLen)
	}
	return k, ok
}

func (b *builder) listenPort(value string) {
	p, ok := parsePort(value)
	if !ok {
		b.fail("%s is not a port: a number from 0 to 65535, or the name of a service", shown(value))
		return
	}
	b.scalar()
	b.cfg.Interface.ListenPort = &p
}

func (b *builder) fwMark(value string) {
	m, ok := parseFwMark(value)
	if !ok {
		b.fail("%s is not a mark: off, or a number from 0 to 4294967295, decimal or after 0x", shown(value))
		return
	}
	b.scalar()
	b.cfg.Interface.FwMark = &m
}

func (b *builder) mtu(value string) {
	m, ok := parseMTU(value)
	if !ok {
		b.fail("%s is not an MTU: a number of bytes from 1 to %d", shown(value), maxMTU)
		return
	}
	b.scalar()
	b.cfg.Interface.MTU = m
}

func (b *builder) table(value string) {
	t, ok := parseTable(value)
	if !ok {
		b.fail("%s is not a routing table: auto, off, a number from 1 to 4294967295, or a name", shown(value))
		return
	}
	b.scalar()
	b.cfg.Interface.Table = t
}

func (b *builder) saveConfig(value string) {
	yes := strings.EqualFold(value, "true")
	if !yes && !strings.EqualFold(value, "false") {
		b.fail("%s is neither true nor false", shown(value))
		return
	}
	b.scalar()
	b.cfg.Interface.SaveConfig = yes
}

func (b *builder) backend(value string) {
	for _, v := range []Backend{BackendAuto, BackendKernel, BackendUserspace} {
		if strings.EqualFold(value, string(v)) {
			b.scalar()
			b.cfg.Interface.Backend = v
			return
		}
	}
	b.fail("%s is none of auto, kernel and userspace", shown(value))
}

func (b *builder) hook(value string) {
	h := &b.cfg.Interface.Hooks
	if b.crowds() {
		return
	}
	if b.hookText += len(value); b.hookText > maxHookText {
		b.crowd(b.line, b.section, b.key, "makes the hooks of this file longer than %d MiB", maxHookText>>20)
		return
	}
	b.item()
	switch b.key {
	case "PreUp":
		h.PreUp = append(h.PreUp, value)
	case "PostUp":
		h.PostUp = append(h.PostUp, value)
	case "PreDown":
		h.PreDown = append(h.PreDown, value)
	case "PostDown":
		h.PostDown = append(h.PostDown, value)
	}
}

func (b *builder) name(value string) {
	if fault := nameFault(value); fault != "" {
		b.fail("%s", fault)
		return
	}
	if !b.named { // a comment gives way without a warning
		b.cfg.lines.forget(b.at)
	}
	b.scalar()
	b.cfg.Peers[b.peer].Name, b.named = value, true
}

// commentName is the name in a comment: the first counts, a Name key more.
func (b *builder) commentName(value string) {
	if p := &b.cfg.Peers[b.peer]; p.Name == "" {
		b.scalar()
		p.Name = value
	}
}

func (b *builder) persistentKeepalive(value string) {
	s, ok := parseKeepalive(value)
	if !ok {
		b.fail("%s is not an interval: off, or a number of seconds from 0 to 65535", shown(value))
		return
	}
	b.scalar()
	b.cfg.Peers[b.peer].PersistentKeepalive = &s
}

func (b *builder) endpoint(value string) {
	e, fault := parseEndpoint(value)
	if fault != "" {
		b.fail("%s %s", shown(value), fault)
		return
	}
	b.scalar()
	b.cfg.Peers[b.peer].Endpoint = e
}
