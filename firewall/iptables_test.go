// SPDX-License-Identifier: MIT

package firewall

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tools returns the programs of one mode, by path: which of them is called
// plainly iptables is the host's affair.
func tools(t *testing.T, mode string) []Tool {
	t.Helper()
	var out []Tool
	for _, name := range []string{"iptables-" + mode, "ip6tables-" + mode} {
		path, err := exec.LookPath(name)
		if err != nil {
			skip(t, "%v", err)
		}
		out = append(out, Tool{Path: path, V6: strings.HasPrefix(name, "ip6"), Legacy: mode == "legacy"})
	}
	return out
}

// ipSave returns the rules of both families, without dates and counters.
func ipSave(t *testing.T, tools []Tool) string {
	t.Helper()
	var b strings.Builder
	for _, tool := range tools {
		save := sh(t, tool.Path+"-save")
		b.WriteString(regexp.MustCompile(`(?m)^#.*\n|\[\d+:\d+\]`).ReplaceAllString(save, ""))
	}
	return b.String()
}

// openIPTables enters a namespace with rules of the host's own in each table
// and chain that ours go to.
func openIPTables(t *testing.T, mode string) (*Firewall, []Tool) {
	t.Helper()
	enterNetns(t)
	tools := tools(t, mode)
	for _, tool := range tools {
		for _, rule := range []string{
			"raw -A PREROUTING -i lo -j ACCEPT", "mangle -A PREROUTING -p udp -j MARK --set-mark 7",
			"mangle -A POSTROUTING -p udp -j ACCEPT", "mangle -A FORWARD -i lo -j ACCEPT", "nat -A PREROUTING -i lo -j ACCEPT",
			"nat -A INPUT -i lo -j ACCEPT", "nat -A OUTPUT -o lo -j ACCEPT", "nat -A POSTROUTING -o lo -j ACCEPT", "filter -A INPUT -i lo -j ACCEPT",
			"mangle -A INPUT -i lo -j ACCEPT", "mangle -A OUTPUT -o lo -j ACCEPT", "raw -A OUTPUT -o lo -j ACCEPT",
			"filter -A FORWARD -i lo -j ACCEPT", "filter -A OUTPUT -o lo -j ACCEPT", "mangle -N wgctl-wg00-pre",
			`mangle -A wgctl-wg00-pre -m comment --comment "wgctl: wg0" -j RETURN`,
		} {
			if out, err := exec.Command("sh", "-c", tool.Path+" -t "+rule).CombinedOutput(); err != nil {
				skip(t, "no %s here: %s", tool, out)
			}
		}
	}
	fw, trace := New(Facts{NFTables: Detect(t.Context()).NFTables, Tools: found(tools...), Force: "iptables"})
	want := fmt.Sprintf("firewall: [force=iptables iptables=%s ip6tables=%s ret=iptables-%s]", tools[0].Path, tools[1].Path, mode)
	if trace != want {
		t.Fatalf("trace %s, want %s", trace, want)
	}
	return fw, tools
}

func TestIPTables(t *testing.T) {
	for _, mode := range []string{"nft", "legacy"} {
		t.Run(mode, func(t *testing.T) {
			fw, tools := openIPTables(t, mode)
			before := ipSave(t, tools)
			wantInstalled(t, fw, "wg0", Installed{})
			times := 2 // the second time over itself
			rulesets := []Ruleset{goldens["full"], goldens["anti-spoof"], goldens["full"], goldens["relay"], goldens["killswitch"],
				goldens["killswitch-alone"], goldens["hub"], goldens["extra"], {Interface: "wg0", AntiSpoof: addrs("fd00::9"), RestoreMark: 3}, {Interface: "wg0", RestoreMark: 9}}
			if os.Getenv("WGCTL_TEST_SLOW") != "" { // where programs take a second
				times, rulesets = 1, slices.Delete(rulesets, 5, 9)
			}
			for _, r := range rulesets {
				for range times {
					mustApply(t, fw, r)
					wantApplied(t, fw, r)
				}
			}
			long := Ruleset{Interface: "_a=b+c.d-456789", AntiSpoof: addrs("10.8.0.1"), RestoreMark: 1}
			mustApply(t, fw, long)
			wantApplied(t, fw, long)
			wantInstalled(t, fw, "wg0", Installed{Digest: Ruleset{Interface: "wg0", RestoreMark: 9}.Digest(), Mark: 9})
			mustApply(t, fw, Ruleset{Interface: long.Interface})
			for range 2 {
				mustApply(t, fw, Ruleset{Interface: "wg0"})
				if after := ipSave(t, tools); after != before {
					t.Errorf("after removal (-want +got):\n%s", cmp.Diff(before, after))
				}
			}
			wantInstalled(t, fw, "wg0", Installed{})
		})
	}
}

// The rules are those of wg-quick's add_default, in chains of our own.
func TestIPTablesRules(t *testing.T) {
	want := []string{
		`-A wgctl-wg0-raw -d 10.8.0.1/32 ! -i wg0 -m addrtype ! --src-type LOCAL -m comment --comment "wgctl: wg0 mark 0xca6c digest 4a03ba3b3614a9f9 rules 70e97b82431c4c33" -j DROP`,
		`-A wgctl-wg0-raw -d fd00::1/128 ! -i wg0 -m addrtype ! --src-type LOCAL -m comment --comment "wgctl: wg0 mark 0xca6c digest 4a03ba3b3614a9f9 rules 70e97b82431c4c33" -j DROP`,
	}
	for range 2 { // once a family
		want = append(want,
			`-A PREROUTING -m comment --comment "wgctl: wg0" -j wgctl-wg0-raw`,
			`-A PREROUTING -m comment --comment "wgctl: wg0" -j wgctl-wg0-pre`,
			`-A POSTROUTING -m comment --comment "wgctl: wg0" -j wgctl-wg0-post`,
			`-A wgctl-wg0-post -p udp -m mark --mark 0xca6c -m comment --comment "wgctl: wg0" -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff`,
			`-A wgctl-wg0-pre -p udp -m comment --comment "wgctl: wg0" -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff`)
	}
	slices.Sort(want)
	for _, mode := range []string{"nft", "legacy"} {
		t.Run(mode, func(t *testing.T) {
			fw, tools := openIPTables(t, mode)
			mustApply(t, fw, goldens["full"])
			var got []string
			for line := range strings.Lines(ipSave(t, tools)) {
				if strings.Contains(line, "wgctl-wg0-") && strings.HasPrefix(line, "-A") {
					got = append(got, strings.TrimSpace(line))
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIPTablesSeesChanges(t *testing.T) {
	for _, mode := range []string{"nft", "legacy"} {
		t.Run(mode, func(t *testing.T) {
			fw, tools := openIPTables(t, mode)
			r := goldens["full"]
			for name, tamper := range map[string]string{
				"rule added":   "%s -t mangle -A wgctl-wg0-pre -j ACCEPT",
				"rule deleted": "%s -t mangle -D wgctl-wg0-pre 1",
				"tag deleted":  "%s -t raw -D wgctl-wg0-raw 1",
				"jump deleted": "%s -t raw -D PREROUTING -m comment --comment 'wgctl: wg0' -j wgctl-wg0-raw",
				"jump twice":   "%s -t mangle -A POSTROUTING -j wgctl-wg0-post",
				"other mark":   "%[1]s -t mangle -F wgctl-wg0-post; %[1]s -t mangle -A wgctl-wg0-post -p udp -m mark --mark 5 -j CONNMARK --save-mark",
				"all gone":     "%[1]s -t mangle -F; %[1]s -t mangle -X; %[1]s -t raw -F; %[1]s -t raw -X",
			} {
				for _, tool := range tools {
					mustApply(t, fw, r)
					sh(t, fmt.Sprintf(tamper, tool.Path))
					got, err := fw.Installed(t.Context(), "wg0")
					if err != nil || got.Digest != changed {
						t.Errorf("%s in %s: %+v, %v", name, tool, got, err)
					}
				}
			}
			mustApply(t, fw, r)
			wantApplied(t, fw, r)
		})
	}
}

// failing6 makes an ip6tables whose -restore applies what it is given and then
// fails, as long as the file "fail" is beside it.
func failing6(t *testing.T, real Tool) Tool {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "ip6tables")
	script := func(suffix, before string) {
		text := fmt.Sprintf("#!/bin/sh\n%s%s \"$@\" || exit\n%s", real.Path, suffix, before)
		if err := os.WriteFile(path+suffix, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script("", "")
	script("-save", "")
	script("-restore", "rm "+dir+"/fail 2>/dev/null || exit 0\necho 'line 3 failed' >&2\nexit 1\n")
	if err := os.WriteFile(filepath.Join(dir, "fail"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return Tool{Path: path, V6: true, Legacy: real.Legacy}
}

// When the second family fails, both are as they were.
func TestIPTablesRollsBack(t *testing.T) {
	for _, mode := range []string{"nft", "legacy"} {
		for name, old := range map[string]Ruleset{"nothing": {Interface: "wg0"}, "rules": goldens["anti-spoof"]} {
			t.Run(mode+" to "+name, func(t *testing.T) {
				good, tools := openIPTables(t, mode)
				mustApply(t, good, old)
				before := ipSave(t, tools)
				fw, _ := New(Facts{Tools: found(tools[0], failing6(t, tools[1])), Force: "iptables"})
				err := fw.Apply(t.Context(), goldens["full"])
				const want = "applying firewall rules of wg0: programming the rules of wg0: running ip6tables-restore: line 3 failed: exit status 1"
				if err == nil || err.Error() != want {
					t.Errorf("error %v, want %s", err, want)
				}
				if after := ipSave(t, tools); after != before {
					t.Errorf("after the failure (-want +got):\n%s", cmp.Diff(before, after))
				}
			})
		}
	}
}

// Programs from before 1.6.2 have an -restore that knows no --wait.
func TestIPTablesWaitsWhereItCan(t *testing.T) {
	for version, want := range map[string]string{
		"iptables v1.4.21":           "--noflush\n",
		"iptables v1.6.1":            "--noflush\n",
		"iptables v1.6.2":            "--noflush --wait=5\n",
		"ip6tables v1.8.9 (legacy)":  "--noflush --wait=5\n",
		"iptables v1.10 (nf_tables)": "",
	} {
		dir := t.TempDir()
		tool := Tool{Path: filepath.Join(dir, "iptables"), V6: strings.HasPrefix(version, "ip6"), Legacy: true}
		for suffix, text := range map[string]string{
			"":         "echo '" + version + "'",
			"-restore": `echo "$*" >` + dir + "/args",
		} {
			if err := os.WriteFile(tool.Path+suffix, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		err := tool.swap(t.Context(), "wg0", ipState{}, Ruleset{Interface: "wg0", RestoreMark: 1}.iptablesState(tool.V6))
		got, _ := os.ReadFile(filepath.Join(dir, "args"))
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: -restore was given %q, want %q; error %v", version, got, want, err)
		}
	}
}

func TestIPTablesRefuses(t *testing.T) {
	fw, _ := New(Facts{Tools: found(Tool{Path: "/nonexistent", Legacy: true}), Force: "iptables"})
	for _, r := range []Ruleset{
		{Interface: "wg+", RestoreMark: 1},                  // a pattern to iptables
		{Interface: "wg0", AntiSpoof: addrs("fd00::1")},     // no ip6tables
		{Interface: "wg0;reboot", AntiSpoof: addrs("1::1")}, // not a name
	} {
		if err := fw.Apply(t.Context(), r); err == nil || strings.Contains(err.Error(), "running") {
			t.Errorf("%+v: error %v", r, err)
		}
		if trace, err := fw.Choose(t.Context(), r); err == nil || trace != fw.trace {
			t.Errorf("%+v: choice %s, %v", r, trace, err)
		}
	}
	if trace, err := fw.Choose(t.Context(), Ruleset{Interface: "wg0", AntiSpoof: addrs("10.8.0.1"), RestoreMark: 1}); err != nil || trace != fw.trace {
		t.Errorf("choice %s, %v", trace, err)
	}
}

// What an earlier choice left is seen and taken away by the present one, and
// nothing else is.
func TestLeftovers(t *testing.T) {
	need(t, "nft")
	for _, mode := range []string{"nft", "legacy"} {
		t.Run(mode, func(t *testing.T) {
			old, tools := openIPTables(t, mode)
			before := ipSave(t, tools)
			now, _ := New(Facts{Tools: found(tools...)})
			wantInstalled(t, now, "wg0", Installed{})

			mustApply(t, old, goldens["full"])
			wantInstalled(t, now, "wg0", Installed{Digest: changed, Mark: 51820})
			mustApply(t, now, goldens["full"])
			if after := ipSave(t, tools); after != before {
				t.Errorf("after replacing (-want +got):\n%s", cmp.Diff(before, after))
			}
			wantInstalled(t, now, "wg0", Installed{Digest: goldens["full"].Digest(), Mark: 51820})

			// And the other way round.
			wantInstalled(t, old, "wg0", Installed{Digest: changed, Mark: 51820})
			mustApply(t, old, Ruleset{Interface: "wg0"})
			if tables := sh(t, "nft list tables inet"); tables != "" {
				t.Errorf("left: %s", tables)
			}
			wantInstalled(t, now, "wg0", Installed{})
		})
	}
}
