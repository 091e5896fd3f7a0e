package clientgo

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientfeatures "k8s.io/client-go/features"
	featurestesting "k8s.io/client-go/features/testing"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/keelson-dev/keelson"
)

func clientsFor(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	c, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return c
}

// TestInformer follows ConfigMaps with a shared informer, which fills itself by a watch list and by lists.
func TestInformer(t *testing.T) {
	_, clients := connect(t, keelson.Config{Without: keelson.Controllers | keelson.Scheduler})
	for _, watchList := range []bool{true, false} {
		t.Run(fmt.Sprint("WatchList=", watchList), func(t *testing.T) {
			featurestesting.SetFeatureDuringTest(t, clientfeatures.WatchListClient, watchList)
			namespace := fmt.Sprint("informer-", watchList)
			ctx, cancel := context.WithCancel(t.Context())
			_, err := clients.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
			require.NoError(t, err)
			c := clients.CoreV1().ConfigMaps(namespace)
			for i := range 700 { // more than one page
				_, err := c.Create(ctx, configMap(fmt.Sprint("c-", i)), metav1.CreateOptions{})
				require.NoError(t, err)
			}
			factory := informers.NewSharedInformerFactoryWithOptions(clients, 0, informers.WithNamespace(namespace))
			informer := factory.Core().V1().ConfigMaps()
			changes := make(chan string, 10)
			_, err = informer.Informer().AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
				AddFunc: func(obj any, initial bool) {
					if !initial {
						changes <- "add " + obj.(*corev1.ConfigMap).Name
					}
				},
				UpdateFunc: func(_, obj any) { changes <- "update " + obj.(*corev1.ConfigMap).Name },
				DeleteFunc: func(obj any) { changes <- "delete " + obj.(*corev1.ConfigMap).Name },
			})
			require.NoError(t, err)
			factory.StartWithContext(ctx)
			defer factory.Shutdown()
			defer cancel()
			require.True(t, cache.WaitForCacheSync(ctx.Done(), informer.Informer().HasSynced))
			require.Len(t, informer.Informer().GetStore().List(), 700)
			_, err = c.Create(ctx, configMap("new"), metav1.CreateOptions{})
			require.NoError(t, err)
			require.Equal(t, "add new", <-changes)
			changed := configMap("new")
			changed.Data["a"] = "2"
			_, err = c.Update(ctx, changed, metav1.UpdateOptions{})
			require.NoError(t, err)
			require.Equal(t, "update new", <-changes)
			require.NoError(t, c.Delete(ctx, "new", metav1.DeleteOptions{}))
			require.Equal(t, "delete new", <-changes)
		})
	}
}

// leaseDuration is long enough that nobody loses a lease on a busy machine.
const leaseDuration = 15 * time.Second

// TestLeaderElection has two candidates; the second leads once the first gives up.
func TestLeaderElection(t *testing.T) {
	_, clients := connect(t, keelson.Config{Without: keelson.Controllers | keelson.Scheduler})
	leads := make(chan string, 2)
	candidate := func(ctx context.Context, name string) <-chan struct{} {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta: metav1.ObjectMeta{Name: "reign", Namespace: "default"}, Client: clients.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: name},
			},
			LeaseDuration: leaseDuration, RenewDeadline: leaseDuration * 2 / 3, RetryPeriod: leaseDuration / 30, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { leads <- name }, OnStoppedLeading: func() {}},
		})
		require.NoError(t, err)
		done := make(chan struct{})
		go func() { elector.Run(ctx); close(done) }()
		return done
	}
	first, stop := context.WithCancel(t.Context())
	defer stop()
	one := candidate(first, "one")
	require.Equal(t, "one", <-leads)
	second, end := context.WithCancel(t.Context())
	defer end()
	two := candidate(second, "two")
	stop()
	<-one
	require.Equal(t, "two", <-leads)
	lease, err := clients.CoordinationV1().Leases("default").Get(t.Context(), "reign", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "two", *lease.Spec.HolderIdentity)
	end()
	<-two
}
