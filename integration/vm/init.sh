#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# First process of the guest, in the initramfs: reaches the machine's root by
# virtiofs, lays memory over it, and runs the second stage in there.
/bin/busybox --install -s /bin
export PATH=/bin

halt() {
	echo "vm: $*" >/dev/console
	reboot -f
}

mount -t proc proc /proc
mount -t devtmpfs dev /dev
for m in /modules/*; do
	insmod "$m" || halt "loading $m failed"
done
mount -t virtiofs -o ro root /lower || halt "mounting the machine's root failed"
mount -t tmpfs -o mode=0755 upper /upper
mkdir /upper/upper /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work overlay /root ||
	halt "laying memory over the root failed"
mkdir -p /root/results
mount -t virtiofs results /root/results || halt "mounting the shared folder failed"
mount --move /dev /root/dev
umount /proc
exec switch_root -c /dev/console /root /bin/sh /results/.vm/stage2
