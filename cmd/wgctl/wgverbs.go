// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/tunnel"
)

// newWgVerbs returns wg's verbs as those of wgctl. Output is wg's, but for the
// names of peers; messages and exit codes are wgctl's.
func newWgVerbs(ui *ui) []*cobra.Command {
	var out []*cobra.Command
	for _, v := range wgVerbs() {
		h := wgHelp[v.name]
		out = append(out, &cobra.Command{
			Use:               strings.TrimSpace(v.name + " " + h.words),
			Short:             v.does,
			Long:              h.long,
			Example:           h.example,
			ValidArgsFunction: h.complete,
			// Words may start with "-", as the allowed IP -10.0.0.0/8.
			DisableFlagParsing: true,
			RunE: func(cmd *cobra.Command, args []string) error {
				if len(args) == 1 && (args[0] == "-h" || args[0] == "--help") {
					return cmd.Help()
				}
				word, all, args, err := takeNetns(v.name, args)
				if err == nil && word != "" {
					err = ui.goTo(cmd.Context(), v.name, word, all, nil)
				}
				if err != nil {
					return err
				}
				leaveSignals()
				w := newWg(cmd.Root().Name(), streams{os.Stdin, ui.out, ui.err})
				w.named = recordedNames
				return asWgctl(v.name, v.run(w, cmd.Context(), args))
			},
		})
	}
	return out
}

// wgHelp is what "wgctl help" says of wg's verbs.
var wgHelp = map[string]struct {
	words, long, example string
	complete             completer
}{
	"show": {
		words: "[INTERFACE|all|interfaces [PARAMETER]]",
		long: `Show interfaces and their peers, those with the latest handshake first. With a
parameter, show only that, in a form for programs: public-key, private-key,
listen-port, fwmark, peers, preshared-keys, endpoints, allowed-ips,
latest-handshakes, transfer, persistent-keepalive, or dump for all of them.`,
		example: `  wgctl show
  wgctl show wg0 allowed-ips`,
		complete: completeShow,
	},
	"showconf": {words: "INTERFACE", example: "  wgctl showconf wg0", complete: firstInterface},
	"set": {
		words: "INTERFACE WORD...",
		long: `Change an interface and its peers. Of the interface: listen-port N, fwmark N,
private-key FILE. Then, for each peer, peer KEY followed by remove,
preshared-key FILE, endpoint HOST:PORT, persistent-keepalive SECONDS,
allowed-ips LIST. A list replaces the peer's, unless one of its items starts
with + or -, which adds and removes.`,
		example: `  wgctl set wg0 peer HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw= allowed-ips +10.8.0.7/32
  wgctl set wg0 peer HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw= remove`,
		complete: completeSet,
	},
	"setconf":  {words: "INTERFACE FILE", example: "  wgctl setconf wg0 wg0.wg", complete: interfaceAndFile},
	"addconf":  {words: "INTERFACE FILE", example: "  wgctl addconf wg0 peers.wg", complete: interfaceAndFile},
	"syncconf": {words: "INTERFACE FILE", example: "  wgctl syncconf wg0 <(wgctl strip wg0)", complete: interfaceAndFile},
	"genkey":   {example: "  (umask 077; wgctl genkey > private)", complete: nothing},
	"genpsk":   {example: "  (umask 077; wgctl genpsk > preshared)", complete: nothing},
	"pubkey":   {example: "  wgctl pubkey < private", complete: nothing},
}

// asWgctl says in wgctl's words what a verb of wg says in wg's.
func asWgctl(verb string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, errSaid) {
		return exitError(exitFailed)
	}
	if sys := (wgSysError{}); errors.As(err, &sys) {
		if sys.doing == "fopen" {
			return sys.err // which names the file
		}
		return fmt.Errorf("%s: %w", lowerFirst(sys.doing), sys.err)
	}
	lines := strings.Split(strings.TrimPrefix(err.Error(), "wgctl: "), "\n")
	for i, line := range lines {
		lines[i] = lowerFirst(line)
	}
	out := errors.New(strings.Join(lines, "\n"))
	if usage := (wgUsageError{}); errors.As(err, &usage) {
		return usageError{withHint(out, "wgctl help "+verb+" shows how")}
	}
	return out
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// recordedNames returns the names that the tunnel's file gave its peers.
func recordedNames(ifname string) map[netlinkx.Key]string {
	names := map[netlinkx.Key]string{}
	rec, err := (&tunnel.Records{Dir: tunnel.RunDir()}).Load(ifname)
	if err != nil || rec == nil || rec.Spec == nil {
		return names // names are a courtesy
	}
	for _, p := range rec.Spec.Device.Peers {
		names[p.PublicKey] = p.Name
	}
	return names
}
