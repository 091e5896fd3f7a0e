package store

import (
	"os"
	"path/filepath"

	"github.com/keelson-dev/keelson/store/internal/wal"
)

// walName is the name of the log store in package wal, and of its directory.
const walName = "wal"

// openWAL opens or makes the log store that a new directory gets.
func openWAL(dir string) (LogStore, error) {
	l, err := wal.Open(dir, 0)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// readWAL opens one that exists without changing it.
func readWAL(dir string) (LogStore, error) {
	l, err := wal.Read(dir)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// usualLogs are the log stores that the store opens by itself, by name: what a directory was begun with, it keeps.
func usualLogs() map[string]func(dir string) (LogStore, error) {
	return map[string]func(dir string) (LogStore, error){walName: openWAL, boltName: OpenBoltLog}
}

// usualLogsIn returns which of them have files in a directory.
func usualLogsIn(dir string) (names []string) {
	for _, log := range []struct{ name, file string }{{boltName, boltFile}, {walName, walName}} {
		if exists(filepath.Join(dir, log.file)) {
			names = append(names, log.name)
		}
	}
	return names
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

var (
	_ LogStore    = (*wal.Log)(nil)
	_ LogNamer    = (*wal.Log)(nil)
	_ LogSizer    = (*wal.Log)(nil)
	_ LogPresence = (*wal.Log)(nil)
)
