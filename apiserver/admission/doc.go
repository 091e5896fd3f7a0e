// Package admission lets an application have a say in every write before it is stored. A [Plugin] has two functions,
// either of which may be nil: Mutate may change the object, Validate may only refuse it. All Mutate functions run
// first, in the order of the chain, then the server defaults, prepares and validates the object, then all Validate
// functions run.
//
//	quota := admission.Plugin{Name: "quota", Validate: func(ctx context.Context, r *admission.Request) error {
//		if r.Kind.Is(kind.Pod.Kind()) && tooMany(r.Namespace) {
//			return admission.Forbidden(r, "the namespace has no room for another pod")
//		}
//		return nil
//	}}
//
// # Order and repetition
//
// A chain runs in order and stops at the first error. One write may run it several times: after a conflict with
// another writer, after a generated name was taken, after a claim (kind.Strategy.Claims) was taken. So a plugin must
// not count or allocate outside the object; what it picks becomes fact only through the store's transaction.
//
// # Errors
//
// An error that is an API status is returned to the client as it is; any other becomes 403 Forbidden with the plugin's
// name.
//
// # Ownership
//
// Object belongs to the request and may be changed by Mutate. Old is shared with every reader and must not be
// changed. Functions are called from many goroutines at once.
//
// The package knows no server: a plugin that has to read gets a client.Client when it is made.
package admission
