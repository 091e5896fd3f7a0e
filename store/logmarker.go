package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// markerFile says which log store a directory was begun with, in two lines of text: markerFormat's and markerSum's.
	// The second may be missing: it came later.
	markerFile = "log-store"
	// markerFormat has the log store's name, quoted, and the id that it keeps.
	markerFormat = "keelson log store 1 name %q id %016x\n"
	// markerSum has a CRC-32C of the line before.
	markerSum = "checksum %08x\n"
)

// markerKey is where a log store keeps the id of the directory that it belongs to.
var markerKey = []byte("KeelsonDirectory")

// logMarker ties a directory to its log store. A member that began with another one, or with an empty one, would have
// forgotten what it acknowledged and how it voted.
type logMarker struct {
	name string
	id   uint64 // 0 means that there is no marker
}

// openLog opens the log store of a directory and makes sure that it is the one that the directory was begun with.
func openLog(dir string, open func(dir string) (LogStore, error), onFail func(error)) (*checkedLog, error) {
	marker, err := readLogMarker(dir)
	if err != nil {
		return nil, err
	}
	if open == nil {
		name, err := marker.usual(dir)
		if err != nil {
			return nil, err // before anything is made there
		}
		open = usualLogs()[name]
	}
	had := usualLogsIn(dir)
	logs, err := opened(open(dir))
	if err != nil {
		return nil, err
	}
	home, err := marker.claim(dir, logs, had)
	if err != nil {
		return nil, errors.Join(err, logs.Close())
	}
	present, err := markerPresence(dir)
	if err != nil {
		return nil, errors.Join(err, logs.Close())
	}
	return &checkedLog{logs: logs, dir: dir, marker: present, home: home, onFail: onFail}, nil
}

// markerPresence takes note of the marker: whoever moves the directory moves it too.
func markerPresence(dir string) (presence, error) {
	file, err := os.Open(filepath.Join(dir, markerFile))
	if err != nil {
		return presence{}, err
	}
	p, err := presenceOf(file, file.Name())
	return p, errors.Join(err, file.Close())
}

// opened refuses what a function such as Config.OpenLog must not return.
func opened(logs LogStore, err error) (LogStore, error) {
	if err == nil && logs == nil {
		return nil, fmt.Errorf("%w: OpenLog returned no log store and no error", ErrConfig)
	}
	return logs, err
}

// readLogMarker returns the marker of dir, or an empty one.
func readLogMarker(dir string) (m logMarker, err error) {
	path := filepath.Join(dir, markerFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if line, sum, _ := strings.Cut(string(text), "\n"); sum != "" && sum != markerChecksum(line+"\n") {
		return m, fmt.Errorf("%w: %s does not fit its checksum: it says %q", ErrCorrupt, path, text)
	}
	if n, err := fmt.Sscanf(string(text), markerFormat, &m.name, &m.id); n != 2 || err != nil || m.id == 0 {
		if strings.HasPrefix(string(text), "keelson log store ") && !strings.HasPrefix(string(text), "keelson log store 1 ") {
			return m, fmt.Errorf("%w: %s says %q", ErrVersion, path, text)
		}
		return m, fmt.Errorf("%w: %s says %q", ErrCorrupt, path, text)
	}
	return m, nil
}

// markerChecksum is the line that follows a marker's.
func markerChecksum(line string) string {
	return fmt.Sprintf(markerSum, crc32.Checksum([]byte(line), castagnoli))
}

// usual returns which of the usual log stores the directory has, or is to get.
func (m logMarker) usual(dir string) (name string, err error) {
	if m.id != 0 {
		if usualLogs()[m.name] == nil {
			return "", fmt.Errorf("%w: %s was begun with %q, which OpenLog has to open", ErrLogStore, dir, m.name)
		}
		return m.name, nil
	}
	// From before there were markers, or a crash while the first one was made, or a directory that has lost its marker.
	switch had := usualLogsIn(dir); len(had) {
	case 0:
		return walName, nil
	case 1:
		return had[0], nil
	default:
		return "", fmt.Errorf("%w: %s has %q, and no file %s that says which one is used: OpenLog has to", ErrLogStore, dir, had, markerFile)
	}
}

// fits returns an error if the directory belongs to a log store with another name.
func (m logMarker) fits(dir, name string) error {
	if m.id != 0 && m.name != "" && name != "" && m.name != name {
		return fmt.Errorf("%w: %s was begun with %q and is opened with %q", ErrLogStore, dir, m.name, name)
	}
	return nil
}

// claim checks that logs is the log store of dir, or makes it so if both are new. had is the usual log stores whose
// files dir had before logs was opened. It returns the directory's id.
func (m logMarker) claim(dir string, logs LogStore, had []string) (uint64, error) {
	name := logName(logs)
	if err := m.fits(dir, name); err != nil {
		return 0, err
	}
	id, err := logs.GetUint64(markerKey)
	if err != nil && !notFound(err) {
		return 0, err
	}
	switch {
	case m.id != 0 && id == 0:
		return 0, fmt.Errorf("%w: %s: the log store has lost everything that it held", ErrCorrupt, dir)
	case m.id != 0 && id != m.id:
		return 0, fmt.Errorf("%w: %s was begun with a log store of id %016x, and this is %016x", ErrLogStore, dir, m.id, id)
	case m.id != 0:
		return id, nil
	}
	if id == 0 {
		last, err := logs.LastIndex()
		if err != nil {
			return 0, err
		}
		if last == 0 && len(had) > 0 && !slices.Contains(had, name) {
			// From before there were markers, or a crash while it was made.
			return 0, fmt.Errorf("%w: %s has files of %q and is opened with %q", ErrLogStore, dir, had, name)
		}
		id = 1 + rand.Uint64N(1<<63)
		if err := logs.SetUint64(markerKey, id); err != nil {
			return 0, err
		}
	}
	return id, logMarker{name, id}.write(dir)
}

// write puts the marker in place, whole or not at all. The log store's lock keeps others away.
func (m logMarker) write(dir string) error {
	path := filepath.Join(dir, markerFile)
	file, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	line := fmt.Sprintf(markerFormat, m.name, m.id)
	_, err = file.WriteString(line + markerChecksum(line))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".tmp"))
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	syncDir(dir)
	return nil
}
