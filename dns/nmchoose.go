// SPDX-License-Identifier: MIT

package dns

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// NetworkManager is what NetworkManager says of itself:
// org.freedesktop.NetworkManager.DnsManager.
type NetworkManager struct {
	Answer  Answer
	Version string // as in "1.42.4"
	// Mode is whom it hands its nameservers to, dns= of its configuration:
	// "default" (resolv.conf), "dnsmasq", "systemd-resolved", "none".
	Mode string
	// RcManager is how it writes resolv.conf: "symlink", "file",
	// "resolvconf", "netconfig", "unmanaged" or "immutable".
	RcManager string
}

// asksNetworkManager reports whether it matters if NetworkManager answers.
func (f Facts) asksNetworkManager() bool {
	switch f.Forced {
	case BackendNetworkManager:
		return true
	case "", BackendAuto:
		if f.asksResolved() && (f.Resolved == AnswerYes || f.Resolved == AnswerHangs) {
			return false
		}
		return f.Last == BackendNetworkManager || f.owner() == OwnerNetworkManager && !f.SearchAlone
	}
	return false
}

// networkManager is the choice of NetworkManager, if it can be told.
func (f Facts) networkManager() (Choice, error) {
	nm, none := f.NetworkManager, Choice{Name: BackendNone}
	switch {
	case nm.Answer == AnswerHangs:
		return none, fmt.Errorf("NetworkManager did not answer on the system bus within %s", busTimeout)
	case nm.Answer == AnswerElsewhere:
		return none, errors.New("NetworkManager runs in another network namespace, and answers for another host's look-ups")
	case nm.Answer != AnswerYes:
		return none, errors.New("NetworkManager isn't on the system bus")
	case !since122(nm.Version):
		return none, fmt.Errorf("NetworkManager %s can't be told: that takes 1.22", nm.Version)
	case nm.Mode == "systemd-resolved":
		return none, errors.New("NetworkManager leaves look-ups to systemd-resolved: that is who can be told")
	case nm.RcManager == "unmanaged" || nm.RcManager == "immutable":
		return none, fmt.Errorf("NetworkManager does not write /etc/resolv.conf (dns=%s, rc-manager=%s)", nm.Mode, nm.RcManager)
	case nm.Mode != "default" && nm.Mode != "dnsmasq":
		return none, fmt.Errorf("NetworkManager hands its nameservers to %s, which wgctl can't tell", nm.Mode)
	case f.SearchAlone:
		return none, errors.New("NetworkManager takes search domains only together with nameservers")
	}
	return Choice{Name: BackendNetworkManager, Splits: nm.Mode == "dnsmasq" && f.names("127.0.0.1")}, nil
}

// since122 reports whether a version has the method Reload: 1.22 or later.
func since122(version string) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err == nil && err2 == nil && slices.Compare([]int{major, minor}, []int{1, 22}) >= 0
}

func (t *trace) networkManager(nm NetworkManager) {
	t.add("nm", cmp.Or(string(nm.Answer), "unasked"))
	if nm.Answer == AnswerYes {
		t.add("mode", nm.Mode)
		t.add("rc-manager", nm.RcManager)
	}
}

// forNetworkManager returns settings as NetworkManager keeps them.
func (s Settings) forNetworkManager(splits bool) (Settings, error) {
	for _, a := range s.Servers {
		if a.Zone() != "" {
			return s, fmt.Errorf("NetworkManager can't be told of %s: leave the zone out", a)
		}
	}
	s = s.normal()
	if s.Lax && !splits {
		// wg-quick has them searched, too.
		s.Search, s.Routing = unique(slices.Concat(s.Search, s.Routing)), nil
	}
	return s, nil
}

// orDnsmasq is what else a host needs for split DNS.
func orDnsmasq(backend string) string {
	switch backend {
	case BackendNetworkManager:
		return ", or dns=dnsmasq in NetworkManager.conf"
	case BackendResolvconf:
		return ", or openresolv with a local resolver such as dnsmasq"
	}
	return ""
}
