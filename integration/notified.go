// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"net"
	"os"
)

// notified is a supervisor in the manner of systemd as far as sd_notify(3)
// goes: it prints what it is told, until it is killed.
func notified(path string) error {
	_ = os.Remove(path)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	fmt.Println("listening")
	buf := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", buf[:n])
	}
}
