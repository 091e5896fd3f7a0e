package openapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/openapi"
)

func BenchmarkIndex(b *testing.B) {
	kinds := builtins(b)
	for b.Loop() {
		_, err := openapi.New(kinds, "v1.37.2").Index()
		require.NoError(b, err)
	}
}

func BenchmarkCoreJSON(b *testing.B) {
	kinds := builtins(b)
	for b.Loop() {
		_, err := openapi.New(kinds, "v1.37.2").V3("api/v1").Gzip(openapi.JSON)
		require.NoError(b, err)
	}
}

func BenchmarkCoreProtobuf(b *testing.B) {
	kinds := builtins(b)
	for b.Loop() {
		_, err := openapi.New(kinds, "v1.37.2").V3("api/v1").Gzip(openapi.Protobuf)
		require.NoError(b, err)
	}
}

func BenchmarkV2Protobuf(b *testing.B) {
	kinds := builtins(b)
	for b.Loop() {
		_, err := openapi.New(kinds, "v1.37.2").V2().Gzip(openapi.Protobuf)
		require.NoError(b, err)
	}
}

func BenchmarkSchemas(b *testing.B) {
	kinds := builtins(b)
	for b.Loop() {
		openapi.Schemas(kinds)
	}
}
