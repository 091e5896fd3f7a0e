package store

// formatVersion is the newest version of the formats that this release knows: of commands, snapshots and hashes. The
// state has the one that its cluster uses.
const formatVersion = 1
