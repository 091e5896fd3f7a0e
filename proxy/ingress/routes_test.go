package ingress_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/proxy/ingress"
)

// object is an Ingress in namespace default of class ours; each path is host, type and path, with service name as
// backend.
func object(name string, age int, adjust func(*networkingv1.Ingress), paths ...[4]string) *networkingv1.Ingress {
	class := "ours"
	ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0)),
	}}
	ing.Spec.IngressClassName = &class
	for _, p := range paths {
		pathType := networkingv1.PathType(p[1])
		ing.Spec.Rules = append(ing.Spec.Rules, networkingv1.IngressRule{Host: p[0], IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: p[2], PathType: &pathType, Backend: backend(p[3])}}},
		}})
	}
	if adjust != nil {
		adjust(ing)
	}
	return ing
}

func backend(service string) networkingv1.IngressBackend {
	return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Name: "http"}}}
}

func class(name, controller string, isDefault bool) *networkingv1.IngressClass {
	c := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.IngressClassSpec{Controller: controller}}
	if isDefault {
		c.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}
	}
	return c
}

func TestMatch(t *testing.T) {
	objects := []*networkingv1.Ingress{
		object("a", 9, nil,
			[4]string{"app.example.com", "Prefix", "/", "root"},
			[4]string{"app.example.com", "Prefix", "/api", "api"},
			[4]string{"app.example.com", "Prefix", "/api/v2/", "v2"},
			[4]string{"app.example.com", "Exact", "/api/v2", "exact"},
			[4]string{"*.example.com", "Prefix", "/", "wild"},
			[4]string{"*.example.com", "Exact", "/only", "wildonly"},
			[4]string{"", "Prefix", "/any", "any"},
			[4]string{"only.example.org", "ImplementationSpecific", "/x", "specific"},
		),
		object("b", 5, func(i *networkingv1.Ingress) { b := backend("fallback"); i.Spec.DefaultBackend = &b },
			[4]string{"app.example.com", "Prefix", "/api", "younger"}),
	}
	classes := []*networkingv1.IngressClass{class("ours", ingress.ControllerName, false)}
	r := ingress.BuildRoutes(objects, classes, false)
	slices.Reverse(objects)
	turned := ingress.BuildRoutes(objects, classes, false)
	for request, want := range map[[2]string]string{
		{"app.example.com", "/"}:           "root",
		{"app.example.com", ""}:            "root",
		{"APP.example.com:8080", "/other"}: "root",
		{"app.example.com.", "/api"}:       "api",
		{"app.example.com", "/api/x"}:      "api",
		{"app.example.com", "/apis"}:       "root",
		{"app.example.com", "/api/v2"}:     "exact",
		{"app.example.com", "/api/v2/"}:    "v2",
		{"app.example.com", "/api/v2/x"}:   "v2",
		{"x.example.com", "/q"}:            "wild",
		{"x.example.com", "/only"}:         "wildonly",
		{"x.example.com", "/only/"}:        "wild",
		{"y.x.example.com", "/q"}:          "fallback",
		{"example.com", "/any/thing"}:      "any",
		{"only.example.org", "/x/y"}:       "specific",
		{"only.example.org", "/any"}:       "any",
		{"only.example.org", "/z"}:         "fallback",
		{"[::1]:80", "/any"}:               "any",
		{"", "/"}:                          "fallback",
	} {
		for _, routes := range []*ingress.Routes{r, turned} {
			got, ok := routes.Match(request[0], request[1])
			require.True(t, ok)
			require.Equal(t, want, got.Backend.Service, "%v", request)
		}
	}
	none := ingress.BuildRoutes(objects, nil, false)
	_, ok := none.Match("app.example.com", "/")
	require.False(t, ok, "without its class nothing is ours")
}

func TestClasses(t *testing.T) {
	named := func(name string) func(*networkingv1.Ingress) {
		return func(i *networkingv1.Ingress) {
			i.Spec.IngressClassName = &name
			if name == "" {
				i.Spec.IngressClassName = nil
			}
		}
	}
	annotated := func(i *networkingv1.Ingress) {
		i.Spec.IngressClassName, i.Annotations = nil, map[string]string{"kubernetes.io/ingress.class": "ours"}
	}
	path := [4]string{"h", "Prefix", "/", "s"}
	for name, c := range map[string]struct {
		ing          *networkingv1.Ingress
		isDefault    bool
		withoutClass bool
		want         bool
	}{
		"ours":                       {object("i", 1, named("ours"), path), false, false, true},
		"another's":                  {object("i", 1, named("theirs"), path), true, true, false},
		"unknown":                    {object("i", 1, named("gone"), path), true, true, false},
		"annotated":                  {object("i", 1, annotated, path), false, false, true},
		"no class":                   {object("i", 1, named(""), path), false, false, false},
		"no class, ours the default": {object("i", 1, named(""), path), true, false, true},
		"no class, all taken":        {object("i", 1, named(""), path), false, true, true},
	} {
		classes := []*networkingv1.IngressClass{class("ours", ingress.ControllerName, c.isDefault), class("theirs", "example.com/x", false)}
		_, ok := ingress.BuildRoutes([]*networkingv1.Ingress{c.ing}, classes, c.withoutClass).Match("h", "/")
		require.Equal(t, c.want, ok, name)
	}
}

func FuzzMatch(f *testing.F) {
	r := ingress.BuildRoutes([]*networkingv1.Ingress{object("a", 1, nil, [4]string{"*.example.com", "Prefix", "/a", "s"})}, nil, true)
	f.Add("x.example.com:80", "/a/b")
	f.Fuzz(func(t *testing.T, host, path string) {
		if route, ok := r.Match(host, path); ok {
			require.Equal(t, "s", route.Backend.Service)
		}
	})
}

func ExampleBuildRoutes() {
	pathType := networkingv1.PathTypePrefix
	ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	ing.Spec.Rules = []networkingv1.IngressRule{{Host: "example.com", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
		Paths: []networkingv1.HTTPIngressPath{{Path: "/shop", PathType: &pathType, Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: "shop", Port: networkingv1.ServiceBackendPort{Number: 80}},
		}}},
	}}}}
	routes := ingress.BuildRoutes([]*networkingv1.Ingress{ing}, nil, true)
	route, ok := routes.Match("example.com", "/shop/cart")
	fmt.Println(route.Backend, ok)
	// Output: default/shop:80 true
}
