package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// pages is where the manifest mounts the ConfigMap.
const pages = "/etc/quickstart/page.txt"

// mountRoot is set where a pod can't have mounts of its own, because the system forbids user namespaces, or has none:
// its mounts are below that directory then. It is empty otherwise.
const mountRoot = "MOUNT_ROOT"

// drain is how long a server that was told to stop still accepts: by then every proxy has heard that it is going.
const drain = 2 * time.Second

// serve is the workload: what image quickstart/server is for the quickstart's nodes. A pod's process is this program
// with the argument "serve".
func serve() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	page, err := os.ReadFile(filepath.Join(os.Getenv(mountRoot), pages))
	if err != nil {
		return fmt.Errorf("the mounted ConfigMap: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s %s %s\n%s", os.Getenv("GREETING"), os.Getenv("VERSION"), os.Getenv("POD_NAME"), page)
	})
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /live", func(http.ResponseWriter, *http.Request) {})

	server := &http.Server{Addr: net.JoinHostPort(os.Getenv("POD_IP"), "8080"), Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	fmt.Printf("%s %s listens on %s\n", os.Getenv("POD_NAME"), os.Getenv("VERSION"), server.Addr)

	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	fmt.Println("asked to stop: draining")
	select {
	case err := <-ended:
		return err
	case <-time.After(drain):
	}
	limit, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(limit); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// answer is the first line of what a server says.
type answer struct{ greeting, version, pod string }

func parseAnswer(body string) (answer, error) {
	line, _, _ := strings.Cut(body, "\n")
	words := strings.Fields(line)
	if len(words) != 3 {
		return answer{}, fmt.Errorf("the server answered %q, want greeting, version and pod", line)
	}
	return answer{words[0], words[1], words[2]}, nil
}
