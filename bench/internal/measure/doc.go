// Package measure is what the programs of bench share: driving callers, asking the system what a process has used,
// running this program again as a server process, and printing figures. It reads Linux' files in /proc.
package measure
