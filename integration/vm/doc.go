// SPDX-License-Identifier: MIT

// Package vm runs commands in a virtual machine with a kernel of Debian, for
// what the machine's own kernel cannot do: the WireGuard module, or a host
// without nf_tables.
//
// The guest sees this machine's root read-only under a copy on write in
// memory, so it has the same programs and the test binaries that were built
// here; nothing is installed, and nothing that it does stays, except in one
// shared folder. It needs root, QEMU with virtiofsd, a static busybox, kmod and
// (once, to fetch the kernels) apt.
//
// With systemd as its init the guest is a booted host: udev, D-Bus and the
// journal are there, the command is the last unit of the boot, and of this
// machine's own units none is enabled.
//
// It is not a hypervisor's front end: one boot is one command.
//
// The environment steers it:
//
//	WGCTL_VM_CACHE   where kernels are kept; default wgctl-vm in the user's cache
//	WGCTL_SYSTEMD    packages for guests with systemd, unpacked by scripts/witnesses
//	WGCTL_VM_ACCEL   QEMU's accelerator; default tcg, which works anywhere
//	WGCTL_VM_RUN     only the guest tests whose name this pattern matches
package vm
