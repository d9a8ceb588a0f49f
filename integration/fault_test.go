// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"strings"
	"testing"
)

// faultErrors are those that a kernel short of something, a security module or
// somebody else's change answers with.
var faultErrors = []string{"ENOBUFS", "EINTR", "ENOMEM", "EPERM", "EBUSY", "EEXIST"}

// Up, reload and down of a tunnel that has everything, with any call failing by
// any of those errors, one in turn: it is done all the same, or exit status 1 says in one
// line why not and the host is as it was, or 3 says what is left, and something
// is; then a down alone leads back.
func TestFaults(t *testing.T) {
	for _, verb := range guestShare(t, []string{"up", "reload", "down"}) {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			w := newWreck(t)
			plain := w.Inject(Fault{Kind: faultErrors[0], Changes: onlyChanges(), Names: w.names}, w.ready(verb)...)
			if plain.Code != 0 {
				t.Fatalf("without a fault: %v", plain)
			}
			codes, n := map[int]int{}, 0
			for _, f := range faultPoints(t, plain.Calls, rounds(9, 2)) {
				kind, at := f.Kind, f.At
				failed := w.Inject(Fault{Kind: kind, At: at, Changes: onlyChanges(), Names: w.names}, w.ready(verb)...)
				if failed.Hit == "" {
					continue
				}
				if n++; n%50 == 0 {
					t.Logf("%d faults, the last at call %d of about %d", n, at, plain.Calls)
				}
				codes[failed.Code]++
				if wrong := w.judge(verb, failed); wrong != "" {
					t.Errorf("%s of %s at call %d, %s:\n%v\n%s", kind, verb, at, failed.Hit, failed, wrong)
					w = newWreck(t)
				}
			}
			t.Logf("%s: %d faults at about %d calls; exit codes and how often: %v", verb, n, plain.Calls, codes)
			if n == 0 {
				t.Error("no call met with a fault")
			}
		})
	}
}

// faultPoints are the calls that fail, and by which error: all by each, or some,
// one error after the other. A number in WGCTL_TEST_FAULTS is a call for each.
func faultPoints(t *testing.T, all, sample int) (points []Fault) {
	t.Helper()
	first := seeded(t).IntN(len(faultErrors))
	for i, at := range crashPoints(t, all, sample) {
		if !wholeSweep() {
			points = append(points, Fault{Kind: faultErrors[(first+i)%len(faultErrors)], At: at})
			continue
		}
		for _, kind := range faultErrors {
			points = append(points, Fault{Kind: kind, At: at})
		}
	}
	return points
}

// Up, reload and down of a tunnel that has everything, told to end at any call:
// as when one fails, all is done or undone, or it is said what is left.
func TestSignals(t *testing.T) {
	onceForAll(t)
	for _, verb := range []string{"up", "reload", "down"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			w := newWreck(t)
			plain := w.kill(verb, 0)
			codes, hits := map[int]int{}, 0
			for i, at := range crashPoints(t, plain.Calls, 6) {
				kinds := []string{FaultTerm, FaultInt}
				if !wholeSweep() {
					kinds = kinds[i%2 : i%2+1]
				}
				for _, kind := range kinds {
					told := w.Inject(Fault{Kind: kind, At: at, Changes: true, Names: w.names}, w.ready(verb)...)
					if told.Hit != "" {
						hits++
					}
					codes[told.Code]++
					if wrong := w.judge(verb, told); wrong != "" {
						t.Errorf("%s of %s at call %d, %s:\n%v\n%s", kind, verb, at, told.Hit, told, wrong)
						w = newWreck(t)
					}
				}
			}
			t.Logf("%s: %d signals at about %d calls; exit codes and how often: %v", verb, hits, plain.Calls, codes)
			if hits == 0 {
				t.Error("no signal came")
			}
		})
	}
}

// The same by iptables, which several programs change one after the other:
// killed between any two of them, and with a call that fails.
func TestCrashesWithIPTables(t *testing.T) {
	onceForAll(t)
	Need(t, "iptables-restore", "iptables-save")
	const env = "WGCTL_FIREWALL=iptables"
	for _, verb := range []string{"up", "reload", "down"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			w := newWreck(t, env)
			plain := w.kill(verb, 0)
			killed, failed := 0, 0
			for i, at := range crashPoints(t, plain.Calls, 6) {
				next := []string{"down", "up", "reload"}[i%3]
				if k := w.kill(verb, at); k.Hit != "" {
					killed++
					if wrong := w.heal(crash{verb, next}); wrong != "" {
						t.Errorf("%s killed at call %d, %s, then %s:\n%v\n%s", verb, at, k.Hit, next, k, wrong)
						w = newWreck(t, env)
					}
				}
				if f := w.Inject(Fault{Kind: faultErrors[i%len(faultErrors)], At: at, Changes: true, Names: w.names}, w.ready(verb)...); f.Hit != "" {
					failed++
					if wrong := w.judge(verb, f); wrong != "" {
						t.Errorf("%s at call %d, %s:\n%v\n%s", verb, at, f.Hit, f, wrong)
						w = newWreck(t, env)
					}
				}
			}
			t.Logf("%s: killed %d times, %d calls failed, of about %d", verb, killed, failed, plain.Calls)
			if killed == 0 || failed == 0 {
				t.Error("nothing happened")
			}
		})
	}
}

// judge says what is wrong after a command of which a call failed.
func (w *wreck) judge(verb string, i Injected) string {
	w.t.Helper()
	w.tidy(i)
	done := map[string]string{"up": "a", "reload": "b", "down": "down"}[verb]
	shapes := map[string]string{"a": w.asA, "b": w.asB, "down": w.down}
	before := map[string]string{"up": "down", "reload": "a", "down": "a"}[verb]
	errors := errorLines(i.Output)
	state := done
	switch {
	case i.Code == 0:
	case len(errors) == 0:
		return "no line of error"
	case i.Code == 1 && verb == "down" && strings.Contains(i.Stderr, "Down hook: "): // it stops nothing
	case i.Code == 1:
		if state = before; len(errors) > 1 && verb != "down" {
			return fmt.Sprintf("%d lines of error", len(errors))
		}
	case i.Code == 3:
		if !strings.Contains(i.Stderr, "could not be undone: ") && !strings.Contains(i.Stderr, "still to do: ") && verb != "down" {
			return "it does not say what is left"
		}
		if now := w.shape(); now == shapes[before] {
			return "nothing is left"
		}
		if out := w.Wgctl("down", "wg0"); out.Code != 0 {
			return out.String()
		}
		state = "down"
	default:
		return "exit status"
	}
	if diff := w.comesTo(shapes[state]); diff != "" {
		return diff
	}
	if s := statuses(w.Host)["wg0"]; state != "down" && (s.State != "up" || len(s.Drift)+len(s.Foreign) > 0) {
		return fmt.Sprintf("status: %+v", s)
	}
	w.rested = state
	return ""
}
