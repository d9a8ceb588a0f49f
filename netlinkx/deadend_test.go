// SPDX-License-Identifier: MIT

package netlinkx

// deadEndConformance is the row of conformance for routes that lead through no
// link.
var deadEndConformance = struct {
	name  string
	lines []string
}{"dead ends", []string{
	"tun t0",
	"set t0 0 up",
	"route t0 throw 10.0.0.0/8 table 51820",
	"route t0 throw 10.0.0.0/8 table 51820 => EEXIST",
	"route t0 unreachable 10.0.0.0/8 table 51820 => EEXIST",
	"route t0 10.0.0.0/8 table 51820 => EEXIST",
	"route t0 10.9.0.0/16 table 51820",
	"route t0 throw 10.9.0.0/16 table 51820 => EEXIST",
	"route t0 unreachable 0.0.0.0/0 table 51820 metric 4278198272",
	"route t0 unreachable ::/0 table 51820 metric 4278198272",
	"routes t0 0.0.0.0/0,51820 ::/0,51820",
	"route t1 throw fd00:5::/64 table 51820",
	"rule 4 100 table 51820",
	"path 10.1.0.1 => ENETUNREACH",
	"path 10.9.0.1 => t0 1500",
	"path 192.0.2.1 => t0 1500",
	"route- t0 0.0.0.0/0 table 51820",
	"path 192.0.2.1 => EHOSTUNREACH",
	"route- t0 unreachable 10.0.0.0/8 table 51820 => ESRCH, not there",
	"route- t1 throw 10.0.0.0/8 table 51820",
	"route- t1 throw fd00:5::/64 table 51820",
	"route- t1 unreachable 0.0.0.0/0 table 51820 metric 4278198272",
	"route- t1 unreachable 0.0.0.0/0 table 51820 metric 4278198272 => ESRCH, not there",
	"path 192.0.2.1 => ENETUNREACH",
}}
