package etcdapi

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// authServer says that authentication is off, and refuses the rest as etcd does then, or would if nobody could
// administer it.
type authServer struct {
	pb.UnimplementedAuthServer
	*Server
}

// AuthStatus implements pb.AuthServer.
func (s *authServer) AuthStatus(context.Context, *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	return &pb.AuthStatusResponse{Header: s.at(0)}, nil
}

// Authenticate implements pb.AuthServer.
func (s *authServer) Authenticate(context.Context, *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	return nil, rpctypes.ErrGRPCAuthNotEnabled
}

// AuthEnable implements pb.AuthServer.
func (s *authServer) AuthEnable(context.Context, *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// AuthDisable implements pb.AuthServer.
func (s *authServer) AuthDisable(context.Context, *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	return nil, rpctypes.ErrGRPCAuthNotEnabled
}

// UserAdd implements pb.AuthServer.
func (s *authServer) UserAdd(context.Context, *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// UserGet implements pb.AuthServer.
func (s *authServer) UserGet(context.Context, *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// UserList implements pb.AuthServer.
func (s *authServer) UserList(context.Context, *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// UserDelete implements pb.AuthServer.
func (s *authServer) UserDelete(context.Context, *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// UserChangePassword implements pb.AuthServer.
func (s *authServer) UserChangePassword(context.Context, *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// UserGrantRole implements pb.AuthServer.
func (s *authServer) UserGrantRole(context.Context, *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// UserRevokeRole implements pb.AuthServer.
func (s *authServer) UserRevokeRole(context.Context, *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// RoleAdd implements pb.AuthServer.
func (s *authServer) RoleAdd(context.Context, *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// RoleGet implements pb.AuthServer.
func (s *authServer) RoleGet(context.Context, *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// RoleList implements pb.AuthServer.
func (s *authServer) RoleList(context.Context, *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// RoleDelete implements pb.AuthServer.
func (s *authServer) RoleDelete(context.Context, *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// RoleGrantPermission implements pb.AuthServer.
func (s *authServer) RoleGrantPermission(context.Context, *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// RoleRevokePermission implements pb.AuthServer.
func (s *authServer) RoleRevokePermission(context.Context, *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}
