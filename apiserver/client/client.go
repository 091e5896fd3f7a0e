package client

import (
	"context"
	"io"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Client carries requests to a control plane. It is safe for concurrent use.
type Client interface {
	// Do carries any request but a watch. It returns when the answer is there or ctx ends.
	Do(ctx context.Context, req *Request) (*Response, error)
	// Watch opens a stream of changes. ctx bounds the whole stream, not only its opening.
	Watch(ctx context.Context, req *Request) (Watcher, error)
}

// Verb is what a request does, in the words of Kubernetes authorization.
type Verb string

// The verbs.
const (
	Get              Verb = "get"
	List             Verb = "list"
	Watch            Verb = "watch"
	Create           Verb = "create"
	Update           Verb = "update"
	Patch            Verb = "patch"
	Delete           Verb = "delete"
	DeleteCollection Verb = "deletecollection"
)

// Request is one request to a control plane. Fields that a verb does not use are ignored.
type Request struct {
	Verb        Verb
	Kind        *kind.Kind // which resource; only its identity matters to a server
	Subresource string     // such as status, scale, binding; empty for the object itself
	Namespace   string     // empty for cluster-scoped kinds, and to list all namespaces
	Name        string     // empty for list, watch, create (there the object carries it) and deletecollection

	// Object is what create and update write. For scale it is an *autoscaling/v1.Scale, for a pod's binding a
	// *core/v1.Binding. The server copies it.
	Object kind.Instance

	PatchType types.PatchType // for patch
	PatchData []byte          // for patch: JSON, or YAML for apply

	DryRun          bool   // run everything but store nothing
	FieldManager    string // who writes, for managedFields; empty means derived from the user agent
	FieldValidation string // Strict, Warn or Ignore; empty means Strict in process and the server's default over HTTPS
	Force           bool   // for server-side apply: take over fields of other managers

	// WantForms asks for the Forms of what is answered, for who encodes it. A server may have none.
	WantForms bool

	List   metav1.ListOptions   // for list, watch and deletecollection; ResourceVersion and its match also for get
	Delete metav1.DeleteOptions // for delete and deletecollection
}

// Response is the answer to a request.
type Response struct {
	Object    kind.Instance // get, create, update, patch: the object; delete: the object as it last was, or is while terminating
	Created   bool          // an update or apply that created the object
	Deleted   bool          // delete: the object is gone, and not merely marked
	Items     []kind.Instance
	Revision  int64    // list: the revision of the snapshot, for a watch that continues it
	Continue  string   // list: token for the next page; empty when this is the last
	Remaining *int64   // list: how many follow this page, where known
	Warnings  []string // sentences for the user

	Forms     *Forms   // of Object, if asked for and there are any
	ItemForms []*Forms // of Items, one each, or nil
}

// EventType is what happened to an object.
type EventType string

// The event types. Errors are returned by Next, they are no events.
const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
	Bookmark EventType = "BOOKMARK"
)

// Event is one change, in revision order. For a Bookmark, Object may be nil: all changes up to Revision were delivered.
type Event struct {
	Type     EventType
	Object   kind.Instance // Deleted: the last state, at the revision of the deletion
	Revision int64

	Forms *Forms // of Object, if asked for and there are any

	// InitialEventsEnd marks the bookmark that ends the initial state of a watch with SendInitialEvents.
	InitialEventsEnd bool
}

// Watcher is a stream of events. It belongs to one reader; Close may be called from another goroutine.
type Watcher interface {
	// Next waits for the next event. io.EOF means that the server ended the stream in order (its time-out, or
	// shutdown); another error ends the stream too.
	Next(ctx context.Context) (Event, error)
	Close() error
}

// Progresser is implemented by watchers that can tell on demand how far they are: after RequestProgress a Bookmark
// comes whose revision is at least the server's at the time of the call.
type Progresser interface{ RequestProgress() }

// Buffered is implemented by watchers that can tell whether Next would wait: a writer sends on what it has when it would.
type Buffered interface{ More() bool }

// Viewer is implemented by clients that live in the server's process: the snapshot and the watcher share the server's
// decoded objects.
type Viewer interface {
	View(ctx context.Context, req *Request) (*View, error)
}

// View is a kind's objects at a revision and the changes after it.
type View struct {
	Items    []kind.Instance
	Revision int64
	Watcher  Watcher
}

// pageSize is how many objects Open asks for at a time.
const pageSize = 500

// Open gives a snapshot of what req (a list) selects and a watcher that continues it. A client that is a Viewer
// answers from its cache; from any other it is a list, in pages, and a watch.
func Open(ctx context.Context, c Client, req *Request) (*View, error) {
	if v, ok := c.(Viewer); ok {
		return v.View(ctx, req)
	}
	view, err := listAll(ctx, c, req, pageSize)
	if err != nil {
		return nil, err
	}
	watch := *req
	watch.Verb = Watch
	watch.List.Limit, watch.List.Continue = 0, ""
	watch.List.ResourceVersion = FormatRevision(view.Revision)
	watch.List.ResourceVersionMatch = ""
	watch.List.AllowWatchBookmarks = true
	if view.Watcher, err = c.Watch(ctx, &watch); err != nil {
		return nil, err
	}
	return view, nil
}

// listAll reads all pages of a list. When the history that a later page needs is compacted meanwhile, it starts over
// with one page that holds everything: a list that is slower than compaction would otherwise never end.
func listAll(ctx context.Context, c Client, req *Request, limit int64) (*View, error) {
	list := *req
	list.Verb = List
	list.List.Limit, list.List.Continue = limit, ""
	if list.List.ResourceVersion != "" && list.List.ResourceVersionMatch == "" {
		list.List.ResourceVersionMatch = metav1.ResourceVersionMatchNotOlderThan // with a limit and nothing said, a server takes it for exactly that one
	}
	var view View
	for {
		resp, err := c.Do(ctx, &list)
		if list.List.Continue != "" && apierrors.IsResourceExpired(err) {
			return listAll(ctx, c, req, 0)
		}
		if err != nil {
			return nil, err
		}
		view.Items = append(view.Items, resp.Items...)
		view.Revision = resp.Revision
		if resp.Continue == "" {
			return &view, nil
		}
		// The token names the revision; a server refuses another one beside it.
		list.List.Continue = resp.Continue
		list.List.ResourceVersion, list.List.ResourceVersionMatch = "", ""
	}
}

// Streamer is implemented by clients that reach into running containers.
type Streamer interface {
	// Logs reads a container's log. The caller closes the reader.
	Logs(ctx context.Context, namespace, pod string, opts corev1.PodLogOptions) (io.ReadCloser, error)
	// Exec runs a command in a container and returns when it ends; a non-zero exit is an *ExitError.
	Exec(ctx context.Context, namespace, pod string, opts corev1.PodExecOptions, streams Streams) error
}

// Streams are what a command in a container reads and writes; nil ones are not connected.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// ExitError says that a command in a container ended with a non-zero code.
type ExitError struct{ Code int }

// Error says the code.
func (e *ExitError) Error() string {
	return "the command in the container ended with exit code " + strconv.Itoa(e.Code)
}
