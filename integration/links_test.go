// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The promise: install-links makes all three links or none, never over what
// somebody else has there unless --force says so, and --remove takes away what
// is ours and nothing else.
func TestInstallLinks(t *testing.T) {
	Only(t, Userspace) // nothing in it is the backend's
	h := NewHost(t, "h")
	bin := Bin(t)
	ls := func(dir string) string {
		t.Helper()
		return h.Sh("cd " + dir + " && for f in $(ls -A); do if [ -L $f ]; then echo $f to $(readlink $f); else echo $f; fi; done").Stdout
	}
	three := fmt.Sprintf("wg to %[1]s\nwg-quick to %[1]s\nwireguard-go to %[1]s\n", bin)
	is := func(what, dir, want string) {
		t.Helper()
		if got := ls(dir); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	h.Sh("mkdir /run/bin")
	out := wgctlOK(h, "install-links", "/run/bin")
	is("a new folder", "/run/bin", three)
	if want := fmt.Sprintf("[#] ln -s %[1]s /run/bin/wg\n[#] ln -s %[1]s /run/bin/wg-quick\n[#] ln -s %[1]s /run/bin/wireguard-go\n", bin); out.Stderr != want || out.Stdout != "" {
		t.Errorf("it says %v", out)
	}
	said(t, h.Must("/run/bin/wg", "--version").Stdout, "wireguard-tools v", "wgctl")
	said(t, h.Must("/run/bin/wg-quick", "--help").Stderr, "wgctl")
	said(t, h.Must("/run/bin/wireguard-go", "--version").Stdout, "wireguard-go v")
	if again := wgctlOK(h, "install-links", "/run/bin/"); again.Stderr != "" {
		t.Errorf("the second time: %v", again)
	}
	wgctlOK(h, "install-links", "--remove", "/run/bin")
	is("removed", "/run/bin", "")
	wgctlOK(h, "install-links", "--remove", "/run/bin")

	// Beside the binary the links are relative, so that all can move; a
	// relative folder is one of the caller's.
	h.Sh("mkdir -p /run/pkg/bin; cp " + bin + " /run/pkg/bin/wgctl; /run/pkg/bin/wgctl install-links; mv /run/pkg /run/moved")
	is("beside the binary", "/run/moved/bin", "wg to wgctl\nwg-quick to wgctl\nwgctl\nwireguard-go to wgctl\n")
	said(t, h.Must("/run/moved/bin/wg", "--version").Stdout, "wgctl")
	h.Sh("mkdir /run/rel; cd /run; " + bin + " install-links rel")
	is("a relative folder", "/run/rel", three)

	// Somebody else's: a file, a link to another program, a link to nowhere.
	for _, theirs := range []string{"cp /bin/true wg-quick", "ln -s /bin/true wg", "ln -s /nowhere wireguard-go"} {
		h.Sh("rm -rf /run/theirs; mkdir /run/theirs; cd /run/theirs; " + theirs)
		was := ls("/run/theirs")
		out := wgctlFails(h, 1, "install-links", "/run/theirs")
		said(t, out.Stderr, "wgctl: making links: /run/theirs/w", " is there already\n", "hint: --force ")
		is(theirs, "/run/theirs", was)
		wgctlOK(h, "install-links", "--remove", "/run/theirs")
		is(theirs+", --remove", "/run/theirs", was)
		h.Sh("ln -s /left /run/theirs/wg.wgctl-new") // by a run that was killed
		wgctlOK(h, "install-links", "--force", "/run/theirs")
		h.Sh("rm -f /run/theirs/wg.wgctl-new")
		is(theirs+", --force", "/run/theirs", three)
	}
	h.Sh("rm -rf /run/theirs; mkdir -p /run/theirs/wireguard-go; echo mine >/run/theirs/wg")
	said(t, wgctlFails(h, 1, "install-links", "--force", "/run/theirs").Stderr, "wgctl: making links: /run/theirs/wireguard-go is a folder\n")
	is("a folder in the way", "/run/theirs", "wg\nwireguard-go\n")

	// A folder that can't be written, or isn't there.
	h.Sh("mkdir /run/ro; mount -t tmpfs -o ro none /run/ro")
	said(t, wgctlFails(h, 1, "install-links", "/run/ro").Stderr, "wgctl: making links: ", "read-only file system\n")
	said(t, wgctlFails(h, 1, "install-links", "/run/nosuch").Stderr, "wgctl: making links: ", "no such file or directory\n")
	said(t, wgctlFails(h, 2, "install-links", "--force", "--remove", "/run/bin").Stderr, "wgctl: install-links takes --force or --remove, not both\n")
}

// A completionCase is a line as it is typed, up to the cursor, and words that
// must be offered.
type completionCase struct {
	line string
	want []string
}

// The promise: the three names complete in bash, zsh and fish, by their own
// words, interfaces, peers and files, with nothing but a script of ours.
func TestCompletionOfNames(t *testing.T) {
	Only(t, Userspace) // nothing in it is the backend's
	Need(t, "bash", "zsh", "fish")
	h := newWgHost(t, "h")
	ourNames(h)
	h.Must("ln", "-s", Bin(t), "/run/path/wgctl")
	h.Must("wg", "setconf", "wg0", "/run/c/base")
	h.WriteFile(configOf("office"), "[Interface]\n")
	if !h.Exists("/usr/share/bash-completion/bash_completion") {
		unable(t, "bash-completion is not installed")
	}
	cases := []completionCase{
		{"wg s", []string{"show", "showconf", "set", "setconf", "syncconf"}},
		{"wg show ", []string{"wg0", "all", "interfaces"}},
		{"wg show wg0 la", []string{"latest-handshakes"}},
		{"wg set wg0 ", []string{"listen-port", "fwmark", "private-key", "peer"}},
		{"wg set wg0 peer AQ", []string{wgKey1}},
		{"wg set wg0 peer " + wgKey1 + " persistent-keepalive ", []string{"off"}},
		{"wg syncconf wg0 /run/c/ba", []string{"/run/c/base"}},
		{"wg-quick ", []string{"up", "down", "save", "strip"}},
		{"wg-quick up of", []string{"office"}},
		{"wireguard-go --f", []string{"--foreground"}},
	}
	completesAll(h, cases)
}

// completesAll holds what each shell offers against what it must: by the script
// for the line's own command, of which that of wgctl itself has no name.
func completesAll(h *Host, cases []completionCase) {
	h.t.Helper()
	for shell, complete := range map[string]func(name, line string) []string{
		"bash": func(name, line string) []string { return bashCompletes(h, name, line) },
		"zsh":  func(name, line string) []string { return zshCompletes(h, name, line) },
		"fish": func(name, line string) []string {
			return strings.Split(h.Must("env", "HOME=/run", "fish", "--no-config", "-c", fmt.Sprintf("wgctl completion fish %s | source; complete -C '%s'", scriptOf(name), line)).Stdout, "\n")
		},
	} {
		for _, c := range cases {
			name, _, _ := strings.Cut(c.line, " ")
			var got []string
			for _, offered := range complete(name, c.line) {
				word, _, _ := strings.Cut(offered, "\t")
				got = append(got, strings.TrimRight(word, " "))
			}
			for _, w := range c.want {
				if !slices.Contains(got, w) {
					h.t.Errorf("%s: %q completes to %q, without %s", shell, c.line, got, w)
				}
			}
		}
	}
}

// scriptOf is the word after which "wgctl completion SHELL" prints the script of
// a name: none for wgctl's own.
func scriptOf(name string) string {
	if name == "wgctl" {
		return ""
	}
	return name
}

// wgctl's own verbs, flags, interfaces and files complete in the three shells,
// those of wg among them.
func TestCompletion(t *testing.T) {
	Only(t, Userspace) // nothing in it is the backend's
	Need(t, "bash", "zsh", "fish")
	h := newWgHost(t, "h")
	ourNames(h)
	h.Must("ln", "-s", Bin(t), "/run/path/wgctl")
	h.Must("wg", "setconf", "wg0", "/run/c/base")
	h.WriteFile(configOf("office"), "[Interface]\n")
	h.Must("ip", "netns", "add", "box")
	completesAll(h, []completionCase{
		{"wgctl re", []string{"reload"}},
		{"wgctl ", []string{"up", "down", "status", "check", "lab", "show", "completion"}},
		{"wgctl up of", []string{"office"}},
		{"wgctl up --back", []string{"--backend"}},
		{"wgctl up --backend ", []string{"auto", "kernel", "userspace"}},
		{"wgctl up --netns ", []string{"box"}},
		{"wgctl status --", []string{"--json", "--netns-all"}},
		{"wgctl plan ", []string{"up", "down", "reload"}},
		{"wgctl completion ", []string{"bash", "zsh", "fish"}},
		{"wgctl lab ", []string{"up", "down", "exec", "graph"}},
		{"wgctl lab graph --format ", []string{"text", "dot", "svg"}},
		{"wgctl show ", []string{"wg0", "all", "interfaces"}},
		{"wgctl set wg0 peer AQ", []string{wgKey1}},
	})
}

// bashCompletes runs what bash would run on Tab, and then what it does by
// itself where it is told to.
func bashCompletes(h *Host, name, line string) []string {
	h.t.Helper()
	words := lineWords(line)
	return strings.Split(h.Must("bash", "--norc", "-c", fmt.Sprintf(`. /usr/share/bash-completion/bash_completion
. <(wgctl completion bash %[6]s)
compopt() { [[ $* == *default* || $* == *filenames* ]] && files=yes; return 0; }
COMP_LINE=%[2]s COMP_POINT=%[3]d COMP_TYPE=9 COMP_WORDS=(%[4]s) COMP_CWORD=%[5]d
"$(complete -p %[1]s | sed 's/.*-F \([^ ]*\) .*/\1/')" %[1]s
((${#COMPREPLY[@]})) || COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
printf '%%s\n' "${COMPREPLY[@]}"`, name, shellWord(line), len(line), shellWords(words), len(words)-1, scriptOf(name))).Stdout, "\n")
}

// zshCompletes shows what the script hands to zsh's own functions.
func zshCompletes(h *Host, name, line string) []string {
	h.t.Helper()
	words := lineWords(line)
	return strings.Split(h.Must("zsh", "-f", "-c", fmt.Sprintf(`autoload -Uz compinit; compinit -u -D -d /run/zcompdump
eval "$(wgctl completion zsh %[4]s)"
[[ $_comps[%[1]s] == _%[1]s ]] || exit 3
_describe() { [[ -n $completions ]] && print -rl -- "${(@)completions//:*/}"; }
_arguments() { eval "print -rl -- ${words[CURRENT]}*(N)"; }
words=(%[2]s) CURRENT=%[3]d
_%[1]s`, name, shellWords(words), len(words), scriptOf(name))).Stdout, "\n")
}

// lineWords parts a line as a shell does, with an empty last word where one is
// about to begin.
func lineWords(line string) []string {
	words := strings.Fields(line)
	if strings.HasSuffix(line, " ") {
		words = append(words, "")
	}
	return words
}

func shellWord(s string) string { return "'" + s + "'" }

func shellWords(words []string) string {
	var quoted []string
	for _, w := range words {
		quoted = append(quoted, shellWord(w))
	}
	return strings.Join(quoted, " ")
}
