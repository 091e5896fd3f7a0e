package etcdapi

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// healthServer is gRPC's own health service, as etcd has it: it says of the server as a whole, "", that it serves,
// until Close. Whether the store can be read is asked by reading, or over HTTP, see Server.ServeHTTP.
type healthServer struct {
	grpc_health_v1.UnimplementedHealthServer
	*Server
}

func (s *healthServer) now() grpc_health_v1.HealthCheckResponse_ServingStatus {
	if s.ended() {
		return grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	return grpc_health_v1.HealthCheckResponse_SERVING
}

// Check implements grpc_health_v1.HealthServer.
func (s *healthServer) Check(_ context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if r.Service != "" {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	return &grpc_health_v1.HealthCheckResponse{Status: s.now()}, nil
}

// List implements grpc_health_v1.HealthServer.
func (s *healthServer) List(context.Context, *grpc_health_v1.HealthListRequest) (*grpc_health_v1.HealthListResponse, error) {
	return &grpc_health_v1.HealthListResponse{Statuses: map[string]*grpc_health_v1.HealthCheckResponse{"": {Status: s.now()}}}, nil
}

// Watch implements grpc_health_v1.HealthServer.
func (s *healthServer) Watch(r *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	if r.Service != "" {
		return status.Error(codes.NotFound, "unknown service")
	}
	if err := stream.Send(&grpc_health_v1.HealthCheckResponse{Status: s.now()}); err != nil {
		return err
	}
	select {
	case <-s.closed:
		return stream.Send(&grpc_health_v1.HealthCheckResponse{Status: s.now()})
	case <-stream.Context().Done():
		return status.FromContextError(stream.Context().Err()).Err()
	}
}
