package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/keelson-dev/keelson/store"
)

// snapshot saves a back-up of a running cluster, or begins a new one with it.
func snapshot(ctx context.Context, args []string, out io.Writer) error {
	var a admin
	var o options
	f := flag.NewFlagSet("kvstore snapshot", flag.ContinueOnError)
	a.flags(f)
	o.memberFlags(f)
	rest, err := parseMixed(f, args)
	switch {
	case err != nil:
		return err
	case len(rest) == 2 && rest[0] == "save":
		return a.save(ctx, rest[1], out)
	case len(rest) == 2 && rest[0] == "restore":
		return restore(ctx, o, rest[1], out)
	}
	return usage("want snapshot save FILE, or snapshot restore FILE --data-dir DIR")
}

// save writes the file under another name first, so that a file of this name is a whole one.
func (a *admin) save(ctx context.Context, file string, out io.Writer) (err error) {
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s exists already", file)
	}
	partial, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.part")
	if err != nil {
		return err
	}
	defer func() {
		_ = partial.Close()
		_ = os.Remove(partial.Name()) // fails if all went well
	}()
	var size int64
	err = a.one(ctx, func(_ context.Context, conn *grpc.ClientConn) error {
		size, err = receive(ctx, conn, partial) // takes as long as it takes
		return err
	})
	if err != nil {
		return err
	}
	if err := errors.Join(partial.Sync(), partial.Close()); err != nil {
		return err
	}
	if err := os.Rename(partial.Name(), file); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d bytes\n", file, size)
	return nil
}

func receive(ctx context.Context, conn *grpc.ClientConn, file *os.File) (size int64, err error) {
	if err := file.Truncate(0); err != nil {
		return 0, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	stream, err := pb.NewMaintenanceClient(conn).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		return 0, err
	}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		n, err := file.Write(part.Blob)
		if size += int64(n); err != nil {
			return 0, err
		}
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	return size, checkSum(file, size)
}

// checkSum compares the SHA-256 that ends a back-up with what comes before.
func checkSum(file io.Reader, size int64) error {
	if size < sha256.Size {
		return errors.New("the back-up is too short")
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, file, size-sha256.Size); err != nil {
		return err
	}
	stored, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(stored, sum.Sum(nil)) {
		return errors.New("the back-up's checksum is wrong: it is damaged, or was cut off")
	}
	return nil
}

// restore begins a store, of one member or the first one of a new cluster, with a back-up.
func restore(ctx context.Context, o options, file string, out io.Writer) (err error) {
	if o.dataDir == "" {
		return usage("--data-dir is missing")
	}
	if err := o.checkFiles(); err != nil {
		return err
	}
	if o.name != "" {
		if err := o.checkMember(); err != nil {
			return err
		}
		self, _ := o.peers.find(o.name)
		if len(o.peers) > 1 {
			return usage("--peers must have %s alone: a back-up makes the first member of a new cluster, and others join it", o.name)
		}
		o.peers = peerList{self}
	}
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := checkSum(in, info.Size()); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	log, err := logger(false)
	if err != nil {
		return err
	}
	s, err := open(ctx, o, store.Config{Restore: in, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	st, err := s.Status(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s has the back-up: %d keys, revision %d, as cluster %x\n", o.dataDir, st.Keys, st.Revision, st.ClusterID)
	return nil
}
