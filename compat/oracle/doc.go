// Package oracle holds no code: its test sends the requests of testdata/requests.txt to Keelson and compares the answers,
// field by field, with those that kube-apiserver 1.37 gave to the same requests, which are recorded in
// testdata/answers.json. The differences that are meant stand in differences_test.go, each with its reason.
//
//	go test ./oracle                                                # Keelson against the recorded answers
//	go test ./oracle -args -kube-apiserver PATH                     # against a real one, started from that file
//	go test ./oracle -args -kube-apiserver PATH -record             # and record its answers anew
//
// docs/compatibility.md is written from the same run, with -write.
package oracle
