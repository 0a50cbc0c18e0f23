//go:build unix

package localcluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// Signals of a node's life.
const (
	sigEnd    = syscall.SIGTERM
	sigKill   = syscall.SIGKILL
	sigPause  = syscall.SIGSTOP
	sigResume = syscall.SIGCONT
)

// detached lets a process outlive the one that started it, and its terminal.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// look returns when the process began, in words that no later process of the same
// pid can have, and whether it is stopped. ok is false if there is none. A dead
// child of ours is buried here.
func look(pid int) (started string, paused, ok bool) {
	if pid <= 0 {
		return "", false, false
	}
	started, state := fromProc(pid)
	if started == "" {
		started, state = fromPS(pid)
	}
	if state == 'Z' || state == 'X' {
		var status syscall.WaitStatus
		_, _ = syscall.Wait4(pid, &status, syscall.WNOHANG, nil) // another's child is another's to bury
		return "", false, false
	}
	return started, state == 'T', started != ""
}

// fromProc reads fields 3 (state) and 22 (start, in ticks since the machine began)
// of proc(5), which come after the command in brackets.
func fromProc(pid int) (started string, state byte) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(fields) < 20 {
		return "", 0
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[19], fields[0][0]
}

// fromPS is for systems without /proc.
func fromPS(pid int) (started string, state byte) {
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		return "", 0
	}
	out, err := exec.Command("ps", "-o", "state=,lstart=", "-p", strconv.Itoa(pid)).Output()
	condition, began, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || !ok {
		return "", 0
	}
	return strings.TrimSpace(began), condition[0]
}

// send sends a signal to the process, if it is still the one that began then. It
// reports whether it was there.
func (p Process) send(sig syscall.Signal) (bool, error) {
	handle, err := os.FindProcess(p.PID) // on Linux a handle that keeps the pid from being used again
	if err != nil {
		return false, nil
	}
	defer func() { _ = handle.Release() }()
	if !p.alive() {
		return false, nil
	}
	err = handle.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return false, nil
	}
	if err != nil {
		return true, p.refused(sig, err)
	}
	return true, nil
}

// lockFile waits until no other process holds the lock.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err == nil {
			return func() { _ = f.Close() }, nil // which unlocks
		}
		if !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
	}
}
