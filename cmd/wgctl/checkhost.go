// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/wgctl/wgctl/check"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
	"github.com/wgctl/wgctl/tunnel"
	"golang.org/x/sys/unix"
)

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// lookupText is why a name has no address, without the resolver's own address.
func lookupText(name string, err error) string {
	d := (*net.DNSError)(nil)
	switch {
	case errors.As(err, &d) && d.IsNotFound:
		return "no such host: " + name
	case errors.Is(err, context.DeadlineExceeded) || d != nil && d.IsTimeout:
		return fmt.Sprintf("looking up %s: no answer within %s", name, namesTimeout)
	case d != nil:
		return fmt.Sprintf("looking up %s: %s", name, d.Err)
	}
	return fmt.Sprintf("looking up %s: %v", name, err)
}

// checkedSysctls are the parameters that rules look at.
var checkedSysctls = []string{
	"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter",
	"net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.default.disable_ipv6",
}

// facts gathers what the rules need to know of this host: of the host itself
// only if that is asked for, and of its resolver, which may take long to answer,
// only if it is of interest. It needs no privilege, but sees less without.
func facts(ctx context.Context, machine, resolver bool) (*check.Facts, error) {
	kernel, err := netlinkx.NewKernel()
	if err != nil {
		return nil, fmt.Errorf("connecting to the kernel: %w", err)
	}
	defer func() { _ = kernel.Close() }()
	f := &check.Facts{Sysctls: map[string]string{}, Units: enabledUnits(), UDPPorts: udpPorts(), Session: sessionAddress().Unmap().WithZone("")}
	all, err := kernel.Survey(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading links: %w", err)
	}
	devices, _ := kernel.DeviceNames(ctx)
	for _, l := range all {
		wireguard := l.Kind == "wireguard" || l.Alias == netlinkx.Alias || slices.Contains(devices, l.Name)
		f.Links = append(f.Links, check.Link{Name: l.Name, MTU: l.MTU, WireGuard: wireguard, Addresses: l.Addresses})
		for _, r := range l.Routes {
			if r.Table == routes.TableMain {
				f.Routes = append(f.Routes, check.Route{Dst: r.Dst, Link: l.Name, Metric: r.Metric, MTU: r.MTU})
			}
		}
	}
	for _, key := range checkedSysctls {
		if v, err := kernel.Sysctl(ctx, key); err == nil {
			f.Sysctls[key] = v
		}
	}
	if machine || resolver {
		r, err := dns.Open(ctx)
		if err != nil {
			return nil, err
		}
		choice, trace, err := r.Explain(ctx, dns.Settings{})
		f.Resolver = check.Resolver{Trace: trace, Splits: choice.Splits, Error: errorText(err)}
	}
	if machine {
		f.Machine = look(ctx, kernel)
	}
	return f, nil
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// enabledUnits are the units of tunnels that were enabled: systemctl makes links
// to them in the folders of targets.
func enabledUnits() (units []string) {
	for _, of := range []string{"wg-quick@*.service", "wgctl@*.service"} {
		links, _ := filepath.Glob("/etc/systemd/system/*.wants/" + of)
		for _, l := range links {
			units = append(units, filepath.Base(l))
		}
	}
	return units
}

// udpPorts reads those of both families from proc(5). Sockets of the kernel's
// own WireGuard are among them.
func udpPorts() (ports []uint16) {
	for _, name := range []string{"udp", "udp6"} {
		f, err := os.Open("/proc/thread-self/net/" + name)
		if err != nil {
			continue
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			words := strings.Fields(s.Text())
			if len(words) < 2 {
				continue
			}
			_, hex, _ := strings.Cut(words[1], ":")
			if n, err := strconv.ParseUint(hex, 16, 16); err == nil && !slices.Contains(ports, uint16(n)) {
				ports = append(ports, uint16(n))
			}
		}
		_ = f.Close()
	}
	slices.Sort(ports)
	return ports
}

// look finds out what the host has of what tunnels need. Nothing is changed, but
// the kernel may load modules that it is asked about.
func look(ctx context.Context, kernel *netlinkx.Kernel) *check.Machine {
	m := &check.Machine{Now: time.Now(), Root: os.Geteuid() == 0}
	switch has, err := kernel.KernelHasWireGuard(ctx); {
	case err != nil:
		m.WireGuard = err.Error()
	case !has:
		m.WireGuard = "it knows no link of that kind"
	}
	if err := newStarter(newUI(nil, nil)).Available(ctx); !onlyRoot(err) {
		m.Userspace = errorText(err)
	}
	m.IPv6 = withoutIPv6(ctx, kernel)
	err := kernel.PolicyRouting(ctx, routes.V4)
	if err == nil && m.IPv6 == "" {
		err = kernel.PolicyRouting(ctx, routes.V6)
	}
	m.PolicyRouting = errorText(err)
	lookAtFilters(ctx, m)
	m.RunDir = unwritable(tunnel.RunDir())
	m.ProcSys = unwritable("/proc/sys/net/ipv4/ip_forward")
	lookAtFiles(m)
	m.Flushes = networkdFlushes()
	return m
}

func withoutIPv6(ctx context.Context, kernel *netlinkx.Kernel) string {
	const key = "net.ipv6.conf.default.disable_ipv6"
	switch v, err := kernel.Sysctl(ctx, key); {
	case errors.Is(err, os.ErrNotExist):
		return "this kernel has no IPv6"
	case err == nil && v != "0":
		return "IPv6 is disabled here (sysctl " + key + "=" + v + ")"
	}
	return ""
}

// onlyRoot reports whether an error is that of an ordinary user, and says nothing
// of what root may do here.
func onlyRoot(err error) bool {
	return os.Geteuid() != 0 && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM))
}

// unwritable says why a file can't be written, or a folder be made or filled.
// Root may do all but what the file system refuses.
func unwritable(path string) string {
	for {
		err := unix.Access(path, unix.W_OK)
		switch {
		case err == nil, onlyRoot(err):
			return ""
		case !errors.Is(err, unix.ENOENT) || path == "/":
			return fmt.Sprintf("%s can't be written: %v", path, err)
		}
		path = filepath.Dir(path)
	}
}

// lookAtFilters finds the packet filter that rules would go to, and others that
// drop what is forwarded, which only root sees.
func lookAtFilters(ctx context.Context, m *check.Machine) {
	filter, trace, err := firewall.Open(ctx)
	m.Filter = trace
	if err == nil {
		err = filter.Ready()
	}
	if onlyRoot(err) {
		m.Filter = "only root sees that"
		return
	}
	m.PacketFilter = errorText(err)
	if err != nil {
		return
	}
	facts, err := filter.Foreign().Facts(ctx, "")
	if err != nil {
		m.Notes = append(m.Notes, err.Error())
		return
	}
	choice := firewall.ChoosePlaces(facts)
	for _, p := range choice.Places {
		m.Dropping = append(m.Dropping, p.String())
	}
	m.Notes = choice.Notes
}

// lookAtFiles looks at the folder of files, and how young those are.
func lookAtFiles(m *check.Machine) {
	fi, err := os.Stat(config.Dir)
	if err != nil {
		return
	}
	m.Folder.Mode = fi.Mode().Perm()
	if fault := (*config.Untrusted)(nil); errors.As(config.Trusted(config.Dir, 0), &fault) {
		m.Folder.Untrusted = fault.Path + " " + fault.Why
	}
	files, _ := filepath.Glob(filepath.Join(config.Dir, "*.conf"))
	for _, f := range files {
		if fi, err := os.Stat(f); err == nil && fi.ModTime().After(m.Newest) {
			m.Newest = fi.ModTime()
		}
	}
}

// machineText prints what was found, whatever the rules say of it.
func machineText(b *strings.Builder, f *check.Facts) {
	m := f.Machine
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	row := func(label, text, good string) {
		if text == "" {
			text = good
		}
		_, _ = fmt.Fprintf(w, "%s:\t%s\n", label, text)
	}
	no := func(why string) string {
		if why == "" {
			return ""
		}
		return "no: " + why
	}
	row("kernel's WireGuard", no(m.WireGuard), "yes")
	row("embedded device", no(m.Userspace), "yes")
	row("packet filter", m.Filter, "none")
	if m.Root {
		row("others drop", strings.Join(m.Dropping, ", "), "nothing that is forwarded")
	} else {
		row("others drop", "only root sees that", "")
	}
	row("policy routing", no(m.PolicyRouting), "yes")
	row("IPv6", no(m.IPv6), "yes")
	row("resolver", f.Resolver.Trace, "none")
	row("records", no(m.RunDir), tunnel.RunDir())
	row("kernel parameters", no(m.ProcSys), "can be set")
	for _, key := range checkedSysctls[:4] {
		row("  "+key, f.Sysctls[key], "not there")
	}
	row("clock", m.Now.UTC().Format(time.DateTime)+" UTC", "")
	_ = w.Flush()
}
