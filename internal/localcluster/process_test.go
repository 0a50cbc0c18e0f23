package localcluster

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/dialkv/dialkv/store"
)

func TestSignalThatMayNotBeSentSaysWhoCould(t *testing.T) {
	p := Process{ID: "n2", PID: 4711}
	err := p.refused(syscall.SIGTERM, &os.SyscallError{Syscall: "kill", Err: syscall.EPERM})
	var e *store.Error
	if !errors.As(err, &e) || e.Code != store.Denied || e.Node != "n2" || !strings.Contains(err.Error(), "4711") || !strings.Contains(e.Try, "user") {
		t.Errorf("%v, try %q", err, e.Try)
	}
	if other := p.refused(syscall.SIGTERM, fmt.Errorf("odd")); errors.Is(other, store.Denied) {
		t.Errorf("an error that is not about permission: %v", other)
	}
}
