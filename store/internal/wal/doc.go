// Package wal is the log store of package store: it appends to files, so that a write costs one disk sync. Package
// store/wal is its face for users. Reads come from the files, through an index in memory of about 24 bytes an entry.
// Freed files are used again.
//
// # Files
//
// They are in the directory wal below the store's:
//
//	lock                   held while the log is open
//	0000000000000001.wal   a segment; the number, in hexadecimal, rises by one with each
//	free-*.tmp             a segment that is to be used again
//	new.tmp                a segment that is being made; it holds nothing
//	end                    which frame was the last one when the log was closed
//	end.tmp                one that was being made when the process ended; it holds nothing
//
// Numbers are little endian, checksums are CRC-32C. A segment, format version 1, has 512 bytes of header, zeros at its
// end:
//
//	magic       8 bytes: "keelwal" and the version
//	log         8 bytes, random, the same in all segments of a log
//	salt        8 bytes, random, another in each segment each time that it is begun
//	segment     8 bytes, the number in its name
//	frame       8 bytes, the number of its first frame
//	checksum    4 bytes, over what is before it
//	size        8 bytes, of the file, which never changes
//	checksum    4 bytes, over what is before it; it and the size are both are zeros in a segment from before there were any
//
// then frames, each at a multiple of 8:
//
//	checksum    4 bytes, over what follows
//	length      4 bytes, of the content
//	number      8 bytes, rising by one over all segments
//	salt        8 bytes, the segment's
//	kind        1 byte, then 7 zeros
//	content
//
// A frame is what one call stored, and is written and synced before the next one is begun. Its kinds:
//
//	1 state    first in each segment: first and next index of the log, then all keys as in 5
//	2 entries  each: checksum 4, data length 4, extension length 4, type 1, zeros 3, index 8, term 8, seconds 8 and
//	           nanoseconds 4 of the time, data, extensions
//	3 drop     index, 8 bytes: the entries below it are no longer there
//	4 cut      index, 8 bytes: the entries from it on are no longer there
//	5 set      key length 4, key, value length 4, value
//	6 closed   nothing: the log was closed here
//	7 sealed   number of the next segment, 8 bytes; shares its frame number with that one's first frame
//	8 again    all entries that there are, as in 2: from now on they are read from here
//
// The first segment is small, and each is larger than the one before, up to the size that was asked for. Files are filled
// with zeros before they are written to, the next one while its predecessor is in use (see ahead.go): a sync of blocks that
// were written before needs no other write of the file system. On Linux frames are written past the system's memory, in
// whole blocks, where the file system has that (see direct_linux.go): what is behind a frame in its block is zeros then.
//
// # What is there after a crash
//
// Opening replays the frames. A segment has its name only once its header and its state are on disk, and the segment
// before is sealed once the next one has its name on disk, and before anything else is written there. Segments go oldest
// first, when all their entries are dropped or cut and this is on disk; the state in the next one stands for the rest.
//
// So at most one frame can be half written: the very last one, which nobody was told is stored. It is cut off. Where
// a frame can't be read and a later one can, or the next segment's begins with too high a number, it is damage:
// fault.ErrCorrupt, with the file and the offset. The salt tells a frame from what an earlier use of the file left. What
// was read last is written again before anything follows it, because what comes from the system's memory after a failed
// sync may not be on the disk.
//
// A file that is shorter than it was made is damage too. Close leaves in the file end, durably, the number of the last
// frame: a log that ends before that has lost something, however the rest looks. The file has "keelend" and the version,
// then the log and the number of the frame, 8 bytes each, 4 zeros, and a checksum of 4 bytes. It stays when the log is opened, since
// frames only get more.
//
// What this can't tell: of a log that was not closed, damage to its last frame, or zeros in place of the last few,
// look like an end that is half written or earlier.
//
// # Errors
//
// The first failed write or sync is final: nothing more is stored until the log is opened again. That holds for a full
// disk too, which is met when a segment is begun, because segments are allocated as a whole where the system can. What
// goes wrong with a file that is made ahead is not told: the segment that needs one meets it again. Errors
// are fault.ErrLocked, fault.ErrCorrupt, fault.ErrVersion and those of the system.
//
// # Concurrency
//
// All methods may be called at once; writes wait for each other, reads for none. One goroutine at a time makes a file ahead,
// and a write or Close waits until it has stopped.
package wal
