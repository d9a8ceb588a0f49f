// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wgctl/wgctl/config"
)

func TestRecordHoldsNoSecrets(t *testing.T) {
	h := newFakeHost(t)
	if err := bring(t, h, "wg0", files[2], config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.records.Dir, "wg0.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{key("two"), key("psk")} {
		if strings.Contains(string(b), secret[:12]) {
			t.Errorf("the record holds %s:\n%s", secret, b)
		}
	}
	if !strings.Contains(string(b), key("b")) {
		t.Error("the record lacks a public key: this test looks in the wrong place")
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if fi, err := os.Stat(h.records.Dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("mode of the folder %v, %v", fi.Mode(), err)
	}
}

// TestBrokenRecord cuts a record at every byte and replaces it by garbage: it
// is either whole or counts as lost.
func TestBrokenRecord(t *testing.T) {
	h := newFakeHost(t)
	if err := bring(t, h, "wg0", files[1], config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(h.records.Dir, "wg0.json")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	broken := [][]byte{[]byte("\x00\xff"), []byte("null"), []byte("[]"), []byte(`{"version":1}`), []byte(`{"version":99,"spec":{"name":"wg0"}}`), []byte(`{"version":1,"spec":{"name":"wg1"}}`)}
	for n := range whole {
		broken = append(broken, whole[:n])
	}
	for _, b := range broken {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := h.records.Load("wg0"); r != nil || err != nil {
			t.Fatalf("%q gives %v, %v", b, r, err)
		}
	}
}

// TestLockExcludes has many goroutines that each believe to be alone, while
// every holder removes the file when it lets go.
func TestLockExcludes(t *testing.T) {
	rs := &Records{Dir: memoryDir(t)}
	var inside, rounds atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 20 {
				unlock, err := rs.Lock(t.Context(), "wg0", func(string) {})
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d at once", n)
				}
				rounds.Add(1)
				inside.Add(-1)
				unlock()
			}
		})
	}
	wg.Wait()
	if rounds.Load() != 320 {
		t.Errorf("%d rounds", rounds.Load())
	}
	if left, err := os.ReadDir(rs.Dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// What a killed writer leaves goes with the next lock of that tunnel; what only
// looks alike stays.
func TestLockSweeps(t *testing.T) {
	rs := &Records{Dir: memoryDir(t)}
	for _, name := range []string{".wg0.json123456", ".wg0.json", ".wg0.jsonx", ".wg0.json7.json123", "wg0.json", ".wg1.json123456"} {
		if err := os.WriteFile(filepath.Join(rs.Dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unlock, err := rs.Lock(t.Context(), "wg0", nil)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	entries, err := os.ReadDir(rs.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if got, want := strings.Join(left, " "), ".wg0.json .wg0.json7.json123 .wg0.jsonx .wg1.json123456 wg0.json"; got != want {
		t.Errorf("left %s, want %s", got, want)
	}
}

// A record keeps the hooks that hold no key but public ones.
func TestRecordedHooks(t *testing.T) {
	public := map[string]bool{key("public"): true}
	got := Hooks{
		Config: "f", PreUp: []string{"a"}, PostUp: []string{"b"},
		PreDown:  []string{"c", "wg set wg0 peer " + key("public") + " remove"},
		PostDown: []string{"echo " + key("private"), "d"},
	}.recorded(public)
	want := Hooks{
		Config: "f", PreUp: []string{"a"}, PostUp: []string{"b"},
		PreDown: []string{"c", "wg set wg0 peer " + key("public") + " remove"}, PostDown: []string{"d"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLockTellsWhoHasIt(t *testing.T) {
	rs := &Records{Dir: memoryDir(t)}
	unlock, err := rs.Lock(t.Context(), "wg0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	told := ""
	if _, err := rs.Lock(ctx, "wg0", func(pid string) { told += pid; cancel() }); err == nil {
		t.Fatal("locked twice")
	}
	if told == "" {
		t.Error("nobody was told")
	}
}
