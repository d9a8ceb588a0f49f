// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/lab"
	"github.com/wgctl/wgctl/tunnel"
)

func newLab(ui *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Make networks of hosts with tunnels, for tests and to try things out",
		Long: `Make hosts in network namespaces, networks between them and tunnels with new keys,
as a file describes them: docs/lab.md.`,
		Example: `  wgctl lab up office.lab
  wgctl lab exec laptop -- ping -c1 10.8.0.1
  wgctl lab graph office.lab --format svg > office.svg
  wgctl lab down office`,
		Args: exactly(0, "up, down, exec or graph"),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLabUp(ui), newLabDown(ui), newLabExec(), newLabGraph(ui))
	return cmd
}

func newLabUp(ui *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "up FILE",
		Short: "Make the hosts, networks and tunnels of a file",
		Example: `  wgctl lab up office.lab
  wgctl status --netns-all office-laptop`,
		Args: exactly(1, "a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot("lab up"); err != nil {
				return err
			}
			text, top, err := readLab(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			site := labSite{ui: ui, top: top}
			return site.up(cmd.Context(), text)
		},
	}
}

func newLabDown(ui *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "down [LAB|FILE]",
		Short: "Take a lab away, and end what runs in it",
		Example: `  wgctl lab down
  wgctl lab down office`,
		Args:              words(cobra.MaximumNArgs(1), "the name of a lab or its file, or none if there is one lab"),
		ValidArgsFunction: completeLabs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot("lab down"); err != nil {
				return err
			}
			defer func() { _ = os.Remove(labsDir()) }() // if there is none
			name, err := labNamed(cmd.Context(), args)
			if err != nil {
				return err
			}
			top, err := standing(name)
			if err != nil {
				return err
			}
			site := labSite{ui: ui, top: top}
			return site.down(cmd.Context())
		},
	}
}

func newLabExec() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec [LAB/]HOST [--] COMMAND [WORD...]",
		Short: "Run a command on a host of a lab",
		Example: `  wgctl lab exec laptop -- ping -c1 10.8.0.1
  wgctl lab exec office/laptop sh`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot("lab exec"); err != nil {
				return err
			}
			if len(args) > 1 && args[1] == "--" {
				args = append(args[:1:1], args[2:]...)
			}
			if len(args) < 2 {
				return usageError{withHint(errors.New("lab exec takes a host and a command"), "wgctl help lab exec shows how")}
			}
			name, host, ok := strings.Cut(args[0], "/")
			var named []string
			if !ok {
				host = name
			} else {
				named = []string{name}
			}
			name, err := labNamed(cmd.Context(), named)
			if err != nil {
				return err
			}
			top, err := standing(name)
			if err != nil {
				return err
			}
			if !slices.Contains(top.Namespaces(), host) {
				return fmt.Errorf("lab %s has no host %s", name, host)
			}
			return execIn(namespaceOf(top, host), args[1:])
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func newLabGraph(ui *ui) *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use:   "graph FILE",
		Short: "Show a topology as text, for Graphviz, or as a picture",
		Example: `  wgctl lab graph office.lab
  wgctl lab graph office.lab --format dot | dot -Tpdf > office.pdf
  wgctl lab graph office.lab --format svg > office.svg`,
		Args: exactly(1, "a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, top, err := readLab(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			text := ""
			switch format {
			case "text":
				text = top.Text()
			case "dot":
				text = top.DOT()
			case "svg":
				text = top.SVG()
			default:
				return usageError{fmt.Errorf("--format must be text, dot or svg: %q", format)}
			}
			_, err = fmt.Fprint(ui.out, text)
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "text, dot or svg")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "dot", "svg"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// largestLab is how long a topology may be, in bytes: some ten thousand hosts.
const largestLab = 1 << 20

// readLab reads a file of the user's, which is as hostile as a config.
func readLab(ctx context.Context, path string) (text string, top *lab.Topology, err error) {
	b, err := config.ReadPage(ctx, path)
	if err != nil {
		return "", nil, err
	}
	if len(b) > largestLab {
		return "", nil, &config.Error{File: path, Msg: fmt.Sprintf("is larger than %d MiB, and so no lab", largestLab>>20)}
	}
	top, err = lab.Parse(path, string(b))
	return string(b), top, err
}

// The folder of a lab that is up, or of which something is left: its topology,
// and the files of its tunnels by host.
const topologyFile = "topology.lab"

func labsDir() string { return filepath.Join(tunnel.RunDir(), "lab") }

func labDir(name string) string { return filepath.Join(labsDir(), name) }

// labs are the names of those that are up.
func labs() ([]string, error) {
	entries, err := os.ReadDir(labsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for labs: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// labNamed returns the lab that a word means: its name, or a file that names it.
// Without a word it is the only one.
func labNamed(ctx context.Context, args []string) (string, error) {
	names, err := labs()
	if err != nil {
		return "", err
	}
	switch {
	case len(args) == 1 && slices.Contains(names, args[0]):
		return args[0], nil
	case len(args) == 1 && strings.ContainsAny(args[0], "./"):
		_, top, err := readLab(ctx, args[0])
		if err != nil {
			return "", err
		}
		return top.Name, nil
	case len(args) == 1:
		return config.Printable(args[0]), nil // no lab has another name
	case len(names) == 1:
		return names[0], nil
	case len(names) == 0:
		return "", errors.New("no lab is up")
	}
	return "", usageError{fmt.Errorf("there are several labs: %s", strings.Join(names, ", "))}
}

// standing returns the topology of a lab that is up. One that was killed before it
// made anything has no hosts.
func standing(name string) (*lab.Topology, error) {
	path := filepath.Join(labDir(name), topologyFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(labDir(name)); err == nil {
			return &lab.Topology{Name: name}, nil
		}
		return nil, fmt.Errorf("lab %s is not up", name)
	}
	if err != nil {
		return nil, err
	}
	top, err := lab.Parse(path, string(b))
	if err == nil {
		top.Name = name
	}
	return top, err
}

func completeLabs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, _ := labs()
	return names, cobra.ShellCompDirectiveDefault
}

// namespaceOf is what "ip netns" calls a host.
func namespaceOf(top *lab.Topology, host string) string { return top.Name + "-" + host }
