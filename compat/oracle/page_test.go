package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// page is where the page about compatibility is written to.
const page = "../../docs/compatibility.md"

// areas are the kinds of requests by the first word of their names, with what they are about.
var areas = []struct{ words, about string }{
	{"discovery", "discovery, aggregated and legacy"},
	{"columns", "printer columns of each kind"},
	{"create get list update delete add release immutable unknown method", "reading, writing and deleting one kind, and what is refused"},
	{"watch", "watches and watch lists"},
	{"patch", "JSON, merge and strategic merge patches"},
	{"apply", "server-side apply"},
	{"pod", "pods: defaults, validation, subresources"},
	{"deployment statefulset daemonset replicaset rc job cronjob hpa pdb", "workloads: defaults, validation, scale, status"},
	{"service ingress networkpolicy endpointslice", "network kinds"},
	{"crd cr", "CustomResourceDefinitions and custom resources"},
	{"review whoami impersonated role rolebinding", "who may do what"},
	{"", "all other kinds, health, versions"},
}

func areaOf(request string) int {
	word, _, _ := strings.Cut(request, " ")
	for i, a := range areas {
		if slices.Contains(strings.Fields(a.words), word) {
			return i
		}
	}
	return len(areas) - 1
}

// resources are what discovery says is served: "group/version resource" to the verbs.
func resources(answers map[string]answer) map[string]string {
	out := map[string]string{}
	for name, a := range answers {
		body, ok := a.Body.(map[string]any)
		if !ok || !strings.HasPrefix(name, "discovery ") || body["kind"] != "APIResourceList" {
			continue
		}
		list, _ := body["resources"].([]any)
		for _, r := range list {
			m, _ := r.(map[string]any)
			var verbs []string
			all, _ := m["verbs"].([]any)
			for _, v := range all {
				verbs = append(verbs, fmt.Sprint(v))
			}
			slices.Sort(verbs)
			out[fmt.Sprint(body["groupVersion"], " ", m["name"])] = strings.Join(verbs, " ")
		}
	}
	return out
}

// compatibility writes the page. open are the places of differences that nobody wants.
func compatibility(requests []request, want, got map[string]answer, open []string, used map[int]bool) string {
	var p strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&p, format+"\n", args...) }
	differing := map[string]int{}
	for _, place := range open {
		name, _, _ := strings.Cut(place, ": ")
		differing[name]++
	}
	line("# Compatibility with kube-apiserver\n")
	line("Written by `go -C compat test ./oracle -args -keep`, which sends %d requests (compat/oracle/testdata/requests.txt) to Keelson and compares", len(requests))
	line("the answers, field by field, with those that kube-apiserver 1.37.1 gave. %d answers have no difference but those that are meant.", len(requests)-len(differing))
	line("Beside it kubectl 1.37, client-go and controller-runtime run unmodified: `go -C compat test ./kubectl ./clientgo ./controllerruntime`.\n")
	line("## Requests\n\n| about | requests | the same | with open differences |\n| --- | --- | --- | --- |")
	for i, a := range areas {
		n, bad := 0, 0
		for _, r := range requests {
			if areaOf(r.name) == i {
				n++
				if differing[r.name] > 0 {
					bad++
				}
			}
		}
		line("| %s | %d | %d | %d |", a.about, n, n-bad, bad)
	}
	line("\n## Resources and their verbs\n\nAs discovery lists them. The verbs are given where they differ.\n")
	line("| group and version | served with the same verbs | different | not served |\n| --- | --- | --- | --- |")
	theirs, ours := resources(want), resources(got)
	versions := map[string]bool{}
	for key := range theirs {
		version, _, _ := strings.Cut(key, " ")
		versions[version] = true
	}
	for _, version := range slices.Sorted(maps.Keys(versions)) {
		var same, different, missing []string
		for _, key := range slices.Sorted(maps.Keys(theirs)) {
			of, name, _ := strings.Cut(key, " ")
			if of != version {
				continue
			}
			verbs, ok := ours[key]
			switch {
			case !ok:
				missing = append(missing, name)
			case verbs != theirs[key]:
				different = append(different, fmt.Sprintf("%s (%s; there %s)", name, verbs, theirs[key]))
			default:
				same = append(same, name)
			}
		}
		line("| %s | %s | %s | %s |", version, strings.Join(same, ", "), strings.Join(different, ", "), strings.Join(missing, ", "))
	}
	line("\n## Differences that are meant\n\n| requests | where in the answer | why |\n| --- | --- | --- |")
	for i, m := range differences {
		if used[i] {
			line("| `%s` | `%s` | %s |", m.request, m.at, m.reason)
		}
	}
	line("\n## Differences that are open\n\nIn so many places of the answer; `go -C compat test ./oracle -v -args -show NAME` prints both sides.\n")
	for _, r := range requests {
		if n := differing[r.name]; n > 0 {
			line("- %s: %d", r.name, n)
		}
	}
	return p.String()
}
