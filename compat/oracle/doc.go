// Package oracle holds no code: its test sends the requests of testdata/requests.txt to Keelson and compares the answers,
// field by field, with those that kube-apiserver 1.37 gave to the same requests, which are recorded in
// testdata/answers.json. The differences that are meant stand in differences_test.go, each with its reason.
//
//	go test ./oracle                                                # Keelson against the recorded answers
//	go test ./oracle -args -kube-apiserver PATH                     # against a real one, started from that file
//	go test ./oracle -args -kube-apiserver PATH -record             # and record its answers anew
//
// Differences that nobody wants and that are there all the same stand in testdata/open.txt. A new one fails the test, and so does one
// that is gone until -keep has written the file anew, and with it docs/compatibility.md. -show REGEXP prints those of some requests.
package oracle
