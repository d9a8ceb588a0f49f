// SPDX-License-Identifier: MIT

package tunnel

import (
	"slices"
	"strings"
	"time"

	"github.com/wgctl/wgctl/config"
)

// HookVariable is in the environment of hooks: the interface whose lock is
// held while they run.
const HookVariable = "WGCTL_HOOK"

// A Hook is one shell command of a file, at one of four moments.
type Hook struct {
	Phase     string // "PreUp", "PostUp", "PreDown" or "PostDown"
	Command   string // with %i replaced
	Interface string
	Config    string        // path of the file
	Timeout   time.Duration // 0: none
}

// HooksOf returns the hooks of a file with %i replaced, everywhere in the text
// as wg-quick does.
func HooksOf(cfg *config.Config, name string) Hooks {
	h := cfg.Interface.Hooks
	each := func(in []string) []string {
		var out []string
		for _, c := range in {
			out = append(out, strings.ReplaceAll(c, "%i", name))
		}
		return out
	}
	return Hooks{Config: cfg.File(), PreUp: each(h.PreUp), PostUp: each(h.PostUp), PreDown: each(h.PreDown), PostDown: each(h.PostDown), Timeout: cfg.Interface.HookTimeout}
}

// recorded returns what a record keeps of the hooks, without any that has a key
// in its text: those of down for when the file is gone by then, those of up to
// know what ran.
func (h Hooks) recorded(public map[string]bool) Hooks {
	open := func(in []string) []string {
		return slices.DeleteFunc(slices.Clone(in), func(c string) bool { return HideKeys(c, public) != c })
	}
	return Hooks{
		Config: h.Config, Timeout: h.Timeout,
		PreUp: open(h.PreUp), PostUp: open(h.PostUp), PreDown: open(h.PreDown), PostDown: open(h.PostDown),
	}
}

// PublicKeys are those of the tunnel and its peers, which HideKeys may show.
func (s *Spec) PublicKeys() map[string]bool { return publicKeys(s) }

// publicKeys are those of the tunnel and its peers. A nil Spec has none.
func publicKeys(specs ...*Spec) map[string]bool {
	public := map[string]bool{}
	for _, s := range specs {
		if s == nil {
			continue
		}
		if s.Device.PublicKey != nil {
			public[s.Device.PublicKey.String()] = true
		}
		for _, peer := range s.Device.Peers {
			public[peer.PublicKey.String()] = true
		}
	}
	return public
}

// HideKeys hides what could be a private or preshared key in the text of a
// hook: 44 characters of base64 that are none of the known public keys.
func HideKeys(text string, public map[string]bool) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		n := 0
		for i+n < len(text) && isBase64(text[i+n]) {
			n++
		}
		if n == 0 {
			b.WriteByte(text[i])
			i++
			continue
		}
		word := text[i : i+n]
		head := max(0, n-keyLength) // of "name=KEY"
		key := word[head:]
		if len(key) == keyLength && key[keyLength-1] == '=' && (head == 0 || word[head-1] == '=') && !public[key] {
			key = hidden
		}
		b.WriteString(word[:head] + key)
		i += n
	}
	return b.String()
}

// keyLength is that of a key in base64.
const keyLength = 44

const hidden = "(hidden)"

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '='
}
