// SPDX-License-Identifier: MIT

package netlinkx

// The rules of hooks, which select by source and destination.
func init() {
	conformance = append(conformance, struct {
		name  string
		lines []string
	}{"rules of hooks", []string{
		"rule 4 105 table 5 from 10.9.0.0/16",
		"rule 4 105 table 5 from 10.9.0.0/16 to 10.1.2.3/32",
		"rule 4 105 table 5 from 10.9.0.0/16 => EEXIST",
		"rule 4 105 table 5 from fd00::/8 => EINVAL",
		"rule 6 105 table 5 to fd00::/8",
		"rule- 4 105 table 5 => ENOENT, not there",
		"rule- 4 105 table 5 from 10.0.0.0/8 => ENOENT, not there",
		"rule- 4 105 table 5 from 10.9.0.0/16",
		"rules 87 => 2",
	}})
}
