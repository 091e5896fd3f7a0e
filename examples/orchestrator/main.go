// Orchestrator is a complete small cluster in one program, until it is interrupted: control plane, nodes that run pods as
// processes of this machine, Service proxy and DNS.
//
//	go run ./examples/orchestrator --data-dir ./cluster --listen 127.0.0.1:6443 --kubeconfig ./kubeconfig --nodes 2
//	kubectl --kubeconfig ./kubeconfig get nodes
//
// Everything survives a restart on the same --data-dir. SIGTERM and Ctrl-C stop it, and its pods within their grace
// periods unless --keep-pods is given; kill -9 leaves the pods running. The next start adopts pods that run.
//
// Containers need a command (or an image that a resolver knows; this program has none): their image is ignored.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/runtime/process"
)

type options struct {
	dataDir    string
	listen     string
	kubeconfig string
	dns        string
	nodes      int
	keepPods   bool
	verbose    bool
}

func main() {
	process.Main() // lets the nodes of this program supervise pods; never returns in a supervisor
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "orchestrator:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "orchestrator:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("orchestrator", flag.ContinueOnError)
	f.StringVar(&o.dataDir, "data-dir", "", "directory that keeps the cluster; without it everything is in memory")
	f.StringVar(&o.listen, "listen", "127.0.0.1:6443", "address of the HTTPS API; port 0 for a free one")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "file to write the administrator's kubeconfig to; none is written without it")
	f.StringVar(&o.dns, "dns", "127.0.0.1:0", "address of the name server for Services; empty for none")
	f.IntVar(&o.nodes, "nodes", 1, "how many nodes run here")
	f.BoolVar(&o.keepPods, "keep-pods", false, "leave pods running when stopped, for the next start to adopt")
	f.BoolVar(&o.verbose, "v", false, "log what the parts do")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	case o.nodes < 0 || o.nodes > 100:
		return o, fmt.Errorf("--nodes %d: want 0 to 100", o.nodes)
	case o.keepPods && o.dataDir == "":
		return o, errors.New("--keep-pods needs --data-dir: without it nothing could find the pods again")
	}
	if _, _, err := net.SplitHostPort(o.listen); err != nil {
		return o, fmt.Errorf("--listen %q: want host:port: %w", o.listen, err)
	}
	return o, nil
}

func run(ctx context.Context, o options) error {
	log, err := logger(o.verbose)
	if err != nil {
		return err
	}
	cfg := keelson.Config{
		DataDir: o.dataDir, Listen: o.listen, DNS: o.dns, StopPods: !o.keepPods, Logger: log,
		EmbeddedNetwork: true, Proxy: &keelson.ProxyConfig{},
	}
	for i := range o.nodes {
		cfg.Nodes = append(cfg.Nodes, keelson.NodeConfig{Name: "node-" + strconv.Itoa(i+1)})
	}
	cluster, err := keelson.New(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- cluster.Run(ctx) }()
	if err := announce(ctx, cluster, o); err != nil {
		cancel()
		return errors.Join(<-ended, err)
	}
	err = <-ended
	if err == nil {
		fmt.Println("stopped")
	}
	return err
}

// announce writes the kubeconfig and says where everything is, once the cluster is ready. That the cluster ended first is not its error to report.
func announce(ctx context.Context, cluster *keelson.Cluster, o options) error {
	kubeconfig, err := cluster.Kubeconfig(ctx)
	if errors.Is(err, keelson.ErrStopped) || ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Printf("the API is at %s\n", cluster.URL())
	if o.dns != "" {
		addr, err := cluster.DNSAddr(ctx)
		if errors.Is(err, keelson.ErrStopped) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Printf("names are served at %s\n", addr)
	}
	if o.kubeconfig == "" {
		return nil
	}
	if err := kubeconfig.Write(o.kubeconfig); err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	fmt.Printf("kubectl --kubeconfig %s get nodes\n", o.kubeconfig)
	return nil
}

func logger(verbose bool) (*zap.Logger, error) {
	cfg := zap.NewProductionConfig()
	cfg.Encoding = "console"
	cfg.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	cfg.DisableStacktrace = true
	cfg.Level = zap.NewAtomicLevelAt(zap.WarnLevel)
	if verbose {
		cfg.Level = zap.NewAtomicLevelAt(zap.DebugLevel)
	}
	return cfg.Build()
}
