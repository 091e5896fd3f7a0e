package kubelet_test

import coordinationv1 "k8s.io/api/coordination/v1"

type leaseOf = coordinationv1.Lease
