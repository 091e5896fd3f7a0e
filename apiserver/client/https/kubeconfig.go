package https

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// Kubeconfig is what kubectl needs to know to reach a server as one user: a file with one cluster, user and context.
type Kubeconfig struct {
	Name       string // of the cluster, user and context; empty means keelson
	Server     string // URL; required
	CAData     []byte // PEM of the authority of the server's certificate
	ServerName string // name that the server's certificate has, when it is not the URL's host
	CertData   []byte // PEM of the user's certificate, with KeyData; or Token
	KeyData    []byte
	Token      string
	Namespace  string // that commands use by default; empty means default
}

// file is the format. Source: k8s.io/client-go/tools/clientcmd/api/v1.
type file struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	Clusters       []namedCluster `json:"clusters"`
	Contexts       []namedContext `json:"contexts"`
	CurrentContext string         `json:"current-context"`
	Users          []namedUser    `json:"users"`
}

type namedCluster struct {
	Name    string  `json:"name"`
	Cluster cluster `json:"cluster"`
}

type cluster struct {
	Server     string `json:"server"`
	ServerName string `json:"tls-server-name,omitempty"`
	Insecure   bool   `json:"insecure-skip-tls-verify,omitempty"`
	CA         string `json:"certificate-authority,omitempty"`
	CAData     []byte `json:"certificate-authority-data,omitempty"`
	ProxyURL   string `json:"proxy-url,omitempty"`
}

type namedContext struct {
	Name    string      `json:"name"`
	Context userContext `json:"context"`
}

type userContext struct {
	Cluster   string `json:"cluster"`
	User      string `json:"user"`
	Namespace string `json:"namespace,omitempty"`
}

type namedUser struct {
	Name string `json:"name"`
	User user   `json:"user"`
}

type user struct {
	Cert      string `json:"client-certificate,omitempty"`
	CertData  []byte `json:"client-certificate-data,omitempty"`
	Key       string `json:"client-key,omitempty"`
	KeyData   []byte `json:"client-key-data,omitempty"`
	Token     string `json:"token,omitempty"`
	TokenFile string `json:"tokenFile,omitempty"`
	Exec      any    `json:"exec,omitempty"`
	Provider  any    `json:"auth-provider,omitempty"`
	Username  string `json:"username,omitempty"`
}

// Encode gives the file's content.
func (k Kubeconfig) Encode() ([]byte, error) {
	if k.Server == "" {
		return nil, errors.New("kubeconfig: Server is required, such as https://127.0.0.1:6443")
	}
	name := k.Name
	if name == "" {
		name = "keelson"
	}
	data, err := yaml.Marshal(file{
		APIVersion: "v1", Kind: "Config", CurrentContext: name,
		Clusters: []namedCluster{{name, cluster{Server: k.Server, ServerName: k.ServerName, CAData: k.CAData}}},
		Contexts: []namedContext{{name, userContext{Cluster: name, User: name, Namespace: k.Namespace}}},
		Users:    []namedUser{{name, user{CertData: k.CertData, KeyData: k.KeyData, Token: k.Token}}},
	})
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return data, nil
}

// Write writes the file in one step, readable by its owner alone, because it holds a key.
func (k Kubeconfig) Write(path string) error {
	data, err := k.Encode()
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

// FromKubeconfig makes a client from a kubeconfig's current context.
func FromKubeconfig(path string) (*Client, error) {
	cfg, err := LoadKubeconfig(path)
	if err != nil {
		return nil, err
	}
	return New(cfg)
}

// LoadKubeconfig reads a kubeconfig's current context as a Config, for callers who change something in it. Files that
// it names are read, relative to it. Credentials that need another program are refused.
func LoadKubeconfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("kubeconfig: %w", err)
	}
	cfg, err := parseKubeconfig(data, func(name string) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(path), name)
		}
		return os.ReadFile(name)
	})
	if err != nil {
		return Config{}, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return cfg, nil
}

func parseKubeconfig(data []byte, read func(name string) ([]byte, error)) (Config, error) {
	var f file
	if err := yaml.Unmarshal(data, &f); err != nil {
		return Config{}, err
	}
	var ctx *userContext
	for i := range f.Contexts {
		if f.Contexts[i].Name == f.CurrentContext {
			ctx = &f.Contexts[i].Context
		}
	}
	if ctx == nil {
		return Config{}, fmt.Errorf("current-context %q is not among its contexts", f.CurrentContext)
	}
	var cfg Config
	found := false
	for _, c := range f.Clusters {
		if c.Name != ctx.Cluster {
			continue
		}
		if c.Cluster.ProxyURL != "" {
			return Config{}, fmt.Errorf("cluster %q: proxy-url is not supported; give Config.Dial", c.Name)
		}
		ca, err := inline(c.Cluster.CAData, c.Cluster.CA, read)
		if err != nil {
			return Config{}, fmt.Errorf("cluster %q: certificate-authority: %w", c.Name, err)
		}
		cfg.Server, cfg.ServerName, cfg.Insecure, cfg.CAData = c.Cluster.Server, c.Cluster.ServerName, c.Cluster.Insecure, ca
		found = true
	}
	if !found {
		return Config{}, fmt.Errorf("cluster %q of context %q is not among its clusters", ctx.Cluster, f.CurrentContext)
	}
	for _, u := range f.Users {
		if u.Name == ctx.User {
			if err := u.User.into(&cfg, read); err != nil {
				return Config{}, err
			}
			return cfg, nil
		}
	}
	return Config{}, fmt.Errorf("user %q of context %q is not among its users", ctx.User, f.CurrentContext)
}

func (u user) into(cfg *Config, read func(string) ([]byte, error)) error {
	if u.Exec != nil || u.Provider != nil || u.Username != "" {
		return errors.New("user: only certificates and tokens are supported, no exec, auth-provider or password")
	}
	var err error
	if cfg.CertData, err = inline(u.CertData, u.Cert, read); err != nil {
		return fmt.Errorf("client-certificate: %w", err)
	}
	if cfg.KeyData, err = inline(u.KeyData, u.Key, read); err != nil {
		return fmt.Errorf("client-key: %w", err)
	}
	token, err := inline([]byte(u.Token), u.TokenFile, read)
	if err != nil {
		return fmt.Errorf("tokenFile: %w", err)
	}
	cfg.Token = strings.TrimSpace(string(token))
	return nil
}

func inline(data []byte, name string, read func(string) ([]byte, error)) ([]byte, error) {
	if len(data) > 0 || name == "" {
		return data, nil
	}
	return read(name)
}
