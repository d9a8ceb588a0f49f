// SPDX-License-Identifier: MIT

package netlinkx

import (
	"errors"
	"net/netip"
	"os"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/wgctl/wgctl/routes"
	"golang.org/x/sys/unix"
)

// Answers that were never read, as after an error of recvmsg(2), spoil one
// question and not all that follow. For a second there is none: what is known of
// the family holds so long.
func TestAnswersThatComeLate(t *testing.T) {
	k := newNamespace(t)
	known := func(err error) bool { return err == nil || errors.Is(err, os.ErrNotExist) }
	_, missing := k.family(t.Context())
	if !known(missing) {
		t.Fatal(missing)
	}
	name, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.CTRL_ATTR_FAMILY_NAME, Data: []byte("nlctrl\x00")}})
	if err != nil {
		t.Fatal(err)
	}
	question := genetlink.Message{Header: genetlink.Header{Command: unix.CTRL_CMD_GETFAMILY, Version: 1}, Data: name}
	for range 2 {
		if _, err := k.gl.Send(question, unix.GENL_ID_CTRL, netlink.Request); err != nil {
			t.Fatal(err)
		}
	}
	if missing == nil {
		if time.Since(k.asked) > time.Minute {
			t.Errorf("asked at %v", k.asked)
		}
		k.asked = time.Now().Add(time.Minute) // however slow this runs
		if _, err := k.family(t.Context()); err != nil {
			t.Errorf("asked again at once: %v", err)
		}
		k.asked = time.Now().Add(-familyHolds)
	}
	if _, err := k.family(t.Context()); known(err) {
		t.Errorf("an answer to another question was taken: %v", err)
	}
	if _, err := k.family(t.Context()); !known(err) {
		t.Errorf("the next question: %v", err)
	}
}

// Nor does a list that was not read to its end keep the kernel from telling of
// another one, whoever asked for it: we or the library.
func TestListThatWasNotRead(t *testing.T) {
	k := newNamespace(t)
	var many []routes.Route
	for i := range 40000 {
		many = append(many, routes.Route{Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32), Table: routes.TableMain})
	}
	if err := k.LinkSet(t.Context(), "lo", 65536, true); err != nil {
		t.Fatal(err)
	}
	if err := k.RoutesAdd(t.Context(), "lo", many); err != nil {
		t.Fatal(err)
	}
	handle := k.handle()
	hidden := reflect.ValueOf(handle).Elem().FieldByName("sockets")
	theirs := *(*map[int]*nl.SocketHandle)(unsafe.Pointer(hidden.UnsafeAddr()))
	for whose, sockets := range map[string]map[int]*nl.SocketHandle{"ours": k.sockets, "the library's": theirs} {
		req := k.request(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET}})
		if err := sockets[unix.NETLINK_ROUTE].Socket.Send(req); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Rules(t.Context()); err != nil {
			t.Errorf("rules, after a list of %s: %v", whose, err)
		}
		if l, err := k.OwnLinks(t.Context()); err != nil || len(l) != 0 {
			t.Errorf("links, after a list of %s: %v, %v", whose, l, err)
		}
		if a, err := k.Addresses(t.Context(), "lo"); err != nil || len(a) != 2 {
			t.Errorf("addresses, after a list of %s: %v, %v", whose, a, err)
		}
	}
	if n := len(k.handles); n != 2 || k.handle() == handle {
		t.Errorf("%d handles, want the spoiled one and the new one", n)
	}
}
