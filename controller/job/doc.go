// Package job runs Jobs: pods that are made until enough of them have ended well, or the Job has failed.
//
//	err := job.New(manager, job.Config{})
//
// # How a Job goes
//
// A reconcile sorts the Job's pods into what they are (running, ending, ended well, ended badly), accounts for those
// that ended, decides whether the Job goes on, is done or has failed, and makes or deletes pods. The decision is one
// pure function of the Job, its pods and the time; see plan.go. The reconciler carries out what it says.
//
// # Accounting
//
// Each pod carries the finalizer batch.kubernetes.io/job-tracking, so that a pod which is deleted still counts. A pod
// that ended is counted in three steps, each of which may be repeated: its uid goes to
// status.uncountedTerminatedPods, its finalizer goes, the uid turns into a number in the status. The status is only
// written over the state that it was computed from. The back-off after failures is computed from the pods that still
// exist, never from the controller's memory, so that a restart loses nothing.
//
// # What it does not do
//
// A Job with backoffLimitPerIndex or successPolicy is not run, and an event says so. Jobs whose managedBy names
// another controller are left alone. Orphans are adopted when they carry the label batch.kubernetes.io/job-name, as
// pods of generated selectors do.
package job
