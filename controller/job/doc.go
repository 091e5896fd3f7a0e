// Package job runs Jobs: pods that are made until enough of them have ended well, or the Job has failed.
//
//	err := job.New(manager, job.Config{})
//
// # How a Job goes
//
// A reconcile sorts the Job's pods into what they are (running, ending, ended well, ended badly), accounts for those that ended, decides
// whether the Job goes on, is done or has failed, and makes or deletes pods. The decision is one pure function of the Job, its
// pods and the time; see plan.go. The reconciler carries out what it says.
//
// # Accounting
//
// Each pod carries the finalizer batch.kubernetes.io/job-tracking, so that a pod which is deleted still counts. A pod that ended is
// counted in three steps, each of which may be repeated: its uid goes to status.uncountedTerminatedPods, its finalizer
// goes, the uid turns into a number in the status. Failed indexes and the back-off are kept in the pods' and the Job's
// state, never in the controller's memory, so that a restart loses nothing.
//
// # What it does not do
//
// backoffLimitPerIndex, maxFailedIndexes, successPolicy and managedBy other than this controller: Jobs managed by
// another controller are left alone, the other fields are refused with an event.
package job
