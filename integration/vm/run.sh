# SPDX-License-Identifier: MIT
# The guest's last program: runs the command, notes its exit status, and ends
# the machine.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM="${TERM:-vt100}"
vm=/results/.vm
. $vm/vars

cd /
if [ -n "$INTERACTIVE" ]; then
	# A terminal of its own gives the shell job control.
	busybox setsid busybox cttyhack sh $vm/command </dev/console >/dev/console 2>&1
	echo $? >$vm/status
else
	# By a pipe, for programs not to take the console for a person. A daemon
	# that was left behind may hold it open: no waiting for ever.
	mkfifo /run/console
	cat /run/console &
	reader=$!
	sh $vm/command </dev/null >/run/console 2>&1
	echo $? >$vm/status
	(sleep 5; kill $reader) 2>/dev/null &
	wait $reader
	rm /run/console
fi
sync
echo 0 >/proc/sys/kernel/printk # not the word of its restart, into the output
busybox reboot -f
