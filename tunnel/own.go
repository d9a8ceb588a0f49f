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
	r, err := h.Records.Load(name)
	if err != nil || r == nil || r.Link == link.Index {
		return err
	}
	r.Link = link.Index
	return h.Records.Save(r)
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
	r, err := h.Records.Load(name)
	if err != nil || r == nil || r.Link != link.Index {
		return err
	}
	return h.Links.LinkClaim(ctx, name, link.Index)
}
