// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
	"golang.org/x/sys/unix"
)

// manyRoutes are n routes of the main table.
func manyRoutes(n int) []routes.Route {
	out := make([]routes.Route, n)
	for i := range out {
		a := netip.AddrFrom4([4]byte{172, byte(16 + i>>16), byte(i >> 8), byte(i)})
		out[i] = routes.Route{Dst: netip.PrefixFrom(a, 32), Table: routes.TableMain}
	}
	return out
}

// A routesLog counts the looks at routing tables.
type routesLog struct {
	hostRoutes
	looks int
}

type hostRoutes = netlinkx.Routes

func (l *routesLog) Routes(ctx context.Context, link string) ([]netlinkx.InstalledRoute, error) {
	l.looks++
	return l.hostRoutes.Routes(ctx, link)
}

func (l *routesLog) RouteOwner(ctx context.Context, r routes.Route) (string, error) {
	l.looks++
	return l.hostRoutes.RouteOwner(ctx, r)
}

// Routes of a batch that are in place already do no harm, and those that are
// somebody else's fail each by itself; who has them is found out without a look at
// the table for every one.
func TestBatchOfRoutesThatExist(t *testing.T) {
	const n = 3000
	for _, keepGoing := range []bool{false, true} {
		t.Run(fmt.Sprintf("keepGoing=%v", keepGoing), func(t *testing.T) {
			h := newFakeHost(t)
			if err := errors.Join(h.LinkAdd(t.Context(), "wg0"), h.LinkSet(t.Context(), "wg0", 1420, true)); err != nil {
				t.Fatal(err)
			}
			list := manyRoutes(n)
			for i, r := range list {
				link := "wg0"
				if i >= n-10 {
					link = "eth0"
				}
				h.AddRoute(link, netlinkx.InstalledRoute{Route: r, Plain: true})
			}
			var b Batch
			for _, r := range list {
				b.Steps = append(b.Steps, routeAdd{link: "wg0", route: r})
			}
			host := h.host()
			log := &routesLog{hostRoutes: h.Fake}
			host.Routes = log
			taken, failed := b.take(t.Context(), host, keepGoing)
			if len(taken) != n-10 || len(failed) != 10 {
				t.Errorf("%d were taken and %d failed", len(taken), len(failed))
			}
			for i, f := range failed {
				if !errors.Is(f.Err, unix.EEXIST) || !slices.Contains(list[n-10:], f.Step.(routeAdd).route) {
					t.Errorf("%v", f)
				}
				if i == 0 && f.Err.Error() != "file exists: eth0 has that route" {
					t.Errorf("of the first: %v", f)
				}
			}
			if log.looks > 2 {
				t.Errorf("%d looks at routing tables", log.looks)
			}
		})
	}
}
