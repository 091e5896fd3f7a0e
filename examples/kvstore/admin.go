package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	grpcstatus "google.golang.org/grpc/status"
)

// adminTimeout bounds one request to a member.
const adminTimeout = 10 * time.Second

// admin is how the commands for a running cluster reach it.
type admin struct {
	endpoints string
	files     certFiles
}

func (a *admin) flags(f *flag.FlagSet) {
	f.StringVar(&a.endpoints, "endpoints", "127.0.0.1:2379", "members' client addresses, HOST:PORT,...")
	f.StringVar(&a.files.cert, "client-cert", "", "certificate to show")
	f.StringVar(&a.files.key, "client-key", "", "its key")
	f.StringVar(&a.files.ca, "client-ca", "", "authority of the members' client ports; without it there is no TLS")
}

// each calls f with a connection to each member.
func (a *admin) each(ctx context.Context, f func(ctx context.Context, endpoint string, conn *grpc.ClientConn) (goOn bool, err error)) error {
	credentials, err := a.files.clientCredentials()
	if err != nil {
		return err
	}
	for _, endpoint := range strings.Split(a.endpoints, ",") {
		endpoint = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(endpoint), "https://"), "http://")
		conn, err := grpc.NewClient("passthrough:///"+endpoint, grpc.WithTransportCredentials(credentials))
		if err != nil {
			return err
		}
		callCtx, cancel := context.WithTimeout(ctx, adminTimeout)
		goOn, err := f(callCtx, endpoint, conn)
		cancel()
		_ = conn.Close()
		if err != nil || !goOn {
			return err
		}
	}
	return nil
}

// one calls f with the first member that answers it.
func (a *admin) one(ctx context.Context, f func(ctx context.Context, conn *grpc.ClientConn) error) (err error) {
	outer := a.each(ctx, func(ctx context.Context, endpoint string, conn *grpc.ClientConn) (bool, error) {
		if err = f(ctx, conn); err != nil {
			err = fmt.Errorf("%s: %s", endpoint, explain(err))
		}
		return err != nil, nil
	})
	if outer != nil {
		return outer
	}
	return err
}

func explain(err error) string {
	if st, ok := grpcstatus.FromError(err); ok {
		return st.Message()
	}
	return err.Error()
}

func status(ctx context.Context, args []string, out io.Writer) error {
	var a admin
	f := flag.NewFlagSet("kvstore status", flag.ContinueOnError)
	a.flags(f)
	if rest, err := parseMixed(f, args); err != nil || len(rest) > 0 {
		return wrongArguments(err, rest)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ENDPOINT\tMEMBER\tVERSION\tLEADER\tTERM\tREVISION\tSIZE\tERRORS")
	err := a.each(ctx, func(ctx context.Context, endpoint string, conn *grpc.ClientConn) (bool, error) {
		st, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
		if err != nil {
			fmt.Fprintf(table, "%s\t-\t-\t-\t-\t-\t-\t%s\n", endpoint, explain(err))
			return true, nil
		}
		fmt.Fprintf(table, "%s\t%x\t%s\t%v\t%d\t%d\t%d\t%s\n", endpoint, st.Header.MemberId, st.Version, st.Leader == st.Header.MemberId,
			st.RaftTerm, st.Header.Revision, st.DbSize, strings.Join(st.Errors, "; "))
		return true, nil
	})
	if err != nil {
		return err
	}
	return table.Flush()
}

func wrongArguments(err error, rest []string) error {
	if err != nil {
		return err
	}
	return usage("unknown argument %q", rest[0])
}

func memberCommand(ctx context.Context, args []string, out io.Writer) error {
	var a admin
	f := flag.NewFlagSet("kvstore member", flag.ContinueOnError)
	a.flags(f)
	rest, err := parseMixed(f, args)
	if err != nil {
		return err
	}
	switch {
	case len(rest) == 1 && rest[0] == "list":
		return a.list(ctx, out)
	case len(rest) == 3 && rest[0] == "add":
		if err := checkAddr(rest[2]); err != nil {
			return usageError{err}
		}
		err = a.one(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := pb.NewClusterClient(conn).MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://" + rest[1] + "@" + rest[2]}, IsLearner: true})
			return err
		})
		if err == nil {
			fmt.Fprintf(out, "added %[1]s: start it with --name %[1]s --join and an empty --data-dir; it votes when it has caught up\n", rest[1])
		}
		return err
	case len(rest) == 2 && rest[0] == "remove":
		err = a.one(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
			id, err := findMember(ctx, conn, rest[1])
			if err != nil {
				return err
			}
			_, err = pb.NewClusterClient(conn).MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
			return err
		})
		if err == nil {
			fmt.Fprintf(out, "removed %s: stop it; its files are of no use any more, and its name must not be used again\n", rest[1])
		}
		return err
	}
	return usage("want member list, member add NAME HOST:PORT, or member remove NAME")
}

func findMember(ctx context.Context, conn *grpc.ClientConn, name string) (uint64, error) {
	list, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	if err != nil {
		return 0, err
	}
	var names []string
	for _, m := range list.Members {
		if m.Name == name {
			return m.ID, nil
		}
		names = append(names, m.Name)
	}
	return 0, fmt.Errorf("there is no member %q; the members are %s", name, strings.Join(names, ", "))
}

func (a *admin) list(ctx context.Context, out io.Writer) error {
	return a.one(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		list, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tNAME\tVOTES\tPEERS REACH IT AT\tCLIENTS REACH IT AT")
		for _, m := range list.Members {
			fmt.Fprintf(table, "%x\t%s\t%v\t%s\t%s\n", m.ID, m.Name, !m.IsLearner, strings.Join(m.PeerURLs, ","), strings.Join(m.ClientURLs, ","))
		}
		return table.Flush()
	})
}

func moveLeader(ctx context.Context, args []string, out io.Writer) error {
	var a admin
	f := flag.NewFlagSet("kvstore move-leader", flag.ContinueOnError)
	a.flags(f)
	rest, err := parseMixed(f, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usage("want kvstore move-leader NAME")
	}
	var id uint64
	err = a.one(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		if id, err = findMember(ctx, conn, rest[0]); err != nil {
			return err
		}
		a.endpoints, err = leaderURL(ctx, conn) // who leads must be asked
		return err
	})
	if err != nil {
		return err
	}
	err = a.one(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err = pb.NewMaintenanceClient(conn).MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: id})
		return err
	})
	if err == nil {
		fmt.Fprintf(out, "%s leads\n", rest[0])
	}
	return err
}

// leaderURL returns where clients reach the member that leads.
func leaderURL(ctx context.Context, conn *grpc.ClientConn) (string, error) {
	st, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return "", err
	}
	list, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{})
	if err != nil {
		return "", err
	}
	for _, m := range list.Members {
		if m.ID == st.Leader && len(m.ClientURLs) > 0 {
			return m.ClientURLs[0], nil
		}
	}
	return "", errors.New("nobody leads, or who does has not said yet where clients reach it")
}
