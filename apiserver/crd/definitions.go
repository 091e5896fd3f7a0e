package crd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/expr"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Type is the kind of definitions, with its behaviour.
func Type() kind.Type[*CustomResourceDefinition] {
	env := sync.OnceValues(expr.NewEnv) // when the first rule is written
	t := kind.Must(kind.Describe[*CustomResourceDefinition](kind.Kind{
		Group: Group, Version: Version, Name: "CustomResourceDefinition", ShortNames: []string{"crd", "crds"}, Categories: []string{"api-extensions"},
	}))
	return t.With(kind.Strategy{
		Status:  true,
		Default: func(obj kind.Instance) { setDefaults(obj.(*CustomResourceDefinition)) },
		Prepare: func(obj, old kind.Instance) { prepare(obj.(*CustomResourceDefinition), definitionOf(old)) },
		Validate: func(obj, old kind.Instance) field.ErrorList {
			return validateDefinition(env, obj.(*CustomResourceDefinition), definitionOf(old))
		},
		ValidateStatus: func(obj, _ kind.Instance) field.ErrorList { return validateStatus(obj.(*CustomResourceDefinition)) },
		Terminate:      func(obj kind.Instance) { terminate(obj.(*CustomResourceDefinition)) },
		Columns:        definitionColumns(),
		NeedsVersion:   true,
	})
}

func definitionOf(obj kind.Instance) *CustomResourceDefinition {
	d, _ := obj.(*CustomResourceDefinition)
	return d
}

func setDefaults(d *CustomResourceDefinition) {
	n := &d.Spec.Names
	if n.Singular == "" {
		n.Singular = lower(n.Kind)
	}
	if n.ListKind == "" && n.Kind != "" {
		n.ListKind = n.Kind + "List"
	}
	if d.Spec.Conversion == nil {
		d.Spec.Conversion = &Conversion{Strategy: NoneConverter}
	}
	if w := d.Spec.Conversion.Webhook; w != nil && w.ClientConfig != nil && w.ClientConfig.Service != nil && w.ClientConfig.Service.Port == nil {
		port := int32(443)
		w.ClientConfig.Service.Port = &port
	}
	if len(d.Status.StoredVersions) == 0 {
		if v := d.Spec.storage(); v != nil {
			d.Status.StoredVersions = []string{v.Name}
		}
	}
}

// prepare notes the version that objects are stored in from now on: it may not be removed before its objects are.
func prepare(d, old *CustomResourceDefinition) {
	if old == nil {
		d.Status = Status{}
	}
	if v := d.Spec.storage(); v != nil && !slices.Contains(d.Status.StoredVersions, v.Name) {
		d.Status.StoredVersions = append(slices.Clone(d.Status.StoredVersions), v.Name)
	}
}

func (s *Spec) storage() *DefinitionVersion {
	i := slices.IndexFunc(s.Versions, func(v DefinitionVersion) bool { return v.Storage })
	if i < 0 {
		return nil
	}
	return &s.Versions[i]
}

// terminate makes a deleted definition wait for its objects to go.
func terminate(d *CustomResourceDefinition) {
	if !slices.Contains(d.Finalizers, CleanupFinalizer) {
		d.Finalizers = append(slices.Clone(d.Finalizers), CleanupFinalizer)
	}
	setCondition(d, Condition{
		Type: Terminating, Status: metav1.ConditionTrue, Reason: "InstanceDeletionPending",
		Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	}, metav1.Now())
}

// Config says how webhooks of conversions are reached. The zero value reaches them by their URL, and Services by name.
type Config struct {
	// Resolve answers the address, host:port, of a Service of the cluster. Nil means name.namespace.svc:port, for who runs where such
	// names resolve.
	Resolve func(ctx context.Context, namespace, name string, port int32) (string, error)
	// Dial opens connections to webhooks. Nil means the net package's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Kinds makes the kinds of definitions. It is what apiserver.Definitions wants of them.
type Kinds struct {
	cfg Config
	env func() (*expr.Env, error) // made when the first rule is evaluated
}

// New makes a maker of kinds.
func New(cfg Config) *Kinds { return &Kinds{cfg: cfg, env: sync.OnceValues(expr.NewEnv)} }

// Of answers the kinds that a definition stands for, one for each served version; none while it is not established.
func (m *Kinds) Of(definition kind.Instance) ([]*kind.Kind, error) {
	d, ok := definition.(*CustomResourceDefinition)
	if !ok {
		return nil, fmt.Errorf("crd: the definition is a %T, must be a *CustomResourceDefinition", definition)
	}
	if !isTrue(d, Established) {
		return nil, nil
	}
	storage := d.Spec.storage()
	if storage == nil {
		return nil, errors.New("crd: no version is the stored one")
	}
	convert := converter{definition: d, cfg: m.cfg}
	stored, err := m.version(d, storage)
	if err != nil {
		return nil, err
	}
	var out []*kind.Kind
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		switch {
		case !v.Served:
		case v == storage:
			out = append(out, stored)
		default:
			k, err := m.version(d, v)
			if err != nil {
				return nil, err
			}
			k.Hub = &kind.Hub{Kind: stored, To: convert.to(stored), From: convert.to(k)}
			out = append(out, k)
		}
	}
	if len(out) == 0 && d.DeletionTimestamp != nil {
		out = append(out, stored) // its objects have to be deleted somehow
	}
	return out, nil
}

// Same reports whether two states of a definition stand for the same kinds.
func (m *Kinds) Same(a, b kind.Instance) bool {
	x, y := definitionOf(a), definitionOf(b)
	return x != nil && y != nil && isTrue(x, Established) == isTrue(y, Established) && (x.DeletionTimestamp == nil) == (y.DeletionTimestamp == nil) &&
		x.UID == y.UID && equality.Semantic.DeepEqual(x.Spec, y.Spec) && equality.Semantic.DeepEqual(x.Status.AcceptedNames, y.Status.AcceptedNames)
}

// version makes the kind of one version. What its schema takes is made ready when it is first needed.
func (m *Kinds) version(d *CustomResourceDefinition, v *DefinitionVersion) (*kind.Kind, error) {
	r := &resource{spec: &d.Spec, version: v}
	r.root = sync.OnceValues(func() (*node, error) {
		if v.Schema == nil {
			return nil, nil
		}
		return compile(v.Schema.OpenAPIV3Schema)
	})
	r.rules = sync.OnceValues(func() (*ruleTree, error) {
		root, err := r.root()
		if err != nil || !root.hasRules() {
			return nil, err
		}
		env, err := m.env()
		if err != nil {
			return nil, err
		}
		return compileRules(env, root, true), nil
	})
	names := d.Status.AcceptedNames
	t, err := kind.Dynamic(kind.Kind{
		Group: d.Spec.Group, Version: v.Name, Name: names.Kind, ListName: names.ListKind, Plural: names.Plural, Singular: names.Singular,
		ShortNames: names.ShortNames, Categories: names.Categories, Namespaced: d.Spec.Scope == NamespaceScoped,
		Schema: r.openAPI, Strategy: r.strategy(d),
	})
	return t.Kind(), err
}
