package localcluster

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
)

const (
	// glance is how often a process is looked at by those who wait for it: the
	// system has no event for a process that is not our child.
	glance       = 10 * time.Millisecond
	endPatience  = 10 * time.Second // for an orderly end, before a process is killed
	killPatience = 5 * time.Second  // for the system to bury it; a disk in trouble may hold it
)

// alive reports whether the process that was started is still there.
func (p Process) alive() bool {
	started, _, ok := look(p.PID)
	return ok && started == p.Started
}

// State is up, paused or down.
func (p Process) State() string {
	started, paused, ok := look(p.PID)
	switch {
	case !ok || started != p.Started:
		return "down"
	case paused:
		return "paused"
	}
	return "up"
}

// gone reports whether the process has ended within so long.
func (p Process) gone(within time.Duration) bool {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for deadline := time.Now().Add(within); p.alive(); <-tick.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// end asks the process to end, and kills it when it does not in time.
func (p Process) end() error {
	there, err := p.send(sigEnd)
	if err != nil || !there {
		return err
	}
	if _, err := p.send(sigResume); err != nil { // one that is stopped does not hear
		return err
	}
	if p.gone(endPatience) {
		return nil
	}
	return p.kill()
}

func (p Process) kill() error {
	if _, err := p.send(sigKill); err != nil {
		return err
	}
	if !p.gone(killPatience) {
		return &store.Error{Code: store.Unavailable, Node: p.ID, Msg: fmt.Sprintf("process %d did not end by SIGKILL in %v", p.PID, killPatience)}
	}
	return nil
}

// log is the file that the node writes what it has to say to.
func (e Entry) log(id string) string { return filepath.Join(e.Dir, id, "node.log") }

// data is where the node keeps its data.
func (e Entry) data(id string) string { return filepath.Join(e.Dir, id, "data") }

// spawn starts the process of a node and notes it.
func (e Entry) spawn(command []string, p *Process) error {
	dir := filepath.Join(e.Dir, p.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("localcluster: %w", err)
	}
	out, err := os.OpenFile(e.log(p.ID), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("localcluster: %w", err)
	}
	defer out.Close()
	args := append(command[1:len(command):len(command)],
		"--id", p.ID, "--data", e.data(p.ID), "--listen", p.Listen, "--gossip", p.Gossip, "--admin", p.Admin, "--expect", strconv.Itoa(len(e.Nodes)))
	if !e.Bare {
		args = append(args, "--allow-faults")
	}
	if join := e.join(p.ID); join != "" {
		args = append(args, "--join", join)
	}
	cmd := exec.Command(command[0], args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env, cmd.SysProcAttr = dir, out, out, environment(), detached()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("localcluster: start %s: %w", p.ID, err)
	}
	p.PID = cmd.Process.Pid
	p.Started, _, _ = look(p.PID)
	return cmd.Process.Release()
}

// join is what a node is told to join: nobody if it is to found the cluster, the
// founder at first, and everybody later.
func (e Entry) join(id string) string {
	founder := e.Nodes[0]
	if !e.Founded {
		if id == founder.ID {
			return ""
		}
		return founder.Listen
	}
	var others []string
	for _, p := range e.Nodes {
		if p.ID != id {
			others = append(others, p.Listen)
		}
	}
	return strings.Join(others, ",")
}

// environment is ours, without the settings that are given as flags. Where spans go is
// not: see docs/how-to/trace-a-slow-call.md.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "KV_") || mutant.Enabled && strings.HasPrefix(v, mutant.Switch("")) || strings.HasPrefix(v, "KV_TRACE_TO=") {
			env = append(env, v)
		}
	}
	return env
}

// lastError is why a node's process ended before it was ready, as the end of its log
// says it: kvnode writes its error, which begins with the code, and what to try.
func (e Entry) lastError(id string) error {
	last, try := e.lastWords(id)
	why := &store.Error{
		Code: store.Unavailable, Node: id, Msg: "the process ended before it was ready: " + last,
		Try: "kvctl cluster logs --name " + e.Name + " " + id,
	}
	// PROGRAM: CODE at NODE: message
	if words := strings.Fields(last); len(words) > 1 {
		if code := store.Code(strings.TrimSuffix(words[1], ":")); slices.Contains(store.Codes, code) {
			why.Code = code
		}
	}
	if try != "" {
		why.Try = try
	}
	return why
}

// lastWords is the last line of a node's log that says why it ended, and what it says
// to try.
func (e Entry) lastWords(id string) (last, try string) {
	f, err := os.Open(e.log(id))
	if err != nil {
		return "it left no log", ""
	}
	defer f.Close()
	last = "its log is empty"
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		advice, is := strings.CutPrefix(line, "try: ")
		switch {
		case is:
			try = advice
		case line != "":
			last, try = line, ""
		}
	}
	return last, try
}

// portsOfNode is how many addresses a node listens at.
const portsOfNode = 3

func processAt(id string, ports []string) Process {
	return Process{ID: id, Listen: ports[0], Gossip: ports[1], Admin: ports[2]}
}

// freePorts finds addresses on loopback that nobody listens on, TCP and UDP. They
// are below those that systems lend to outgoing connections, so that they are
// still free at a restart.
func freePorts(n int) ([]string, error) {
	const first, last = 12000, 32000
	var addrs []string
	for range 100 * n {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(last-first)))
		if !free(addr) || strings.Contains(strings.Join(addrs, " ")+" ", addr+" ") {
			continue
		}
		if addrs = append(addrs, addr); len(addrs) == n {
			return addrs, nil
		}
	}
	return nil, &store.Error{Code: store.Unavailable, Msg: fmt.Sprintf("%d free ports were looked for between %d and %d, %d were found", n, first, last, len(addrs))}
}

func free(addr string) bool {
	streams, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	packets, err := net.ListenPacket("udp", addr)
	if err == nil {
		err = packets.Close()
	}
	return errors.Join(err, streams.Close()) == nil
}

// signal sends to a process that must be there.
func (p Process) signal(sig syscall.Signal) error {
	there, err := p.send(sig)
	if err == nil && !there {
		return &store.Error{Code: store.Unavailable, Node: p.ID, Msg: "the process is down", Try: "kvctl node restart " + p.ID}
	}
	return err
}

// refused is the error of a signal that was not sent. The process goes on.
func (p Process) refused(sig syscall.Signal, err error) error {
	e := &store.Error{Code: store.Unknown, Node: p.ID, Msg: fmt.Sprintf("process %d could not be sent the signal %q", p.PID, sig), Cause: err}
	if errors.Is(err, os.ErrPermission) {
		e.Code, e.Try = store.Denied, "the user that started the cluster, or a cluster of your own: kvctl cluster start"
	}
	return e
}
