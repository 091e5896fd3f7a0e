package table_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/table"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ExampleOf() {
	cm := kind.ConfigMap.New()
	cm.Name, cm.CreationTimestamp = "settings", metav1.NewTime(now.Add(-90*time.Minute))
	t, err := table.Of(kind.ConfigMap.Kind(), []kind.Instance{cm}, table.None, now)
	fmt.Println(t.ColumnDefinitions[0].Name, t.ColumnDefinitions[1].Name, t.Rows[0].Cells, err)
	// Output: Name Age [settings 90m] <nil>
}

func TestCellsBecomeWhatTablesHold(t *testing.T) {
	then := metav1.NewTime(now.Add(-3 * time.Hour))
	for name, tt := range map[string]struct{ in, want any }{
		"nil": {nil, nil}, "text": {"x", "x"}, "int32": {int32(3), int64(3)}, "int": {3, int64(3)}, "bool": {true, true},
		"time": {then, "3h"}, "pointer": {&then, "3h"}, "no time": {(*metav1.Time)(nil), table.Unknown}, "go time": {then.Time, "3h"},
		"zero": {metav1.Time{}, table.Unknown}, "duration": {2 * time.Hour, "120m"}, "named": {corev1.PodRunning, "Running"},
	} {
		t.Run(name, func(t *testing.T) {
			k := kind.Pod.With(kind.Strategy{Columns: []kind.Column{{Name: "X", Type: "date", Priority: 1, Cell: func(kind.Instance, time.Time) any { return tt.in }}, {Name: "Empty"}}}).Kind()
			row, err := table.Row(k, kind.Pod.New(), table.None, now)
			require.NoError(t, err)
			require.Equal(t, []any{tt.want, nil}, row.Cells)
			require.Equal(t, metav1.TableColumnDefinition{Name: "X", Type: "string", Priority: 1}, table.Definitions(k)[0])
		})
	}
}

func TestRowsLeaveObjectsAlone(t *testing.T) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{NodeName: "n"}}
	for include, want := range map[table.Include]string{table.Object: `"nodeName":"n"`, table.Metadata: `"kind":"PartialObjectMetadata"`, table.None: `"object":null`} {
		row, err := table.Row(kind.Pod.Kind(), p, include, now)
		require.NoError(t, err)
		data, err := json.Marshal(row)
		require.NoError(t, err)
		require.Contains(t, string(data), want)
		require.Empty(t, p.Kind, "a shared object was written to")
	}
	_, err := table.ParseInclude("Some")
	require.Error(t, err)
	inc, err := table.ParseInclude("")
	require.NoError(t, err)
	require.Equal(t, table.Metadata, inc)
}
