// SPDX-License-Identifier: MIT

// Package integration drives the built wgctl binary as an administrator
// would, in hosts made of Linux namespaces, and compares what ip, nft, wg and
// the file system show before and after.
//
// It is a black box: it imports nothing of wgctl. One list of tests serves
// both backends: run on a machine whose kernel has no WireGuard it exercises
// the userspace device, run in the virtual machine of integration/vm it
// exercises the kernel module. It is not the place for what a pure package
// can show by a table.
//
// The environment steers it:
//
//	WGCTL_BIN            the wgctl to drive; else it is built once per run
//	WGCTL_WIREGUARD_GO   upstream's wireguard-go; else built from the module cache
//	WGCTL_TEST_BACKEND   kernel or userspace; else probed
//	WGCTL_TEST_SLOW      factor on every time limit (the emulated VM is slow)
//	WGCTL_TEST_CALLS     "sendto|sendmsg" to let only these meet with faults
//	WGCTL_TEST_FAULTS    "all" to fail every system call in turn, "changes" for
//	                     those that may change something, or the number of one;
//	                     else some
//	WGCTL_TEST_STRICT=1  a failed probe fails the test instead of skipping it
package integration
