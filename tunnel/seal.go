// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
)

// A Seal is put on the bulk of a tunnel, its peers and their routes, when it
// was seen to be as the file says: what all of it came to, on the device and in
// the kernel. As long as the file is the same, and the bulk comes to the same,
// nothing is to be done about it, and a reload looks only at the rest: Unchanged.
// A broken seal says nothing but that it takes a whole reload to know.
//
// That is sound because Plan is pure, and so is what is wanted of the bulk: it
// follows from the file alone, unless Sealable says otherwise.
type Seal struct {
	Program  string          `json:"program"` // another may plan otherwise
	Peers    netlinkx.Sum    `json:"peers"`
	Routes   netlinkx.Sum    `json:"routes"`
	Families []routes.Family `json:"families,omitempty"` // of allowed IPs

	// Generation, if not empty, is the device's from when it was made or read last:
	// as long as it is that, the device needn't be read again. Its own fields were
	// these, and its private key that of the record.
	Generation string `json:"generation,omitempty"`
	ListenPort uint16 `json:"listen_port,omitempty"`
	FwMark     uint32 `json:"fwmark,omitempty"`
}

// Sealable reports whether what is wanted of peers and routes follows from the
// file's text alone, and nobody has to be warned of it again.
func Sealable(cfg *config.Config) bool {
	in := cfg.Interface
	return cfg.SelfContained() && cfg.Quiet() && !in.RouteAggregation && in.Table.Mode != config.TableName
}

// seal returns the seal on what s has; nil where there can be none. Routes of
// hooks are among those of peers, but may come to depend on the host.
func (s *State) seal(r *Record) *Seal {
	if !r.Sealable || len(r.Spec.Lifted.Routes) > 0 {
		return nil
	}
	seal := &Seal{Program: program(), Peers: netlinkx.SumOfPeers(&s.Device), Routes: netlinkx.SumOfRoutes(s.Routes)}
	for _, p := range r.Spec.Device.Peers {
		for _, a := range p.AllowedIPs {
			if f := routes.FamilyOf(a); !slices.Contains(seal.Families, f) {
				seal.Families = append(seal.Families, f)
			}
		}
	}
	if key := r.Spec.Device.PrivateKey; key != nil && key.Is(s.Device.PrivateKey) && s.Device.Backend == netlinkx.BackendUserspace {
		seal.Generation, seal.ListenPort, seal.FwMark = s.generation, s.Device.ListenPort, s.Device.FwMark
	}
	return seal
}

// uses reports whether a tunnel under the seal, if there is one, has allowed
// IPs of the family.
func (s *Seal) uses(f routes.Family) bool { return s != nil && slices.Contains(s.Families, f) }

// same reports whether two seals, either of which may be nil, say the same.
func (s *Seal) same(t *Seal) bool {
	if s == nil || t == nil {
		return s == t
	}
	return s.Generation == t.Generation && s.Program == t.Program && s.Peers == t.Peers && s.Routes == t.Routes && slices.Equal(s.Families, t.Families)
}

// program tells this binary from others, and from what replaces it.
func program() string {
	fi, err := os.Stat("/proc/self/exe")
	if err != nil {
		return ""
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x", st.Dev, st.Ino, st.Size, st.Mtim.Nano())
}

// errUnsealed says that a whole reload has to look.
var errUnsealed = errors.New("the seal is broken")

// Unchanged returns what is wanted of a tunnel that is up, without the bulk, if
// that is what there is and the bulk is under seal; else nil, also where
// something can't be read: a whole reload says why. It is given the file without its
// peers, when that is read (config.LoadInterface).
func Unchanged(ctx context.Context, h *Host, name, path string, o Options, file func() (*config.Config, error)) *Spec {
	want, err := unchanged(ctx, h, name, path, o, file)
	if err != nil {
		return nil
	}
	return want
}

func unchanged(ctx context.Context, h *Host, name, path string, o Options, file func() (*config.Config, error)) (*Spec, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	unlock, err := h.Records.Lock(ctx, name, func(string) { cancel() }) // who waits does so in the whole reload
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := h.Records.Head(name)
	if err != nil {
		return nil, err
	}
	if r == nil || r.Phase != PhaseUp || r.Config != path || r.Seal == nil || r.Seal.Program == "" || r.Seal.Program != program() {
		return nil, errUnsealed
	}
	// The file is read while the host is looked at: each may be large.
	var cfg *config.Config
	read := make(chan error, 1)
	go func() {
		var err error
		if cfg, err = file(); err == nil && r.Digest != cfg.Digest() {
			err = errUnsealed
		}
		if err != nil {
			cancel()
		}
		read <- err
	}()
	have := &State{Name: name, sealed: r.Seal}
	device, observed := have.observe(ctx, h, sealedBulk{h, r}, idle{}, SharedSysctls...)
	if err := <-read; err != nil {
		return nil, err
	}
	if observed != nil {
		return nil, observed
	}
	if have.Link == nil {
		return nil, errUnsealed
	}
	have.Link.Backend = r.Spec.Backend // until device says
	want, err := Resolve(ctx, h, cfg, nil, have, o)
	if err != nil {
		return nil, err
	}
	if err := device(); err != nil {
		return nil, err
	}
	if have.generation != "" && !have.takeKey(want, r) {
		return nil, errUnsealed
	}
	if !have.Up() || have.Link.Backend != r.Spec.Backend || len(Plan(want, have)) > 0 {
		return nil, errUnsealed
	}
	return want, nil
}

// takeKey gives the device, which wasn't read, its private key: that of the
// record, of which the record has only the digest and the file all.
func (s *State) takeKey(want *Spec, r *Record) bool {
	key := want.Device.PrivateKey
	if key == nil || r.Spec.Device.PrivateKey == nil || !r.Spec.Device.PrivateKey.Is(*key.value()) {
		return false
	}
	s.Device.PrivateKey, s.Device.PublicKey = *key.value(), *want.Device.PublicKey
	return true
}

// A bulkReader is how closely a tunnel's bulk is looked at.
type bulkReader interface {
	record(name string) (*Record, error)
	// device returns the device, and the generation that it had before it was
	// read, if that is asked for.
	device(ctx context.Context, name string) (d netlinkx.Device, generation string, err error)
	routes(ctx context.Context, link string) ([]netlinkx.InstalledRoute, error)
}

// wholeBulk looks at each of it.
type wholeBulk struct {
	h      *Host
	toSeal bool // with the device's generation, if it counts

	// made, if not nil, is a tunnel that this run has made: its device needn't be
	// read where the generation tells that it was given that and nothing else.
	made *Spec
	// saved, if not nil, is the record, which this run has just written.
	saved *Record
}

func (b wholeBulk) record(name string) (*Record, error) {
	if b.saved != nil {
		r := *b.saved
		return &r, nil
	}
	return b.h.Records.Load(name)
}

// counts reports whether the device tells its generation.
func (b wholeBulk) counts(name string) bool {
	if b.saved != nil {
		return b.saved.Counts
	}
	r, err := b.h.Records.Head(name)
	return err == nil && r != nil && r.Counts
}

func (b wholeBulk) device(ctx context.Context, name string) (d netlinkx.Device, generation string, err error) {
	if b.toSeal && b.counts(name) {
		own := false
		if generation, own, err = b.h.Devices.Generation(ctx, name); err != nil {
			return d, "", err
		}
		if own && b.made != nil {
			return b.made.madeDevice(), generation, nil
		}
	}
	d, err = b.h.Devices.Device(ctx, name)
	return d, generation, err
}

func (b wholeBulk) routes(ctx context.Context, link string) ([]netlinkx.InstalledRoute, error) {
	return b.h.Routes.Routes(ctx, link)
}

// sealedBulk looks whether the seal of a record holds, and returns none of it.
type sealedBulk struct {
	h *Host
	r *Record
}

func (b sealedBulk) record(string) (*Record, error) { return b.r, nil }

// device returns nothing but the device's own fields, without its key, where its
// generation tells that it needn't be read.
func (b sealedBulk) device(ctx context.Context, name string) (netlinkx.Device, string, error) {
	if seal := b.r.Seal; seal.Generation != "" {
		now, _, err := b.h.Devices.Generation(ctx, name)
		if err != nil {
			return netlinkx.Device{}, "", err
		}
		if now == seal.Generation {
			d := netlinkx.Device{Name: name, Backend: netlinkx.BackendUserspace, ListenPort: seal.ListenPort, FwMark: seal.FwMark}
			return d, now, nil
		}
	}
	d, sum, err := b.h.Devices.DeviceSum(ctx, name)
	if err == nil && sum != b.r.Seal.Peers {
		err = errUnsealed
	}
	return d, "", err
}

func (b sealedBulk) routes(ctx context.Context, link string) ([]netlinkx.InstalledRoute, error) {
	sum, err := b.h.Routes.RoutesSum(ctx, link)
	if err == nil && sum != b.r.Seal.Routes {
		err = errUnsealed
	}
	return nil, err
}
