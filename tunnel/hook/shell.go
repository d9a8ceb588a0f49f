// SPDX-License-Identifier: MIT

package hook

import (
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// A command is the words of one simple command. A word that isn't known before
// it runs, as that of a variable, is opaque.
type command struct {
	words []word
}

type word struct {
	text   string
	opaque bool
}

// name is the program's, without its folder and without sudo, which does
// nothing for root; "" if it isn't known.
func (c command) name() string {
	if len(c.words) == 0 || c.words[0].opaque {
		return ""
	}
	return path.Base(c.words[0].text)
}

func (c command) unsudo() command {
	if c.name() == "sudo" && len(c.words) > 1 && !strings.HasPrefix(c.words[1].text, "-") {
		c.words = c.words[1:]
	}
	return c
}

// literal returns all the words after the program's name, if they are known.
func (c command) literal() (args []string, ok bool) {
	for _, w := range c.words[1:] {
		if w.opaque {
			return nil, false
		}
		args = append(args, w.text)
	}
	return args, true
}

// text returns all the words, opaque ones as "$".
func (c command) text() []string {
	out := make([]string, len(c.words))
	for i, w := range c.words {
		if out[i] = w.text; w.opaque {
			out[i] = "$"
		}
	}
	return out
}

// wordOf reads a word of the shell's syntax.
func wordOf(w *syntax.Word) word {
	var b strings.Builder
	for i, part := range w.Parts {
		switch part := part.(type) {
		case *syntax.Lit:
			text, ok := unescape(part.Value, i == 0, len(w.Parts) == 1)
			if !ok {
				return word{opaque: true}
			}
			b.WriteString(text)
		case *syntax.SglQuoted:
			if part.Dollar {
				return word{opaque: true}
			}
			b.WriteString(part.Value)
		case *syntax.DblQuoted:
			if part.Dollar || !quoted(part, &b) {
				return word{opaque: true}
			}
		default:
			return word{opaque: true}
		}
	}
	return word{text: b.String()}
}

// quoted reads what stands in double quotes: a backslash is one but before the
// four characters that it takes the meaning of.
func quoted(q *syntax.DblQuoted, b *strings.Builder) bool {
	for _, part := range q.Parts {
		lit, ok := part.(*syntax.Lit)
		if !ok {
			return false
		}
		for s := lit.Value; s != ""; {
			if len(s) > 1 && s[0] == '\\' && strings.IndexByte("$`\"\\\n", s[1]) >= 0 {
				if s[1] != '\n' {
					b.WriteByte(s[1])
				}
				s = s[2:]
				continue
			}
			b.WriteByte(s[0])
			s = s[1:]
		}
	}
	return true
}

// unescape reads text outside of quotes, unless the shell would make other
// words of it: by patterns, braces or a tilde. A lone brace or bracket is one.
func unescape(s string, first, alone bool) (string, bool) {
	if alone && (s == "{" || s == "}" || s == "!") {
		return s, true
	}
	if first && strings.HasPrefix(s, "~") {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i < len(s) && s[i] != '\n' {
				b.WriteByte(s[i])
			}
		case '*', '?', '[', '{', '}':
			return "", false
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), true
}

// parse returns the statements of a line, or why it is none.
func parse(line string) ([]*syntax.Stmt, string) {
	f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(line), "")
	if err != nil {
		return nil, "the shell's syntax is not followed"
	}
	return f.Stmts, ""
}

// commands returns every simple command anywhere below a node.
func commands(stmts []*syntax.Stmt) (out []command) {
	for _, s := range stmts {
		syntax.Walk(s, func(n syntax.Node) bool {
			if call, ok := n.(*syntax.CallExpr); ok && len(call.Args) > 0 {
				out = append(out, commandOf(call))
			}
			return true
		})
	}
	return out
}

func commandOf(call *syntax.CallExpr) command {
	var c command
	for _, w := range call.Args {
		c.words = append(c.words, wordOf(w))
	}
	return c.unsudo()
}

// plain says why a statement is more than one simple command, or "".
func plain(s *syntax.Stmt) string {
	switch {
	case s.Negated:
		return `"!" turns a failure into success`
	case s.Background, s.Coprocess, s.Disown:
		return "it runs in the background"
	}
	switch c := s.Cmd.(type) {
	case *syntax.CallExpr:
		if len(c.Assigns) > 0 {
			return "it sets a variable"
		}
		return ""
	case *syntax.BinaryCmd:
		if c.Op == syntax.Pipe || c.Op == syntax.PipeAll {
			return "it has a pipe"
		}
		return `it has "||"`
	case *syntax.IfClause, *syntax.CaseClause, *syntax.TestClause:
		return "it depends on a condition"
	case *syntax.WhileClause, *syntax.ForClause:
		return "it has a loop"
	case *syntax.Subshell, *syntax.Block:
		return "it groups commands"
	}
	return "it is more than simple commands"
}

// silent reports whether all redirections only take output away.
func silent(redirs []*syntax.Redirect) bool {
	return !slices.ContainsFunc(redirs, func(r *syntax.Redirect) bool {
		target := wordOf(r.Word)
		switch r.Op {
		case syntax.RdrOut, syntax.RdrAll, syntax.AppOut:
			return target.opaque || target.text != "/dev/null"
		case syntax.DplOut:
			return target.opaque || target.text != "1" && target.text != "2"
		}
		return true
	})
}
