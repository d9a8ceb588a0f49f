// SPDX-License-Identifier: MIT

package hook

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite what the corpus expects")

const corpus = "../../testdata/hooks/corpus.txt"

// A corpusFile is the hooks of one file of the corpus.
type corpusFile struct {
	title string
	lines []Line
}

func readCorpus(t testing.TB) (header, text string, files []corpusFile) {
	t.Helper()
	b, err := os.ReadFile(corpus)
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ = strings.Cut(string(b), "\n\n")
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		if title, ok := strings.CutPrefix(line, "## "); ok {
			files = append(files, corpusFile{title: title})
		}
		phase, hook, ok := strings.Cut(line, " = ")
		if !ok || strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "#") {
			continue
		}
		f := &files[len(files)-1]
		f.lines = append(f.lines, Line{Phase(phase), strings.ReplaceAll(hook, "%i", "wg0")})
	}
	return header, string(b), files
}

// Every hook of the corpus is taken for what it is.
func TestCorpus(t *testing.T) {
	header, text, files := readCorpus(t)
	var b strings.Builder
	b.WriteString(header + "\n")
	lines, fates := 0, map[Fate]int{}
	for _, f := range files {
		b.WriteString("\n## " + f.title + "\n")
		verdicts, _ := Understand(f.lines, "wg0", nil)
		for _, v := range verdicts {
			lines++
			fates[v.Fate]++
			b.WriteString(string(v.Phase) + " = " + v.Text + "\n\t" + string(v.Fate))
			if v.Why != "" {
				b.WriteString(": " + v.Why)
			}
			b.WriteString("\n")
			for _, c := range v.Changes {
				b.WriteString("\t" + c.String() + "\n")
			}
		}
	}
	got := b.String()
	if *update {
		if err := os.WriteFile(corpus, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := strings.ReplaceAll(text, "%i", "wg0"); got != want {
		for i, line := range strings.Split(got, "\n") {
			if w := strings.Split(want, "\n"); i >= len(w) || w[i] != line {
				t.Fatalf("line %d of the corpus would be\n%s\nrun with -update and read the diff", i+1, line)
			}
		}
		t.Fatal("the corpus is longer than what was understood")
	}
	if lines < 60 || fates[Lift] < 30 || fates[Undone] < 20 || fates[Run] < 20 {
		t.Errorf("%d lines, by fate %v: too few to tell", lines, fates)
	}
}

// What is lifted on the way up is recognised on the way down, also when the
// record alone remembers it.
func TestMirrors(t *testing.T) {
	_, _, files := readCorpus(t)
	for _, f := range files {
		verdicts, lifted := Understand(f.lines, "wg0", nil)
		for _, v := range verdicts {
			if got := lifted.Undoes(v.Line, "wg0"); got != (v.Fate == Undone) && !v.Phase.up() {
				t.Errorf("%s: %s: undone %t, want %t", f.title, v.Text, got, v.Fate == Undone)
			}
		}
	}
}

// A line that is wrong for a shell, or for the program, is no other than one
// that isn't understood.
func TestNotUnderstood(t *testing.T) {
	for _, line := range []string{
		"iptables -A FORWARD -i wg0 -j ACCEPT &",
		"! iptables -A FORWARD -i wg0 -j ACCEPT",
		"(iptables -A FORWARD -i wg0 -j ACCEPT)",
		"X=1 iptables -A FORWARD -i wg0 -j ACCEPT",
		"iptables -A FORWARD -i wg* -j ACCEPT",
		"iptables -A FORWARD -i wg{0,1} -j ACCEPT",
		"iptables -A FORWARD -i ~wg -j ACCEPT",
		"iptables -A FORWARD -i $'wg0' -j ACCEPT",
		"iptables -A FORWARD -i wg0 -j ACCEPT > /var/log/x",
		"iptables -A FORWARD -i wg0 -j",
		"iptables -A FORWARD -A FORWARD -i wg0 -j ACCEPT",
		"iptables -I FORWARD 2 -i wg0 -j ACCEPT",
		"iptables -A FORWARD -i wg0",
		"iptables -A FORWARD -s fd00::/8 -j ACCEPT",
		"iptables -A FORWARD -s example.org -j ACCEPT",
		"iptables -A FORWARD -p icmp -j ACCEPT",
		"iptables -A FORWARD -i eth0 -o wg0 -p tcp --dport 22 -j ACCEPT",
		"iptables -A FORWARD -i wg+ -j ACCEPT",
		"iptables -A FORWARD ! -i eth0 -j ACCEPT",
		"iptables -A FORWARD -m state --state RELATED,ESTABLISHED -j ACCEPT",
		"iptables -t nat -A POSTROUTING -o wg/0 -j MASQUERADE",
		"iptables -A FORWARD --dport 22 -j ACCEPT",
		"iptables -A FORWARD -p udp -m tcp --dport 22 -j ACCEPT",
		"iptables -A FORWARD -p tcp ! --dport 22 -j ACCEPT",
		"iptables -A FORWARD -m state --state NEW -j ACCEPT",
		"iptables -A FORWARD -m limit --limit 5/s -j ACCEPT",
		"iptables -t nat -A POSTROUTING -i wg0 -j MASQUERADE",
		"iptables -t nat -A POSTROUTING -o eth0 -j SNAT",
		"iptables -t nat -A POSTROUTING -o eth0 -j SNAT --to-source 1.2.3.4-1.2.3.9",
		"iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE --random",
		"iptables -t nat -A PREROUTING -i eth0 -j DNAT --to-destination 10.0.0.2:22",
		"iptables -t nat -A PREROUTING -i eth0 -p tcp -j DNAT --to-destination 10.0.0.2:22-23",
		"iptables -t mangle -A FORWARD -p tcp -j TCPMSS --clamp-mss-to-pmtu",
		"iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN SYN -j TCPMSS --clamp-mss-to-pmtu",
		"iptables -F FORWARD",
		"iptables -C FORWARD -i wg0 -j ACCEPT || iptables -A FORWARD -o wg0 -j ACCEPT",
		"iptables -A FORWARD -i wg0 -j ACCEPT || exit 1",
		"iptables-legacy -A FORWARD -i wg0 -j ACCEPT",
		"ip route add 10.0.0.0/8",
		"ip route add 10.0.0.1/8 dev wg0",
		"ip route add 10.0.0.0/8 dev wg0 table local",
		"ip route add blackhole 10.0.0.0/8 dev wg0",
		"ip -n other route add 10.0.0.0/8 dev wg0",
		"ip rule add from 10.0.0.0/8",
		"ip rule add from 10.0.0.0/8 to fd00::/8 table 7",
		"ip rule add iif eth0 table 7",
		"ip address add 10.0.0.1/8 dev wg0",
		"sysctl -w net.ipv4.ip_forward=0",
		"sysctl -w net.ipv4.ip_forward",
		"sysctl -p",
		"sysctl -w net.ipv4.conf.wg0.forwarding=1",
		"echo $X > /proc/sys/net/ipv4/ip_forward",
		"echo 1 >> /proc/sys/net/ipv4/ip_forward",
		"nft add rule inet filter input iifname wg0 accept",
		"nft add rule inet filter forward iifname wg0",
		"nft add rule inet filter forward iifname wg0 accept counter",
		"nft add rule inet filter forward iifname wg0 drop",
		"nft add rule ip filter forward ip6 saddr fd00::/8 accept",
		"nft add chain inet wg fwd '{ type filter hook forward priority 0; policy drop; }'",
		"nft add rule inet nat postrouting iifname wg0 masquerade",
		"ufw route deny in on wg0",
		"ufw route allow in on wg0 proto gre",
		"true",
		"",
		"if",
	} {
		u := understand(Line{PostUp, line}, "wg0")
		if u.fate != Run || u.why == "" {
			t.Errorf("%q is %s: %v", line, u.fate, u.changes)
		}
	}
}

// Rules stand in the order that iptables would have put them in.
func TestOrder(t *testing.T) {
	_, lifted := Understand([]Line{
		{PostUp, "iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE"},
		{PostUp, "iptables -t nat -I POSTROUTING -d 10.0.0.0/8 -o eth0 -j SNAT --to-source 192.0.2.9"},
		{PostUp, "iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE"},
		{PostUp, "iptables -t nat -A POSTROUTING -o eth1 -j MASQUERADE"},
	}, "wg0", nil)
	var got []string
	for _, f := range lifted.Filters {
		got = append(got, f.String())
	}
	want := []string{
		`nat postrouting: meta nfproto ipv4 oifname "eth0" ip daddr 10.0.0.0/8 snat to 192.0.2.9`,
		`nat postrouting: meta nfproto ipv4 oifname "eth0" masquerade`,
		`nat postrouting: meta nfproto ipv4 oifname "eth1" masquerade`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("order:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Whatever the text, understanding it ends well; and what is lifted is known by
// the words of its own commands, to add it and to take it away.
func FuzzUnderstand(f *testing.F) {
	_, _, files := readCorpus(f)
	for _, file := range files {
		for _, l := range file.lines {
			f.Add(string(l.Phase), l.Text)
		}
	}
	f.Fuzz(func(t *testing.T, phase, text string) {
		verdicts, lifted := Understand([]Line{{Phase(phase), text}}, "wg0", nil)
		if (verdicts[0].Fate == Lift) != !lifted.IsZero() {
			t.Fatalf("%q is %s and adds %v", text, verdicts[0].Fate, lifted.things())
		}
		for _, thing := range lifted.things() {
			checkCommands(t, thing, lifted)
		}
	})
}

func checkCommands(t *testing.T, thing Thing, lifted Lifted) {
	t.Helper()
	add, remove := Commands(thing, "wg0")
	both := false
	if f, ok := thing.(Filter); ok {
		both = f.Family == 0
	}
	for i, line := range add {
		changes, why := Read(PostUp, line, "wg0")
		if why != "" || len(changes) != 1 {
			t.Fatalf("%s: %q is not understood: %s", thing, line, why)
		}
		want := thing
		if both {
			want = thing.(Filter).families()[i]
		}
		if changes[0].Thing != want {
			t.Fatalf("%q adds %v, want %v", line, changes[0].Thing, want)
		}
	}
	for _, line := range remove {
		if !both && !lifted.Undoes(Line{PostDown, line}, "wg0") {
			t.Fatalf("%q doesn't undo %v", line, thing)
		}
	}
}
