// SPDX-License-Identifier: MIT

package check

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wgctl/wgctl/config"
)

// What a rule says that it fixes is found no more once that was done, and what
// the file means is the same; a rule that says nothing of it has no fix.
func TestFixes(t *testing.T) {
	for _, r := range Rules {
		in := example(t, filepath.Join(examples, r.Name), "bad")
		found, _ := Run(in)
		fixes := 0
		for _, f := range found {
			if f.Fix != nil {
				fixes++
			}
			if (f.Fix != nil) != r.Fixes {
				t.Errorf("%s: %s has the fix %+v", r.Name, f, f.Fix)
			}
		}
		if fixes == 0 || found[0].Fix.Path != "" {
			continue // a mode: see the tests of the command line
		}
		was := in.Files[0]
		is := parsed(t, was.Path, Mended(was.Text, found))
		in.Files[0] = is
		if found, _ := Run(in); len(found) > 0 {
			t.Errorf("%s: after the fix there is still\n%s", r.Name, text(found))
		}
		if d := config.Diff(was.Config, is.Config); len(d) > 0 {
			t.Errorf("%s: the fix changes what the file means: %+v", r.Name, d)
		}
	}
}

const manyFaults = `[Interface] # ours
PrivateKey = 4Ck3rWMvSPKYtaKo36HsxBvRlQgoYQoNoZjtZ2tvWGs=
Address = 10.8.0.2/24
[Peer]
PublicKey = zxqrwqCnss0vUwVXRujaEV7kftzb/nYMBHPtRGJhaWk=
Endpoint = 203.0.113.1:51820
  AllowedIPs = 10.8.0.1/24 , 10.8.0.7/24,10.9.0.0/16 # two of them are one
allowedips = 10.10.0.1
AllowedIPs = 10.8.0.0/24
`

// Several fixes meet in one line, and one line goes; comments and spelling stay.
func TestMendedKeepsTheRest(t *testing.T) {
	f := parsed(t, "wg0.conf", []byte(manyFaults))
	found, _ := Run(Input{Files: []File{f}})
	got := string(Mended(f.Text, found))
	want := strings.NewReplacer(
		"10.8.0.1/24 , 10.8.0.7/24,10.9.0.0/16 #", "10.8.0.0/24 ,10.9.0.0/16 #",
		"10.10.0.1\n", "10.10.0.1/32\n",
		"AllowedIPs = 10.8.0.0/24\n", "").Replace(manyFaults)
	if got != want {
		t.Errorf("mended:\n%s", cmp.Diff(want, got))
	}
	const changes = `--- wg0.conf
+++ wg0.conf
-  AllowedIPs = 10.8.0.1/24 , 10.8.0.7/24,10.9.0.0/16 # two of them are one
+  AllowedIPs = 10.8.0.0/24 ,10.9.0.0/16 # two of them are one
-allowedips = 10.10.0.1
+allowedips = 10.10.0.1/32
-AllowedIPs = 10.8.0.0/24
`
	if got := Changes("wg0.conf", f.Text, []byte(got)); got != changes {
		t.Errorf("changes:\n%s", cmp.Diff(changes, got))
	}
	if got := Changes("wg0.conf", f.Text, f.Text); got != "" {
		t.Errorf("no changes: %q", got)
	}
}

// A rule is silenced on a line, in a section and in a file, and nowhere else.
func TestIgnore(t *testing.T) {
	const (
		one = "[Interface]\nPrivateKey = 4Ck3rWMvSPKYtaKo36HsxBvRlQgoYQoNoZjtZ2tvWGs=\nAddress = 10.8.0.2/24\n" +
			"[Peer]\nPublicKey = zxqrwqCnss0vUwVXRujaEV7kftzb/nYMBHPtRGJhaWk=\nEndpoint = 203.0.113.1:51820\n"
		two = "AllowedIPs = 10.8.0.1\n[Peer]\nPublicKey = 2HZs6TgJGjvLbhVzhDkInAVmMBLyM2BVlGMpq3pImCc=\nEndpoint = 203.0.113.2:51820\nAllowedIPs = 10.8.0.3\n"
	)
	for _, c := range []struct {
		name, text string
		want       string // lines of what is found
		silenced   int
	}{
		{"nothing", one + two, "7 11", 0},
		{"on the line", one + strings.Replace(two, "10.8.0.1\n", "10.8.0.1 # wgctl: ignore allowed-ips-no-length\n", 1), "11", 1},
		{"above the line", one + "# so it is\n# wgctl: ignore allowed-ips-no-length -- because\n# and so on\n\n" + two, "15", 1},
		{"another rule", one + "# wgctl: ignore allowed-ips-none, allowed-ips-twice\n" + two, "8 12", 0},
		{"several rules", one + "#wgctl: ignore allowed-ips-none,allowed-ips-no-length\r\n" + two, "12", 1},
		{"above a section", strings.Replace(one, "[Peer]", "# wgctl: ignore allowed-ips-no-length\n[Peer]", 1) + two, "12", 1},
		{"in another section", "# wgctl: ignore allowed-ips-no-length\n" + one + two, "8 12", 0},
		{"the file", one + two + "# wgctl: ignore-file allowed-ips-no-length\n", "", 2},
	} {
		found, silenced := Run(Input{Files: []File{parsed(t, "wg0.conf", []byte(c.text))}})
		var lines []string
		for _, f := range found {
			if f.Rule != "allowed-ips-no-length" {
				t.Errorf("%s: %s", c.name, f)
			}
			_, line, _ := strings.Cut(f.String(), ":")
			line, _, _ = strings.Cut(line, ":")
			lines = append(lines, line)
		}
		if got := strings.Join(lines, " "); got != c.want || silenced != c.silenced {
			t.Errorf("%s: found in lines %q, %d silenced, want %q and %d", c.name, got, silenced, c.want, c.silenced)
		}
	}
}

// Files as people have them: those that are refused are errors of syntax alone,
// the others have none, and no finding ever holds a secret.
func TestCorpus(t *testing.T) {
	for _, dir := range []string{"../testdata/conf", "../testdata/conf/bad"} {
		files, err := filepath.Glob(dir + "/*.conf")
		if err != nil || len(files) < 20 {
			t.Fatalf("%d files in %s: %v", len(files), dir, err)
		}
		for _, path := range files {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			host := new(Facts)
			decode(t, filepath.Join(examples, "host.json"), host)
			f := parsed(t, path, content)
			found, _ := Run(Input{Files: []File{f}, Host: host})
			for _, x := range found {
				if (x.Rule == "syntax") != (f.Config == nil) {
					t.Errorf("%s", x)
				}
				for _, line := range bytes.Split(content, []byte("\n")) {
					key, value, _ := bytes.Cut(line, []byte("="))
					value = bytes.TrimSpace(value)
					if secret := bytes.EqualFold(bytes.TrimSpace(key), []byte("PrivateKey")) || bytes.EqualFold(bytes.TrimSpace(key), []byte("PresharedKey")); secret && len(value) > 20 && strings.Contains(text([]Finding{x}), string(value[:20])) {
						t.Errorf("%s: a finding holds a key", path)
					}
				}
			}
		}
	}
}
