// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/base64"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// keyText is what could be a key that must not be seen, anywhere in a file but
// on a publicLine.
var (
	publicLine = regexp.MustCompile(`(?im)^\s*public\s*key\s*=.*$`)
	keyText    = regexp.MustCompile(`[A-Za-z0-9+/]{30,43}=?`)

	secretName    = regexp.MustCompile(`(?im)^(\s*)private\s*key\s*=`)
	presharedName = regexp.MustCompile(`(?im)^(\s*)preshared\s*key\s*=`)
)

// secrets are the keys of a file that nobody else may see, in all the ways in
// which wgctl might print them: base64, hexadecimal, and a good part of either.
func secrets(file string) []string {
	var found []string
	for _, text := range keyText.FindAllString(publicLine.ReplaceAllString(file, ""), -1) {
		found = append(found, text, text[:20])
		if b, err := base64.StdEncoding.DecodeString(text); err == nil {
			found = append(found, hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)))
		}
	}
	return found
}

// A trap collects what others can see of wgctl, and looks for secrets there.
type trap struct {
	t       *testing.T
	h       *Host
	secrets []string
}

func (tr trap) look(where, text string) {
	tr.t.Helper()
	for _, s := range tr.secrets {
		if strings.Contains(text, s) {
			tr.t.Errorf("%s shows a key, %s...", where, s[:4])
		}
	}
}

// run runs wgctl and looks at what it prints.
func (tr trap) run(args ...string) Output {
	tr.t.Helper()
	out := tr.h.Wgctl(args...)
	tr.look("wgctl "+strings.Join(args, " "), out.Stdout+out.Stderr)
	return out
}

// around looks at the files of /run, and at the arguments and environment of
// all processes of the host.
func (tr trap) around(when string) {
	tr.t.Helper()
	_ = filepath.WalkDir(tr.h.path("/run"), func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, _ := os.ReadFile(p)
			tr.look(when+": "+strings.TrimPrefix(p, tr.h.path("")), string(b))
		}
		return nil
	})
	processes, err := os.ReadDir(tr.h.path("/proc"))
	if err != nil {
		tr.t.Fatal(err)
	}
	seen := 0
	for _, e := range processes {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		for _, file := range []string{"cmdline", "environ"} {
			b, err := os.ReadFile(tr.h.path("/proc/" + e.Name() + "/" + file))
			if err == nil {
				seen++
			}
			tr.look(when+": "+file+" of process "+e.Name(), string(b))
		}
	}
	if seen == 0 {
		tr.t.Error("no process could be looked at")
	}
}

// otherVerbs has the verbs that look at a tunnel which is up, or change it, and
// the same for a file whose every key was misspelt, which counts where convert
// refuses it.
func (tr trap) otherVerbs(ifname, file string) (refused int) {
	tr.t.Helper()
	path := "/etc/wireguard/" + ifname + ".conf"
	before := tr.h.ReadFile(path)
	tr.h.WriteFile(path, before+"[Interface]\nMTU = 1333\n")
	tr.h.WriteFile("/etc/wireguard/old.conf", before)
	for _, words := range []string{"diff /etc/wireguard/old.conf", "plan reload -v", "plan reload --json", "reload", "check"} {
		tr.run(append(strings.Fields(words), ifname)...)
	}
	tr.run("dns")
	// What it prints is the file; what it says of it has no keys.
	tr.look("wgctl convert "+ifname, tr.h.Wgctl("convert", ifname).Stderr)
	tr.run("reload", ifname)
	tr.h.WriteFile(path, misspelt(file))
	tr.run("reload", ifname)
	tr.run("check", ifname)
	// Where a hook gives the key, the file is still right, and is printed.
	if out := tr.h.Wgctl("convert", ifname); out.Code != 0 {
		tr.look("wgctl convert "+ifname+" that fails", out.Stdout+out.Stderr)
		refused++
	}
	tr.h.WriteFile(path, before)
	tr.h.Sh("rm /etc/wireguard/old.conf")
	return refused
}

// misspelt is a file with the names of its secrets' keys wrong, in whatever
// case the file has them.
func misspelt(file string) string {
	file = secretName.ReplaceAllString(file, "${1}PrivateKye =")
	return presharedName.ReplaceAllString(file, "${1}PrivateKeyFile =")
}

// secretFiles are the files whose secrets are looked for: the corpus, what only
// wgctl takes, and what is broken.
func secretFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, pattern := range []string{"*.conf", "modern/*.conf", "bad/*.conf"} {
		names, err := filepath.Glob(filepath.Join("../testdata/conf", pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("no files in %s: %v", pattern, err)
		}
		for i, name := range names {
			if i%rounds(1, 12) != 0 {
				continue
			}
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files[strings.TrimPrefix(name, "../testdata/conf/")] = string(b)
		}
	}
	return files
}

// No private or preshared key of any file of the corpus is in any output,
// error, record, argument or environment, whatever the file's fate: while a
// hook runs on up, when the tunnel is up, and on the way down. The same look
// does find a public key where it should be.
func TestNoSecretIsSeen(t *testing.T) {
	oneGuest(t, "even")
	t.Parallel()
	files, keys, controls, refused := secretFiles(t), 0, 0, 0
	h := newTunnelHost(t, "h")
	underlay(h)
	h.Setenv("WG_ENDPOINT_RESOLUTION_RETRIES", "0")
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file, base := files[name], filepath.Base(name)
		ifname := strings.TrimSuffix(base, ".conf")
		tr := trap{t, h, secrets(file)}
		keys += len(tr.secrets)
		// A hook that waits shows how things are in the middle of up.
		h.WriteFile("/etc/wireguard/"+base, strings.TrimRight(file, "\n")+
			"\n[Interface]\nPreUp = mkdir -p /run/gate; touch /run/gate/up; while [ -e /run/gate/up ]; do sleep 0.01; done\n")
		tr.run("plan", "up", "-v", ifname)
		p := h.Start(Bin(t), "up", ifname)
		WaitFor(t, 20*time.Second, name+" to run its hook", func() bool { return h.Exists("/run/gate/up") || !p.Running() })
		if p.Running() {
			tr.around("in the middle of up of " + name)
		}
		h.Sh("rm -rf /run/gate")
		out := p.Wait(30 * time.Second)
		tr.look("up of "+name, out.Stdout+out.Stderr)
		if out.Code == 0 {
			tr.around("with " + name + " up")
			status := tr.run("status", "-v", ifname).Stdout + tr.run("status", "--json", ifname).Stdout
			if public := strings.TrimSpace(h.Run("wg", "show", ifname, "public-key").Stdout); len(public) == 44 && strings.Contains(status, public) {
				controls++
			}
			tr.run("plan", "down", "--json", ifname)
			tr.run("up", ifname)
			refused += tr.otherVerbs(ifname, file)
			tr.run("down", ifname)
		}
		tr.around("after " + name)
		h.Sh("rm -rf /etc/wireguard/*")
	}
	t.Logf("%d files, %d texts looked for, %d tunnels whose public key was seen, %d misspelt files refused", len(files), keys, controls, refused)
	if keys == 0 || controls < len(files)/3 || refused < controls/2 {
		t.Error("the test looks at too little")
	}
}

// Nobody but root can reach the record, the locks and the socket.
func TestPrivateFiles(t *testing.T) {
	h := NewHost(t, "h") // wgctl makes its folders itself, whatever the umask
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "PreUp = true"))
	h.Must("sh", "-c", "umask 0; "+Bin(t)+" up wg0")
	modes := h.Sh("cd /run; stat -c '%a %u %n' wgctl wgctl/*").Stdout
	if want := "700 0 wgctl\n600 0 wgctl/wg0.json\n"; modes != want {
		t.Errorf("modes:\n%swant\n%s", modes, want)
	}
	if Backend() == Userspace {
		modes := h.Sh("cd /run; stat -c '%a %u %n' wireguard wireguard/*").Stdout
		if want := "700 0 wireguard\n600 0 wireguard/wg0.sock\n"; modes != want {
			t.Errorf("modes:\n%swant\n%s", modes, want)
		}
	}
	wgctlOK(h, "down", "wg0")
}
