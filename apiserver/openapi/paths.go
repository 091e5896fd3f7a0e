package openapi

import (
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// paths collects the paths of a document. Names of operations and tags, actions and parameters are those of kube-apiserver: programs
// find operations by them, and clients in other languages are generated from them.
type paths struct {
	b   *builder
	all map[string]*spec3.Path
}

// page adds the paths of a page.
func (p *paths) page(pg *page) {
	for _, k := range pg.kinds {
		p.resource(k)
	}
	for _, k := range pg.reviews {
		p.review(k)
	}
	if pg.fixed != nil {
		pg.fixed(p)
	}
}

// resource adds the paths of a kind and of its subresources.
func (p *paths) resource(k *kind.Kind) {
	object, list := p.b.kind(k)
	p.b.addGVK(p.meta("DeleteOptions"), "", "v1", "DeleteOptions")
	p.b.addGVK(p.meta("DeleteOptions"), k.Group, k.Version, "DeleteOptions")
	p.group(k)
	base := "/" + Path(k.Group, k.Version) + "/"
	scope, collection := "", base+k.Plural
	params := []*spec3.Parameter{pretty()}
	read := media(k, false)
	if k.Namespaced {
		if k.Serves("list") {
			p.add(collection, append(listParams(), params...)).Get =
				p.operation(k, "list", k.Name+"ForAllNamespaces", "list", "list or watch objects of kind "+k.Name, nil).answers(media(k, true), p.ref(list), 200).done()
		}
		scope, collection = "Namespaced", base+"namespaces/{namespace}/"+k.Plural
		params = append(params, inPath("namespace", "object name and auth scope, such as for teams and projects"))
	}
	name := scope + k.Name
	path := p.add(collection, params)
	if k.Serves("list") {
		path.Get = p.operation(k, "list", name, "list", "list or watch objects of kind "+k.Name, listParams()).answers(media(k, true), p.ref(list), 200).done()
	}
	if k.Serves("create") {
		path.Post = p.operation(k, "create", name, "post", "create "+withArticle(k), writeParams(false)).takes(p.ref(object)).answers(read, p.ref(object), 200, 201, 202).done()
	}
	if k.Serves("deletecollection") {
		path.Delete = p.operation(k, "delete", "Collection"+name, "deletecollection", "delete collection of "+k.Name, append(deleteParams(), collectionParams()...)).
			takesMaybe(p.ref(p.meta("DeleteOptions"))).answers(read, p.status(), 200).done()
	}

	one, params := collection+"/{name}", append(slices.Clone(params), inPath("name", "name of the "+k.Name))
	path = p.add(one, params)
	if k.Serves("get") {
		path.Get = p.operation(k, "read", name, "get", "read the specified "+k.Name, nil).answers(read, p.ref(object), 200).done()
	}
	if k.Serves("update") {
		path.Put = p.operation(k, "replace", name, "put", "replace the specified "+k.Name, writeParams(false)).takes(p.ref(object)).answers(read, p.ref(object), 200, 201).done()
	}
	if k.Serves("patch") {
		path.Patch = p.operation(k, "patch", name, "patch", "partially update the specified "+k.Name, writeParams(true)).patches(p, k).answers(read, p.ref(object), 200, 201).done()
	}
	if k.Serves("delete") {
		path.Delete = p.operation(k, "delete", name, "delete", "delete "+withArticle(k), deleteParams()).takesMaybe(p.ref(p.meta("DeleteOptions"))).answers(read, p.status(), 200, 202).done()
	}
	for _, s := range k.SubresourceNames() {
		p.subresource(k, s, one+"/"+s, name, params)
	}
	if k.Serves("watch") && k.Protobuf() { // custom resources never had the older form
		p.watches(k, strings.TrimPrefix(collection, base), name)
	}
}

// watches adds the older paths of watches. Clients use a parameter of lists instead. collection is the path behind that of the
// version, name the operations' name of the kind.
func (p *paths) watches(k *kind.Kind, collection, name string) {
	base := "/" + Path(k.Group, k.Version) + "/watch/"
	event := p.meta("WatchEvent")
	p.b.addGVK(event, "", "v1", "WatchEvent")
	p.b.addGVK(event, k.Group, k.Version, "WatchEvent")
	add := func(at, id, action, description string, more ...*spec3.Parameter) {
		params := append(append(listParams(), pretty()), more...)
		p.add(base+at, params).Get = p.operation(k, "watch", id, action, description+": use the 'watch' parameter of lists instead.", nil).
			answers(media(k, true), p.ref(event), 200).done()
	}
	list, single := "watch changes to a list of "+k.Name+". deprecated", "watch changes to an object of kind "+k.Name+". deprecated"
	var params []*spec3.Parameter
	if k.Namespaced {
		add(k.Plural, k.Name+"ListForAllNamespaces", "watchlist", list)
		params = append(params, inPath("namespace", "object name and auth scope, such as for teams and projects"))
	}
	add(collection, name+"List", "watchlist", list, params...)
	add(collection+"/{name}", name, "watch", single, append(params, inPath("name", "name of the "+k.Name))...)
}

// subresource adds the path of one subresource. name is the operations' name of the kind.
func (p *paths) subresource(k *kind.Kind, sub, at, name string, params []*spec3.Parameter) {
	sent := k.Sent(sub)
	title := name + strings.ToUpper(sub[:1]) + sub[1:]
	if options := k.ConnectOptions(sub); options != "" {
		p.connect(k, sub, at, title, options, params)
		return
	}
	schema, read := p.ref(p.b.object(sent)), media(sent, false)
	path := p.add(at, params)
	for _, method := range kind.SubresourceMethods(sub) {
		switch method {
		case http.MethodGet:
			path.Get = p.operation(k, "read", title, "get", "read "+sub+" of the specified "+k.Name, nil).of(sent).answers(read, schema, 200).done()
		case http.MethodPost:
			path.Post = p.operation(k, "create", title, "post", "create "+sub+" of "+withArticle(k), writeParams(false)).of(sent).takes(schema).answers(read, schema, 200, 201, 202).done()
		case http.MethodPut:
			path.Put = p.operation(k, "replace", title, "put", "replace "+sub+" of the specified "+k.Name, writeParams(false)).of(sent).takes(schema).answers(read, schema, 200, 201).done()
		case http.MethodPatch:
			path.Patch = p.operation(k, "patch", title, "patch", "partially update "+sub+" of the specified "+k.Name, writeParams(true)).of(sent).patches(p, k).answers(read, schema, 200, 201).done()
		}
	}
}

// connect adds the path of a stream.
func (p *paths) connect(k *kind.Kind, sub, at, title, options string, params []*spec3.Parameter) {
	text := spec.StringProperty()
	query := p.b.query("io.k8s.api.core.v1." + options)
	if sub == "log" {
		path := p.add(at, append(slices.Clone(params), query...))
		path.Get = p.operation(k, "read", title, "get", "read log of the specified "+k.Name, nil).answers([]string{"text/plain", mediaJSON, mediaYAML, mediaProtobuf}, text, 200).done()
		return
	}
	add := func(at, suffix string, params []*spec3.Parameter) {
		path := p.add(at, params)
		set := map[string]**spec3.Operation{
			http.MethodGet: &path.Get, http.MethodPost: &path.Post, http.MethodPut: &path.Put, http.MethodPatch: &path.Patch,
			http.MethodDelete: &path.Delete, http.MethodHead: &path.Head, http.MethodOptions: &path.Options,
		}
		for _, method := range kind.SubresourceMethods(sub) {
			verb := method[:1] + strings.ToLower(method[1:])
			op := p.operation(k, "connect", verb+title+suffix, "connect", "connect "+method+" requests to "+sub+" of "+k.Name, nil).answers([]string{"*/*"}, text, 200)
			op.AddExtension(extensionGVK, metav1.GroupVersionKind{Version: "v1", Kind: options})
			*set[method] = op.done()
		}
	}
	params = append(slices.DeleteFunc(slices.Clone(params), func(q *spec3.Parameter) bool { return q.Name == "pretty" }), query...)
	add(at, "", params)
	if sub == "proxy" {
		add(at+"/{path}", "WithPath", append(slices.Clone(params), inPath("path", "path to the resource")))
	}
}

// review adds the path of a kind that is only ever created.
func (p *paths) review(k *kind.Kind) {
	p.group(k)
	schema, scope := p.ref(p.b.object(k)), ""
	at := "/" + Path(k.Group, k.Version) + "/"
	params := []*spec3.Parameter{pretty()}
	if k.Namespaced {
		at, scope = at+"namespaces/{namespace}/", "Namespaced"
		params = append(params, inPath("namespace", "object name and auth scope, such as for teams and projects"))
	}
	p.add(at+k.Plural, params).Post = p.operation(k, "create", scope+k.Name, "post", "create "+withArticle(k), writeParams(false)).
		takes(schema).answers(media(k, false), schema, 200, 201, 202).done()
}

// group adds the path that lists a group's resources.
func (p *paths) group(k *kind.Kind) {
	at := "/" + Path(k.Group, k.Version) + "/"
	if p.all[at] == nil {
		p.get(at, k, "APIResources", "get available resources", "APIResourceList")
	}
}

// get adds a path that answers with a type of discovery. k tells the group and, where there is one, the version.
func (p *paths) get(at string, k *kind.Kind, name, description, typ string) {
	op := p.operation(k, "get", name, "", description, nil).answers(media(nil, false), p.ref(p.meta(typ)), 200)
	delete(op.Extensions, extensionGVK)
	p.b.addGVK(p.meta(typ), "", "v1", typ)
	if typ == "APIGroupList" {
		p.b.addGVK(p.meta("APIGroup"), "", "v1", "APIGroup")
	}
	p.add(at, nil).Get = op.done()
}

// version adds the path of the server's version.
func (p *paths) version() {
	const typ = "io.k8s.apimachinery.pkg.version.Info"
	p.b.take(typ)
	op := operation{&spec3.Operation{OperationProps: spec3.OperationProps{
		Description: "get the version information for this server", OperationId: "getCodeVersion", Tags: []string{"version"},
		Responses: &spec3.Responses{ResponsesProps: spec3.ResponsesProps{StatusCodeResponses: map[int]*spec3.Response{
			401: {ResponseProps: spec3.ResponseProps{Description: "Unauthorized"}},
		}}},
	}}}
	p.add("/version/", nil).Get = op.answers([]string{mediaJSON}, p.ref(typ), 200).done()
}

func (p *paths) add(at string, params []*spec3.Parameter) *spec3.Path {
	p.all[at] = &spec3.Path{PathProps: spec3.PathProps{Parameters: params}}
	return p.all[at]
}

// meta takes a type of metav1 and gives its name.
func (p *paths) meta(typ string) string {
	name := "io.k8s.apimachinery.pkg.apis.meta.v1." + typ
	p.b.take(name)
	return name
}

func (p *paths) ref(name string) *spec.Schema { return spec.RefSchema(refPrefix + name) }

func (p *paths) status() *spec.Schema {
	name := p.meta("Status")
	p.b.addGVK(name, "", "v1", "Status")
	return p.ref(name)
}
