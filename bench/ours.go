package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// dialkv is a cluster of three kvnode processes and a cp keyspace, as kvctl makes it.
type dialkv struct {
	kvctl string
	home  string
	nodes []int
	seeds []string
}

const keyspace = "bench"

func (*dialkv) name() string { return "dialkv" }

func startOurs(ctx context.Context, dir string) (*dialkv, error) {
	d := &dialkv{kvctl: filepath.Join(dir, "kvctl"), home: filepath.Join(dir, "home")}
	build := exec.CommandContext(ctx, "go", "build", "-o", d.kvctl, "./cmd/kvctl")
	build.Dir, build.Stderr = "..", os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build kvctl: %w", err)
	}
	if _, err := d.run(ctx, "cluster", "start", "-n", "3", "--name", "bench", "--no-faults", "--dir", filepath.Join(dir, "nodes")); err != nil {
		return nil, err
	}
	if _, err := d.run(ctx, "keyspace", "create", keyspace, "--mode", "cp"); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	out, err := d.run(ctx, "cluster", "status", "-o", "json")
	if err != nil {
		return nil, errors.Join(err, d.stop())
	}
	var status struct {
		Nodes []struct {
			Pid  int    `json:"pid"`
			GRPC string `json:"grpc"`
		} `json:"nodes"`
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	for _, n := range status.Nodes {
		d.nodes, d.seeds = append(d.nodes, n.Pid), append(d.seeds, n.GRPC)
	}
	return d, nil
}

func (d *dialkv) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, d.kvctl, args...)
	cmd.Env = append(os.Environ(), "KV_HOME="+d.home)
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("kvctl %v: %w: %s", args, err, failed.Stderr)
	}
	return out, err
}

func (d *dialkv) connect(ctx context.Context, _ int) (operations, error) {
	var all []*client.Client
	var spaces []*client.Keyspace
	closeAll := func() {
		for _, c := range all {
			_ = c.Close()
		}
	}
	for i := range connections {
		c, err := client.Open(ctx, client.Config{Seeds: []string{d.seeds[i%len(d.seeds)]}, Timeout: 10 * time.Second})
		if err != nil {
			closeAll()
			return operations{}, err
		}
		all, spaces = append(all, c), append(spaces, c.Keyspace(keyspace))
	}
	get := func(level store.Level) func(context.Context, int, string, []byte) error {
		return func(ctx context.Context, client int, key string, _ []byte) error {
			_, err := spaces[client%connections].Get(ctx, key, at(level))
			return err
		}
	}
	return operations{
		put: func(ctx context.Context, client int, key string, value []byte) error {
			_, err := spaces[client%connections].Put(ctx, key, value)
			return err
		},
		strong: get(store.Strong), stale: get(store.Eventual), close: closeAll,
	}, nil
}

func at(level store.Level) client.Option { return client.At(level) }

func (d *dialkv) pids() []int { return d.nodes }

// stop ends the cluster also when the bench was interrupted.
func (d *dialkv) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := d.run(ctx, "cluster", "stop", "--name", "bench")
	return err
}
