// SPDX-License-Identifier: MIT

package tunnel

import (
	"strings"
	"testing"

	"github.com/wgctl/wgctl/config"
)

const convertHead = "# A comment.\n[Interface]\n  Address = 10.8.0.1/24, fd08::1/64 # inside\n"

func convertTail() string {
	return "\n[Peer]\nPublicKey = " + key("a") + "\nAllowedIPs = 10.8.0.2/32, fd08::2/128\n"
}

func TestToKeys(t *testing.T) {
	tests := []struct {
		name  string
		hooks string
		want  string
		notes []string // what some note says, in order
	}{
		{
			name: "hub",
			hooks: "\tPostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE\n" +
				"# kept\nPostDown = iptables -D FORWARD -i %i -j ACCEPT; iptables -t nat -D POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE\n",
			want: "\tForward = on\n\tMasquerade = eth0\n# kept\n",
		}, {
			name:  "wider than the tunnel",
			hooks: "PostUp = iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE\n",
			want:  "Masquerade = eth0\n",
			notes: []string{"wg0.conf:4: [Interface] PostUp: Masquerade is about what comes out of the tunnel"},
		}, {
			name:  "another network",
			hooks: "PostUp = iptables -t nat -A POSTROUTING -s 10.99.0.0/24 -o eth0 -j MASQUERADE\n",
			want:  "PostUp = iptables -t nat -A POSTROUTING -s 10.99.0.0/24 -o eth0 -j MASQUERADE\n",
			notes: []string{"stays: 10.99.0.0/24 isn't the tunnel's network"},
		}, {
			name: "forward with the source kept",
			hooks: "PreUp = sysctl -w net.ipv4.ip_forward=1\n" +
				"PreUp = iptables -t nat -A PREROUTING -i eth0 -p udp --dport 5000:5009 -m addrtype --dst-type LOCAL -j DNAT --to-destination 10.8.0.2\n",
			want: "Forward = on\nPortForward = udp/5000-5009 -> 10.8.0.2:5000-5009 on eth0 keep-source\n",
		}, {
			name: "undone together with what stays",
			hooks: "PostUp = iptables -A FORWARD -i %i -j ACCEPT\nPostUp = ip rule add from 10.8.0.0/24 table 7\n" +
				"PostDown = iptables -D FORWARD -i %i -j ACCEPT; ip rule del from 10.8.0.0/24 table 7\n",
			want: "PostUp = iptables -A FORWARD -i %i -j ACCEPT\nPostUp = ip rule add from 10.8.0.0/24 table 7\n" +
				"PostDown = iptables -D FORWARD -i %i -j ACCEPT; ip rule del from 10.8.0.0/24 table 7\n",
			notes: []string{"stays: the hook that undoes it undoes another too", "stays: no key says it", "stays: it undoes a hook that stays"},
		}, {
			name:  "half of a line",
			hooks: "PostUp = iptables -A FORWARD -i %i -j ACCEPT; echo up\n",
			want:  "PostUp = iptables -A FORWARD -i %i -j ACCEPT; echo up\n",
			notes: []string{"stays: echo is a program"},
		}, {
			name:  "the file says otherwise",
			hooks: "Forward = off\nPostUp = iptables -A FORWARD -i %i -j ACCEPT\n",
			want:  "Forward = off\nPostUp = iptables -A FORWARD -i %i -j ACCEPT\n",
			notes: []string{"stays: the file says Forward = off"},
		}, {
			name:  "segment size",
			hooks: "PostUp = iptables -t mangle -A FORWARD -o %i -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1300\r\n",
			want:  "ClampMSS = 1300\r\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := convertHead + tt.hooks + convertTail()
			c := ToKeys(parse(t, text), "wg0")
			if got, want := string(config.ReplaceLines([]byte(text), c.Lines)), convertHead+tt.want+convertTail(); got != want {
				t.Errorf("converted\n%s\nwant\n%s", got, want)
			}
			if len(c.Notes) != len(tt.notes) {
				t.Fatalf("notes %q, want %q", c.Notes, tt.notes)
			}
			for i, n := range tt.notes {
				if !strings.Contains(c.Notes[i], n) {
					t.Errorf("note %q, want %q", c.Notes[i], n)
				}
			}
		})
	}
}

// Keys become hooks that are understood, and the same keys again.
func TestConvertThereAndBack(t *testing.T) {
	for _, keys := range []string{
		"Forward = on\nClampMSS = auto\n",
		"Forward = on\nClampMSS = off\nMasquerade = eth0\nMasquerade = eth1\n",
		"Forward = on\nClampMSS = 1200\nPortForward = tcp/2222 -> 10.8.0.2:22\nPortForward = udp/7000-7009 -> [fd08::2]:7000-7009 on eth0\n",
		"Forward = on\nClampMSS = auto\nPortForward = tcp/80 -> 10.8.0.2:80 keep-source\n",
		"",
	} {
		text := convertHead + keys + convertTail()
		cfg := parse(t, text)
		there, err := ToHooks(cfg)
		if err != nil {
			t.Fatal(err)
		}
		hooks := string(config.ReplaceLines([]byte(text), there.Lines))
		for _, own := range []string{"Forward =", "Masquerade =", "PortForward =", "ClampMSS ="} {
			if strings.Contains(hooks, own) {
				t.Errorf("%q is left in\n%s", own, hooks)
			}
		}
		back := ToKeys(parse(t, hooks), "wg0")
		again := parse(t, string(config.ReplaceLines([]byte(hooks), back.Lines)))
		if cfg.Interface.ClampMSS.Off { // the same as no hook
			again.Interface.ClampMSS.Off = true
		}
		if !config.Equal(cfg, again) {
			t.Errorf("of\n%s\nbecame\n%s\nand then\n%s\nnotes %q", text, hooks, config.ReplaceLines([]byte(hooks), back.Lines), back.Notes)
		}
	}
}

// What no hook can say is an error of its line, and the rest says what goes.
func TestToHooksRefuses(t *testing.T) {
	text := convertHead + "ExcludedIPs = 10.0.0.0/8\nMasquerade = auto\nPortForward = tcp/80-81 -> 10.8.0.2:90-91\nBackend = kernel\nKillSwitch = on\n" +
		convertTail() + "Name = ann\n"
	c, err := ToHooks(parse(t, text))
	want := `wg0.conf:4: [Interface] ExcludedIPs: no hook takes a prefix out of the routes: say it by AllowedIPs
wg0.conf:5: [Interface] Masquerade: a hook names its interface, and auto is none
wg0.conf:6: [Interface] PortForward: a hook keeps the ports of a range, and this one shifts them`
	if err == nil || err.Error() != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
	out := string(config.ReplaceLines([]byte(text), c.Lines))
	for _, want := range []string{"# Name = ann\n", "PostUp = iptables -I OUTPUT ! -o %i", "PreDown = ip6tables -D OUTPUT ! -o %i"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if len(c.Notes) != 3 {
		t.Errorf("notes %q", c.Notes)
	}
}
