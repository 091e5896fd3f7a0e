// Package podgc removes pods that nobody else will: no node agent answers for them any more.
//
//		err := podgc.New(manager, podgc.Config{})
//
//	  - Pods bound to a node that does not exist, once it has been missing for Config.Quarantine and the server confirms it.
//	  - Pods being deleted on a node that is not ready and has the taint node.kubernetes.io/out-of-service, which an administrator sets
//	    when the machine is known to be off.
//	  - Pods being deleted that were never bound.
//	  - The oldest ended pods, evicted ones first, beyond Config.TerminatedThreshold.
//
// Such a pod is first given the phase Failed, unless it ended by itself, so that its owner replaces it, and then
// deleted without grace. Finalizers are respected. How long a node has been missing counts from when this process
// noticed: after a restart the quarantine begins anew.
package podgc
