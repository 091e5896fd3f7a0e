package wire_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings is a client that has one config map.
type settings struct{ client.Client }

func (settings) Do(_ context.Context, req *client.Request) (*client.Response, error) {
	cm := kind.ConfigMap.New()
	cm.Namespace, cm.Name = req.Namespace, req.Name
	return &client.Response{Object: cm}, nil
}

// Any client.Client can be put on the wire.
func ExampleNew() {
	kinds, err := kind.NewSet(kind.ConfigMap.Kind())
	if err != nil {
		fmt.Println(err)
		return
	}
	h, err := wire.New(wire.Config{
		Kinds:         kinds,
		Client:        func(authn.User) client.Client { return settings{} },
		Authenticator: authn.Func(func(*http.Request) (authn.User, bool, error) { return authn.System("example"), true, nil }),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/api/v1/namespaces/default/configmaps/settings", nil)
	r.Header.Set("Accept", "application/yaml")
	h.ServeHTTP(w, r)
	fmt.Println(w.Code)
	fmt.Print(w.Body)
	// Output:
	// 200
	// apiVersion: v1
	// kind: ConfigMap
	// metadata:
	//   name: settings
	//   namespace: default
}
