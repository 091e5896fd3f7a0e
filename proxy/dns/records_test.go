package dns_test

import (
	"fmt"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/keelson-dev/keelson/proxy/dns"
	"github.com/keelson-dev/keelson/proxy/proxytest"
)

func cluster() ([]*corev1.Service, []*discoveryv1.EndpointSlice) {
	services := []*corev1.Service{
		proxytest.Service("web", "10.96.0.10", []string{"http:80", "dns:53/UDP"}),
		proxytest.Service("dual", "10.96.0.11", []string{"http:80"}, func(s *corev1.Service) { s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, "fd00::11") }),
		proxytest.Service("db", "None", []string{"sql:5432"}),
		proxytest.Service("seeds", "None", []string{"sql:5432"}, func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }),
		proxytest.Service("empty", "None", nil),
		proxytest.Service("pending", "", []string{"http:80"}),
		proxytest.Service("mail", "", nil, func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "mail.example.com"
		}),
		proxytest.Service("alias", "", nil, func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "web.default.svc.cluster.local"
		}),
	}
	slices := []*discoveryv1.EndpointSlice{
		proxytest.Slice("web", "a", []string{"http:8080"}, []string{"10.0.0.1"}),
		proxytest.Slice("db", "a", []string{"sql:5432"}, []string{"10.0.0.2 host=db-0", "10.0.0.3", "10.0.0.4 notready"}),
		proxytest.Slice("db", "b", []string{"sql:5433"}, []string{"fd00::3"}),
		proxytest.Slice("seeds", "a", []string{"sql:5432"}, []string{"10.0.0.5 notready"}),
	}
	return services, slices
}

func TestRecords(t *testing.T) {
	services, slices := cluster()
	got := dns.Build(dns.Zone{}, services, slices).String()
	want := `
10.0.0.2 PTR db-0.db.default.svc.cluster.local.
10.0.0.3 PTR 10-0-0-3.db.default.svc.cluster.local.
10.0.0.5 PTR 10-0-0-5.seeds.default.svc.cluster.local.
10.96.0.10 PTR web.default.svc.cluster.local.
10.96.0.11 PTR dual.default.svc.cluster.local.
10-0-0-3.db.default.svc.cluster.local. A 10.0.0.3
10-0-0-5.seeds.default.svc.cluster.local. A 10.0.0.5
_dns._udp.web.default.svc.cluster.local. SRV 53 web.default.svc.cluster.local.
_http._tcp.dual.default.svc.cluster.local. SRV 80 dual.default.svc.cluster.local.
_http._tcp.web.default.svc.cluster.local. SRV 80 web.default.svc.cluster.local.
_sql._tcp.db.default.svc.cluster.local. SRV 5432 10-0-0-3.db.default.svc.cluster.local.
_sql._tcp.db.default.svc.cluster.local. SRV 5432 db-0.db.default.svc.cluster.local.
_sql._tcp.db.default.svc.cluster.local. SRV 5433 fd00-0000-0000-0000-0000-0000-0000-0003.db.default.svc.cluster.local.
_sql._tcp.seeds.default.svc.cluster.local. SRV 5432 10-0-0-5.seeds.default.svc.cluster.local.
alias.default.svc.cluster.local. CNAME web.default.svc.cluster.local.
db-0.db.default.svc.cluster.local. A 10.0.0.2
db.default.svc.cluster.local. A 10.0.0.2
db.default.svc.cluster.local. A 10.0.0.3
db.default.svc.cluster.local. AAAA fd00::3
dual.default.svc.cluster.local. A 10.96.0.11
dual.default.svc.cluster.local. AAAA fd00::11
fd00-0000-0000-0000-0000-0000-0000-0003.db.default.svc.cluster.local. AAAA fd00::3
fd00::11 PTR dual.default.svc.cluster.local.
fd00::3 PTR fd00-0000-0000-0000-0000-0000-0000-0003.db.default.svc.cluster.local.
mail.default.svc.cluster.local. CNAME mail.example.com.
seeds.default.svc.cluster.local. A 10.0.0.5
web.default.svc.cluster.local. A 10.96.0.10
`
	require.ElementsMatch(t, strings.Split(strings.TrimSpace(want), "\n"), strings.Split(strings.TrimSpace(got), "\n"))
}

func TestAnswers(t *testing.T) {
	services, slices := cluster()
	r := dns.Build(dns.Zone{TTL: 7}, services, slices)
	const zone = ".default.svc.cluster.local."
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string // rcode, then the data of the answers
	}{
		{"web" + zone, mdns.TypeA, "NOERROR 10.96.0.10"},
		{"WEB.Default.svc.cluster.LOCAL.", mdns.TypeA, "NOERROR 10.96.0.10"},
		{"web" + zone, mdns.TypeAAAA, "NOERROR"},
		{"web" + zone, mdns.TypeMX, "NOERROR"},
		{"dual" + zone, mdns.TypeANY, "NOERROR 10.96.0.11 fd00::11"},
		{"db" + zone, mdns.TypeA, "NOERROR 10.0.0.2 10.0.0.3"},
		{"db-0.db" + zone, mdns.TypeA, "NOERROR 10.0.0.2"},
		{"empty" + zone, mdns.TypeA, "NOERROR"},
		{"pending" + zone, mdns.TypeA, "NXDOMAIN"},
		{"gone" + zone, mdns.TypeA, "NXDOMAIN"},
		{"x.web" + zone, mdns.TypeA, "NXDOMAIN"},
		{"_tcp.web" + zone, mdns.TypeA, "NOERROR"},
		{"default.svc.cluster.local.", mdns.TypeA, "NOERROR"},
		{"other.svc.cluster.local.", mdns.TypeA, "NXDOMAIN"},
		{"svc.cluster.local.", mdns.TypeA, "NOERROR"},
		{"_http._tcp.web" + zone, mdns.TypeSRV, "NOERROR 0 100 80 web.default.svc.cluster.local."},
		{"mail" + zone, mdns.TypeA, "NOERROR mail.example.com."},
		{"alias" + zone, mdns.TypeA, "NOERROR web.default.svc.cluster.local. 10.96.0.10"},
		{"1-2-3-4.default.pod.cluster.local.", mdns.TypeA, "NOERROR 1.2.3.4"},
		{"1-2-3-4.default.pod.cluster.local.", mdns.TypeAAAA, "NOERROR"},
		{"fd00--1.default.pod.cluster.local.", mdns.TypeAAAA, "NOERROR fd00::1"},
		{"1-2-3-999.default.pod.cluster.local.", mdns.TypeA, "NXDOMAIN"},
		{"default.pod.cluster.local.", mdns.TypeA, "NOERROR"},
		{"10.0.96.10.in-addr.arpa.", mdns.TypePTR, "NOERROR web.default.svc.cluster.local."},
		{"10.0.96.10.in-addr.arpa.", mdns.TypeA, "NOERROR"},
		{strings.Repeat("1.", 2) + strings.Repeat("0.", 26) + "d.f.ip6.arpa.", mdns.TypePTR, "not ours"},
		{strings.Repeat("1.", 2) + strings.Repeat("0.", 28) + "d.f.ip6.arpa.", mdns.TypePTR, "NOERROR dual.default.svc.cluster.local."},
		{"11.0.96.10.in-addr.arpa.", mdns.TypePTR, "NOERROR dual.default.svc.cluster.local."},
		{"cluster.local.", mdns.TypeNS, "NOERROR ns.dns.cluster.local."},
		{"dns-version.cluster.local.", mdns.TypeTXT, `NOERROR "1.1.0"`},
		{"example.com.", mdns.TypeA, "not ours"},
		{"notcluster.local.", mdns.TypeA, "not ours"},
		{"9.9.9.9.in-addr.arpa.", mdns.TypePTR, "not ours"},
	} {
		msg, ok := r.Answer(mdns.Question{Name: c.name, Qtype: c.qtype, Qclass: mdns.ClassINET})
		got := "not ours"
		if ok {
			got = mdns.RcodeToString[msg.Rcode]
			for _, rr := range msg.Answer {
				require.Equal(t, uint32(7), rr.Header().Ttl)
				got += " " + strings.Join(strings.Fields(rr.String())[4:], " ")
			}
			require.Equal(t, len(msg.Answer) == 0, len(msg.Ns) == 1, "a negative answer, and only that, has a SOA")
		}
		require.Equal(t, c.want, got, "%s %s", c.name, mdns.TypeToString[c.qtype])
	}
	msg, _ := r.Answer(mdns.Question{Name: "_sql._tcp.db" + zone, Qtype: mdns.TypeSRV, Qclass: mdns.ClassINET})
	require.Len(t, msg.Answer, 3)
	require.Len(t, msg.Extra, 3, "the targets' addresses come along")
}

func ExampleBuild() {
	services := []*corev1.Service{proxytest.Service("web", "10.96.0.10", []string{"http:80"})}
	fmt.Print(dns.Build(dns.Zone{Domain: "k.example"}, services, nil))
	// Output:
	// 10.96.0.10 PTR web.default.svc.k.example.
	// _http._tcp.web.default.svc.k.example. SRV 80 web.default.svc.k.example.
	// web.default.svc.k.example. A 10.96.0.10
}

func ExampleRecords_Answer() {
	r := dns.Build(dns.Zone{}, []*corev1.Service{proxytest.Service("web", "10.96.0.10", nil)}, nil)
	msg, ok := r.Answer(mdns.Question{Name: "web.default.svc.cluster.local.", Qtype: mdns.TypeA, Qclass: mdns.ClassINET})
	fmt.Println(ok, msg.Answer[0].(*mdns.A).A)
	_, ok = r.Answer(mdns.Question{Name: "example.com.", Qtype: mdns.TypeA, Qclass: mdns.ClassINET})
	fmt.Println(ok)
	// Output:
	// true 10.96.0.10
	// false
}
