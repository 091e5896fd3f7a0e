package wire_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func scripted(w client.Watcher) *fake {
	return &fake{watch: func(context.Context, *client.Request) (client.Watcher, error) { return w, nil }}
}

func someEvents(end error) *script {
	return play(end,
		client.Event{Type: client.Added, Object: pod("x", "p"), Revision: 7},
		client.Event{Type: client.Bookmark, Revision: 9, InitialEventsEnd: true},
		client.Event{Type: client.Deleted, Object: pod("x", "p"), Revision: 11})
}

func TestWatchInJSON(t *testing.T) {
	s := someEvents(apierrors.NewResourceExpired("too old"))
	w := ask(handler(t, scripted(s)), "GET", "/api/v1/pods?watch=true", "")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	<-s.closed
	var got []string
	for line := range strings.Lines(w.Body.String()) {
		var ev struct {
			Type   string
			Object struct {
				metav1.TypeMeta
				Metadata metav1.ObjectMeta
				Code     int
			}
		}
		require.NoError(t, json.Unmarshal([]byte(line), &ev))
		got = append(got, fmt.Sprint(ev.Type, " ", ev.Object.APIVersion, " ", ev.Object.Kind, " ", ev.Object.Metadata.Name, " ", ev.Object.Metadata.ResourceVersion, " ", ev.Object.Metadata.Annotations, " ", ev.Object.Code))
	}
	require.Equal(t, []string{
		"ADDED v1 Pod p 7 map[] 0",
		"BOOKMARK v1 Pod  9 map[k8s.io/initial-events-end:true] 0",
		"DELETED v1 Pod p 7 map[] 0",
		"ERROR v1 Status   map[] 410",
	}, got)
}

func TestWatchInProtobuf(t *testing.T) {
	w := ask(handler(t, scripted(someEvents(errors.New("broken")))), "GET", "/api/v1/pods?watch=true", "", "Accept: application/vnd.kubernetes.protobuf;stream=watch")
	require.Equal(t, "application/vnd.kubernetes.protobuf;stream=watch", w.Header().Get("Content-Type"))
	var got []string
	for w.Body.Len() > 0 {
		frame := make([]byte, binary.BigEndian.Uint32(w.Body.Next(4)))
		_, err := io.ReadFull(w.Body, frame)
		require.NoError(t, err)
		var ev metav1.WatchEvent
		require.NoError(t, ev.Unmarshal(frame))
		raw, gvk, err := kind.OpenEnvelope(ev.Object.Raw)
		require.NoError(t, err)
		if gvk.Kind == "Pod" {
			var p corev1.Pod
			require.NoError(t, p.Unmarshal(raw))
			got = append(got, ev.Type+" "+p.Name+" "+p.Spec.NodeName+" "+p.ResourceVersion)
			continue
		}
		got = append(got, ev.Type+" "+gvk.Kind)
	}
	require.Equal(t, []string{"ADDED p n1 7", "BOOKMARK   9", "DELETED p n1 7", "ERROR Status"}, got)
}

func TestWatchOfTablesNamesColumnsOnce(t *testing.T) {
	w := ask(handler(t, scripted(someEvents(io.EOF))), "GET", "/api/v1/pods?watch=true", "", acceptTable)
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	require.Len(t, lines, 3, "the end in order is no event")
	for i, line := range lines {
		var ev struct{ Object metav1.Table }
		require.NoError(t, json.Unmarshal([]byte(line), &ev))
		require.Equal(t, "Table", ev.Object.Kind)
		require.Equal(t, i == 0, len(ev.Object.ColumnDefinitions) > 0)
		require.Len(t, ev.Object.Rows, 1)
	}
	require.Contains(t, lines[1], "initial-events-end")
}

func TestWatchHeadersComeBeforeTheFirstEvent(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprint("http2=", http2), func(t *testing.T) {
			s := play(nil)
			server := httptest.NewUnstartedServer(handler(t, scripted(s)))
			server.EnableHTTP2 = http2
			server.StartTLS()
			defer server.Close()
			ctx, cancel := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/api/v1/pods?watch=true", nil)
			require.NoError(t, err)
			resp, err := server.Client().Do(req)
			require.NoError(t, err)
			require.Equal(t, 200, resp.StatusCode)
			require.Equal(t, http2, resp.ProtoMajor == 2)
			cancel()
			<-s.closed // the watcher is closed when its client goes
			_ = resp.Body.Close()
		})
	}
}

func TestWatchEndsWithItsWatcher(t *testing.T) {
	s := play(nil, client.Event{Type: client.Added, Object: pod("x", "p"), Revision: 7})
	server := httptest.NewUnstartedServer(handler(t, scripted(s)))
	server.TLS = &tls.Config{}
	server.StartTLS()
	defer server.Close()
	resp, err := server.Client().Get(server.URL + "/api/v1/pods?watch=true")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewReader(resp.Body)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "ADDED")
	require.NoError(t, s.Close()) // as a server does that shuts down
	_, err = lines.ReadString('\n')
	require.ErrorIs(t, err, io.EOF)
}

func TestWatchThatCannotBeOpenedIsAnError(t *testing.T) {
	f := &fake{watch: func(context.Context, *client.Request) (client.Watcher, error) {
		return nil, apierrors.NewResourceExpired("too old")
	}}
	w := ask(handler(t, f), "GET", "/api/v1/pods?watch=true&resourceVersion=1&allowWatchBookmarks=true&timeoutSeconds=5", "")
	require.Equal(t, 410, w.Code)
	require.True(t, f.request().List.AllowWatchBookmarks)
	require.EqualValues(t, 5, *f.request().List.TimeoutSeconds)
}
