// Package kubelet is the node agent: it turns the pods that a control plane has bound to its node into sandboxes and
// containers of a runtime, keeps them as their specs say, and writes back what became of them.
//
//	agent, err := kubelet.New(c, rt, kubelet.Config{NodeName: "node-1", Root: dir, Address: "127.0.0.1"})
//	go http.Serve(listener, agent.Handler()) // logs, exec, stats; the API server calls it
//	err = agent.Run(ctx)
//
// # How it works
//
// Each pod has one worker. A worker observes (the runtime's lists and statuses, the probes' results), asks a pure function
// for the next step, next(desired, observed, now), performs that one step and observes again. What it knows after a
// restart is what the runtime says, so that running containers are adopted and nothing runs twice. A worker wakes when the
// API changes its pod, when the runtime reports an event, when a probe changes its mind, when a ConfigMap or Secret that the
// pod uses changes, when a wait is over, and when the relisting (every 10 s) finds a difference.
//
// # Ordering
//
// A pod's steps are in order, one at a time: volumes, sandbox, init containers one after another, containers. A
// deletion interrupts whatever step is under way. Status writes of one pod are in order; only the newest is written.
//
// # Concurrency
//
// Pods do not wait for each other: every call to the runtime is made by the pod's own goroutine, with a time limit and
// with no lock held. All methods of [Kubelet] may be called from any goroutine. At most one probe per container is in flight.
//
// # Who owns what
//
// Everything below Config.Root is the agent's and is touched through os.Root only. The runtime is shared with nobody:
// sandboxes labelled with a pod that the API does not have are stopped and removed once the pods have been read. The agent
// owns its Node's status and Lease and its pods' statuses. When Run ends, containers keep running; StopPods ends them.
//
// # What it does not do
//
// It evicts nothing under pressure, manages no cgroups (the runtime does) and no devices, reads no static pods, and
// leaves taints and the node's readiness as others see it to the node lifecycle controller.
package kubelet
