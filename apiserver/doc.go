// Package apiserver serves resources over a store: the pipeline that every request goes through, one watch cache per
// kind, and the in-process client. It is a library: a [Server] opens no socket, it is an http.Handler and a maker of
// clients.
//
//	s, err := apiserver.New(st, apiserver.Config{Kinds: builtin.Kinds()})
//	go s.Run(ctx)
//	pods := client.For(s.Client(authn.System("demo")), kind.Pod)
//
// # Pipeline
//
// HTTP requests and in-process ones are the same: identify, authorize, mutate (admission), default, prepare, validate,
// validate (admission), store, answer. A kind is a kind.Kind value; built-in and user-defined ones take the same path.
// A write compares the revision it was made from. One that lost a race is made again from the newest object, unless the
// client named the version it means: then it is 409 Conflict.
//
// Managed fields are kept for every write (package fieldmanager). A server-side apply is merged into the newest object, or makes one,
// and goes on as an update or a create does.
//
// # Reading
//
// [Server.Run] reads everything under /registry/ once and follows the store from there. Each kind's objects are decoded
// once, are immutable, and are shared by all readers in the process: copy before changing (kind.Kind.Copy). An object
// written through this server is not decoded at all. Reads are consistent unless the client asks for less: they wait until
// the cache has everything that the store had when the read began. A write returns after the cache has it. A later page of a list
// is read from the store, at the revision of the first page. A watch that asks for history from before Run, or fell behind what is
// kept, gets 410 Expired: its reader lists again.
//
// # Versions and definitions
//
// A kind may have several versions (kind.Hub): a request goes through the pipeline in its own version, and objects are converted at the
// cache and at the store. Kinds may also come and go, when [Config.Definitions] names objects that stand for some: what a
// definition says holds from its revision on. When a kind is changed or goes, its watches end, as they do when a server stops.
//
// # Keys
//
// Objects are stored where kube-apiserver puts them, in its encoding. Claims (kind.Strategy.Claims) stand under
// /keelson/claims/, and are written and deleted in the transaction of the object that holds them. A value that cannot be decoded
// is logged and skipped.
//
// # Concurrency and lifetime
//
// A Server is safe for concurrent use. New starts nothing; Run is the only goroutine, and returns when its context ends.
// Requests before Run has read the store wait, on their own context; requests after it get 503. Open watches end with
// io.EOF when Run ends. The store stays the caller's.
//
// # What it does not do
//
// Garbage collection, namespace emptying and everything else that takes more than one object is left to controllers.
package apiserver
