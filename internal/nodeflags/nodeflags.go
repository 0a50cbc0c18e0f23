// Package nodeflags turns flags and environment into a [node.Config] and runs the
// node. It is the whole of kvnode, and of the command by which kvctl starts itself
// as a node.
//
// A flag wins over the environment variable of the same name: --allow-faults over
// KV_ALLOW_FAULTS. Nothing else of the environment is read here.
package nodeflags

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/spf13/pflag"

	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/store"
)

// flags are what a node is told on the command line.
type flags struct {
	set      *pflag.FlagSet
	cfg      node.Config
	insecure bool
	traceTo  string
}

func newFlags(usage io.Writer) *flags {
	f := &flags{set: pflag.NewFlagSet("kvnode", pflag.ContinueOnError)}
	s := f.set
	s.SortFlags = false
	s.SetOutput(usage)
	s.StringVar(&f.cfg.Node, "id", "", "the node's name, never used again for another data directory (needed)")
	s.StringVar(&f.cfg.Data, "data", "", "directory of everything the node keeps (needed)")
	s.StringVar(&f.cfg.Network.Listen, "listen", "127.0.0.1:7400", "address for clients, peers and Raft")
	s.StringVar(&f.cfg.Network.Gossip, "gossip", "127.0.0.1:7401", "address for membership, TCP and UDP")
	s.StringVar(&f.cfg.Network.Admin, "admin", "", "address for health and metrics over HTTP, for example 127.0.0.1:7402 (default: none)")
	s.StringVar(&f.cfg.Network.Web, "web", "", "address for the page that shows the cluster in a browser, for example 127.0.0.1:7070 (default: none)")
	s.StringSliceVar(&f.cfg.Join, "join", nil, "--listen addresses of nodes to join; without it an empty directory founds a cluster")
	s.StringVar(&f.cfg.Zone, "zone", "", "where the node stands")
	s.IntVar(&f.cfg.Expect, "expect", 0, "count as ready only once the cluster has had this many nodes")
	s.BoolVar(&f.cfg.AllowFaults, "allow-faults", false, "let the admin API cut and slow this node's links")
	s.StringVar(&f.cfg.RaftLog, "raft-log", "", "where Raft keeps its log: engine or boltdb (default: engine for keyspaces, boltdb for the catalog)")
	s.StringVar(&f.traceTo, "trace-to", "", "where spans of traced requests go: a file, or the http URL of an OTLP collector such as http://127.0.0.1:4318 (default: only back to clients that ask for them)")
	s.BoolVar(&f.insecure, "insecure", false, "allow an address that is not loopback, without TLS")
	s.Usage = func() {
		fmt.Fprintf(usage, "kvnode runs one node of a cluster until it is interrupted.\n\n%s", s.FlagUsages())
	}
	return f
}

// parse returns the configuration, or store.Invalid. getenv is os.Getenv.
func (f *flags) parse(args []string, getenv func(string) string) (node.Config, error) {
	err := f.set.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return node.Config{}, err
	case err != nil:
		return node.Config{}, &store.Error{Code: store.Invalid, Msg: err.Error(), Try: "kvnode --help"}
	case f.set.NArg() > 0:
		return node.Config{}, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%q is not a flag", f.set.Arg(0)), Try: "kvnode --help"}
	}
	if err := f.fromEnvironment(getenv); err != nil {
		return node.Config{}, err
	}
	return f.cfg, f.check()
}

func (f *flags) fromEnvironment(getenv func(string) string) (err error) {
	f.set.VisitAll(func(flag *pflag.Flag) {
		name := "KV_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		value := getenv(name)
		if flag.Changed || value == "" || err != nil {
			return
		}
		if bad := f.set.Set(flag.Name, value); bad != nil {
			err = &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%s is %q", name, value), Cause: bad, Try: "kvnode --help"}
		}
	})
	return err
}

// check refuses what package node, which does not know of flags, would accept.
func (f *flags) check() error {
	if f.cfg.Node == "" {
		return &store.Error{Code: store.Invalid, Msg: "the node has no name", Try: "kvnode --id n1 --data DIR"}
	}
	for _, a := range []struct{ flag, addr string }{{"--listen", f.cfg.Network.Listen}, {"--gossip", f.cfg.Network.Gossip}, {"--admin", f.cfg.Network.Admin}, {"--web", f.cfg.Network.Web}} {
		if (a.flag == "--admin" || a.flag == "--web") && a.addr == "" {
			continue
		}
		host, _, err := net.SplitHostPort(a.addr)
		if err != nil {
			return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%s %q is not host:port", a.flag, a.addr), Cause: err, Try: a.flag + " 127.0.0.1:7400"}
		}
		if !f.insecure && !loopback(host) {
			return &store.Error{
				Code: store.Invalid,
				Msg:  fmt.Sprintf("%s %s can be reached from other machines, and nothing is encrypted", a.flag, a.addr),
				Try:  a.flag + " on 127.0.0.1, or --insecure on a network that you trust",
			}
		}
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
