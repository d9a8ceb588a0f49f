// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/tunnel"
)

func newStatus(ui *ui) *cobra.Command {
	var asJSON, verbose bool
	cmd := &cobra.Command{
		Use:   "status [NAME|FILE]...",
		Short: "Show tunnels, their peers, and drift from what was applied",
		Long: `Show the tunnels that are up, or those named: interface, backend, addresses,
peers with latest handshake and transfer. Drift is what somebody changed of what
was applied, as the steps that would put it right; foreign is what somebody added.`,
		Example: `  wgctl status
  wgctl status wg0 -v       # with the choices made on up, and why
  wgctl status --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return status(cmd.Context(), ui, args, asJSON, verbose)
		},
		ValidArgsFunction: completeTunnels,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show how choices were made")
	return cmd
}

func status(ctx context.Context, ui *ui, args []string, asJSON, verbose bool) error {
	if err := needRoot("status"); err != nil {
		return err
	}
	host, err := newHost(ctx, ui)
	if err != nil {
		return err
	}
	names, err := namesOf(ctx, host, args)
	if err != nil {
		return err
	}
	all := []tunnel.Status{}
	var failed []error
	for _, name := range names {
		have, err := tunnel.Observe(ctx, host, name)
		switch {
		case err != nil:
			failed = append(failed, err)
		case !have.Up() && !have.Leftover() && len(args) == 0:
			// It was there when the names were listed.
		case !have.Up() && !have.Leftover():
			failed = append(failed, fmt.Errorf("%s %w", name, tunnel.ErrNotUp))
		default:
			all = append(all, have.Status())
		}
	}
	if asJSON {
		return errors.Join(append(failed, ui.json(all))...)
	}
	for i, s := range all {
		if i > 0 {
			_, _ = fmt.Fprintln(ui.out)
		}
		printStatus(ui.out, s, time.Now(), verbose)
	}
	if len(args) == 0 && len(all) == 0 && len(failed) == 0 {
		_, _ = fmt.Fprintln(ui.err, "no tunnel is up")
	}
	return errors.Join(failed...)
}

func namesOf(ctx context.Context, h *tunnel.Host, args []string) ([]string, error) {
	if len(args) == 0 {
		return tunnel.Tunnels(ctx, h)
	}
	var names []string
	for _, a := range args {
		_, name, err := config.Locate(a)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

func printStatus(out io.Writer, s tunnel.Status, now time.Time, verbose bool) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(indent, label, format string, args ...any) {
		_, _ = fmt.Fprintf(w, indent+label+"\t"+format+"\n", args...)
	}
	row("", "interface:", "%s (%s)", s.Name, s.State)
	if s.Backend != "" {
		row("  ", "backend:", "%s", s.Backend)
	}
	if s.Config != "" {
		row("  ", "config:", "%s", s.Config)
	}
	if s.PublicKey != nil {
		row("  ", "public key:", "%s", *s.PublicKey)
	}
	if s.ListenPort != 0 {
		row("  ", "listen port:", "%d", s.ListenPort)
	}
	if s.FwMark != 0 {
		row("  ", "fwmark:", "%#x", s.FwMark)
	}
	if len(s.Addresses) > 0 {
		row("  ", "addresses:", "%s", joined(s.Addresses))
	}
	if s.MTU != 0 {
		row("  ", "mtu:", "%d", s.MTU)
	}
	if len(s.DNS)+len(s.Search) > 0 {
		row("  ", "dns:", "%s", strings.Join(append(stringsOf(s.DNS), s.Search...), ", "))
	}
	if len(s.Passage) > 0 {
		row("  ", "passage:", "%s", strings.Join(s.Passage, ", "))
	}
	row("  ", "drift:", "%s", orNone(len(s.Drift)))
	for _, d := range s.Drift {
		row("    ", d.What+":", "%s", d.Step)
	}
	for _, f := range s.Foreign {
		row("    ", "foreign:", "%s", f)
	}
	if verbose {
		for _, t := range s.Trace {
			row("  ", "choice:", "%s", t)
		}
	}
	_ = w.Flush()
	for _, p := range s.Peers {
		printPeer(out, p, now)
	}
}

func printPeer(out io.Writer, p tunnel.PeerStatus, now time.Time) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(label, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "    "+label+"\t"+format+"\n", args...)
	}
	_, _ = fmt.Fprintln(out)
	if p.Name != "" {
		_, _ = fmt.Fprintf(out, "  peer: %s (%s)\n", p.Name, p.PublicKey)
	} else {
		_, _ = fmt.Fprintf(out, "  peer: %s\n", p.PublicKey)
	}
	switch {
	case p.Endpoint != "" && p.Configured != "" && p.Configured != p.Endpoint:
		row("endpoint:", "%s (configured: %s)", p.Endpoint, p.Configured)
	case p.Endpoint != "":
		row("endpoint:", "%s", p.Endpoint)
	}
	allowed := "(none)"
	if len(p.AllowedIPs) > 0 {
		allowed = joined(p.AllowedIPs)
	}
	row("allowed ips:", "%s", allowed)
	row("latest handshake:", "%s", ago(p.LatestHandshake, now))
	row("transfer:", "%s received, %s sent", bytesText(p.ReceiveBytes), bytesText(p.TransmitBytes))
	if p.PersistentKeepalive != 0 {
		row("persistent keepalive:", "every %d seconds", p.PersistentKeepalive)
	}
	_ = w.Flush()
}

func joined(ps []netip.Prefix) string { return strings.Join(stringsOf(ps), ", ") }

func stringsOf[T fmt.Stringer](in []T) []string {
	out := make([]string, 0, len(in))
	for _, x := range in {
		out = append(out, x.String())
	}
	return out
}

func orNone(n int) string {
	switch n {
	case 0:
		return "none"
	case 1:
		return "1 change"
	}
	return fmt.Sprintf("%d changes", n)
}

// ago says how long ago a handshake was; a clock that was set back makes it
// lie in the future.
func ago(t *time.Time, now time.Time) string {
	if t == nil {
		return "never"
	}
	d := now.Sub(*t).Truncate(time.Second)
	switch {
	case d < 0:
		return "in the future: the clock was set back"
	case d == 0:
		return "now"
	}
	return d.String() + " ago"
}

// bytesText prints a number of bytes as wg does.
func bytesText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/1024, 0
	for f >= 1024 && unit < 3 {
		f, unit = f/1024, unit+1
	}
	return fmt.Sprintf("%.2f %ciB", f, "KMGT"[unit])
}
