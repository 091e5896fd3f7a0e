// Package logs reads container logs in CRI's format, as "kubectl logs" wants them.
//
// A log file has one record per line: time, stream, F or P (a full line, or a part that the next record continues), text:
//
//	2016-10-06T00:17:09.669794202Z stdout F The content of the log entry
//
// [Copy] writes the texts of a file's records: the last so many, those since a time, with their times, up to a size, and
// on request those that come later, until the container has ended.
//
// Lines that are not records are skipped. A file that is replaced (rotated) while it is followed is read to its end, and
// then its successor from the beginning.
//
// The caller opens files, so that it decides what may be opened; Copy closes what it opened. It keeps one line in memory.
package logs
