package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keelson-dev/keelson/apiserver/authn/pki"
)

// certs makes an authority and one certificate for each name. A member shows its certificate to the others, which
// check it against its name, and to clients, which check it against the host they dialled.
func certs(_ context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("kvstore certs", flag.ContinueOnError)
	dir := f.String("dir", "certs", "directory of the authority and the certificates")
	hosts := f.String("host", "localhost,127.0.0.1,::1", "names and addresses, besides its own name, that clients reach a member at")
	days := f.Int("days", 365, "how many days the certificates are valid")
	names, err := parseMixed(f, args)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return usage("names are missing: kvstore certs a b c")
	}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(*dir)
	if err != nil {
		return err
	}
	defer root.Close()
	ca, err := pki.LoadOrNewCA(root, "kvstore")
	if err != nil {
		return fmt.Errorf("authority in %s: %w", *dir, err)
	}
	for _, name := range names {
		pair, err := ca.Issue(pki.Request{
			CommonName: name, Hosts: append([]string{name}, strings.Split(*hosts, ",")...), Client: true,
			Validity: time.Duration(*days) * 24 * time.Hour,
		})
		if err != nil {
			return fmt.Errorf("certificate for %q: %w", name, err)
		}
		if err := pair.Save(root, name); err != nil {
			return fmt.Errorf("certificate for %q: %w", name, err)
		}
		fmt.Fprintf(out, "%s and %s\n", filepath.Join(*dir, name+".crt"), filepath.Join(*dir, name+".key"))
	}
	fmt.Fprintf(out, "%s is the authority; keep %s where members are not\n", filepath.Join(*dir, "ca.crt"), filepath.Join(*dir, "ca.key"))
	return nil
}

// parseMixed parses flags that stand before, between and after other arguments.
func parseMixed(f *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usageError{err}
		}
		if f.NArg() == 0 {
			return rest, nil
		}
		rest, args = append(rest, f.Arg(0)), f.Args()[1:]
	}
}
