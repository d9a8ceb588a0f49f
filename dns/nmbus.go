// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names of NetworkManager, and of the dnsmasq that it runs, on the system bus.
const (
	nmName        = "org.freedesktop.NetworkManager"
	nmPath        = dbus.ObjectPath("/org/freedesktop/NetworkManager")
	nmDNSPath     = nmPath + "/DnsManager"
	nmDNSManager  = nmName + ".DnsManager"
	nmDnsmasq     = nmName + ".dnsmasq"
	dnsmasqPath   = dbus.ObjectPath("/uk/org/thekelleys/dnsmasq")
	dnsmasqMethod = "uk.org.thekelleys.dnsmasq."
)

// Flags of NetworkManager's Reload: its configuration; resolv.conf, although
// nothing has changed; its dnsmasq, by another process.
const (
	reloadConf    = 0x1
	reloadRC      = 0x2
	reloadDNSFull = 0x4
)

// askNetworkManager asks NetworkManager about itself. It is not started for
// that.
func askNetworkManager(ctx context.Context, path string) NetworkManager {
	b, err := openBus(ctx, path, nmName)
	if errors.Is(err, context.DeadlineExceeded) {
		return NetworkManager{Answer: AnswerHangs}
	}
	if err != nil {
		return NetworkManager{Answer: AnswerNo}
	}
	defer b.close()
	var nm NetworkManager
	err = errors.Join(
		b.nmProperty(nmPath, nmName, "Version", &nm.Version),
		b.nmProperty(nmDNSPath, nmDNSManager, "Mode", &nm.Mode),
		b.nmProperty(nmDNSPath, nmDNSManager, "RcManager", &nm.RcManager))
	nm.Answer = b.answer(nmName, err)
	return nm
}

// nmCall calls a method of who is there: nobody is started by it.
func (b *bus) nmCall(name string, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return b.conn.Object(name, path).CallWithContext(b.ctx, method, dbus.FlagNoAutoStart, args...)
}

func (b *bus) nmProperty(path dbus.ObjectPath, of, property string, out any) error {
	var v dbus.Variant
	if err := b.nmCall(nmName, path, "org.freedesktop.DBus.Properties.Get", of, property).Store(&v); err != nil {
		return b.explain(property+" of NetworkManager", err)
	}
	if err := v.Store(out); err != nil {
		return fmt.Errorf("%s of NetworkManager: %w", property, err)
	}
	return nil
}

// nmReload has NetworkManager, and what it runs, go by its files. It returns
// when look-ups do.
func (b *bus) nmReload(flags uint32) error {
	before := b.owner(nmDnsmasq)
	if err := b.nmCall(nmName, nmPath, nmName+".Reload", flags).Err; err != nil {
		return b.explain("Reload of NetworkManager", err)
	}
	// It has its configuration by now, and has written resolv.conf. Its dnsmasq
	// is told by messages, which come in their order: when NetworkManager has
	// answered another question, they are sent, and when dnsmasq has, taken.
	if before == "" {
		return nil
	}
	const pause = 20 * time.Millisecond
	for flags&reloadDNSFull != 0 {
		if now := b.owner(nmDnsmasq); now != "" && now != before {
			break
		}
		select {
		case <-b.ctx.Done():
			return fmt.Errorf("NetworkManager's dnsmasq did not start again: %w", b.ctx.Err())
		case <-time.After(pause):
		}
	}
	var mode string
	if err := b.nmProperty(nmDNSPath, nmDNSManager, "Mode", &mode); err != nil {
		return err
	}
	if err := b.nmCall(nmDnsmasq, dnsmasqPath, dnsmasqMethod+"GetVersion").Err; err != nil {
		return b.explain("asking NetworkManager's dnsmasq", err)
	}
	return nil
}

// owner returns the unique name of who has a name, "" if nobody has.
func (b *bus) owner(name string) (unique string) {
	if err := b.conn.BusObject().CallWithContext(b.ctx, "org.freedesktop.DBus.GetNameOwner", 0, name).Store(&unique); err != nil {
		return ""
	}
	return unique
}

// nmServers returns the nameservers that NetworkManager uses for all names
// instead of those of its connections: property GlobalDnsConfiguration.
func (b *bus) nmServers() ([]netip.Addr, error) {
	var config map[string]dbus.Variant
	if err := b.nmProperty(nmPath, nmName, "GlobalDnsConfiguration", &config); err != nil {
		return nil, err
	}
	var domains map[string]dbus.Variant
	var all map[string]dbus.Variant
	var list []string
	if v, ok := config["domains"]; !ok || v.Store(&domains) != nil {
		return nil, nil
	}
	if v, ok := domains["*"]; !ok || v.Store(&all) != nil {
		return nil, nil
	}
	if v, ok := all["servers"]; !ok || v.Store(&list) != nil {
		return nil, nil
	}
	var servers []netip.Addr
	for _, word := range list {
		if a, err := netip.ParseAddr(word); err == nil {
			servers = append(servers, a)
		}
	}
	return servers, nil
}

// nmTell has NetworkManager go by the files, and reads back whether it uses
// these nameservers for all names, if there are to be any.
func nmTell(ctx context.Context, path string, flags uint32, servers []netip.Addr) error {
	b, err := openBus(ctx, path, nmName)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.nmReload(flags); err != nil || len(servers) == 0 {
		return err
	}
	switch now, err := b.nmServers(); {
	case err != nil:
		return err
	case !slices.Equal(now, servers):
		return fmt.Errorf("NetworkManager did not take the nameservers: its own configuration says otherwise, see NetworkManager --print-config")
	}
	return nil
}

// nmGone reports whether there is no NetworkManager, or no bus on which it
// could be told anything.
func nmGone(ctx context.Context, path string) bool {
	b, err := openBus(ctx, path, nmName)
	if err != nil {
		return !errors.Is(err, context.DeadlineExceeded)
	}
	defer b.close()
	var has bool
	err = b.conn.BusObject().CallWithContext(b.ctx, "org.freedesktop.DBus.NameHasOwner", 0, nmName).Store(&has)
	return err == nil && !has
}
