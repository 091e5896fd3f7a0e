package wal

// bugs puts faults back that the log does not have, one at a time, so that tests can show that they would notice. Only
// tests can set them.
type bugs struct {
	noFrameSync bool // a frame is not synced
	noBeginSync bool // the beginning of a segment is not synced before it has its name
	noNameSync  bool // that name is not synced
	earlyFree   bool // a segment is freed before it is on disk that its entries are dropped
	anySum      bool // a frame is believed whose checksum is another one
	noRewrite   bool // what was read last is not made durable before something follows it
}
