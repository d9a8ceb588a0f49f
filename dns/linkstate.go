// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// linkState returns systemd-resolved's file about a link, "" if there is none.
// That can be had though the bus hangs; but the folder is systemd-resolved's own,
// and closed to root without CAP_DAC_OVERRIDE, as in a unit. Then the bus is
// asked, and one that doesn't answer knows of nothing: it must keep no tunnel
// from going down.
func linkState(ctx context.Context, path string, index int) (string, error) {
	text, err := readIfThere(filepath.Join(netifDir, strconv.Itoa(index)))
	if !errors.Is(err, fs.ErrPermission) {
		return text, err
	}
	if networkdHas(index) {
		return "", nil // systemd-resolved writes no file then, and takes nothing of us
	}
	b, err := openBus(ctx, path, resolveName)
	if err != nil {
		return "", ctx.Err()
	}
	defer b.close()
	if b.owner(resolveName) == "" {
		return "", ctx.Err() // and isn't started for this
	}
	text, err = b.linkState(index)
	if err != nil {
		return "", ctx.Err()
	}
	return text, nil
}

// networkdHas reports whether systemd-networkd manages a link, by its file, which
// everybody may read: sd_network_link_get_setup_state of systemd's sd-network.
func networkdHas(index int) bool {
	for line := range strings.Lines(readText(filepath.Join(networkdDir, strconv.Itoa(index)))) {
		if state, ok := strings.CutPrefix(strings.TrimSpace(line), "ADMIN_STATE="); ok {
			return !slices.Contains([]string{"pending", "initialized", "unmanaged"}, state)
		}
	}
	return false
}

// linkState asks for what systemd-resolved has of a link, in the words of its
// file: link_save_user of systemd's src/resolve/resolved-link.c.
func (b *bus) linkState(index int) (string, error) {
	var servers []busAddress
	var domains []busDomain
	var defaultRoute bool
	if err := b.link(index, "DNS", &servers); err != nil {
		return "", err
	}
	if err := b.link(index, "Domains", &domains); err != nil {
		return "", err
	}
	var text strings.Builder
	if err := b.link(index, "DefaultRoute", &defaultRoute); err == nil {
		fmt.Fprintf(&text, "DEFAULT_ROUTE=%s\n", map[bool]string{true: "yes", false: "no"}[defaultRoute])
	} else if !unknownMethod(err) {
		return "", err
	}
	var words []string
	for _, s := range servers {
		if a, ok := netip.AddrFromSlice(s.Address); ok {
			words = append(words, a.String())
		}
	}
	fmt.Fprintf(&text, "SERVERS=%s\n", strings.Join(words, " "))
	words = nil
	for _, d := range domains {
		words = append(words, map[bool]string{true: "~"}[d.Routing]+d.Name)
	}
	fmt.Fprintf(&text, "DOMAINS=%s\n", strings.Join(words, " "))
	return text.String(), nil
}
