// SPDX-License-Identifier: MIT

package vm

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Machine is what to boot. The zero value of every field but Kernel is a
// good default.
type Machine struct {
	Kernel     string   // series: "6.1" or "6.12"
	NoNftables bool     // no nf_tables module and no nft, iptables is iptables-legacy
	Init       string   // "systemd": booted by it, with udev, D-Bus and the journal; default nothing
	CPUs       int      // default 1 where the processor is emulated, else 2
	MemoryMiB  int      // default 3072
	Env        []string // KEY=value, for the command
	Dir        string   // where the command starts, a folder of this machine; default /

	// Prepare is a shell script that runs, with Env, before Init does: what it
	// installs and enables is there at boot.
	Prepare string

	// Share is a folder of this machine that the guest may write to, as
	// /results. Default is one that is removed at the end.
	Share string

	// Stdin, if set, is the guest's keyboard, and the command gets a terminal.
	Stdin *os.File
}

// The scripts of the guest, each read by the one before it.
var (
	//go:embed stage2.sh
	stage2 []byte
	//go:embed systemd.sh
	systemd []byte
	//go:embed run.sh
	run []byte
)

// Probe says why this machine cannot run a guest; nil if it can. It doesn't
// tell whether kernels can be fetched.
func Probe() error {
	if os.Geteuid() != 0 {
		return errors.New("not root, which virtiofsd needs to share /")
	}
	for _, p := range []string{"qemu-system-x86_64", "busybox", "modprobe", "depmod", "dpkg", "apt-get"} {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%s is not installed", p)
		}
	}
	_, err := virtiofsd()
	return err
}

// virtiofsd finds the daemon, which no distribution has in PATH.
func virtiofsd() (string, error) {
	for _, path := range []string{"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd"} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", errors.New("virtiofsd is not installed")
}

// Run boots the machine, runs a command in it, and returns the command's exit
// status. Everything that the command prints, and nothing else unless the boot
// fails, goes to console as it comes. The error tells that the guest did not
// get to the command's end; cancelling ctx kills the guest.
func (m Machine) Run(ctx context.Context, console io.Writer, command ...string) (int, error) {
	// The children die with the thread that made them (see start): keep it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	if m.Init != "" && m.Init != "systemd" {
		return 0, fmt.Errorf("no init %q: there is systemd", m.Init)
	}
	k, err := fetchKernel(ctx, m.Kernel)
	if err != nil {
		return 0, err
	}
	private, err := os.MkdirTemp("", "wgctl-vm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(private)
	if m.Share == "" {
		m.Share = filepath.Join(private, "results")
	}
	control := filepath.Join(m.Share, ".vm")
	if err := m.writeControl(control, k, command); err != nil {
		return 0, fmt.Errorf("preparing the guest: %w", err)
	}
	defer os.RemoveAll(control)
	initrd := filepath.Join(private, "initrd")
	if err := writeFile(initrd, func(w io.Writer) error { return writeInitramfs(ctx, w, k) }); err != nil {
		return 0, fmt.Errorf("making the initramfs: %w", err)
	}
	if err := m.boot(ctx, console, private, k.image, initrd); err != nil {
		return 0, err
	}
	return readStatus(control)
}

// writeControl writes the folder by which the second stage learns what to do.
func (m Machine) writeControl(dir string, k kernel, command []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var vars, script strings.Builder
	fmt.Fprintf(&vars, "RELEASE=%s\nMODULES=%s\n", quote(k.release), quote(k.modules()))
	fmt.Fprintf(&vars, "NO_NFTABLES=%s\nINTERACTIVE=%s\n", flag(m.NoNftables), flag(m.Stdin != nil))
	fmt.Fprintf(&vars, "INIT=%s\nSYSTEMD=%s\n", quote(m.Init), quote(systemdTree()))
	for _, e := range m.Env {
		key, value, _ := strings.Cut(e, "=")
		fmt.Fprintf(&script, "export %s=%s\n", key, quote(value))
	}
	prepare := script.String() + m.Prepare
	if m.Dir != "" {
		fmt.Fprintf(&script, "cd %s || exit\n", quote(m.Dir))
	}
	script.WriteString("exec")
	for _, word := range command {
		script.WriteString(" " + quote(word))
	}
	script.WriteString("\n")
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "stage2"), stage2, 0o644),
		os.WriteFile(filepath.Join(dir, "systemd"), systemd, 0o644),
		os.WriteFile(filepath.Join(dir, "prepare"), []byte(prepare), 0o644),
		os.WriteFile(filepath.Join(dir, "run"), run, 0o644),
		os.WriteFile(filepath.Join(dir, "vars"), []byte(vars.String()), 0o644),
		os.WriteFile(filepath.Join(dir, "command"), []byte(script.String()), 0o644))
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return ""
}

// quote makes a word that a shell reads back as it is.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func writeFile(path string, content func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(content(f), f.Close())
}

func readStatus(control string) (int, error) {
	b, err := os.ReadFile(filepath.Join(control, "status"))
	if err != nil {
		return 0, errors.New("the guest ended before its command did")
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// boot runs QEMU, with one virtiofsd for the root and one for the shared
// folder, until the guest ends.
func (m Machine) boot(ctx context.Context, console io.Writer, private, image, initrd string) error {
	root, results := filepath.Join(private, "root.sock"), filepath.Join(private, "results.sock")
	for _, share := range []struct{ socket, source, cache string }{
		{root, "/", "always"}, // nobody changes it meanwhile, so far as the guest may care
		{results, m.Share, "auto"},
	} {
		stop, err := serve(ctx, share.socket, share.source, share.cache)
		if err != nil {
			return err
		}
		defer stop()
	}
	qemu := start(ctx, "qemu-system-x86_64", m.qemuArgs(image, initrd, root, results)...)
	var complaints bytes.Buffer
	qemu.Stdout, qemu.Stderr = &unixLines{w: console}, &complaints
	if m.Stdin != nil {
		qemu.Stdin = m.Stdin
		qemu.Stdout = console
	}
	if err := qemu.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("running the guest: %w", ctx.Err())
		}
		return fmt.Errorf("running qemu: %w: %s", err, complaints.String())
	}
	return nil
}

func (m Machine) qemuArgs(image, initrd, rootSocket, resultsSocket string) []string {
	accel := os.Getenv("WGCTL_VM_ACCEL")
	cpu, cpus := "host", 2
	if accel == "" || accel == "tcg" {
		// One with little to emulate: programs, of which each asks what the
		// processor can, run up to a fifth faster than on "max". And only one:
		// on two, one now and then meets the breakpoint that the other has
		// already taken out of the kernel's text again (text_poke_bp), and
		// Linux 6.12 dies of "Oops: int3".
		accel, cpu, cpus = "tcg,thread=multi", "Nehalem", 1
	}
	memory := fmt.Sprintf("%dM", orDefault(m.MemoryMiB, 3072))
	return []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none",
		"-machine", "q35", "-accel", accel, "-cpu", cpu, "-smp", strconv.Itoa(orDefault(m.CPUs, cpus)),
		// vhost-user needs the guest's memory to be shareable.
		"-m", memory, "-object", "memory-backend-memfd,id=mem,share=on,size=" + memory, "-numa", "node,memdev=mem",
		"-chardev", "socket,id=root,path=" + rootSocket, "-device", "vhost-user-fs-pci,chardev=root,tag=root",
		"-chardev", "socket,id=results,path=" + resultsSocket, "-device", "vhost-user-fs-pci,chardev=results,tag=results",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-kernel", image, "-initrd", initrd,
		// no_timer_check: on a busy machine an emulated timer may miss the
		// moment in which the kernel looks whether it works at all. norandmaps:
		// QEMU keeps what it translated of a program by its addresses, and
		// programs that start at others each time are translated each time,
		// which doubled what a short one costs.
		"-append", "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off no_timer_check norandmaps",
	}
}

func orDefault(n, or int) int {
	if n == 0 {
		return or
	}
	return n
}

// serve starts virtiofsd for one folder and waits for its socket.
func serve(ctx context.Context, socket, source, cache string) (stop func(), err error) {
	path, err := virtiofsd()
	if err != nil {
		return nil, err
	}
	cmd := start(ctx, path, "--socket-path="+socket, "-o", "source="+source, "-o", "cache="+cache, "-o", "sandbox=chroot")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting virtiofsd: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	stop = func() {
		cmd.Process.Kill()
		<-ended
	}
	for range 1000 {
		if _, err := os.Stat(socket); err == nil {
			return stop, nil
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("sharing %s: %s", source, bytes.TrimSpace(log.Bytes()))
		case <-time.After(10 * time.Millisecond):
		}
	}
	stop()
	return nil, fmt.Errorf("sharing %s: virtiofsd makes no socket", source)
}

// start prepares a child that the kernel kills when this process dies.
func start(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// unixLines drops the carriage returns that a terminal adds.
type unixLines struct{ w io.Writer }

func (u *unixLines) Write(b []byte) (int, error) {
	if _, err := u.w.Write(bytes.ReplaceAll(b, []byte("\r"), nil)); err != nil {
		return 0, err
	}
	return len(b), nil
}
