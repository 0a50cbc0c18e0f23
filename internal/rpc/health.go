package rpc

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// health is grpc.health.v1: the node is SERVING when its status says that it is ready,
// which is what /readyz says. All of its services are one in that.
type health struct {
	healthpb.UnimplementedHealthServer
	admin    Admin
	watchers atomic.Int64
}

const (
	// healthPeriod is how often the node is looked at for those who watch its health: what
	// makes it ready, or not, has many causes and no one event.
	healthPeriod = time.Second
	// maxHealthWatches is how many watch at a time; a balancer has one for each node.
	maxHealthWatches = 256
)

// Check says how the node is now.
func (h *health) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if !known(r.GetService()) {
		return nil, &store.Error{Code: store.NotFound, Op: "health", Msg: fmt.Sprintf("no service %.80q is known here", r.GetService()), Try: "no service, which is the node, or " + kvpb.KV_ServiceDesc.ServiceName}
	}
	status, err := h.status(ctx)
	return &healthpb.HealthCheckResponse{Status: status}, err
}

// Watch says it now, and again when it has changed.
func (h *health) Watch(r *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	if h.watchers.Add(1) > maxHealthWatches {
		h.watchers.Add(-1)
		return &store.Error{Code: store.Overloaded, Op: "health", RetryAfter: healthPeriod, Msg: fmt.Sprintf("%d watches of this node's health are the limit", maxHealthWatches)}
	}
	defer h.watchers.Add(-1)
	tick := time.NewTicker(healthPeriod)
	defer tick.Stop()
	told := healthpb.HealthCheckResponse_UNKNOWN
	for {
		status := healthpb.HealthCheckResponse_SERVICE_UNKNOWN // and goes on: it might come with another release
		if known(r.GetService()) {
			var err error
			if status, err = h.status(stream.Context()); err != nil {
				return err
			}
		}
		if status != told {
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: status}); err != nil {
				return err
			}
			told = status
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func known(service string) bool { return service == "" || service == kvpb.KV_ServiceDesc.ServiceName }

func (h *health) status(ctx context.Context) (healthpb.HealthCheckResponse_ServingStatus, error) {
	s, err := h.admin.Status(ctx, &kvpb.StatusRequest{})
	switch {
	case err != nil:
		return healthpb.HealthCheckResponse_UNKNOWN, err
	case s.GetReady():
		return healthpb.HealthCheckResponse_SERVING, nil
	}
	return healthpb.HealthCheckResponse_NOT_SERVING, nil
}
