package controllerruntime

import (
	"context"
	"fmt"
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/compat/cluster"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

func connect(t *testing.T, cfg keelson.Config) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", cluster.Start(t, cfg).Kubeconfig)
	require.NoError(t, err)
	config.QPS = -1
	return config
}

const (
	finalizer = "example.test/copies"
	byColour  = "data.colour"
)

// copier keeps a Secret with the same data for each ConfigMap that says copy=yes, and a finalizer that removes it.
type copier struct {
	client.Client
	deleted chan string
}

func (c *copier) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var original corev1.ConfigMap
	if err := c.Get(ctx, req.NamespacedName, &original); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	duplicate := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: original.Name, Namespace: original.Namespace}}
	if !original.DeletionTimestamp.IsZero() {
		if err := c.Delete(ctx, duplicate); client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, err
		}
		if controllerutil.RemoveFinalizer(&original, finalizer) {
			c.deleted <- original.Name
			return ctrl.Result{}, c.Update(ctx, &original)
		}
		return ctrl.Result{}, nil
	}
	if original.Labels["copy"] != "yes" {
		return ctrl.Result{}, nil
	}
	if before := original.DeepCopy(); controllerutil.AddFinalizer(&original, finalizer) {
		if err := c.Patch(ctx, &original, client.MergeFrom(before)); err != nil {
			return ctrl.Result{}, err
		}
	}
	_, err := controllerutil.CreateOrUpdate(ctx, c, duplicate, func() error {
		duplicate.Data = map[string][]byte{}
		for k, v := range original.Data {
			duplicate.Data[k] = []byte(v)
		}
		return controllerutil.SetControllerReference(&original, duplicate, c.Scheme())
	})
	return ctrl.Result{}, err
}

// TestManager runs a controller as its authors write them: watches with owners, an index, a finalizer, patches, election.
func TestManager(t *testing.T) {
	config := connect(t, keelson.Config{Without: keelson.Scheduler})
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Metrics: server.Options{BindAddress: "0"}, LeaderElection: true, LeaderElectionID: "copier", LeaderElectionNamespace: "default", LeaderElectionReleaseOnCancel: true,
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{"default": {}}},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	c := &copier{Client: manager.GetClient(), deleted: make(chan string, 10)}
	require.NoError(t, ctrl.NewControllerManagedBy(manager).For(&corev1.ConfigMap{}).Owns(&corev1.Secret{}).Complete(c))
	require.NoError(t, manager.GetFieldIndexer().IndexField(ctx, &corev1.ConfigMap{}, byColour, func(o client.Object) []string {
		return []string{o.(*corev1.ConfigMap).Data["colour"]}
	}))
	done := make(chan error, 1)
	go func() { done <- manager.Start(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-done)
	}()
	<-manager.Elected()
	require.True(t, manager.GetCache().WaitForCacheSync(ctx))

	direct, err := client.NewWithWatch(config, client.Options{})
	require.NoError(t, err)
	secrets, err := direct.Watch(ctx, &corev1.SecretList{}, client.InNamespace("default"))
	require.NoError(t, err)
	defer secrets.Stop()
	for i := range 5 {
		require.NoError(t, direct.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c-", i), Namespace: "default", Labels: map[string]string{"copy": "yes"}}, Data: map[string]string{"colour": "blue"},
		}))
	}
	seen := map[string]bool{}
	for len(seen) < 5 {
		e := <-secrets.ResultChan()
		s := e.Object.(*corev1.Secret)
		require.Equal(t, "blue", string(s.Data["colour"]))
		require.Equal(t, "ConfigMap", metav1.GetControllerOf(s).Kind)
		seen[s.Name] = true
	}
	// The owned object is put back when it is deleted by hand.
	require.NoError(t, direct.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "c-0", Namespace: "default"}}))
	for e := range secrets.ResultChan() {
		if e.Type == "ADDED" {
			require.Equal(t, "c-0", e.Object.(*corev1.Secret).Name)
			break
		}
	}
	var blue corev1.ConfigMapList
	require.NoError(t, manager.GetClient().List(ctx, &blue, client.MatchingFields{byColour: "blue"}))
	require.Len(t, blue.Items, 5)
	require.NoError(t, direct.DeleteAllOf(ctx, &corev1.ConfigMap{}, client.InNamespace("default"), client.MatchingLabels{"copy": "yes"}))
	for range 5 {
		<-c.deleted
	}
	for {
		err := direct.Get(ctx, client.ObjectKey{Namespace: "default", Name: "c-0"}, &corev1.ConfigMap{})
		if err != nil {
			require.True(t, apierrors.IsNotFound(err), "%v", err)
			break
		}
	}
}

// TestClient uses what controller-runtime's client can do beside the verbs: status, subresources, unstructured, metadata,
// dry runs, strict fields, apply.
func TestClient(t *testing.T) {
	config := connect(t, keelson.Config{Without: keelson.Scheduler | keelson.Controllers})
	c, err := client.New(config, client.Options{})
	require.NoError(t, err)
	ctx := t.Context()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "shell"}}}}
	require.NoError(t, c.Create(ctx, pod.DeepCopy(), client.DryRunAll))
	require.NoError(t, c.Create(ctx, pod, client.FieldOwner("maker")))
	pod.Status.Phase = corev1.PodRunning
	require.NoError(t, c.Status().Update(ctx, pod))
	before := pod.DeepCopy()
	pod.Status.Message = "well"
	require.NoError(t, c.Status().Patch(ctx, pod, client.StrategicMergeFrom(before)))
	require.NoError(t, c.SubResource("binding").Create(ctx, pod, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}))
	var onNode corev1.PodList
	require.NoError(t, c.List(ctx, &onNode, client.MatchingFields{"spec.nodeName": "n1"}, client.Limit(10)))
	require.Len(t, onNode.Items, 1)
	require.Equal(t, corev1.PodRunning, onNode.Items[0].Status.Phase)
	names := &metav1.PartialObjectMetadataList{}
	names.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	require.NoError(t, c.List(ctx, names))
	require.Equal(t, pod.UID, names.Items[0].UID)
	zero := int64(0)
	require.NoError(t, c.Delete(ctx, pod, client.Preconditions{UID: &pod.UID}, &client.DeleteOptions{GracePeriodSeconds: &zero}))
	require.True(t, apierrors.IsNotFound(c.Get(ctx, client.ObjectKeyFromObject(pod), pod)))
}
