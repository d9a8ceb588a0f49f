// SPDX-License-Identifier: MIT

package agent

import (
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Supervisor returns how the supervisor that started this process is told of
// it, and how often it wants to hear; without one, nothing is told.
func Supervisor() (notify func(words ...string), watchdog time.Duration) {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		watchdog = 0
	}
	return func(words ...string) {
		// A line each; what can't be told is nothing that the tunnel needs.
		_, _ = daemon.SdNotify(false, strings.Join(words, "\n"))
	}, watchdog
}

// reloading says that a reload begins: RELOADING=1 of sd_notify(3) needs to say
// when.
func reloading() []string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return []string{"RELOADING=1"}
	}
	return []string{"RELOADING=1", "MONOTONIC_USEC=" + strconv.FormatInt(now.Nano()/1000, 10), "STATUS=reloading"}
}
