// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
)

const (
	wgModifying = "Unable to modify interface"
	wgReading   = "Unable to retrieve current interface configuration"
)

// set changes what its words mention.
func (w *wg) set(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return wgUsageError{verb: "set"}
	}
	change, warnings, err := config.ParseWgWords(args[1:], readWgKey)
	w.warn(warnings)
	if err != nil {
		return err
	}
	c, err := w.resolve(ctx, change)
	if err != nil {
		return err
	}
	return w.configure(ctx, args[0], func(wgDevices) (netlinkx.DeviceChange, error) { return c, nil })
}

// readWgKey reads the key file that a word names.
func readWgKey(path string) (config.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return config.Secret{}, wgSysError{"fopen", err}
	}
	defer func() { _ = f.Close() }()
	return config.ReadWgKey(f)
}

// setconf makes the file the whole of the device: peers and settings that the
// file doesn't have are removed, and the listen port is chosen anew.
func (w *wg) setconf(ctx context.Context, args []string) error {
	c, err := w.file(ctx, "setconf", args)
	if err != nil {
		return err
	}
	asWhole(&c)
	return w.configure(ctx, args[0], func(wgDevices) (netlinkx.DeviceChange, error) { return c, nil })
}

// addconf changes what the file mentions.
func (w *wg) addconf(ctx context.Context, args []string) error {
	c, err := w.file(ctx, "addconf", args)
	if err != nil {
		return err
	}
	return w.configure(ctx, args[0], func(wgDevices) (netlinkx.DeviceChange, error) { return c, nil })
}

// syncconf leads to the same as setconf, but peers that stay keep their
// sessions. A file without peers removes them all.
func (w *wg) syncconf(ctx context.Context, args []string) error {
	c, err := w.file(ctx, "syncconf", args)
	if err != nil {
		return err
	}
	asWhole(&c)
	return w.configure(ctx, args[0], func(devices wgDevices) (netlinkx.DeviceChange, error) {
		if len(c.Peers) == 0 {
			return c, nil
		}
		have, err := devices.Device(ctx, args[0])
		if err != nil {
			return c, wgSysError{wgReading, err}
		}
		return synced(c, have), nil
	})
}

// asWhole resets what a file doesn't mention.
func asWhole(c *netlinkx.DeviceChange) {
	c.ReplacePeers = true
	if c.PrivateKey == nil {
		c.PrivateKey = new(netlinkx.Secret)
	}
	if c.ListenPort == nil {
		c.ListenPort = new(uint16)
	}
	if c.FwMark == nil {
		c.FwMark = new(uint32)
	}
}

// configure opens the devices and changes one, as change says.
func (w *wg) configure(ctx context.Context, name string, change func(wgDevices) (netlinkx.DeviceChange, error)) error {
	devices, err := w.open()
	if err != nil {
		return wgSysError{wgModifying, err}
	}
	c, err := change(devices)
	if err != nil {
		return err
	}
	if err := devices.Configure(ctx, name, c); err != nil {
		return wgSysError{wgModifying, err}
	}
	return nil
}

// file reads the file of setconf, addconf and syncconf. Nothing is applied
// unless it is right as a whole.
func (w *wg) file(ctx context.Context, verb string, args []string) (netlinkx.DeviceChange, error) {
	if len(args) != 2 {
		return netlinkx.DeviceChange{}, wgUsageError{verb: verb}
	}
	f, err := os.Open(args[1])
	if err != nil {
		return netlinkx.DeviceChange{}, wgSysError{"fopen", err}
	}
	defer func() { _ = f.Close() }()
	change, warnings, err := config.ParseWg(f)
	w.warn(warnings)
	if fault := (*config.WgError)(nil); err != nil && !errors.As(err, &fault) {
		return netlinkx.DeviceChange{}, wgFileError(wgSysError{"Unable to read configuration", err})
	}
	if err != nil {
		return netlinkx.DeviceChange{}, wgFileError(err)
	}
	c, err := w.resolve(ctx, change)
	if err != nil {
		return netlinkx.DeviceChange{}, wgFileError(err)
	}
	return c, nil
}

func (w *wg) warn(lines []string) {
	for _, line := range lines {
		_, _ = fmt.Fprintln(w.err, line)
	}
}
