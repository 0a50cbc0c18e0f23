package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

// etcd is three etcd servers of the embedded package, a process each.
type etcd struct {
	servers   []*exec.Cmd
	endpoints []string
}

func (*etcd) name() string { return "etcd" }

func startEtcd(ctx context.Context, dir string) (*etcd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	e := new(etcd)
	var peers, cluster []string
	for i := range 3 {
		client, peer, err := twoAddresses()
		if err != nil {
			return nil, err
		}
		e.endpoints = append(e.endpoints, client)
		peers = append(peers, peer)
		cluster = append(cluster, fmt.Sprintf("e%d=http://%s", i+1, peer))
	}
	for i := range 3 {
		cmd := exec.CommandContext(ctx, self, "etcd", "-name", fmt.Sprintf("e%d", i+1), "-client", e.endpoints[i],
			"-peer", peers[i], "-cluster", strings.Join(cluster, ","), "-data", filepath.Join(dir, fmt.Sprintf("e%d", i+1)))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return nil, errors.Join(err, e.stop())
		}
		e.servers = append(e.servers, cmd)
	}
	c, err := e.client()
	if err != nil {
		return nil, errors.Join(err, e.stop())
	}
	defer c.Close()
	wait, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		try, cancel := context.WithTimeout(wait, time.Second)
		_, err := c.Put(try, "ready", "yes")
		cancel()
		if err == nil {
			return e, nil
		}
		if wait.Err() != nil {
			return nil, errors.Join(fmt.Errorf("etcd does not answer: %w", err), e.stop())
		}
	}
}

func twoAddresses() (a, b string, err error) {
	l1, err1 := net.Listen("tcp", "127.0.0.1:0")
	l2, err2 := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(err1, err2); err != nil {
		return "", "", err
	}
	a, b = l1.Addr().String(), l2.Addr().String()
	return a, b, errors.Join(l1.Close(), l2.Close())
}

// serveEtcd is the server process. It ends with its parent.
func serveEtcd(args []string) error {
	f := flag.NewFlagSet("etcd", flag.ContinueOnError)
	cfg := embed.NewConfig()
	f.StringVar(&cfg.Name, "name", "", "")
	f.StringVar(&cfg.Dir, "data", "", "")
	f.StringVar(&cfg.InitialCluster, "cluster", "", "")
	client := f.String("client", "", "")
	peer := f.String("peer", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	at := func(addr string) []url.URL { return []url.URL{{Scheme: "http", Host: addr}} }
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = at(*client), at(*client)
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = at(*peer), at(*peer)
	cfg.LogLevel = "fatal" // how it ends is no error
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer server.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parent := os.Getppid()
	for {
		select {
		case err := <-server.Err():
			return err
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
			if os.Getppid() != parent {
				return nil
			}
		}
	}
}

func (e *etcd) client() (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: e.endpoints, DialTimeout: 5 * time.Second})
}

// connections is over how many connections each side spreads its clients.
const connections = 4

func (e *etcd) connect(ctx context.Context, _ int) (operations, error) {
	var all []*clientv3.Client
	closeAll := func() {
		for _, c := range all {
			_ = c.Close()
		}
	}
	leader, err := e.leader(ctx)
	if err != nil {
		return operations{}, err
	}
	// To the leader, as for dialkv; stale reads spread over all.
	var toLeader, spread []*clientv3.Client
	for i := range connections {
		l, err1 := clientv3.New(clientv3.Config{Endpoints: []string{leader}})
		s, err2 := clientv3.New(clientv3.Config{Endpoints: []string{e.endpoints[i%len(e.endpoints)]}})
		if err := errors.Join(err1, err2); err != nil {
			closeAll()
			return operations{}, err
		}
		toLeader, spread, all = append(toLeader, l), append(spread, s), append(all, l, s)
	}
	get := func(from []*clientv3.Client, opts ...clientv3.OpOption) func(context.Context, int, string, []byte) error {
		return func(ctx context.Context, client int, key string, _ []byte) error {
			_, err := from[client%connections].Get(ctx, key, opts...)
			return err
		}
	}
	return operations{
		put: func(ctx context.Context, client int, key string, value []byte) error {
			_, err := toLeader[client%connections].Put(ctx, key, string(value))
			return err
		},
		strong: get(toLeader),
		stale:  get(spread, clientv3.WithSerializable()),
		close:  closeAll,
	}, nil
}

func (e *etcd) leader(ctx context.Context) (string, error) {
	c, err := e.client()
	if err != nil {
		return "", err
	}
	defer c.Close()
	for _, endpoint := range e.endpoints {
		s, err := c.Status(ctx, endpoint)
		if err == nil && s.Leader == s.Header.MemberId {
			return endpoint, nil
		}
	}
	return "", errors.New("etcd has no leader")
}

func (e *etcd) pids() []int { return pidsOf(e.servers) }

func (e *etcd) stop() error { return stopAll(e.servers) }

func pidsOf(servers []*exec.Cmd) []int {
	var pids []int
	for _, s := range servers {
		pids = append(pids, s.Process.Pid)
	}
	return pids
}

func stopAll(servers []*exec.Cmd) error {
	for _, s := range servers {
		_ = s.Process.Signal(syscall.SIGTERM)
	}
	for _, s := range servers {
		_ = s.Wait() // how a server ends after a signal is of no interest
	}
	return nil
}
