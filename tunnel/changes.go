// SPDX-License-Identifier: MIT

package tunnel

// An Op is what happens to a thing.
type Op string

// What a step does.
const (
	OpAdd    Op = "add"
	OpChange Op = "change"
	OpRemove Op = "remove"
	OpRun    Op = "run" // a hook, whose doings only its author knows
)

// A Change is what a step does, for sums and for programs.
type Change struct {
	Op    Op     `json:"op"`
	Kind  string `json:"kind"` // "peer", "route", "address", …
	Count int    `json:"count"`
}

// A Summary counts what a plan does.
type Summary struct {
	Add    int `json:"add"`
	Change int `json:"change"`
	Remove int `json:"remove"`
	Run    int `json:"run"` // hooks
}

// Summarise adds the changes of all steps up.
func Summarise(steps []Step) (s Summary) {
	for _, step := range steps {
		for _, c := range step.Changes() {
			switch c.Op {
			case OpAdd:
				s.Add += c.Count
			case OpChange:
				s.Change += c.Count
			case OpRemove:
				s.Remove += c.Count
			case OpRun:
				s.Run += c.Count
			}
		}
	}
	return s
}

func one(op Op, kind string) []Change { return []Change{{op, kind, 1}} }

func (s linkAdd) Changes() []Change     { return one(OpAdd, "link") }
func (s deviceStart) Changes() []Change { return one(OpAdd, "link") }
func (s linkDel) Changes() []Change     { return one(OpRemove, "link") }
func (s socketDel) Changes() []Change   { return one(OpRemove, "socket") }
func (s linkSet) Changes() []Change     { return one(OpChange, "link") }
func (s linkNote) Changes() []Change    { return one(OpChange, "link") }
func (s addressAdd) Changes() []Change  { return one(OpAdd, "address") }
func (s addressDel) Changes() []Change  { return one(OpRemove, "address") }
func (s routeAdd) Changes() []Change    { return one(OpAdd, "route") }
func (s routeDel) Changes() []Change    { return one(OpRemove, "route") }
func (s ruleAdd) Changes() []Change     { return one(OpAdd, "rule") }
func (s ruleDel) Changes() []Change     { return one(OpRemove, "rule") }
func (s sysctlSet) Changes() []Change   { return one(OpChange, "sysctl") }
func (s hookRun) Changes() []Change     { return one(OpRun, "hook") }

func (s firewallSet) Changes() []Change {
	return one(replaced(s.prev.Empty(), s.next.Empty()), "firewall")
}
func (s dnsSet) Changes() []Change { return one(replaced(s.prev.Empty(), s.next.Empty()), "dns") }

// replaced is what becomes of a thing of which there is at most one.
func replaced(fromNothing, toNothing bool) Op {
	switch {
	case toNothing:
		return OpRemove
	case fromNothing:
		return OpAdd
	}
	return OpChange
}

// Changes counts the peers, and the device's own fields as one.
func (s deviceSet) Changes() []Change {
	var out []Change
	if s.next.PrivateKey != nil || s.next.ListenPort != nil || s.next.FwMark != nil {
		out = append(out, Change{OpChange, "device", 1})
	}
	n := map[Op]int{}
	for _, p := range s.next.Peers {
		switch {
		case p.Remove:
			n[OpRemove]++
		case p.UpdateOnly:
			n[OpChange]++
		default:
			n[OpAdd]++
		}
	}
	for _, op := range []Op{OpAdd, OpChange, OpRemove} {
		if n[op] > 0 {
			out = append(out, Change{op, "peer", n[op]})
		}
	}
	return out
}
