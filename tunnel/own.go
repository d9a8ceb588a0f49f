// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/wgctl/wgctl/netlinkx"
)

// Hooks like to give a link an alias of their own, which takes ours away. So
// the record knows the index of the link from before the first hook of an up,
// and that link counts as ours whatever it is called.

// own writes into the record which link is the tunnel's.
func (h *Host) own(ctx context.Context, name string) error {
	link, err := h.Links.Link(ctx, name)
	if err != nil {
		return fmt.Errorf("reading link %s: %w", name, err)
	}
	_, err = h.Records.amend(name, func(r *Record) bool {
		had := r.Link
		r.Link = link.Index
		return r.Link != had
	})
	return err
}

// renamed returns the name that the tunnel's link has now where a hook gave it
// another, "" if there is no such link: it has our alias and the index of the
// record.
func (h *Host) renamed(ctx context.Context, name string) (string, error) {
	r, err := h.Records.Head(name)
	if err != nil || r == nil || r.Link == 0 {
		return "", err
	}
	links, err := h.Links.OwnLinks(ctx)
	if err != nil {
		return "", fmt.Errorf("reading links: %w", err)
	}
	for _, l := range links {
		if l.Index != r.Link || l.Name == name {
			continue
		}
		// A tunnel of that name would be somebody's own.
		other, err := h.Records.Head(l.Name)
		if err != nil || other != nil {
			return "", err
		}
		return l.Name, nil
	}
	return "", nil
}

// reclaim gives the tunnel's link our alias again, without which it is not
// removed.
func (h *Host) reclaim(ctx context.Context, name string) error {
	link, err := h.Links.Link(ctx, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil || link.Alias == netlinkx.Alias {
		return err
	}
	r, err := h.Records.Head(name)
	if err != nil || r == nil || r.Link != link.Index {
		return err
	}
	return h.Links.LinkClaim(ctx, name, link.Index)
}
