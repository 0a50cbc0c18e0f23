//go:build !unix

package localcluster

import (
	"syscall"

	"github.com/dialkv/dialkv/store"
)

// There are no such signals here.
const (
	sigEnd    = syscall.Signal(15)
	sigKill   = syscall.Signal(9)
	sigPause  = syscall.Signal(19)
	sigResume = syscall.Signal(18)
)

func detached() *syscall.SysProcAttr { return nil }

func look(int) (started string, paused, ok bool) { return "", false, false }

func (p Process) send(syscall.Signal) (bool, error) { return false, unsupported() }

func lockFile(string) (unlock func(), err error) { return nil, unsupported() }

func unsupported() error {
	return &store.Error{Code: store.Unsupported, Msg: "clusters of processes need a Unix system", Try: "kvctl demo, which runs in one process"}
}
