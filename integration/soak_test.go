// SPDX-License-Identifier: MIT

package integration

import (
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// soakCycles is how often a tunnel comes and goes: 2,000 times in a whole sweep.
func soakCycles(t *testing.T) int {
	if slowness() > 1 {
		return repeated(t, 15, 60)
	}
	return repeated(t, 15, 2000)
}

// repeated is how often something is done: as WGCTL_TEST_ROUNDS says, else a
// few times, or many in a whole sweep.
func repeated(t *testing.T, few, whole int) int {
	t.Helper()
	text := os.Getenv("WGCTL_TEST_ROUNDS")
	switch n, err := strconv.Atoi(text); {
	case text != "" && (err != nil || n < 3):
		t.Fatalf("WGCTL_TEST_ROUNDS: %q is no number of rounds", text)
	case text != "":
		return n
	case wholeSweep():
		return whole
	}
	return few
}

// resources are what a host holds beyond what Snapshot shows: sockets of every
// kind, open files, neighbours and groups.
func (h *Host) resources() string {
	h.t.Helper()
	return h.Sh(`grep -h inuse /proc/net/sockstat /proc/net/sockstat6 | sed 's/ mem [0-9]*//; s/ alloc [0-9]*//'
		for f in netlink unix packet raw raw6 udp udp6 igmp6; do echo "$f $(wc -l </proc/net/$f)"; done
		echo "neighbours $(ip neigh | wc -l)"
		echo "files $(find /run /etc/wireguard | wc -l)"
		echo "descriptors of 1: $(ls /proc/1/fd | wc -l)"
		nft list tables | sed 's/^/nft /'`).Stdout
}

// comesBack fails the test unless the resources come to be what they were.
func (h *Host) comesBack(before string) {
	h.t.Helper()
	now := ""
	for deadline := time.Now().Add(Timeout(5 * time.Second)); time.Now().Before(deadline); time.Sleep(Timeout(50 * time.Millisecond)) {
		if now = h.resources(); now == before {
			return
		}
	}
	h.t.Errorf("%s: resources:\n%s", h.Name, Diff(before, now))
}

// A tunnel that comes and goes again and again, and one that is reloaded as
// often, leaves no more behind than the first time: no route, rule, table,
// socket, descriptor, process, file, nor memory of the kernel's.
func TestSoak(t *testing.T) {
	Need(t, "nft")
	if !wholeSweep() {
		onceForAll(t) // a few cycles tell nothing of the kernel's memory
	}
	h := newTunnelHost(t, "h")
	files := []string{fullTunnel(t, 0), splitTunnel(t, "Address = fd08::2/64")}
	cycle := func(n int) {
		h.WriteFile(configOf("wg0"), files[n%2])
		wgctlOK(h, "up", "wg0")
		wgctlOK(h, "down", "wg0")
	}
	cycle(0)
	cycle(1)
	WaitFor(t, 5*time.Second, "the process of the device to end", func() bool { return len(h.Processes()) == 0 })
	before, held := h.Snapshot(), h.resources()
	cycles := soakCycles(t)
	memory := map[int]int{}
	for n := range cycles {
		if n == cycles/3 || n == cycles*2/3 {
			memory[n] = h.slab()
		}
		cycle(n)
	}
	h.Unchanged(before)
	h.comesBack(held)
	h.grewLittle("up and down", memory[cycles/3], memory[cycles*2/3], cycles/3)

	wgctlOK(h, "up", "wg0")
	reload := func(n int) {
		h.WriteFile(configOf("wg0"), files[n%2])
		wgctlOK(h, "reload", "--yes", "wg0")
	}
	even := cycles / 2 * 2
	reload(0)
	reload(1)
	up, held := h.held()
	for n := range even {
		reload(n)
	}
	h.comesBack(up)
	WaitFor(t, 5*time.Second, "the device's process to have "+held+" descriptors again", func() bool { return h.descriptors() == held })
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)
	t.Logf("%d times up and down, %d reloads", cycles+3, even+2)
}

// held are the resources and the descriptors when nobody closes one any more: a
// device has the last connection to it a moment longer than who made it.
func (h *Host) held() (resources, descriptors string) {
	h.t.Helper()
	WaitFor(h.t, 5*time.Second, "the resources to stay", func() bool {
		wasResources, wasDescriptors := resources, descriptors
		time.Sleep(Timeout(50 * time.Millisecond))
		resources, descriptors = h.resources(), h.descriptors()
		return resources == wasResources && descriptors == wasDescriptors
	})
	return resources, descriptors
}

// descriptors counts those of the processes that serve devices.
func (h *Host) descriptors() string {
	h.t.Helper()
	return h.Sh(`for p in $(pgrep -f '[d]evice-serve' || :); do ls /proc/$p/fd; done | wc -l`).Stdout
}

// slab is how many bytes the kernel's own objects take, where nobody else is at
// work: in a guest.
func (h *Host) slab() (bytes int) {
	h.t.Helper()
	if Backend() != Kernel || slowness() == 1 {
		return 0
	}
	text := h.Sh("sync; echo 3 >/proc/sys/vm/drop_caches; sleep 1; cat /proc/slabinfo").Stdout
	for _, m := range regexp.MustCompile(`(?m)^\S+ +(\d+) +\d+ +(\d+) `).FindAllStringSubmatch(text, -1) {
		active, _ := strconv.Atoi(m[1])
		size, _ := strconv.Atoi(m[2])
		bytes += active * size
	}
	if bytes == 0 {
		h.t.Fatalf("/proc/slabinfo: %s", text)
	}
	return bytes
}

// grewLittle fails the test if the kernel's memory grew in each cycle by more
// than a small object. Few cycles tell nothing of that.
func (h *Host) grewLittle(what string, before, after, cycles int) {
	h.t.Helper()
	if before == 0 || cycles < 10 {
		return
	}
	each := (after - before) / cycles
	h.t.Logf("%s: the kernel's objects took %d bytes, and %d after %d cycles: %d a cycle", what, before, after, cycles, each)
	if each > 4096 {
		h.t.Errorf("%s: %d bytes of kernel memory are lost in each cycle", what, each)
	}
}
