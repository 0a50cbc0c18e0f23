package rpc

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// moody is ready or not.
type moody struct {
	Admin
	ready atomic.Bool
}

func (m *moody) Status(context.Context, *kvpb.StatusRequest) (*kvpb.StatusResponse, error) {
	return &kvpb.StatusResponse{Ready: m.ready.Load()}, nil
}

func onHealth(t *testing.T, a Admin, test func(t *testing.T, health healthpb.HealthClient)) {
	t.Helper()
	served(t, newFake(), a, func(t *testing.T, dial func(context.Context, string) (net.Conn, error)) {
		cc, err := kvpb.Dial("n1", dial)
		if err != nil {
			t.Fatal(err)
		}
		test(t, healthpb.NewHealthClient(cc))
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestHealthIsTheNodesReadiness(t *testing.T) {
	node := new(moody)
	onHealth(t, node, func(t *testing.T, health healthpb.HealthClient) {
		for _, service := range []string{"", kvpb.KV_ServiceDesc.ServiceName} {
			for _, ready := range []bool{false, true} {
				node.ready.Store(ready)
				r, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
				if err != nil || (r.GetStatus() == healthpb.HealthCheckResponse_SERVING) != ready {
					t.Errorf("%q is %v, %v; the node's readiness is %v", service, r.GetStatus(), err, ready)
				}
			}
		}
		if _, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "nosuch"}); !errors.Is(kvpb.FromStatus(err), store.NotFound) {
			t.Errorf("a service that is not there: %v", err)
		}
	})
}

func TestHealthIsWatched(t *testing.T) {
	node := new(moody)
	onHealth(t, node, func(t *testing.T, health healthpb.HealthClient) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		watch, err := health.Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []healthpb.HealthCheckResponse_ServingStatus{
			healthpb.HealthCheckResponse_NOT_SERVING, healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING,
		} {
			if r, err := watch.Recv(); err != nil || r.GetStatus() != want {
				t.Fatalf("%v, %v, want %v", r.GetStatus(), err, want)
			}
			time.Sleep(5 * healthPeriod) // in which nothing changes, and nothing is told
			node.ready.Store(!node.ready.Load())
		}
	})
}

func TestHealthWatchesAreBounded(t *testing.T) {
	onHealth(t, new(moody), func(t *testing.T, health healthpb.HealthClient) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for i := range maxHealthWatches + 1 {
			watch, err := health.Watch(ctx, &healthpb.HealthCheckRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = watch.Recv(); (err == nil) != (i < maxHealthWatches) {
				t.Fatalf("watch %d: %v", i, err)
			}
		}
	})
}
