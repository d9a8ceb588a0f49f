// SPDX-License-Identifier: MIT

package wgctl_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A source is one Go file of the module.
type source struct {
	path string // slash-separated, from the root
	text string
	file *ast.File
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

var fset = token.NewFileSet()

func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path != "." && (strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || e.Name() == "build"):
			return filepath.SkipDir
		case e.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
		out = append(out, source{filepath.ToSlash(path), string(text), file})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("found only %d Go files", len(out))
	}
	return out
}

// Each file names its licence, stays short, and belongs to a package that is
// called after what it is about.
func TestFiles(t *testing.T) {
	const spdx = "// SPDX-License-Identifier: MIT\n\n"
	const most = 500
	noNames := []string{"util", "utils", "common", "helper", "helpers", "misc", "base", "shared", "lib"}
	for _, s := range sources(t) {
		if !strings.HasPrefix(s.text, spdx) {
			t.Errorf("%s does not begin with %q", s.path, spdx)
		}
		if n := strings.Count(s.text, "\n"); n > most {
			t.Errorf("%s has %d lines: beyond %d a file is about more than one thing", s.path, n, most)
		}
		if name := s.file.Name.Name; slices.Contains(noNames, name) || strings.HasPrefix(name, "wgctrl") {
			t.Errorf("%s: package %s says nothing of what it is about, or is one letter from our name", s.path, name)
		}
		if s.test() && strings.Contains(s.text, "\n//go:build ") {
			t.Errorf("%s: a test with a build tag rots uncompiled: probe, and skip", s.path)
		}
	}
}

// Only main ends the process: everything else returns an error to it.
func TestOnlyMainExits(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || s.path == "cmd/wgctl/main.go" || s.file.Name.Name == "main" && (strings.HasPrefix(s.path, "integration/") || strings.HasPrefix(s.path, "tools/")) {
			continue
		}
		for _, call := range calls(s.file) {
			switch call {
			case "os.Exit", "syscall.Exit", "unix.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln":
				t.Errorf("%s calls %s: only main ends the process, so that locks are let go and changes undone", s.path, call)
			}
		}
	}
}

// calls returns the functions of other packages that a file mentions.
func calls(f *ast.File) (out []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok {
				out = append(out, pkg.Name+"."+sel.Sel.Name)
			}
		}
		return true
	})
	return out
}

// Types of the libraries that speak to the kernel, to packet filters and to
// files stay behind the package that wraps the library: what it exports is made
// of netip and our own types.
func TestLibraryTypesStayInside(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || s.file.Name.Name == "main" {
			continue
		}
		for _, leak := range leaks(s.file) {
			t.Errorf("%s: give callers a type of ours", leak)
		}
	}
}

// leaks says where a file exports a type of a wrapped library.
func leaks(f *ast.File) (out []string) {
	foreign := map[string]string{} // name in the file to path
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil || !slices.ContainsFunc(wrapped, func(b ban) bool { return b.matches(path) }) {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(path), ".v1")
		if i.Name != nil {
			name = i.Name.Name
		}
		foreign[name] = path
	}
	for _, decl := range exported(f) {
		ast.Inspect(decl, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && foreign[pkg.Name] != "" {
					out = append(out, fmt.Sprintf("%s exports %s of %s", fset.Position(sel.Pos()), sel.Sel.Name, foreign[pkg.Name]))
				}
			}
			return true
		})
	}
	return out
}

// A leak is found wherever it is, and what callers don't see is none: the test
// of the test.
func TestLeaksAreFound(t *testing.T) {
	const text = `package p
import (
	"github.com/vishvananda/netlink"
	nft "github.com/google/nftables"
)
func F(netlink.Link) {}
func (*T) M() []nft.Rule { return nil }
type T struct { A map[string]*netlink.Addr; b netlink.Route }
type I interface { M(nft.Chain) }
var V netlink.Rule
func f(netlink.Link) { _ = netlink.LinkList }
func (t) M(netlink.Link) {}
type t struct{ A netlink.Link }
`
	f, err := parser.ParseFile(fset, "leaky.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"leaky.go:6:8 exports Link of github.com/vishvananda/netlink",
		"leaky.go:7:17 exports Rule of github.com/google/nftables",
		"leaky.go:8:31 exports Addr of github.com/vishvananda/netlink",
		"leaky.go:9:22 exports Chain of github.com/google/nftables",
		"leaky.go:10:7 exports Rule of github.com/vishvananda/netlink",
	}
	if got := leaks(f); !slices.Equal(got, want) {
		t.Errorf("leaks:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

var wrapped = slices.Concat(netlink, wireguardGo, []ban{
	nftables, iptables, ini,
	{path: "github.com/mdlayher/..."}, {path: "github.com/vishvananda/netns"},
})

// exported returns what a caller sees of a file's exported declarations: the
// types of functions, of fields and methods, of constants and variables.
func exported(f *ast.File) (out []ast.Node) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || receiverExported(d.Recv)) {
				out = append(out, d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				out = append(out, exportedSpec(spec)...)
			}
		}
	}
	return out
}

func receiverExported(r *ast.FieldList) bool {
	typ := r.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	name, ok := typ.(*ast.Ident)
	return ok && name.IsExported()
}

func exportedSpec(spec ast.Spec) (out []ast.Node) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if !spec.Name.IsExported() {
			return nil
		}
		fields, ok := spec.Type.(*ast.StructType)
		if !ok {
			return []ast.Node{spec.Type}
		}
		for _, f := range fields.Fields.List {
			if len(f.Names) == 0 || slices.ContainsFunc(f.Names, (*ast.Ident).IsExported) {
				out = append(out, f.Type)
			}
		}
	case *ast.ValueSpec:
		if spec.Type != nil && slices.ContainsFunc(spec.Names, (*ast.Ident).IsExported) {
			out = append(out, spec.Type)
		}
	}
	return out
}
