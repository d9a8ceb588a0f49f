// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
)

// A host that moves to wgctl has tunnels up that the original wg-quick brought
// up. They carry none of our marks, and are known as wg-quick knows them
// itself: by the link's name, the device's mark and the names of tables. Only
// under the name of wg-quick are they taken down.

// An Original finds and takes away what wg-quick leaves outside of the link.
type Original interface {
	// ForeignRuleDel removes a rule that isn't ours.
	ForeignRuleDel(ctx context.Context, r netlinkx.InstalledRule) error
	// Original returns what stands of its packet filter rules, in the words
	// that take it away; RemoveOriginal does.
	Original(ctx context.Context, ifname string) ([]string, error)
	RemoveOriginal(ctx context.Context, ifname string) error
}

// DownOriginal takes down a tunnel that the original wg-quick brought up, or
// what a down of it left when the link was gone already. The file tells the
// hooks, and whether rules are to be looked for; save is called as in Down.
// What stands is removed and no more: of another tunnel nothing is touched,
// whose rules wg-quick's own down takes too. An interface that is no
// WireGuard device is ErrForeign, and nothing at all ErrNotUp.
func (s *Session) DownOriginal(ctx context.Context, o Original, hooks Hooks, rules bool, save func(*State) error) error {
	filter, err := o.Original(ctx, s.name)
	if err != nil {
		return err
	}
	link := s.Have.Link
	switch {
	case link == nil && len(filter) == 0:
		return fmt.Errorf("%s %w", s.name, ErrNotUp)
	case link != nil && link.Backend == "":
		return fmt.Errorf("%s %w", s.name, ErrForeign)
	}
	pre, post := planner{name: s.name, last: &Spec{Name: s.name}}, planner{name: s.name, last: &Spec{Name: s.name}}
	pre.hooks(hooks, "PreDown", hooks.PreDown)
	post.hooks(hooks, "PostDown", hooks.PostDown)

	errs := []error{ApplyAll(ctx, s.host, pre.steps, s.report)}
	if save != nil && link != nil {
		err := s.observe(ctx) // the hooks may have changed the device
		if err == nil {
			err = save(s.Have)
		}
		errs = append(errs, err)
	}
	steps := append(originalSteps(s.Have, o, rules, filter), post.steps...)
	return errors.Join(append(errs, ApplyAll(ctx, s.host, steps, s.report))...)
}

// originalSteps is a pure plan. The filter goes last, as in our own down: it is
// also what tells a later run that something is left.
func originalSteps(have *State, o Original, rules bool, filter []string) []Step {
	var steps []Step
	if !have.DNS.Empty() {
		steps = append(steps, dnsSet{next: dns.Settings{Interface: have.Name}, prev: have.DNS})
	}
	if l := have.Link; l != nil {
		if rules {
			for _, r := range originalRules(have.Rules, have.Device.FwMark) {
				steps = append(steps, originalRuleDel{rule: r, by: o})
			}
		}
		steps = append(steps, originalLinkDel{name: have.Name, index: l.Index, userspace: l.Backend == netlinkx.BackendUserspace})
	}
	if len(filter) > 0 {
		steps = append(steps, originalFilterDel{name: have.Name, words: filter, by: o})
	}
	return steps
}

// originalRules finds the rules of a tunnel with that mark, each after its
// companion is told: wg-quick adds "not fwmark T table T", then "table main
// suppress_prefixlength 0", and the kernel puts each above the one before. Of
// several tunnels each so has its own pair.
func originalRules(all []netlinkx.InstalledRule, mark uint32) []netlinkx.InstalledRule {
	var out []netlinkx.InstalledRule
	for i, r := range all {
		if mark == 0 || !theirs(r) || !r.Invert || r.Mark != mark || r.Table != mark {
			continue
		}
		out = append(out, r)
		if i == 0 {
			continue
		}
		if c := all[i-1]; theirs(c) && c.Family == r.Family && c.Suppress && c.Table == routes.TableMain && c.Mark == 0 && !c.Invert {
			out = append(out, c)
		}
	}
	return out
}

func theirs(r netlinkx.InstalledRule) bool {
	return r.Plain && r.Protocol != netlinkx.Protocol && !r.From.IsValid() && !r.To.IsValid()
}

type (
	originalRuleDel struct {
		whole
		rule netlinkx.InstalledRule
		by   Original
	}
	originalLinkDel struct {
		whole
		name      string
		index     int
		userspace bool
	}
	originalFilterDel struct {
		whole
		name  string
		words []string
		by    Original
	}
)

func (s originalRuleDel) Do(ctx context.Context, _ *Host) error {
	return s.by.ForeignRuleDel(ctx, s.rule)
}
func (s originalRuleDel) Undo() Step        { return nil }
func (s originalRuleDel) Changes() []Change { return one(OpRemove, "rule") }
func (s originalRuleDel) String() string    { return ruleDel{rule: s.rule.Rule}.String() }

// Do claims the link of that index first: only ours are removed.
func (s originalLinkDel) Do(ctx context.Context, h *Host) error {
	if err := h.Links.LinkClaim(ctx, s.name, s.index); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return linkDel{name: s.name, userspace: s.userspace}.Do(ctx, h)
}
func (s originalLinkDel) Undo() Step        { return nil }
func (s originalLinkDel) Changes() []Change { return one(OpRemove, "link") }
func (s originalLinkDel) String() string    { return linkDel{name: s.name}.String() }

func (s originalFilterDel) Do(ctx context.Context, _ *Host) error {
	return s.by.RemoveOriginal(ctx, s.name)
}
func (s originalFilterDel) Undo() Step        { return nil }
func (s originalFilterDel) Changes() []Change { return one(OpRemove, "firewall") }
func (s originalFilterDel) String() string {
	text := s.words[0]
	for _, w := range s.words[1:] {
		text += "; " + w
	}
	return text
}
