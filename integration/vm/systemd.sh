# SPDX-License-Identifier: MIT
# Sourced by the second stage: makes of this machine's root a host that boots
# systemd, and of what is to run a unit at the end of its boot. All that it
# changes lies over the root, in memory.

# Packages that would act on the machine itself if they were installed there;
# scripts/witnesses unpacks them.
[ ! -d "$SYSTEMD" ] || cp -a "$SYSTEMD"/. /

# Nothing of this machine starts: what a test wants, it enables. What systemd
# itself wants at boot stays, if a host in memory has use for it.
etc=/etc/systemd/system lib=/usr/lib/systemd/system
rm -rf $etc/* /etc/rc?.d /etc/fstab /etc/network/interfaces
unwanted=
for unit in $lib/sysinit.target.wants/* $lib/sockets.target.wants/* $lib/timers.target.wants/* $lib/multi-user.target.wants/*; do
	case ${unit##*/} in
	dbus.socket | systemd-journald* | systemd-tmpfiles-setup.service | systemd-udev*) ;;
	*) unwanted="$unwanted $unit" ;;
	esac
done
rm -f $unwanted

# The machine may be a container, the guest isn't one: systemd, which goes by this
# file, would share no mounts with the services that it starts, and so hand them
# no credentials.
rm -f /.dockerenv /run/.containerenv

# What generators make units of, consoles to log in at, old init scripts, a table
# of file systems, there shall not be.
rm -rf /usr/lib/systemd/system-generators
mkdir -p /etc/tmpfiles.d
# /tmp is this machine's, and holds what the test built.
ln -sf /dev/null /etc/tmpfiles.d/tmp.conf

echo wgctl-vm >/etc/hostname
[ -s /etc/machine-id ] || echo 00000000000000000000000000000001 >/etc/machine-id
systemd-sysusers 2>/dev/null

# Everything in a guest takes its time.
mkdir -p /etc/systemd/system.conf.d /etc/systemd/journald.conf.d $etc/systemd-udev-trigger.service.d
cat >/etc/systemd/system.conf.d/vm.conf <<-END
	[Manager]
	DefaultTimeoutStartSec=10min
	DefaultTimeoutStopSec=10min
	DefaultDeviceTimeoutSec=10min
	ShowStatus=no
END
cat >/etc/systemd/journald.conf.d/vm.conf <<-END
	[Journal]
	Storage=volatile
	Compress=no
	ForwardToSyslog=no
	ForwardToWall=no
	RateLimitIntervalSec=0
END
# Of devices, only links matter here.
cat >$etc/systemd-udev-trigger.service.d/vm.conf <<-END
	[Service]
	ExecStart=
	ExecStart=-udevadm trigger --action=add --subsystem-match=net
END
cat >$etc/vm-command.service <<-END
	[Unit]
	Description=What this guest was booted for
	After=multi-user.target
	[Service]
	Type=exec
	ExecStart=/bin/sh $vm/run
	StandardOutput=tty
	StandardError=tty
	TTYPath=/dev/console
	OOMPolicy=continue
END
# A boot that fails says why, and ends.
cat >$etc/emergency.service <<-END
	[Unit]
	DefaultDependencies=no
	[Service]
	ExecStart=/bin/sh -c 'echo "vm: systemd did not get to its target:"; journalctl -b --no-pager | tail -n 100; busybox reboot -f'
	StandardOutput=tty
	StandardError=tty
	TTYPath=/dev/console
END
cat >$etc/vm.target <<-END
	[Unit]
	Requires=multi-user.target
	After=multi-user.target
	Wants=vm-command.service
	AllowIsolate=yes
END
ln -s vm.target $etc/default.target
