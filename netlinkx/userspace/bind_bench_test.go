// SPDX-License-Identifier: MIT

package userspace

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// upstreamEnv makes a device of a benchmark take upstream's bind.
const upstreamEnv = "WGCTL_TEST_UPSTREAM_BIND"

func init() {
	if os.Getenv(upstreamEnv) != "" {
		newBind = func(in *intake) conn.Bind {
			in.grow() // it doesn't say when it has packets
			return conn.NewDefaultBind()
		}
	}
}

// pairs is how often ours and upstream's are measured, one after the other.
const pairs = 3

// BenchmarkThroughput compares, by iperf3 between two namespaces, one TCP
// stream through two devices with our bind and with upstream's: the same
// binary, one after the other, several times. It reports the medians, of the
// throughput and of the processor time of both devices, which a busy machine
// disturbs less: `go test -run '^$' -bench Throughput -benchtime 1x`.
func BenchmarkThroughput(b *testing.B) {
	if os.Getenv(insideEnv) != "" {
		settle(b)
		benchmarkInside(b)
		return
	}
	if _, err := exec.LookPath("iperf3"); err != nil {
		missing(b, "probe: %v", err)
	}
	for _, streams := range []string{"1", "4"} {
		b.Run(streams+"-streams", func(b *testing.B) {
			for b.Loop() {
				var speed, cost [2][]float64
				for n := range 2 * pairs {
					i := (n + n/2) % 2 // which of the two goes first alternates
					s, c := measure(b, streams, []string{"", upstreamEnv + "=1"}[i])
					speed[i], cost[i] = append(speed[i], s), append(cost[i], c)
				}
				b.Logf("Gbit/s: ours %.2f, upstream %.2f; processor s/GB: ours %.2f, upstream %.2f", speed[0], speed[1], cost[0], cost[1])
				b.ReportMetric(median(speed[0]), "Gbit/s")
				b.ReportMetric(median(speed[1]), "upstream-Gbit/s")
				b.ReportMetric(median(speed[0])/median(speed[1]), "ratio")
				b.ReportMetric(median(cost[0])/median(cost[1]), "cost-ratio")
			}
		})
	}
}

func median(v []float64) float64 { return slices.Sorted(slices.Values(v))[len(v)/2] }

// measure returns the throughput in Gbit/s, and the processor time of the
// devices in seconds a gigabyte, measured in namespaces of its own.
func measure(b *testing.B, streams, env string) (speed, cost float64) {
	b.Helper()
	cmd := inside("-test.run=^$", "-test.bench=BenchmarkThroughput", "-test.benchtime=1x", "-test.timeout=120s")
	cmd.Env = append(os.Environ(), insideEnv+"="+streams, env)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if s, ok := strings.CutPrefix(line, "throughput "); ok {
			if _, err := fmt.Sscan(s, &speed, &cost); err == nil {
				return speed, cost
			}
		}
	}
	b.Fatalf("no throughput in\n%s", out)
	return 0, 0
}

func benchmarkInside(b *testing.B) {
	pair(b)
	server := exec.Command("ip", "netns", "exec", "ns1", "iperf3", "-s", "-1")
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	eventually(b, "iperf3 listens", func() bool {
		out, _ := exec.Command("ip", "netns", "exec", "ns1", "ss", "-Hltn", "sport = 5201").Output()
		return len(out) > 0
	})
	out := run(b, "ip", "netns", "exec", "ns0", "iperf3", "-J", "-t", "4", "-O", "1", "-P", os.Getenv(insideEnv), "-c", "10.0.0.2")
	if err := server.Wait(); err != nil {
		b.Fatal(err)
	}
	var report struct {
		End struct {
			Received struct {
				Bytes float64 `json:"bytes"`
				Bits  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		b.Fatal(err)
	}
	received := report.End.Received
	used := processorTime(b, "wg0") + processorTime(b, "wg1")
	fmt.Printf("\nthroughput %f %f\n", received.Bits/1e9, used.Seconds()/received.Bytes*1e9)
}

// processorTime returns what a device's process has used: proc_pid_stat(5).
func processorTime(b *testing.B, ifname string) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", deviceProcess(b, ifname)))
	if err != nil {
		b.Fatal(err)
	}
	_, fields, _ := strings.Cut(string(stat), ") ")
	var ticks [2]int64 // user and system, of 10 ms
	for i := range ticks {
		if ticks[i], err = strconv.ParseInt(strings.Fields(fields)[11+i], 10, 64); err != nil {
			b.Fatal(err)
		}
	}
	return time.Duration(ticks[0]+ticks[1]) * 10 * time.Millisecond
}

// BenchmarkBind measures the bind alone, without a cipher: a batch of packets
// to itself over the loopback link, sent and received by one goroutine.
func BenchmarkBind(b *testing.B) {
	for name, open := range map[string]func() conn.Bind{
		"ours":     func() conn.Bind { return new(bind) },
		"upstream": conn.NewDefaultBind,
	} {
		for _, size := range []int{1452, 148} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) { benchmarkBind(b, open(), size) })
		}
	}
}

func benchmarkBind(b *testing.B, bind conn.Bind, size int) {
	// A thread of its own in a namespace of its own, never to be used again.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		missing(b, "probe: making a namespace: %v", err)
	}
	run(b, "ip", "link", "set", "lo", "up")
	fns, port, err := bind.Open(0)
	if err != nil {
		b.Fatal(err)
	}
	defer bind.Close()
	to, err := bind.ParseEndpoint(fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		b.Fatal(err)
	}
	const count = 40
	in, sizes, eps := make([][]byte, batchSize), make([]int, batchSize), make([]conn.Endpoint, batchSize)
	for i := range in {
		in[i] = make([]byte, 1<<16)
	}
	// As in a device, where each packet has room behind it.
	out := make([][]byte, count)
	for i := range out {
		out[i] = make([]byte, size, 1<<16)
	}
	b.SetBytes(int64(count * size))
	for b.Loop() {
		if err := bind.Send(out, to); err != nil {
			b.Fatal(err)
		}
		for n := 0; n < count; {
			got, err := fns[0](in, sizes, eps)
			if err != nil {
				b.Fatal(err)
			}
			for i := range got {
				if sizes[i] > 0 {
					n++
				}
			}
		}
	}
}
