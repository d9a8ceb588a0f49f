// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wgctl/wgctl/routes"
)

// A RoutesError says which of many routes failed: the others were added, or
// removed.
type RoutesError struct {
	Failed []RouteFailure // by index; at least one
}

// A RouteFailure is what one route of a list failed with.
type RouteFailure struct {
	Index int // in the list
	Err   error
}

// Error is what the first failure says, and how many there are after it.
func (e *RoutesError) Error() string {
	if n := len(e.Failed) - 1; n > 0 {
		return fmt.Sprintf("%v (and %d more)", e.Failed[0].Err, n)
	}
	return e.Failed[0].Err.Error()
}

// Unwrap returns what the first failure was: what others were is a matter of
// each route.
func (e *RoutesError) Unwrap() error { return e.Failed[0].Err }

func (e *RoutesError) orNil() error {
	if len(e.Failed) == 0 {
		return nil
	}
	return e
}

// RouteAdd adds a unicast route through the link, with our protocol number. If
// the place (prefix, table, metric) is taken, it is unix.EEXIST, and if the link
// is down, unix.ENETDOWN.
func (k *Kernel) RouteAdd(ctx context.Context, link string, r routes.Route) error {
	return only(k.RoutesAdd(ctx, link, []routes.Route{r}))
}

// RouteDel removes our route through the link; another's, or none, is
// unix.ESRCH and an os.ErrNotExist.
//
// Of an IPv4 route the kernel can't be told to take metric 0 and no other: where
// we have the same route with several metrics, 0 removes the lowest.
func (k *Kernel) RouteDel(ctx context.Context, link string, r routes.Route) error {
	return only(k.RoutesDel(ctx, link, []routes.Route{r}))
}

// only is the failure of the only route of a list.
func only(err error) error {
	if failed := (*RoutesError)(nil); errors.As(err, &failed) {
		return failed.Failed[0].Err
	}
	return err
}

// RoutesAdd is RouteAdd of many, in batches. The kernel is left as it is if
// there is no such link. A route whose answer was lost counts as failed, and
// may be there.
func (k *Kernel) RoutesAdd(ctx context.Context, link string, rs []routes.Route) error {
	return k.routeBatch(ctx, link, rs, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, unix.ENODEV)
}

// RoutesDel is RouteDel of many; see RoutesAdd.
func (k *Kernel) RoutesDel(ctx context.Context, link string, rs []routes.Route) error {
	return k.routeBatch(ctx, link, rs, unix.RTM_DELROUTE, 0, unix.ESRCH, unix.ENODEV)
}

func (k *Kernel) routeBatch(ctx context.Context, link string, rs []routes.Route, kind, flags uint16, gone ...unix.Errno) error {
	index := 0
	if slices.ContainsFunc(rs, func(r routes.Route) bool { return r.Kind == routes.Unicast }) {
		var err error
		if index, err = k.index(ctx, link); err != nil {
			return err
		}
	}
	s, err := k.batchSocket(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	failed := &RoutesError{}
	b := s.batch(ctx, func(i int, err error) {
		failed.Failed = append(failed.Failed, RouteFailure{i, missing(err, gone...)})
	})
	for _, r := range rs {
		b.begin(kind, flags)
		b.buf = appendRoute(b.buf, uint32(index), r)
		b.end()
	}
	b.close()
	return failed.orNil()
}

// appendRoute appends a struct rtmsg and its attributes. IPv4 routes without a
// gateway have scope link, as ip(8) gives it to them. The metric of an IPv6
// route is always said: without one the kernel removes any.
func appendRoute(b []byte, index uint32, r routes.Route) []byte {
	family, scope, metric := byte(unix.AF_INET), byte(unix.RT_SCOPE_LINK), r.Metric
	if r.Dst.Addr().Is6() {
		family, scope = unix.AF_INET6, unix.RT_SCOPE_UNIVERSE
		if metric == 0 {
			metric = defaultMetric6
		}
	}
	kind := byte(unix.RTN_UNICAST)
	if r.Kind != routes.Unicast {
		kind, scope = deadEnds[r.Kind], unix.RT_SCOPE_UNIVERSE
	}
	table := byte(unix.RT_TABLE_COMPAT) // RTA_TABLE says which
	if r.Table < 256 {
		table = byte(r.Table)
	}
	b = append(b, family, byte(r.Dst.Bits()), 0, 0, table, Protocol, scope, kind, 0, 0, 0, 0)
	if a := r.Dst.Addr(); a.Is4() {
		raw := a.As4()
		b = appendAttribute(b, unix.RTA_DST, raw[:]...)
	} else {
		raw := a.As16()
		b = appendAttribute(b, unix.RTA_DST, raw[:]...)
	}
	b = appendUint32(b, unix.RTA_TABLE, r.Table)
	if metric != 0 {
		b = appendUint32(b, unix.RTA_PRIORITY, metric)
	}
	if r.Kind != routes.Unicast {
		return b
	}
	return appendUint32(b, unix.RTA_OIF, index)
}

// deadEnds are the kernel's types of routes without a link.
var deadEnds = map[routes.Kind]byte{routes.Throw: unix.RTN_THROW, routes.Unreachable: unix.RTN_UNREACHABLE}
