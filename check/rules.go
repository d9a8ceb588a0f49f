// SPDX-License-Identifier: MIT

package check

import "strconv"

// A Rule is one kind of fault.
type Rule struct {
	Name     string   `json:"name"`
	Severity Severity `json:"severity"`
	Finds    string   `json:"finds"`  // a phrase
	Why      string   `json:"reason"` // what goes wrong
	Mend     string   `json:"mend"`   // what to do
	Fixes    bool     `json:"fixes"`  // --fix mends it
	OfHost   bool     `json:"host"`   // about the host, not a file

	unread bool // also of a file that can't be understood
	file   func(*look)
	host   func(*look)
}

// Rules are all rules, in the order in which they are documented.
var Rules []Rule

func init() {
	Rules = join(textRules, allowedRules, peerRules, endpointRules, addressRules, routeRules, keyRules, hookRules, pairRules, hostRules)
}

func join(lists ...[]Rule) (out []Rule) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

func quoted(s string) string { return strconv.Quote(s) }

var textRules = []Rule{
	{
		Name: "syntax", Severity: Error, unread: true, file: syntax,
		Finds: "a file that can't be understood",
		Why:   "wg or wg-quick refuses it too, some of it only when the interface is there already",
		Mend:  "docs/files.md has all keys and what they take",
	}, {
		Name: "key-twice", Severity: Warning, file: warned("key-twice"),
		Finds: "a key given again that holds one value",
		Why:   "the last one counts, and whoever reads the file sees the first",
		Mend:  "remove the line that doesn't count",
	}, {
		Name: "empty-value", Severity: Warning, file: warned("empty-value"),
		Finds: `a key without a value, or without "="`,
		Why:   "it does nothing, or takes its own name for the value",
		Mend:  "give it a value, or remove the line",
	}, {
		Name: "world-readable", Severity: Warning, unread: true, Fixes: true, file: worldReadable,
		Finds: "a file that every user of the host can open",
		Why:   "it holds a private key: whoever has that is this host",
		Mend:  "chmod 0600; if others were on the host, make a new key",
	}, {
		Name: "hooks-untrusted", Severity: Error, file: hooksUntrusted,
		Finds: "hooks in a file that others can write or replace",
		Why:   "they run as root, so that whoever can write the file is root; wgctl refuses to run them",
		Mend:  "chown root and chmod go-w the file and the folders above it",
	}, {
		Name: "ignore-unknown", Severity: Warning, unread: true, file: unknownIgnores,
		Finds: `a comment "wgctl: ignore" with a word that names no rule`,
		Why:   "it silences nothing",
		Mend:  "wgctl check --rules lists the names",
	},
}

// warned hands on what config.Parse warns of.
func warned(kind string) func(*look) {
	return func(l *look) {
		for _, w := range l.file.Warnings {
			if w.Rule == kind {
				l.add(Finding{Line: w.Line, Section: w.Section, Key: w.Key, Message: w.Msg})
			}
		}
	}
}

func syntax(l *look) {
	for _, e := range l.file.Errors {
		l.add(Finding{Line: e.Line, Section: e.Section, Key: e.Key, Message: e.Msg})
	}
}

// worldReadable goes by wg-quick's rule: others have a right to both the file and
// its folder.
func worldReadable(l *look) {
	a := l.file.Access
	if a.Mode&a.Folder&0o007 == 0 {
		return
	}
	f := l.whole("is open to every user of this host: its mode is %04o", a.Mode.Perm())
	f.Fix = &Fix{Path: l.file.Path, Mode: 0o600}
}

func hooksUntrusted(l *look) {
	if l.file.Access.Untrusted != "" && !l.cfg.Interface.Hooks.Empty() && l.cfg.Interface.HookMode != "off" {
		l.whole("%s", l.file.Access.Untrusted)
	}
}
