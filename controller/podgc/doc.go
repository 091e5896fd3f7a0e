// Package podgc removes pods that nobody else will.
package podgc
