package layers_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/keelson-dev/keelson"

// rule says what a package, and those below it that have no rule of their own, may import of this module.
type rule struct {
	pkg     string   // path inside the module; "" is the root package
	may     []string // packages; with "/..." also those below
	because string
}

var rules = []rule{
	{"internal/layers", nil, "it checks the others"},
	{"internal/memnet", nil, "connections know nothing of what they carry"},
	{"watch", nil, "the event log is the floor: the standard library is all it needs"},
	{"store", []string{"watch", "store/internal/..."}, "people import the store alone"},
	{"store/internal/fault", nil, "kinds of errors stand below all that have them"},
	{"store/internal/wal", []string{"store/internal/fault"}, "a log store knows nothing of what is stored, and the store brings it"},
	{"store/wal", []string{"store", "store/internal/wal"}, "the face of the log store that the store brings, in the store's terms"},
	{"store/etcdapi", []string{"store", "store/etcdapi/transport"}, "an API over a Store, whatever the Store is used for"},
	{"store/etcdapi/transport", nil, "a transport knows nothing of what it carries"},
	{"store/storetest", []string{"store", "watch"}, "a suite for stores"},
	{"apiserver/kind", nil, "the leaf that servers, clients and controllers share"},
	{"apiserver/client", []string{"apiserver/kind"}, "the contract holds nothing of the server"},
	{"apiserver/client/stream", []string{"apiserver/client"}, "the client's half of logs and exec"},
	{"apiserver/client/https", []string{"apiserver/kind", "apiserver/client", "apiserver/client/stream"}, "a remote client links no server"},
	{"apiserver/authn", nil, "who somebody is does not depend on what they ask for"},
	{"apiserver/authn/pki", nil, "certificates know no cluster"},
	{"apiserver/authz", []string{"apiserver/kind", "apiserver/client", "apiserver/authn"}, "a decision about attributes"},
	{"apiserver/admission", []string{"apiserver/kind", "apiserver/client", "apiserver/authn"}, "plugins see requests, not the server"},
	{"apiserver/table", []string{"apiserver/kind"}, "columns of an object"},
	{"apiserver/openapi", []string{"apiserver/kind"}, "schemas of a kind"},
	{"apiserver/fieldmanager", []string{"apiserver/kind", "apiserver/openapi"}, "who manages the fields of one object"},
	{"apiserver/expr", nil, "an expression language knows no objects"},
	{"apiserver/crd", []string{"apiserver/kind", "apiserver/client", "apiserver/expr"}, "definitions become kinds; the server is told by who assembles it"},
	{"apiserver/nodeproxy", []string{"apiserver/kind", "apiserver/client", "apiserver/client/stream"}, "a way to node agents"},
	{"apiserver/wire", []string{"apiserver/kind", "apiserver/client", "apiserver/authn", "apiserver/authz", "apiserver/table", "apiserver/openapi", "apiserver/fieldmanager", "apiserver/nodeproxy"}, "HTTP over the client contract; it never sees the server"},
	{"apiserver/builtin", []string{"apiserver/kind", "apiserver/client", "apiserver/admission"}, "behaviour of kinds; imported only by who assembles a server"},
	{"apiserver", []string{"watch", "store", "apiserver/kind", "apiserver/client", "apiserver/authn", "apiserver/authz", "apiserver/admission", "apiserver/fieldmanager", "apiserver/wire", "apiserver/nodeproxy"}, "resources over the store; behaviour of kinds is passed in"},
	{"controller", []string{"watch", "apiserver/kind", "apiserver/client", "controller"}, "all that controllers know of the cluster is a client.Client"},
	{"scheduler", []string{"controller", "apiserver/kind", "apiserver/client", "scheduler/..."}, "the scheduler runs on any machine, over any client"},
	{"kubelet", []string{"controller", "apiserver/kind", "apiserver/client", "runtime", "kubelet/..."}, "the node agent runs on any machine, over any client"},
	{"proxy", []string{"controller", "apiserver/kind", "apiserver/client", "proxy/..."}, "the proxy runs on any machine, over any client"},
	{"runtime", []string{"runtime/..."}, "container runtimes know nothing of clusters"},
	{"", []string{"watch", "store", "store/etcdapi", "apiserver/...", "controller/...", "scheduler/...", "kubelet/...", "proxy/...", "runtime/...", "internal/memnet"}, "the root assembles everything"},
	{"examples", []string{"", "watch", "store/...", "apiserver/...", "controller/...", "scheduler/...", "kubelet/...", "proxy/...", "runtime/...", "examples/..."}, "examples use only what users can"},
}

// nowhere lists modules that must not be imported at all: Keelson replaces them.
var nowhere = []string{"k8s.io/client-go", "k8s.io/apiserver", "k8s.io/kubernetes", "k8s.io/kubectl", "sigs.k8s.io/controller-runtime", "go.etcd.io/etcd/client", "go.etcd.io/etcd/server"}

// leaves lists heavy modules and the only packages that may import them.
var leaves = map[string][]string{
	"github.com/hashicorp/raft":      {"store"},
	"go.etcd.io/bbolt":               {"store"},
	"go.etcd.io/etcd/api":            {"store/etcdapi"},
	"google.golang.org/grpc":         {"store/etcdapi", "runtime", "kubelet"},
	"k8s.io/cri-api":                 {"runtime", "kubelet", ""},
	"k8s.io/streaming":               {"kubelet/streaming"},
	"github.com/miekg/dns":           {"proxy/dns"},
	"sigs.k8s.io/knftables":          {"proxy/nftables"},
	"github.com/coreos/go-iptables":  {"proxy/iptables"},
	"github.com/moby/ipvs":           {"proxy/ipvs"},
	"github.com/vishvananda/netlink": {"proxy/ipvs", "proxy/nftables", "proxy/iptables"},
	"github.com/google/cel-go":       {"apiserver/expr", "apiserver/crd"},
	"k8s.io/kube-openapi":            {"apiserver/openapi", "apiserver/wire", "apiserver/fieldmanager", "apiserver/crd"},
}

// imported is one import of one package.
type imported struct {
	pkg, path string
	test      bool // in a _test.go file
}

func TestImports(t *testing.T) {
	all := imports(t, "../..")
	require.NotEmpty(t, all)
	for _, imp := range all {
		checkOurs(t, imp)
		checkTheirs(t, imp)
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	for _, pkg := range packages(t, "../..") {
		if strings.HasPrefix(pkg, "examples") {
			continue // programs say what they are for in main.go
		}
		require.FileExists(t, filepath.Join("../..", pkg, "doc.go"), "every package starts with what it is for")
	}
}

func TestRulesMatter(t *testing.T) {
	r, ok := ruleFor("scheduler/plugins")
	require.True(t, ok)
	require.False(t, r.allows("apiserver"), "a rule that allows everything checks nothing")
	require.True(t, r.allows("scheduler"))
}

func checkOurs(t *testing.T, imp imported) {
	target, ok := strings.CutPrefix(imp.path, module)
	if !ok {
		return
	}
	target = strings.TrimPrefix(target, "/")
	if imp.test || strings.HasSuffix(imp.pkg, "test") {
		return // tests and ...test packages are leaves: they may import anything
	}
	if strings.HasSuffix(target, "test") {
		t.Errorf("%q imports %q: ...test packages are for tests", imp.pkg, target)
	}
	r, ok := ruleFor(imp.pkg)
	if !ok {
		t.Errorf("package %q has no rule: add it to internal/layers with a reason", imp.pkg)
		return
	}
	if !r.allows(target) {
		t.Errorf("%q must not import %q: %s", imp.pkg, target, r.because)
	}
}

func checkTheirs(t *testing.T, imp imported) {
	for _, m := range nowhere {
		if under(imp.path, m) {
			t.Errorf("%q imports %q: it belongs in a nested module (bench, compat), never in the library's go.mod", imp.pkg, imp.path)
		}
	}
	if imp.test {
		return
	}
	for m, homes := range leaves {
		// raft-boltdb begins with raft's name: a plain prefix covers both.
		if !strings.HasPrefix(imp.path, m) {
			continue
		}
		if !slices.ContainsFunc(homes, func(h string) bool { return imp.pkg == h || h != "" && under(imp.pkg, h) }) && !strings.HasPrefix(imp.pkg, "examples") {
			t.Errorf("%q imports %q: heavy dependencies live in %q only, so that other packages stay light", imp.pkg, imp.path, homes)
		}
	}
}

// ruleFor finds the rule of the longest path that covers pkg.
func ruleFor(pkg string) (rule, bool) {
	best, found := rule{}, false
	for _, r := range rules {
		if (r.pkg == pkg || r.pkg != "" && under(pkg, r.pkg)) && (!found || len(r.pkg) > len(best.pkg)) {
			best, found = r, true
		}
	}
	return best, found
}

func (r rule) allows(target string) bool {
	return slices.ContainsFunc(r.may, func(m string) bool {
		if base, ok := strings.CutSuffix(m, "/..."); ok {
			return under(target, base)
		}
		return target == m
	}) || r.pkg != "" && target == r.pkg
}

func under(p, base string) bool { return p == base || strings.HasPrefix(p, base+"/") }

func packages(t *testing.T, root string) []string {
	var out []string
	for _, imp := range imports(t, root) {
		if !slices.Contains(out, imp.pkg) {
			out = append(out, imp.pkg)
		}
	}
	return out
}

func imports(t *testing.T, root string) []imported {
	t.Helper()
	var out []imported
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || nestedModule(file)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(rel))
		if pkg == "." {
			pkg = ""
		}
		for _, s := range f.Imports {
			p, err := strconv.Unquote(s.Path.Value)
			if err != nil {
				return err
			}
			out = append(out, imported{pkg, p, strings.HasSuffix(file, "_test.go")})
		}
		return nil
	})
	require.NoError(t, err)
	return out
}

func nestedModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}
