// SPDX-License-Identifier: MIT

// Package tunnel is the whole life of one tunnel: what it should look like
// (Spec), what it does look like (State), the difference as reversible steps
// (Plan, Step), and their execution, whole or not at all (Apply). It is the
// only package that knows all subsystems.
//
// It parses no command line, prints nothing and ends no process: steps are
// reported to a callback, decisions are returned with their trace.
package tunnel
