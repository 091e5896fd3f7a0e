// Package volume writes the files of a pod's volumes below a directory that it never leaves.
//
//	changed, err := volume.Write(root, "pods/1234/volumes/config", volume.Files{"app.yaml": {Data: data, Mode: 0o644}})
//
// [Write] replaces a whole set of files at once, the way pods expect it: the files live in a directory of their own, the
// symbolic link "..data" names the current one, and each visible name is a link through it. A reader that opened a file
// keeps the old content, and sees the new one when it opens it again; it never sees a mixture.
//
// Directories are named by their content, so writing the same files again does nothing, also after a crash.
//
// # Safety
//
// Everything goes through an os.Root, so a link planted by a container leads to an error and never outside. Paths of
// files are relative and may not contain "..", see [Check].
//
// # Concurrency and ownership
//
// One writer per directory at a time; any number of readers. The caller owns the directory and removes it.
//
// # What it does not do
//
// It knows no Kubernetes objects, mounts nothing, and keeps nothing in memory file systems.
package volume
