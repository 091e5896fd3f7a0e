// Package layers holds no code that runs: its test is the import rules of the module. Each rule names a package, what
// it may import of ours, and why, so that whoever breaks one reads the reason in the failure.
package layers
