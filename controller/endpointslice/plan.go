package endpointslice

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// managedBy is what the label endpointslice.kubernetes.io/managed-by says on our slices.
const managedBy = "endpointslice-controller.k8s.io"

// group is the endpoints of a Service that share an address family and ports.
type group struct {
	family    discoveryv1.AddressType
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
}

// plan is what to write. Objects in it are the plan's own.
type plan struct {
	create, update []*discoveryv1.EndpointSlice
	remove         []*discoveryv1.EndpointSlice // as they are
}

// groups sorts a Service's pods into what its slices should say. Every family has at least one group, possibly empty.
// zone gives the zone of a node, or empty.
func groups(svc *corev1.Service, pods []*corev1.Pod, zone func(node string) string) []*group {
	var out []*group
	for _, family := range families(svc, pods) {
		byPorts := map[string]*group{}
		for _, p := range pods {
			address := addressIn(p, family)
			if address == "" || !wanted(p) {
				continue
			}
			ports := resolve(svc, p)
			key := portKey(ports)
			g := byPorts[key]
			if g == nil {
				g = &group{family: family, ports: ports}
				byPorts[key] = g
			}
			g.endpoints = append(g.endpoints, endpoint(svc, p, address, zone))
		}
		if len(byPorts) == 0 {
			out = append(out, &group{family: family})
		}
		for _, key := range slices.Sorted(maps.Keys(byPorts)) {
			out = append(out, byPorts[key])
		}
	}
	return out
}

func endpoint(svc *corev1.Service, p *corev1.Pod, address string, zone func(string) string) discoveryv1.Endpoint {
	serving, terminating := ready(p), p.DeletionTimestamp != nil
	e := discoveryv1.Endpoint{
		Addresses: []string{address},
		Conditions: discoveryv1.EndpointConditions{
			Ready: new(svc.Spec.PublishNotReadyAddresses || serving && !terminating), Serving: &serving, Terminating: &terminating,
		},
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
	}
	if node := p.Spec.NodeName; node != "" {
		e.NodeName = &node
		if z := zone(node); z != "" {
			e.Zone = &z
		}
	}
	if h := hostname(svc, p); h != "" {
		e.Hostname = &h
	}
	return e
}

// endpointID tells endpoints of one slice apart.
func endpointID(e *discoveryv1.Endpoint) string {
	id := ""
	if len(e.Addresses) > 0 {
		id = e.Addresses[0]
	}
	if e.TargetRef != nil {
		id += "/" + string(e.TargetRef.UID)
	}
	return id
}

// draft is a slice while the plan is made.
type draft struct {
	old     *discoveryv1.EndpointSlice // nil for a new slice
	next    *discoveryv1.EndpointSlice
	changed bool
}

func (d *draft) room(limit int) int { return limit - len(d.next.Endpoints) }

// planSlices decides how a Service's slices become what groups says, with few writes.
func planSlices(svc *corev1.Service, want []*group, existing []*discoveryv1.EndpointSlice, limit int) plan {
	drafts := make(map[*group][]*draft, len(want))
	var spare []*draft // slices that no group has use for
	for _, s := range existing {
		d := &draft{old: s, next: kind.EndpointSlice.Copy(s)}
		i := slices.IndexFunc(want, func(g *group) bool { return g.family == s.AddressType && portKey(g.ports) == portKey(s.Ports) })
		if i < 0 || s.DeletionTimestamp != nil {
			spare = append(spare, d)
			continue
		}
		drafts[want[i]] = append(drafts[want[i]], d)
	}
	var out plan
	for _, g := range want {
		rest := keep(g, drafts[g])
		filled := fill(drafts[g], rest, limit)
		rest = rest[filled:]
		kept := drafts[g][:0]
		for _, d := range drafts[g] {
			if len(d.next.Endpoints) == 0 && (len(g.endpoints) > 0 || len(kept) > 0) {
				spare = append(spare, d)
			} else {
				kept = append(kept, d)
			}
		}
		for len(rest) > 0 || len(kept) == 0 {
			d := take(&spare, g.family)
			if d == nil {
				d = &draft{next: kind.EndpointSlice.New()}
				d.next.Namespace, d.next.GenerateName, d.next.AddressType = svc.Namespace, svc.Name+"-", g.family
			}
			n := min(limit, len(rest))
			d.next.Ports, d.next.Endpoints, d.changed = g.ports, slices.Clone(rest[:n]), true
			rest = rest[n:]
			kept = append(kept, d)
		}
		for _, d := range kept {
			d.finish(svc, &out)
		}
	}
	for _, d := range spare {
		if d.old.DeletionTimestamp == nil {
			out.remove = append(out.remove, d.old)
		}
	}
	return out
}

// keep updates the endpoints that are in slices already, drops those that should not be, and returns those that are
// in none.
func keep(g *group, drafts []*draft) []discoveryv1.Endpoint {
	byID := make(map[string]*discoveryv1.Endpoint, len(g.endpoints))
	for i := range g.endpoints {
		byID[endpointID(&g.endpoints[i])] = &g.endpoints[i]
	}
	for _, d := range drafts {
		kept := d.next.Endpoints[:0]
		for _, e := range d.next.Endpoints {
			now, ok := byID[endpointID(&e)]
			if !ok {
				d.changed = true
				continue
			}
			delete(byID, endpointID(&e))
			d.changed = d.changed || !equality.Semantic.DeepEqual(e, *now)
			kept = append(kept, *now)
		}
		d.next.Endpoints = kept
	}
	rest := make([]discoveryv1.Endpoint, 0, len(byID))
	for i := range g.endpoints {
		if _, ok := byID[endpointID(&g.endpoints[i])]; ok {
			rest = append(rest, g.endpoints[i])
		}
	}
	return rest
}

// fill puts endpoints into slices that change anyway, then what is left into the fullest slice that takes all of it.
// It returns how many it placed.
func fill(drafts []*draft, rest []discoveryv1.Endpoint, limit int) int {
	placed := 0
	for _, d := range drafts {
		if n := min(d.room(limit), len(rest)-placed); d.changed && n > 0 {
			d.next.Endpoints = append(d.next.Endpoints, rest[placed:placed+n]...)
			placed += n
		}
	}
	left := len(rest) - placed
	if left == 0 {
		return placed
	}
	var best *draft
	for _, d := range drafts {
		if d.room(limit) >= left && (best == nil || d.room(limit) < best.room(limit)) {
			best = d
		}
	}
	if best == nil {
		return placed
	}
	best.next.Endpoints, best.changed = append(best.next.Endpoints, rest[placed:]...), true
	return len(rest)
}

// take removes a slice of a family from the spare ones, to be used again.
func take(spare *[]*draft, family discoveryv1.AddressType) *draft {
	i := slices.IndexFunc(*spare, func(d *draft) bool { return d.next.AddressType == family && d.old.DeletionTimestamp == nil })
	if i < 0 {
		return nil
	}
	d := (*spare)[i]
	*spare = slices.Delete(*spare, i, i+1)
	return d
}

// finish gives a slice its metadata and notes it in the plan if it has to be written.
func (d *draft) finish(svc *corev1.Service, out *plan) {
	labels := sliceLabels(svc)
	if !maps.Equal(labels, d.next.Labels) {
		d.next.Labels, d.changed = labels, true
	}
	if !controller.OwnedBy(d.next, svc) {
		controller.SetOwner(svc, d.next, kind.Service.Kind())
		d.changed = true
	}
	switch {
	case d.old == nil:
		out.create = append(out.create, d.next)
	case d.changed:
		out.update = append(out.update, d.next)
	}
}

// sliceLabels are the Service's own with ours, which win.
func sliceLabels(svc *corev1.Service) map[string]string {
	out := mirrored(svc)
	out[discoveryv1.LabelServiceName], out[discoveryv1.LabelManagedBy] = svc.Name, managedBy
	return out
}

// mirrored are the labels that both slices and Endpoints take over from their Service.
func mirrored(svc *corev1.Service) map[string]string {
	out := make(map[string]string, len(svc.Labels)+3)
	maps.Copy(out, svc.Labels)
	delete(out, corev1.IsHeadlessService)
	if headless(svc) {
		out[corev1.IsHeadlessService] = ""
	}
	return out
}

// ours reports whether a slice is this controller's.
func ours(s metav1.Object) bool { return s.GetLabels()[discoveryv1.LabelManagedBy] == managedBy }
