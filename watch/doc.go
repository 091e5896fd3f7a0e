// Package watch is an ordered, bounded, resumable log of events that many readers follow at their own pace.
//
// One publisher appends transactions: a revision and the events that happened at it. Each reader holds a [Cursor],
// opened at the first revision it wants and restricted by a [Selector]; it pulls with [Cursor.Next].
//
//	log, _ := watch.New(watch.Config[Pod]{MaxBytes: 64 << 20})
//	cursor, err := log.Open(revision+1, watch.Selector{Prefix: "/registry/pods/default/"})
//	for {
//		events, upTo, err := cursor.Next(ctx)
//		// apply events; everything up to and including revision upTo has been seen
//	}
//
// # Order
//
// Revisions rise; [Log.Append] refuses one that does not. A reader sees the events it selected in the order they were
// appended, without gap or repeat, and never a part of a transaction: all selected events of one revision come from
// one call of Next. The revision that Next returns is safe to resume from: opening a new cursor at that revision plus
// one continues exactly.
//
// # Memory
//
// The log keeps history within [Config] (bytes, events, age) and drops the oldest transaction first. The publisher
// never waits for a reader: a reader whose next event was dropped gets [ErrCompacted] from Next and starts over from
// a fresh snapshot. A reader that is merely idle, because nothing it selected has happened, keeps its place whatever
// was dropped meanwhile. With Config.Past, what was dropped is read from where the publisher still has it, and only
// Compact ends a history; then a reader that was idle since before what is compacted, and at last fell behind too,
// starts over. A reader that stalls holds the events where it is and not those that come after. Where some kinds of objects change often and others rarely, use a log for each, so that the
// frequent ones don't push out the history of the rare.
//
// # Cost
//
// Cursors with the same selector share one posting list, a linked one, which they follow without a lock. Of those that
// wait, publishing wakes the first, each wakes the next, and so a thousand readers of one prefix neither hold the
// publisher up nor all want a processor at once. What is put together for one of them the others get too. Publishing looks up the event's key, those of its prefixes
// whose length somebody selected, and its index terms; it costs what is interested, not what is connected. Selectors
// by From and To that are not a prefix are compared one by one with each event. A cursor opened in the past reads the
// history itself, outside the lock.
//
// # Concurrency and ownership
//
// A Log may be used by many goroutines, and its appends must come from one at a time. A Cursor has one reader;
// Progress and Close may be called from anywhere. Events are handed to all readers by reference: nobody may change
// them, and the slice Next returns is read-only too. Nothing here starts a goroutine. Everything works in a
// testing/synctest bubble.
//
// The package stores nothing on disk, encodes nothing, and merges nothing: two changes of one key are two events.
package watch
