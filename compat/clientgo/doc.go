// Package clientgo holds no code: its tests run client-go's clients, informers, leader election and streams against a
// cluster.
package clientgo
